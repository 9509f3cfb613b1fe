"""Levenshtein distance: the fewest insertions, deletions and substitutions between two sequences."""

# R symbols of the reference

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


def edit_distance(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> int:
    """Return how many edits make `hypothesis` of `reference` (Levenshtein 1966).

    Rows of the table of Wagner and Fischer 1974, one array operation for each symbol of the hypothesis.
    """
    numbers: dict[Hashable, int] = {}
    reference_R = np.array([numbers.setdefault(symbol, len(numbers)) for symbol in reference], np.int64)
    places = np.arange(len(reference) + 1)
    row = places
    for symbol in hypothesis:
        changed = np.empty_like(row)
        changed[0] = row[0] + 1
        changed[1:] = np.minimum(row[1:] + 1, row[:-1] + (reference_R != numbers.get(symbol, -1)))
        # A deletion costs 1 for each place to the right: the least of all to the left, in one pass.
        row = np.minimum.accumulate(changed - places) + places
    return int(row[-1])
