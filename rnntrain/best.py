"""The best evaluation of a run so far."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class Best:
    """The best evaluation so far; `value` is None before the first."""

    value: float | None = None
    step: int = 0
    evaluations_since: int = 0

    def is_worse_than(self, value: float, larger_is_better: bool) -> bool:
        """Say whether an evaluation is better than this one; never where it is not finite."""
        if self.value is None or not math.isfinite(value):
            return math.isfinite(value)
        return value > self.value if larger_is_better else value < self.value
