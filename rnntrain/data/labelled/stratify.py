"""Split labelled rows at random, every class in its share, and equal rows never apart."""

# N rows

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


def stratified_split(
    labels: Sequence[str], fractions: dict[str, float], seed: int, contents: Sequence[Hashable] | None = None
) -> dict[str, np.ndarray]:
    """Return the row numbers of "train" and of each split in `fractions`, in their old order.

    Every class has its share as nearly as whole rows allow, but that one row of each is for training whatever the
    shares. Rows of the same content go where the first of them goes, so that none is both trained on and tested.

    Args:
        labels: of each row.
        fractions: the share of each split but "train"; 0 leaves it empty.
        seed: the split is a function of it and of the rows.
        contents: what two rows must have in common to be the same; None where no row equals another.
    """
    firsts: dict[Hashable, int] = {}
    group_N = [firsts.setdefault(content, row) for row, content in enumerate(contents or range(len(labels)))]
    rng = np.random.default_rng(seed)
    of_class: dict[str, list[int]] = {}
    for row in firsts.values():
        of_class.setdefault(labels[row], []).append(row)
    drawn = [rng.permutation(of_class[label])[1:] for label in sorted(of_class)]
    rest = np.concatenate(drawn).astype(np.int64) if drawn else np.array([], np.int64)
    split_of: dict[int, str] = {}
    left = 1.0
    for split, fraction in fractions.items():
        picked = _every(len(rest), fraction / left) if left > 0 else np.zeros(len(rest), bool)
        split_of |= dict.fromkeys(rest[picked].tolist(), split)
        rest, left = rest[~picked], left - fraction
    of_row = [split_of.get(first, "train") for first in group_N]
    return {
        split: np.array([row for row, its in enumerate(of_row) if its == split], np.int64)
        for split in ("train", *fractions)
    }


def _every(number: int, share: float) -> np.ndarray:
    """Mark a share of `number` places, evenly spread: rows in the order of their classes are so drawn in proportion."""
    steps = np.floor(np.arange(number + 1) * min(share, 1.0) + 0.5)
    return np.diff(steps) > 0
