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

    def pictures(self) -> dict[str, Picture]:
        """Return what is better seen than told of the pass, such as a confusion matrix, by title."""
        return {}


class Sum:
    """A running sum in float64, kept on the device of what is added."""

    def __init__(self) -> None:
        self._total: Tensor | float = 0.0

    def add(self, value: Tensor) -> None:
        self._total = self._total + value.detach().to(torch.float64)

    def value(self) -> float:
        return float(self._total)
