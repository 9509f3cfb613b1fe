"""Whether one group of runs is better than another: Student's t over common seeds, Welch's where there are none.

Seeds are few and noise is large, so a difference counts only where chance hardly explains it, and nothing is said
below three runs on each side. Comparing many groups with the best finds some that chance made worse: Holm's procedure
(1979) holds the risk of even one false word at 5 % over all of them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

FEWEST_RUNS = 3
RISK = 0.05

Method = Literal["paired", "welch"]


@dataclass(frozen=True)
class Difference:
    """Of two groups, the second less the first.

    Attributes:
        mean: of the second less that of the first; of paired runs over their common seeds.
        half_width: of the 95 % interval around it; NaN where there are too few runs.
        p_value: how likely chance alone makes a difference as large; NaN where there are too few runs.
        method: "paired" over common seeds, else "welch".
        runs: pairs, or runs of the smaller group.
    """

    mean: float
    half_width: float
    p_value: float
    method: Method
    runs: int

    @property
    def too_few(self) -> bool:
        return self.runs < FEWEST_RUNS


def difference(first: Mapping[str, float], second: Mapping[str, float]) -> Difference:
    """Compare two groups' values by seed, and by whatever else pairs their runs.

    Runs of one seed begin with the same weights where shapes agree and see the data in the same order, so differences
    over common seeds vary less than the runs themselves.
    """
    common = sorted(first.keys() & second.keys())
    if len(common) >= FEWEST_RUNS or len(common) == len(first) == len(second):
        return _paired([second[seed] - first[seed] for seed in common])
    return _welch(list(first.values()), list(second.values()))


def holm(p_values: Sequence[float]) -> list[bool]:
    """Return which of several p-values stand when all are judged at once; NaN never does."""
    order = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    stands = [False] * len(p_values)
    for rank, (p, place) in enumerate(order):
        if p > RISK / (len(order) - rank):
            break
        stands[place] = True
    return stands


def _paired(differences: Sequence[float]) -> Difference:
    runs, mean = len(differences), statistics.fmean(differences)
    if runs < FEWEST_RUNS:
        return Difference(mean, math.nan, math.nan, "paired", runs)
    error = statistics.stdev(differences) / math.sqrt(runs)
    return _judged(mean, error, runs - 1, "paired", runs)


def _welch(first: Sequence[float], second: Sequence[float]) -> Difference:
    mean, runs = statistics.fmean(second) - statistics.fmean(first), min(len(first), len(second))
    if runs < FEWEST_RUNS:
        return Difference(mean, math.nan, math.nan, "welch", runs)
    parts = [statistics.variance(values) / len(values) for values in (first, second)]
    below = sum(part**2 / (len(values) - 1) for part, values in zip(parts, (first, second), strict=True))
    freedom = sum(parts) ** 2 / below if below else float(runs - 1)
    return _judged(mean, math.sqrt(sum(parts)), freedom, "welch", runs)


def _judged(mean: float, error: float, freedom: float, method: Method, runs: int) -> Difference:
    if error == 0:  # every seed says the same
        return Difference(mean, 0.0, 0.0 if mean else 1.0, method, runs)
    return Difference(mean, error * t_quantile(freedom), two_sided_p(mean / error, freedom), method, runs)


def two_sided_p(t: float, freedom: float) -> float:
    """Return how likely |T| is at least |t|, T distributed as Student's t."""
    return _incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5)


def t_quantile(freedom: float, risk: float = RISK) -> float:
    """Return the t that |T| exceeds with probability `risk`."""
    low, high = 0.0, 1.0
    while two_sided_p(high, freedom) > risk:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided_p(middle, freedom) > risk else (low, middle)
    return high


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function, by its continued fraction (Abramowitz and Stegun 26.5.8)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly, its mirror image does not
        return 1 - _incomplete_beta(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    # Lentz's method: numerator and denominator are kept as the ratios c and d.
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 300):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / (1 + term * d)
            c = 1 + term / c
            fraction *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return front * fraction / a
