"""What all generated problems have in common: endless batches for training, and fixed sets to evaluate on."""

# B batch, T time, D input width, K target width

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rnntrain.data.base import Codec
from rnntrain.data.numbers.sequences import NumbersCodec, SequenceData, StepClassesCodec
from rnntrain.errors import UserError

if TYPE_CHECKING:
    from rnntrain.batch import Batch

# The first number of every seed, so that no set shares a draw with another.
TRAIN, VAL, TEST = 0, 1, 2
SHOWN_STEPS = 40
REPORTED_APART = ("accuracy", "mse")  # metrics that tasks also give for each test length


@dataclass(frozen=True)
class Drawn:
    """Sequences of a problem: the arrays of a `Batch`.

    Attributes:
        inputs: symbols ``[B, T]``, or numbers ``[B, T, D]``.
        targets: of steps, ``[B, T]`` classes or ``[B, T, K]`` numbers; of sequences, ``[B]`` or ``[B, K]``.
        lengths_B: valid steps of each row; None where all are full.
        counted_BT: the steps whose targets count; None where all do.
    """

    inputs: np.ndarray
    targets: np.ndarray
    lengths_B: np.ndarray | None = None
    counted_BT: np.ndarray | None = None

    def rows(self, start: int, stop: int) -> Drawn:
        return Drawn(*(None if part is None else part[start:stop] for part in vars(self).values()))  # type: ignore[arg-type]


class MemoryProblem(SequenceData):
    """A problem whose sequences are drawn anew for every batch.

    Batch number n of an epoch is a function of (seed, epoch, n) alone. Validation and test sets are fixed: they are
    drawn from seeds of their own, whatever the run's, and no row of theirs is drawn in training but by chance. The
    test set has `eval_rows` sequences of each of `test_lengths`, where given, and of the training lengths otherwise.

    Args:
        batch_size: sequences in a batch.
        epoch_batches: batches of what counts as an epoch.
        eval_rows: sequences of the validation set, and of the test set at each length.
        test_lengths: lengths of the test set, each reported apart; what a length counts is the problem's to say.
    """

    splits = ("train", "val", "test")
    most_rows: ClassVar[int] = 250  # of one batch of an evaluation

    def __init__(self, batch_size: int, epoch_batches: int, eval_rows: int, test_lengths: Sequence[int] | None) -> None:
        self.batch_size = batch_size
        self.epoch_batches = epoch_batches
        self.eval_rows = eval_rows
        self.test_lengths = list(test_lengths or [])
        for length in self.test_lengths:
            if length < self.shortest:
                raise UserError(f"data.test_lengths={self.test_lengths}: {length} is too short; use {self.shortest} up")
        if len(set(self.test_lengths)) < len(self.test_lengths):
            raise UserError(f"data.test_lengths={self.test_lengths}: a length stands there twice; name each once")

    # -- what a problem says of itself ---

    @property
    def shortest(self) -> int:
        """The least length that may be asked for."""
        return 1

    @abstractmethod
    def make_codec(self) -> NumbersCodec | StepClassesCodec:
        """Return what inputs and targets are."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, rows: int, length: int | None) -> Drawn:
        """Draw sequences of one length, or of the lengths of training where None."""

    @abstractmethod
    def steps(self, length: int) -> int:
        """Return the time steps of a sequence of a length."""

    @abstractmethod
    def title(self) -> str:
        """Return the problem and its difficulty in a few words."""

    # -- what follows from it ---

    def load(self, codec: Codec | None = None) -> None:
        if codec is None:
            codec = self.make_codec()
            codec.lengths = {self.steps(length): length for length in self.test_lengths}
        self.codec = codec

    def train_batches(self, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        for number in range(start, self.epoch_batches):
            yield _batch(self.draw(np.random.default_rng((TRAIN, seed, epoch, number)), self.batch_size, None))

    def num_train_batches(self, seed: int, epoch: int) -> int:
        return self.epoch_batches

    def eval_batches(self, split: str) -> Iterator[Batch]:
        for drawn in self.eval_sets(split):
            for start in range(0, len(drawn.inputs), self.most_rows):
                yield _batch(drawn.rows(start, start + self.most_rows))

    def eval_sets(self, split: str) -> Iterator[Drawn]:
        """Yield the sequences of a split, those of one length at a time; of "train", as many as of "val"."""
        if split == "test" and self.test_lengths:
            for length in self.test_lengths:
                yield self.draw(np.random.default_rng((TEST, length)), self.eval_rows, length)
        else:
            kind = {"train": (TRAIN, 0, 0, self.epoch_batches), "val": (VAL, 0), "test": (TEST, 0)}[split]
            yield self.draw(np.random.default_rng(kind), self.eval_rows, None)

    def fingerprint(self) -> dict[str, Any]:
        """Return the problem and a hash of its first validation rows, which would show another generator."""
        digest = hashlib.sha256()
        for part in vars(self.draw(np.random.default_rng((VAL, 0)), 8, None)).values():
            if part is not None:
                digest.update(np.ascontiguousarray(part).tobytes())
        return {"problem": self.title(), "sha256": digest.hexdigest()}

    def describe(self) -> str:
        tested = f", tested at {', '.join(map(str, self.test_lengths))}" if self.test_lengths else ""
        return f"{self.title()}{tested}; generated, {self.epoch_batches:,} batches of {self.batch_size:,} an epoch"

    def examples(self, split: str, number: int) -> list[str]:
        drawn = next(self.eval_sets(split)).rows(0, number)
        steps_B = [drawn.inputs.shape[1]] * number if drawn.lengths_B is None else drawn.lengths_B.tolist()
        per_step = not (isinstance(self.codec, NumbersCodec) and not self.codec.per_step)
        return [
            f"{_shown(x[:steps])} → {_shown(y[:steps] if per_step else np.atleast_1d(y))}"
            for x, y, steps in zip(drawn.inputs, drawn.targets, steps_B, strict=False)
        ]


def at_each_length(data: MemoryProblem, split: str, values: dict[str, float]) -> dict[str, float]:
    """Return what a method reaches that does as well at any length, under the name of each test length too."""
    lengths = data.test_lengths if split == "test" else []
    apart = {name: value for name, value in values.items() if name in REPORTED_APART}
    return values | {f"{name}_len_{length}": value for length in lengths for name, value in apart.items()}


def drawn_lengths(rng: np.random.Generator, rows: int, length: int | None, low: int, high: int) -> np.ndarray:
    """Return `rows` lengths: all the given one, or uniform from `low` to `high`, both included."""
    return np.full(rows, length) if length is not None else rng.integers(low, high + 1, rows)


def none_if_full(lengths_B: np.ndarray, num_steps: int) -> np.ndarray | None:
    """Return lengths, or None where no row has padding."""
    return None if int(lengths_B.min()) == num_steps else lengths_B


def check_bounds(min_length: int, max_length: int) -> None:
    """Refuse a range of lengths that is empty."""
    if min_length > max_length:
        raise UserError(f"data.min_length={min_length}: is above data.max_length={max_length}; lower it")


def _shown(values: np.ndarray) -> str:
    form = "d" if values.dtype.kind in "iu" else ".2f"
    text = " ".join(format(value, form) for value in values.ravel()[:SHOWN_STEPS].tolist())
    return text + (" …" if values.size > SHOWN_STEPS else "")


def _batch(drawn: Drawn) -> Batch:
    import torch  # here, since a config is checked without it

    from rnntrain.batch import Batch

    inputs, targets = (torch.from_numpy(np.ascontiguousarray(part)) for part in (drawn.inputs, drawn.targets))
    lengths_B = None if drawn.lengths_B is None else torch.from_numpy(drawn.lengths_B)
    counted_BT = None if drawn.counted_BT is None else torch.from_numpy(drawn.counted_BT)
    return Batch(inputs, targets, lengths_B, counted_BT=counted_BT)
