"""The contracts of a data set and of what is fitted on its training part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # batches bring torch, which reading and checking data do without
    import numpy as np

    from rnntrain.batch import Batch


class Codec(ABC):
    """All that is fitted on training data: a vocabulary, a tag set, a scaler, feature statistics.

    It travels in the checkpoint, so that a checkpoint alone is enough to predict.
    """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return all that was fitted, in plain JSON types."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: dict[str, Any]) -> Codec:
        """Build the codec from what `state_dict` gave."""


class DataSet(ABC):
    """Sequences in named splits, and the order in which they are read.

    The constructor takes the values of the config section and reads nothing; `load` reads, checks and fits.

    Attributes:
        codec: fitted by `load`, on the training split alone.
        splits: the splits that exist after `load`, of "train", "val" and "test".
        unit: what one time step is called in messages ("characters", "frames", …).
        contiguous: True where each row of a training batch goes on where the same row of the batch before stopped.
    """

    codec: Codec
    splits: tuple[str, ...]
    unit: str = "steps"
    contiguous: bool = False
    batch_size: int

    @abstractmethod
    def load(self, codec: Codec | None = None) -> None:
        """Read and check the data; fit the codec on the training split, or take the given one.

        Raises:
            UserError: names the file, the place in it and the fix.
        """

    @abstractmethod
    def train_batches(self, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch from number `start` on.

        The order is a function of (seed, epoch) alone, so the position in the data is one offset.
        """

    @abstractmethod
    def num_train_batches(self, seed: int, epoch: int) -> int:
        """Return how many batches `train_batches(seed, epoch)` yields."""

    @abstractmethod
    def eval_batches(self, split: str) -> Iterator[Batch]:
        """Yield a split once, in a fixed order, with nothing left out."""

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """Return sizes and SHA-256 of what was read, to tell later whether the data changed."""

    def describe(self) -> str:
        """Return one line for people: sizes of the splits and of what was fitted."""
        return ""

    def counts(self, split: str) -> dict[str, int]:
        """Return how often each label of a split occurs, the most frequent first; empty where there are none."""
        return {}

    def sounds(self, split: str, number: int) -> dict[str, tuple[np.ndarray, int]]:
        """Return the first examples of a split as sound, by title: samples from -1 to 1, and their rate in hertz."""
        return {}

    def examples(self, split: str, number: int) -> list[str]:
        """Return the first examples of a split as a person reads them, one line each."""
        return []
