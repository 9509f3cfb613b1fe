"""Which keys part good points from the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rnntrain.comparing.pictures import Column

FEWEST_POINTS = 12  # below, what stands out is chance
BINS = 10


def importances(columns: Sequence[Column], values_G: np.ndarray, *, larger_is_better: bool) -> dict[str, float]:
    """Return the share of each key, by its label; empty for fewer than `FEWEST_POINTS` points.

    PED-ANOVA (Watanabe, Bansal and Hutter 2023): how far the distribution of a key among the best quarter of the points
    lies from that among all of them, as the Pearson divergence, here of two histograms. A key that does not matter has
    the same distribution among both, apart from what chance does to a few points, which is taken off.
    """
    if len(values_G) < FEWEST_POINTS:
        return {}
    good_G = np.zeros(len(values_G), dtype=bool)
    order_G = np.argsort(-values_G if larger_is_better else values_G, kind="stable")
    good_G[order_G[: max(2, len(values_G) // 4)]] = True
    divergences = {column.label: _divergence(column, good_G) for column in columns}
    total = sum(divergences.values())
    return {label: each / total for label, each in divergences.items()} if total > 0 else {}


def _divergence(column: Column, good_G: np.ndarray) -> float:
    bins = len(column.names) or BINS
    places_G = column.places_G if column.names else np.minimum((column.unit_G * bins).astype(int), bins - 1)
    edges = np.arange(bins + 1) - 0.5
    good, everything = (np.histogram(places, edges)[0] for places in (places_G[good_G], places_G))
    good, everything = (counts[everything > 0] / counts.sum() for counts in (good, everything))
    # Of points drawn at random from all, without putting any back, the divergence is this on average.
    chance = (len(everything) - 1) / good_G.sum() * (1 - good_G.sum() / len(good_G)) * len(good_G) / (len(good_G) - 1)
    return max(0.0, float(np.sum((good - everything) ** 2 / everything)) - chance)
