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

    def sums(self) -> list[Sum]:
        """Return all sums that `compute` reads, in an order that depends on the task and its codec alone.

        Several processes that each see a part of a split add these up, and every one of them then computes the metrics
        of all of it. What pictures show may be of this process's part.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what it sums up, so only one process can use it")

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
    """A running sum of numbers or of arrays of one shape, in float64, kept on the device of what is added.

    Attributes:
        total: the sum; 0 before anything was added, whatever the shape.
    """

    def __init__(self) -> None:
        self.total: Tensor | float = 0.0

    def add(self, value: Tensor | float) -> None:
        self.total = self.total + (value.detach().to(torch.float64) if isinstance(value, Tensor) else value)

    def value(self) -> float:
        return float(self.total)

    def array(self) -> Tensor:
        """Return the sum of arrays, on the CPU."""
        return torch.as_tensor(self.total, dtype=torch.float64).cpu()
