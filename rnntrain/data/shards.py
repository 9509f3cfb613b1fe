"""Which rows of a batch belong to which of several processes that train one model.

Every process makes the whole batch and takes its rows: the order of data stays a function of (seed, epoch), whatever
the number of processes, and the position in it one offset. Making a batch is cheap beside training on it.
"""

# B batch, W processes

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from rnntrain.batch import Batch


class Shard(NamedTuple):
    """What one process gets of a batch.

    Attributes:
        batch: its rows.
        share: the share of the batch's valid time steps that is theirs.
        idle: True where it has no row of its own: `batch` then is one of the others', whose loss counts nothing,
            since all processes take part in every exchange.
    """

    batch: Batch
    share: float = 1.0
    idle: bool = False


def shard_of(batch: Batch, rank: int, num_processes: int, *, contiguous: bool) -> Shard:
    """Return the rows of process `rank` of `num_processes`.

    Args:
        contiguous: rows go on from batch to batch, so that each must stay with its process: the batch is cut into
            stretches of rows, a function of its size alone. Otherwise rows are dealt out by length, so that all
            processes get about as many time steps.
    """
    import torch

    if num_processes == 1:
        return Shard(batch)
    if contiguous or batch.lengths_B is None:
        rows = own_stretch(batch.batch_size, rank, num_processes)
        own = batch.stretch(rows.start, rows.stop)
    else:
        index_B = dealt(batch.lengths_B.numpy(), rank, num_processes)
        rows = range(len(index_B))
        own = batch.take(torch.from_numpy(index_B))
    if not rows:
        return Shard(batch.stretch(0, 1), 0.0, idle=True)
    return Shard(own, own.num_steps / max(batch.num_steps, 1))


def own_stretch(num_rows: int, rank: int, num_processes: int) -> range:
    """Return the rows of a process where rows may not move: sizes differ by one at most, and may be 0."""
    return range(num_rows * rank // num_processes, num_rows * (rank + 1) // num_processes)


def dealt(lengths_B: np.ndarray, rank: int, num_processes: int) -> np.ndarray:
    """Return the rows of a process, in their order, dealt out from the longest down, forth and back in turn.

    So processes get as many rows as each other, but for one, and lengths whose sums differ by the longest at most.
    """
    order_B = np.argsort(-lengths_B, kind="stable")
    turn_B, seat_B = np.divmod(np.arange(len(order_B)), num_processes)
    process_B = np.where(turn_B % 2 == 0, seat_B, num_processes - 1 - seat_B)
    return np.sort(order_B[process_B == rank])
