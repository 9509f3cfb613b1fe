"""Running metrics: sums and counts travel, means are made last."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from rnntrain.batch import Batch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Draws a figure when it is called: most pictures of a long run are never looked at.
Picture: TypeAlias = "Callable[[], Figure]"
# Values by the name of the row and that of the column.
Table: TypeAlias = dict[str, dict[str, float]]


class Metrics(ABC):
    """Metrics of one pass over a split.

    Attributes:
        block: rows that follow each other and hang together, such as windows that overlap; resampling keeps as many
            together.
    """

    block: int = 1

    @abstractmethod
    def update(self, output: Any, batch: Batch, loss_sum: Tensor, count: Tensor) -> None:
        """Take in one batch; waits for no device."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Return the metrics by name."""

    def pictures(self) -> dict[str, Picture]:
        """Return what is better seen than told of the pass, such as a confusion matrix, by title."""
        return {}

    def rows(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        """Return what each row of a batch adds to the sums that `scores` makes metrics of: ``[B, …]`` by name.

        With these, metrics of any choice of rows are known without running the model again: of resampled ones, or of
        those of one length.
        """
        raise NotImplementedError

    def scores(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Return metrics from sums of `rows`; of all rows, they are those of `compute` under the same names."""
        raise NotImplementedError

    def tables(self, sums: Mapping[str, np.ndarray]) -> dict[str, Table]:
        """Return what `scores` leaves out for being too much: by title, the metrics of each class, step or type."""
        return {}


class Sum:
    """A running sum in float64, kept on the device of what is added."""

    def __init__(self) -> None:
        self._total: Tensor | float = 0.0

    def add(self, value: Tensor) -> None:
        self._total = self._total + value.detach().to(torch.float64)

    def value(self) -> float:
        return float(self._total)
