"""Answers of language models: how probable a text is."""

# B batch, T time

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnntrain.batch import Batch
from rnntrain.cells.base import State
from rnntrain.data.codecs import TextCodec
from rnntrain.data.windows import Laid, document_windows
from rnntrain.data.windows import batches as windows_of
from rnntrain.errors import UserError
from rnntrain.models.sequence import SequenceModel, evaluating
from rnntrain.predicting.encoding import as_text
from rnntrain.predicting.predictor import Example, Predictor, Record, rounded
from rnntrain.tasks.base import Task
from rnntrain.tasks.language_modeling import nats_of_rows

JUDGED_STEPS, JUDGED_ROWS = 128, 32  # windows of a text that the model is judged by, where the run's data says none
PIECE = 4096  # steps of a long text that are read at once, the state carried on to the next


class TextScorer(Predictor):
    """`log_probability` of a text in nats, of its `tokens` after the first, which nothing foretells, from a zero state;
    `bits_per_char` (`bits_per_byte`) and `perplexity`, null for a text of one token or none.
    """

    kind = "text"
    judged_whole = True
    codec: TextCodec
    fields = ("log_probability", "bits_per_char", "perplexity")

    def __init__(self, task: Task, codec: TextCodec, model: SequenceModel, reading: Mapping[str, Any]) -> None:
        super().__init__(task, codec, model)
        self.reading = reading
        self._bits = "bits_per_byte" if codec.unit == "byte" else "bits_per_char"

    def example(self, raw: Any, where: str = "input") -> Example:
        ids = self.codec.encode(as_text(raw, where)).astype(np.int64)
        return Example(ids[:-1], target=ids[1:])

    def target(self, raw: Any, example: Example, where: str = "input") -> np.ndarray:
        assert example.target is not None
        return example.target

    def no_target(self, example: Example) -> np.ndarray:
        raise AssertionError("a text is its own target")

    def limits(self) -> list[str]:
        return [
            f"It reads and writes by {self.codec.unit}, {self.codec.vocab_size:,} entries, those of its training text."
        ]

    def judging(self, examples: Iterable[Example]) -> Iterator[Batch]:
        """Yield the windows of texts laid end to end, as the splits of a run are evaluated, state carried or not."""
        texts = [np.append(each.inputs[:1], each.target) for each in examples if each.target is not None]
        ids = np.concatenate(texts) if texts else np.zeros(0, np.int64)
        if len(ids) < 2:
            raise UserError("the text has one token or none, and nothing to be judged by; give more text")
        bptt = self.reading.get("eval_bptt") or self.reading.get("bptt") or JUDGED_STEPS
        rows = self.reading.get("eval_batch_size") or self.reading.get("batch_size") or JUDGED_ROWS
        return windows_of(ids, Laid(document_windows(np.array([0, len(ids)]), int(bptt)), int(rows)))

    def said(self, record: Record) -> str:
        bits = record[self._bits]
        return "-" if bits is None else f"{bits:.4f}"

    def run(self, examples: Sequence[Example]) -> list[Record]:
        batch = self.batch(examples).to(self.device)
        state: State = None
        nats_B = torch.zeros(batch.batch_size, dtype=torch.float64)
        with evaluating(self.model):
            for start in range(0, batch.inputs.shape[1], PIECE):
                piece = _stretch(batch, start, start + PIECE)
                output, state = self.task.infer(self.model, piece, state)
                nats_B += nats_of_rows(output, piece).cpu()
        records = self._of(nats_B, examples)
        return [{**each.shown, **record} for each, record in zip(examples, records, strict=True)]

    def records(self, output: Any, batch: Batch, examples: Sequence[Example]) -> list[Record]:
        return self._of(nats_of_rows(output, batch), examples)

    def _of(self, nats_B: Tensor, examples: Sequence[Example]) -> list[Record]:
        answers = []
        for nats, example in zip(nats_B.tolist(), examples, strict=True):
            assert example.target is not None
            tokens, chars = len(example.target), int(self.codec.chars_per_token_V[example.target].sum())
            answers.append(
                {
                    "tokens": tokens,
                    "log_probability": rounded(-nats),
                    self._bits: rounded(nats / chars / math.log(2)) if chars else None,
                    "perplexity": rounded(math.exp(min(nats / tokens, 700.0))) if tokens else None,
                }
            )
        return answers


def _stretch(batch: Batch, start: int, stop: int) -> Batch:
    """Return some time steps of a batch."""
    inputs_BT, targets_BT = batch.inputs[:, start:stop], batch.targets[:, start:stop]
    if batch.lengths_B is None:
        return Batch(inputs_BT, targets_BT)
    return Batch(inputs_BT, targets_BT, (batch.lengths_B - start).clamp(0, inputs_BT.shape[1]))
