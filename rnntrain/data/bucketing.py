"""Batches of sequences of unequal length: those of about one length together, in an order that a seed decides."""

# N sequences, B batch, T time, D width

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SPREAD = 0.1  # lengths are drawn by up to so much up or down before they are sorted, so that batches vary


def shuffled_batches(lengths_N: np.ndarray, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the sequence numbers of every batch of one epoch; each sequence is in one of them.

    Sequences are sorted by a length that is a little random, cut into batches, and the batches shuffled: little
    padding, and other neighbours each time. The last, short one may come anywhere.
    """
    blurred_N = lengths_N * rng.uniform(1.0 - SPREAD, 1.0 + SPREAD, len(lengths_N))
    # Equal lengths stay in random order: uniform draws have no ties.
    order_N = np.argsort(blurred_N, kind="stable")
    batches = [order_N[start : start + batch_size] for start in range(0, len(order_N), batch_size)]
    return [batches[number] for number in rng.permutation(len(batches))]


def ordered_batches(lengths_N: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Return the sequence numbers of every batch of an evaluation, short sequences first."""
    order_N = np.argsort(lengths_N, kind="stable")
    return [order_N[start : start + batch_size] for start in range(0, len(order_N), batch_size)]


def pad(rows: Sequence[np.ndarray] | np.ndarray, fill: float = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of one or more dimensions as one array ``[B, T, ...]``, and their lengths."""
    if isinstance(rows, np.ndarray):
        return rows, np.full(len(rows), rows.shape[1], np.int64)
    lengths_B = np.array([len(row) for row in rows], np.int64)
    if len(rows) and lengths_B.min() == lengths_B.max():
        return np.stack(rows), lengths_B
    padded = np.full((len(rows), int(lengths_B.max(initial=0)), *rows[0].shape[1:]), fill, rows[0].dtype)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return padded, lengths_B
