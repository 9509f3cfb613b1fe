"""The one thread that runs the model: it joins what waits at the same time into batches."""

from __future__ import annotations

import queue
import sys
import threading
import traceback
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

from rnntrain.predicting.predictor import Example, Predictor, Record, batches
from rnntrain.serving.counters import Counters
from rnntrain.serving.drawing import Drawing, Text


@dataclass
class Asked:
    """Examples of one request, all of one predictor, and where their records go."""

    predictor: Predictor
    examples: list[Example]
    answer: Future[list[Record]] = field(default_factory=Future)


class Worker:
    """Runs a model in a thread of its own for as long as it is entered as a context.

    What waits while a batch is computed makes the next batch together. Texts that are being drawn go on by one token
    between two batches, so that neither kind of request holds up the other for long.

    Args:
        drawing: what draws texts; None for a model that cannot.
        counters: are told of batches and tokens.
    """

    def __init__(self, drawing: Drawing | None, counters: Counters) -> None:
        self._drawing = drawing
        self._counters = counters
        self._waiting: queue.SimpleQueue[Asked | Text | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)

    def __enter__(self) -> Worker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.put(None)
        self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def num_texts(self) -> int:
        """Texts that are being drawn."""
        return 0 if self._drawing is None else len(self._drawing)

    def ask(self, predictor: Predictor, examples: list[Example]) -> Future[list[Record]]:
        """Return a future of the records of some examples."""
        asked = Asked(predictor, examples)
        self._waiting.put(asked)
        return asked.answer

    def draw(self, text: Text) -> None:
        """Begin to draw a text; its pieces go to `text.deliver`."""
        self._waiting.put(text)

    def _work(self) -> None:
        while True:
            jobs = self._next_jobs()
            self._answer([job for job in jobs if isinstance(job, Asked)])
            self._draw([job for job in jobs if isinstance(job, Text)])
            if None in jobs:
                return

    def _next_jobs(self) -> list[Asked | Text | None]:
        """Return all that waits; wait for the first where nothing is going on."""
        jobs: list[Asked | Text | None] = []
        if not self.num_texts:
            jobs.append(self._waiting.get())
        with suppress(queue.Empty):
            while True:
                jobs.append(self._waiting.get_nowait())
        return jobs

    def _answer(self, asked: list[Asked]) -> None:
        by_predictor: dict[int, list[Asked]] = {}
        for job in asked:
            if not job.answer.cancelled():
                by_predictor.setdefault(id(job.predictor), []).append(job)
        for jobs in by_predictor.values():
            try:
                records = self._run([example for job in jobs for example in job.examples], jobs[0].predictor)
            except Exception as error:
                for job in jobs:
                    with suppress(InvalidStateError):  # its client has left
                        job.answer.set_exception(error)
                continue
            for job in jobs:
                own, records = records[: len(job.examples)], records[len(job.examples) :]
                with suppress(InvalidStateError):
                    job.answer.set_result(own)

    def _run(self, examples: list[Example], predictor: Predictor) -> list[Record]:
        records: list[Record] = [{}] * len(examples)
        for places in batches([len(example.inputs) for example in examples]):
            for place, record in zip(places, predictor.run([examples[p] for p in places]), strict=True):
                records[place] = record
            self._counters.add("batches_total")
        self._counters.add("inputs_total", len(examples))
        return records

    def _draw(self, new: list[Text]) -> None:
        if self._drawing is None or not (new or len(self._drawing)):
            return
        try:
            for text in new:
                self._drawing.admit(text)
            drawn = self._drawing.step()
        except Exception as error:
            traceback.print_exception(error, file=sys.stderr)  # of streamed texts, clients learn only that it failed
            self._drawing.fail(error)
            return
        self._counters.add("tokens_total", drawn)
        self._counters.add("draw_steps_total", 1 if drawn else 0)
