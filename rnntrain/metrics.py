"""Running metrics: sums and counts travel, means are made last."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from rnntrain.batch import Batch


class Metrics(ABC):
    """Metrics of one pass over a split."""

    @abstractmethod
    def update(self, output: Any, batch: Batch, loss_sum: Tensor, count: Tensor) -> None:
        """Take in one batch; waits for no device."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Return the metrics by name."""


class Sum:
    """A running sum in float64, kept on the device of what is added."""

    def __init__(self) -> None:
        self._total: Tensor | float = 0.0

    def add(self, value: Tensor) -> None:
        self._total = self._total + value.detach().to(torch.float64)

    def value(self) -> float:
        return float(self._total)
