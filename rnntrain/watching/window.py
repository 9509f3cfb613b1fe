"""What steps come to between two logged lines: sums of loss and norms, and how fast they went."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True)
class StepResult:
    """What one step saw: loss sum and count over its batches, the gradient's norm before clipping, if it clipped.

    `applied` is False where the guard kept the update away from the weights.
    """

    loss_sum: Tensor
    count: Tensor
    grad_norm: float
    clipped: bool
    applied: bool = True


class Window:
    """Sums since the last logged line. They are part of a checkpoint, so that a resumed run logs the same numbers."""

    NAMES = ("loss", "count", "grad_norm", "clipped", "steps")
    MOST_UNREAD = 64

    def __init__(self, sums: dict[str, float] | None = None) -> None:
        self._sums = dict.fromkeys(self.NAMES, 0.0) if sums is None else dict(sums)
        self._unread: list[StepResult] = []  # read late: on a GPU each number costs a copy

    def add(self, result: StepResult) -> None:
        """Take in a step, unless its update was left out: its numbers would drown all others."""
        if not result.applied:
            return
        self._unread.append(result)
        if len(self._unread) == self.MOST_UNREAD:
            self.sums()

    def sums(self) -> dict[str, float]:
        for result in self._unread:
            # One after the other, so that sums interrupted by a save round as those that were not.
            self._sums["loss"] += float(result.loss_sum)
            self._sums["count"] += float(result.count)
            self._sums["grad_norm"] += result.grad_norm
            self._sums["clipped"] += result.clipped
            self._sums["steps"] += 1.0
        self._unread.clear()
        return dict(self._sums)

    def means(self) -> dict[str, float]:
        """Return means by name; NaN where every step was left out."""
        sums = self.sums()
        steps = sums["steps"] or math.nan
        return {
            "train/loss": sums["loss"] / (max(sums["count"], 1.0) if sums["steps"] else math.nan),
            "train/grad_norm": sums["grad_norm"] / steps,
            "train/clipped": sums["clipped"] / steps,
        }


class Mark(NamedTuple):
    """Where speeds were last measured from."""

    time: float
    step: int
    units_seen: int
    data_seconds: float

    def costs(self, now: Mark) -> dict[str, float]:
        """Return speeds and the share of time spent waiting for data, from this mark to a later one."""
        elapsed = max(now.time - self.time, 1e-9)
        return {
            "cost/steps_per_second": (now.step - self.step) / elapsed,
            "cost/units_per_second": (now.units_seen - self.units_seen) / elapsed,
            "cost/data_wait": (now.data_seconds - self.data_seconds) / elapsed,
        }
