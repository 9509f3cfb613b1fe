"""From values to places in a picture: ranges, logarithms, ticks at round numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LOGARITHMIC_FROM = 50.0  # times that the largest value is the least one, where all are above zero


@dataclass(frozen=True)
class Scale:
    """Maps values to places between `start` and `stop`, by their logarithm where `log`."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def place(self, value: float) -> float:
        low, high, value = map(math.log10, (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Return about five round values in the range."""
        if not self.log:
            return linear_ticks(self.low, self.high)
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        if last - first < 1:
            return linear_ticks(self.low, self.high)
        step = max(1, math.ceil((last - first) / 5))
        return [10.0**power for power in range(first, last + 1, step)]


def scale_of(values: Sequence[float], start: float, stop: float, *, log: bool | None = None) -> Scale:
    """Return a scale that holds all finite values; `log` None lets their spread decide."""
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    if log is None:
        log = low > 0 and high / low > LOGARITHMIC_FROM
    if log and low > 0:
        low, high = (low / 1.2, high * 1.2) if low == high else (low, high)
        return Scale(low, high, start, stop, True)
    if low == high == 0:
        high = 1.0
    elif low == high:
        margin = abs(low) / 2
        low, high = low - margin, high + margin
    return Scale(low, high, start, stop)


def linear_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round values from `low` to `high`, in steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_text(value: float) -> str:
    """Return a tick's label, short: 20k, 1e−05, 0.25."""
    if value == 0:
        return "0"
    size = abs(value)
    for factor, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= factor:
            return f"{value / factor:.4g}{suffix}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−")
