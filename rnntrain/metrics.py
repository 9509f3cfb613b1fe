"""Running metrics: sums and counts travel, means are made last."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from rnntrain.batch import Batch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Draws a figure when it is called: most pictures of a long run are never looked at.
Picture: TypeAlias = "Callable[[], Figure]"


class Metrics(ABC):
    """Metrics of one pass over a split."""

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
