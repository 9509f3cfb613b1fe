"""The contract of prediction: raw inputs become examples, and these plain records, in order and in bounded memory."""

# B batch, T time, D features

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
import torch

from rnntrain.batch import Batch
from rnntrain.data.base import Codec
from rnntrain.data.bucketing import pad
from rnntrain.data.prefetch import ahead
from rnntrain.models.sequence import SequenceModel, evaluating
from rnntrain.tasks.base import Task

Kind: TypeAlias = Literal["text", "tokens", "series", "sound", "numbers", "symbols", "roll"]
Record: TypeAlias = dict[str, Any]

WINDOW = 4096  # examples that are held at once, so that those of about one length can share a batch
WINDOW_NUMBERS = 1 << 22  # numbers of their inputs that are held at most
MOST_ROWS = 128  # of a batch
MOST_STEPS = 1 << 14  # of a batch, padding included
PLACES = 6  # decimals of a probability in a record


class Example(NamedTuple):
    """One input as a model reads it.

    Attributes:
        inputs: ``[T]`` whole numbers or ``[T, D]`` numbers.
        shown: what its record begins with, such as where it came from.
        detail: what the predictor needs of the raw input to write the record: tokens, dates, seconds.
        target: what is true, where it is known; its shape is the task's own.
        context: what the head reads beside the inputs, where the task has it.
    """

    inputs: np.ndarray
    shown: Mapping[str, Any] = MappingProxyType({})
    detail: Any = None
    target: np.ndarray | None = None
    context: np.ndarray | None = None


class Predictor(ABC):
    """What a trained model says of raw inputs, as records of plain JSON values.

    A record does not depend on what its input was batched with, but for the last bits of floating-point sums.

    Args:
        task, codec, model: those of a run; the model is put into its evaluating state while it predicts.

    Attributes:
        kind: what a raw input is: "text" a string; "tokens" a list of strings, or a string; "series" a history (see
            `rnntrain.predicting.forecasts.ForecastPredictor`); "sound" a path, the bytes of a sound file, or samples
            at the model's rate; "numbers" ``[T, D]`` or ``[T]``; "symbols" whole numbers ``[T]``; "roll" keys by step,
            zeros and ones ``[T, K]``.
        fields: of a record, those that a table has as columns.
        judged_whole: files are judged as running text, not line by line.
    """

    kind: Kind
    fields: ClassVar[tuple[str, ...]] = ()
    judged_whole: ClassVar[bool] = False

    def __init__(self, task: Task, codec: Codec, model: SequenceModel) -> None:
        self.task, self.codec, self.model = task, codec, model

    @abstractmethod
    def example(self, raw: Any, where: str = "input") -> Example:
        """Return a raw input as an example.

        Args:
            where: the input as messages name it.

        Raises:
            UserError: it is not of the predictor's kind, or the model cannot read it.
        """

    @abstractmethod
    def records(self, output: Any, batch: Batch, examples: Sequence[Example]) -> list[Record]:
        """Return the answer to each row of a batch; the output is that of `Task.infer`."""

    @abstractmethod
    def target(self, raw: Any, example: Example, where: str = "input") -> np.ndarray:
        """Return what is true of an example, as the task compares with it.

        Raises:
            UserError: the model was not trained for it, such as a label that it never saw.
        """

    def labelled(self, raw: Any, truth: Any, where: str = "input") -> Example:
        """Return a raw input and what is true of it as an example that a model can be judged by."""
        example = self.example(raw, where)
        return example._replace(target=self.target(truth, example, where))

    @abstractmethod
    def no_target(self, example: Example) -> np.ndarray:
        """Return what stands in a batch where nothing is known to be true."""

    def batch(self, examples: Sequence[Example]) -> Batch:
        """Return examples as one batch on the CPU."""
        inputs, lengths_B = pad([example.inputs for example in examples])
        if not inputs.shape[1]:  # a recurrence needs a step, if only of padding
            inputs = np.zeros((len(examples), 1, *inputs.shape[2:]), inputs.dtype)
        targets = [self.no_target(each) if each.target is None else each.target for each in examples]
        joined = np.stack(targets) if targets[0].ndim == 0 else pad(targets)[0]
        full = int(lengths_B.min()) == inputs.shape[1]
        contexts = [example.context for example in examples if example.context is not None]
        return Batch(
            torch.from_numpy(inputs),
            torch.from_numpy(joined),
            None if full else torch.from_numpy(lengths_B),
            context=torch.from_numpy(np.stack(contexts)) if contexts else None,
        )

    def run(self, examples: Sequence[Example]) -> list[Record]:
        """Return the records of examples that make one batch."""
        batch = self.batch(examples).to(self.device)
        with evaluating(self.model):
            output, _ = self.task.infer(self.model, batch, None)
            records = self.records(output, batch, examples)
        return [{**each.shown, **record} for each, record in zip(examples, records, strict=True)]

    def predict(self, examples: Iterable[Example], window: int = WINDOW) -> Iterator[Record]:
        """Yield the records of any number of examples in their order; no more than a window of them is held.

        Args:
            window: examples that are read before the first are answered; 1 answers each as it comes.
        """
        # While the model computes, the next inputs are read and encoded; who asks one by one waits for no other.
        several = windows(examples, window)
        for held in several if window == 1 else ahead(several, depth=1):
            answers: list[Record] = [{}] * len(held)
            for numbers in batches([len(example.inputs) for example in held]):
                for number, record in zip(numbers, self.run([held[n] for n in numbers]), strict=True):
                    answers[number] = record
            yield from answers

    def limits(self) -> list[str]:
        """Return what the model cannot do, in sentences for its card."""
        return []

    def judging(self, examples: Iterable[Example]) -> Iterator[Batch]:
        """Yield labelled examples as batches to judge the model by, in an order of which no result depends."""
        for held in windows(examples, WINDOW):
            for numbers in batches([len(example.inputs) for example in held]):
                yield self.batch([held[number] for number in numbers])

    def said(self, record: Record) -> str:
        """Return an answer as a person reads it, in one line."""
        return " ".join(str(record[name]) for name in self.fields if record.get(name) is not None)

    def lines(self, record: Record) -> list[str]:
        """Return a record as lines for people: the answer, and what it is an answer to."""
        asked = next((str(record[name]) for name in ("text", "source", "line", "row") if name in record), "")
        return ["\t".join(part for part in (self.said(record), " ".join(asked.split())) if part)]

    def rows(self, record: Record) -> list[Record]:
        """Return a record as rows of a table: what it is an answer to, then `fields`."""
        given = {name: value for name, value in record.items() if name in ("source", "line", "row", "text")}
        return [{**given, **{name: record[name] for name in self.fields if name in record}}]

    def __call__(self, raw: Iterable[Any]) -> list[Record]:
        """Return the records of raw inputs: `predictor(["first text", "second text"])`."""
        return list(self.predict(self.example(each, f"input {number}") for number, each in enumerate(raw, 1)))

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def windows(examples: Iterable[Example], most: int) -> Iterator[list[Example]]:
    """Yield examples in lists of at most so many, and of at most `WINDOW_NUMBERS` numbers but for a single one."""
    held: list[Example] = []
    size = 0
    for example in examples:
        if held and (len(held) >= most or size + example.inputs.size > WINDOW_NUMBERS):
            yield held
            held, size = [], 0
        held.append(example)
        size += example.inputs.size
        if most == 1:
            yield held
            held, size = [], 0
    if held:
        yield held


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the places of sequences that make a batch, the short ones first: little padding, and bounded memory."""
    chosen: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if chosen and (len(chosen) == MOST_ROWS or (len(chosen) + 1) * lengths[place] > MOST_STEPS):
            yield chosen
            chosen = []
        chosen.append(place)
    if chosen:
        yield chosen


def rounded(value: float, places: int = PLACES) -> float:
    """Return a number as a record shows it."""
    return round(float(value), places)
