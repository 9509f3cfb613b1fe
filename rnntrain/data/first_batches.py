"""A data set cut down to its first few batches, for the test that a model can learn them by heart."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from rnntrain.batch import Batch
from rnntrain.data.base import Codec, DataSet


class FirstBatches(DataSet):
    """Trains and evaluates on the first `number` training batches of another data set, again and again.

    They are those of seed 0, whatever the run's, since an evaluation knows no seed.

    Args:
        data: has been loaded.
        number: how many batches make an epoch.
    """

    def __init__(self, data: DataSet, number: int) -> None:
        self._data = data
        self._number = number
        self.codec = data.codec
        self.splits = ("train", "val")
        self.unit = data.unit
        self.contiguous = data.contiguous
        self.batch_size = data.batch_size

    def load(self, codec: Codec | None = None) -> None:
        self._data.load(codec)

    def train_batches(self, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        return islice(self._data.train_batches(0, 0), start, self._number)

    def num_train_batches(self, seed: int, epoch: int) -> int:
        return min(self._number, self._data.num_train_batches(0, 0))

    def eval_batches(self, split: str) -> Iterator[Batch]:
        return islice(self._data.train_batches(0, 0), self._number)

    def fingerprint(self) -> dict[str, Any]:
        return self._data.fingerprint()

    def describe(self) -> str:
        return f"{self._data.describe()}; only the first {self._number} batches are used"
