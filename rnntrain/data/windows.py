"""Which stretches of a long sequence make a batch: parallel streams, documents, or windows in random order.

A window of length n is n inputs and, one place later, its n targets. A plan knows every batch by its number,
so that an epoch can begin anywhere at no cost.
"""

# B batch, T time, S = T + 1, W windows of an epoch, K batches of an epoch, D documents

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from rnntrain.batch import Batch

FULL_SHARE = 0.95  # of random lengths; the others are half as long
LENGTH_SPREAD = 5
SHORTEST = 5


class Rows(NamedTuple):
    """Where each row of a batch begins, how long it is (one number where all are alike), which are fresh."""

    starts_B: np.ndarray
    lengths: int | np.ndarray
    fresh_B: np.ndarray | None


class Plan(ABC):
    """The batches of one epoch."""

    num_batches: int

    @abstractmethod
    def rows(self, number: int) -> Rows:
        """Return the rows of batch `number`."""

    def tokens(self, ids: np.ndarray, starts_B: np.ndarray, num_steps: int) -> np.ndarray:
        """Return each row's inputs and, in one column more, its last target, as a new array ``[B, T + 1]``."""
        return ids.take(starts_B[:, None] + np.arange(num_steps + 1), mode="clip").astype(np.int64)


class Streams(Plan):
    """The sequence cut into `batch_size` equal streams, read side by side in windows.

    As `batchify` and `get_batch` of pytorch/examples' word_language_model, with one target more where the
    sequence has it. The rest, less than one token a stream, is left out.

    Args:
        ends_K: where each window ends, counted within a stream; as `equal_ends` or `random_ends` give.
    """

    def __init__(self, num_tokens: int, batch_size: int, ends_K: np.ndarray) -> None:
        self._stride = num_tokens // batch_size
        self._heads_B = np.arange(batch_size) * self._stride
        self._ends_K = ends_K
        self.num_batches = len(ends_K)

    def rows(self, number: int) -> Rows:
        start = int(self._ends_K[number - 1]) if number else 0
        fresh_B = None if number else np.ones(len(self._heads_B), bool)
        return Rows(self._heads_B + start, int(self._ends_K[number]) - start, fresh_B)

    def tokens(self, ids: np.ndarray, starts_B: np.ndarray, num_steps: int) -> np.ndarray:
        # Rows at equal distances are one view of the text: no index is built, which a small model would notice.
        shape, strides = (len(starts_B), num_steps + 1), (self._stride * ids.itemsize, ids.itemsize)
        return np.lib.stride_tricks.as_strided(ids[int(starts_B[0]) :], shape, strides).astype(np.int64)


def stream_steps(num_tokens: int, batch_size: int) -> int:
    """Return the number of targets in each of `batch_size` equal streams."""
    return (num_tokens - 1) // batch_size


def equal_ends(steps: int, bptt: int) -> np.ndarray:
    """Return the ends of windows of `bptt` steps, the last as short as need be."""
    return np.append(np.arange(bptt, steps, bptt), steps)


def random_ends(steps: int, bptt: int, rng: np.random.Generator) -> np.ndarray:
    """Return the ends of windows of random length (Merity et al. 2017), so that no place is always an edge.

    Normal about `bptt`, or in one of twenty windows about half of it; at least 5 and at most twice `bptt`.
    """
    most = steps // min(SHORTEST, 2 * bptt) + 1
    mean_K = np.where(rng.random(most) < FULL_SHARE, bptt, bptt / 2)
    lengths_K = np.clip(rng.normal(mean_K, LENGTH_SPREAD).astype(np.int64), min(SHORTEST, 2 * bptt), 2 * bptt)
    ends_K = np.cumsum(lengths_K)
    return np.append(ends_K[ends_K < steps], steps)


@dataclass(frozen=True)
class Windows:
    """Windows that follow each other; `opens_W` is True where one begins a document."""

    starts_W: np.ndarray
    lengths_W: np.ndarray
    opens_W: np.ndarray


def document_windows(bounds_D: np.ndarray, bptt: int, order_D: np.ndarray | None = None) -> Windows:
    """Cut documents into windows of `bptt`, each document's last as short as need be.

    Args:
        bounds_D: where each document begins, and the end of the last; one token alone has no target and no
            window. order_D: the order in which the documents are read.
    """
    starts_D, steps_D = bounds_D[:-1], np.diff(bounds_D) - 1
    if order_D is not None:
        starts_D, steps_D = starts_D[order_D], steps_D[order_D]
    counts_D = np.maximum(-(-steps_D // bptt), 0)
    firsts_D = np.cumsum(counts_D) - counts_D
    within_W = (np.arange(counts_D.sum()) - np.repeat(firsts_D, counts_D)) * bptt
    lengths_W = np.minimum(np.repeat(steps_D, counts_D) - within_W, bptt)
    return Windows(np.repeat(starts_D, counts_D) + within_W, lengths_W, within_W == 0)


class Laid(Plan):
    """Windows laid on at most `batch_size` rows, each a run of windows, so that state can be carried.

    Rows differ by one window at most, and the longer ones come last, as the shortest window does: so only the
    last batch needs lengths, which cost speed. A row that has run out stays in it with length 0, so that the
    size of a carried state does not change.
    """

    def __init__(self, windows: Windows, batch_size: int) -> None:
        count = len(windows.starts_W)
        num_rows = min(batch_size, count)
        self._windows = windows
        self._counts_B = (np.arange(num_rows) + count) // max(num_rows, 1)
        self._firsts_B = np.cumsum(self._counts_B) - self._counts_B
        self.num_batches = -(-count // max(num_rows, 1))

    def rows(self, number: int) -> Rows:
        table = self._windows
        goes_on_B = number < self._counts_B
        index_B = np.where(goes_on_B, self._firsts_B + number, 0)
        # A row begins amid a document as a rule, and still with a fresh state.
        fresh_B = goes_on_B & (table.opens_W[index_B] | (number == 0))
        lengths_B = np.where(goes_on_B, table.lengths_W[index_B], 0)
        return Rows(table.starts_W[index_B], lengths_B, fresh_B if fresh_B.any() else None)


class Shuffled(Plan):
    """Windows in the given order, `batch_size` at a time; no state is carried, so no row is fresh."""

    def __init__(self, windows: Windows, batch_size: int, order_W: np.ndarray) -> None:
        self._windows, self._batch_size, self._order_W = windows, batch_size, order_W
        self.num_batches = -(-len(order_W) // batch_size)

    def rows(self, number: int) -> Rows:
        index_B = self._order_W[number * self._batch_size : (number + 1) * self._batch_size]
        return Rows(self._windows.starts_W[index_B], self._windows.lengths_W[index_B], None)


def phased_windows(num_tokens: int, bptt: int, rng: np.random.Generator) -> Windows:
    """Cut a sequence into windows of exactly `bptt`, the first beginning at a random place below `bptt`."""
    phase = int(rng.integers(min(bptt, num_tokens - bptt)))
    starts_W = np.arange(phase, num_tokens - bptt, bptt)
    return Windows(starts_W, np.full(len(starts_W), bptt), np.zeros(len(starts_W), bool))


def batches(ids: np.ndarray, plan: Plan, start: int = 0) -> Iterator[Batch]:
    """Yield the batches of a plan from number `start` on."""
    import torch  # here, since a config is checked without it

    from rnntrain.batch import Batch

    for number in range(start, plan.num_batches):
        starts_B, lengths, fresh_B = plan.rows(number)
        num_steps = lengths if isinstance(lengths, int) else int(lengths.max())
        tokens_BS = plan.tokens(ids, starts_B, num_steps)
        inputs_BT, targets_BT = tokens_BS[:, :-1], tokens_BS[:, 1:]
        lengths_B = None
        if not isinstance(lengths, int) and lengths.min() < num_steps:
            # No text of the next document, which a forgotten mask would let pass unseen, stands in padded
            # places.
            padded_BT = np.arange(num_steps) >= lengths[:, None]
            inputs_BT = np.where(padded_BT, 0, inputs_BT)
            targets_BT = np.where(padded_BT, 0, targets_BT)
            lengths_B = torch.from_numpy(lengths)
        yield Batch(
            torch.from_numpy(inputs_BT),
            torch.from_numpy(targets_BT),
            lengths_B,
            None if fresh_B is None else torch.from_numpy(fresh_B),
        )
