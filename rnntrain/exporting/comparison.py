"""How far two sets of tensors are apart, and what that says of an export."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

GOAL = 1e-4


class Rounding(NamedTuple):
    """How far both are from the model in float64, where they are further apart than the goal or labels differ.

    Attributes:
        labels: share of whole numbers in which the file and the model in float64 differ.
    """

    of_file: float
    of_torch: float
    labels: float = 0.0


class Difference(NamedTuple):
    """The largest difference found.

    Attributes:
        largest: of two numbers; where a tensor holds numbers above 1, in units of the largest of them.
        where: the output and the case.
        labels: share of whole numbers, such as tags, that differ.
        cases: how many were compared.
        rounding: None where the goal is met.
    """

    largest: float
    where: str
    labels: float
    cases: int
    rounding: Rounding | None = None

    @property
    def right(self) -> bool:
        """Whether the goal is met beside the model, or beside the model in float64, of which PyTorch fell short."""
        return self.largest <= GOAL or (self.rounding is not None and self.rounding.of_file <= GOAL)

    @property
    def good(self) -> bool:
        """Whether it is right, or at least as near to the model in float64 as PyTorch is."""
        return self.right or (self.rounding is not None and self.rounding.of_file <= self.rounding.of_torch)

    def __str__(self) -> str:
        text = f"largest difference {self.largest:.1e} ({self.where}) over {self.cases} cases"
        if self.labels:
            text += f"; {self.labels:.2%} of labels differ"
        if self.rounding is not None:
            text += f"; from float64, the file {self.rounding.of_file:.1e} and PyTorch {self.rounding.of_torch:.1e}"
        return text


class Comparison:
    """The largest difference so far."""

    def __init__(self) -> None:
        self._largest, self._where, self._cases = 0.0, "none", 0
        self._labels, self._wrong = 0, 0

    def add(self, where: str, said: Tensor, true: Tensor) -> None:
        """Compare two tensors of one shape."""
        assert said.shape == true.shape, f"{where}: {tuple(said.shape)} and {tuple(true.shape)}"
        self._cases += 1
        if not true.is_floating_point():
            self._labels += true.numel()
            self._wrong += int((said != true).sum())
            return
        scale = max(1.0, float(true.abs().max())) if true.numel() else 1.0
        largest = float((said - true).abs().max()) / scale if true.numel() else 0.0
        # What is not a number is further off than any number.
        largest = torch.inf if largest != largest else largest
        if largest > self._largest or self._cases == 1:
            self._largest, self._where = largest, where

    def take(self, other: Comparison) -> None:
        """Add what another has compared."""
        if other._largest > self._largest or not self._cases:
            self._largest, self._where = other._largest, other._where
        self._cases += other._cases
        self._labels += other._labels
        self._wrong += other._wrong

    def result(self) -> Difference:
        """Return what was found."""
        return Difference(self._largest, self._where, self._wrong / max(self._labels, 1), self._cases)
