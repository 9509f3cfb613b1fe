"""The rows of a batch that each of several processes gets."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from rnntrain.batch import Batch
from rnntrain.data.shards import Shard, dealt, own_stretch, shard_of

SIZES = [(1, 2), (2, 2), (5, 2), (7, 3), (3, 8), (64, 8)]


def batch_of(rows: int, lengths: list[int] | None = None) -> Batch:
    inputs_BT = torch.arange(rows)[:, None].expand(rows, 4)
    return Batch(inputs_BT, inputs_BT, None if lengths is None else torch.tensor(lengths))


def shards(batch: Batch, processes: int, contiguous: bool) -> list[Shard]:
    return [shard_of(batch, rank, processes, contiguous=contiguous) for rank in range(processes)]


@pytest.mark.parametrize(("rows", "processes"), SIZES)
@pytest.mark.parametrize("contiguous", [True, False])
def test_every_row_has_one_process(rows: int, processes: int, contiguous: bool) -> None:
    lengths = np.random.default_rng(0).integers(1, 5, rows).tolist()
    parts = shards(batch_of(rows, lengths), processes, contiguous)
    seen = [row for part in parts if not part.idle for row in part.batch.inputs[:, 0].tolist()]
    assert sorted(seen) == list(range(rows))
    assert sum(part.share for part in parts) == pytest.approx(1.0)
    sizes = [0 if part.idle else part.batch.batch_size for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("rows", "processes"), SIZES)
def test_rows_that_go_on_stay_with_their_process(rows: int, processes: int) -> None:
    stretches = [own_stretch(rows, rank, processes) for rank in range(processes)]
    assert stretches[0].start == 0
    assert stretches[-1].stop == rows
    assert all(before.stop == after.start for before, after in pairwise(stretches))


def test_lengths_are_dealt_out_evenly() -> None:
    lengths_B = np.random.default_rng(0).integers(1, 100, 65)
    sums = [lengths_B[dealt(lengths_B, rank, 4)].sum() for rank in range(4)]
    assert max(sums) - min(sums) <= lengths_B.max()


def test_a_process_without_rows_stands_in_with_one_that_counts_nothing() -> None:
    parts = shards(batch_of(1), 2, contiguous=True)
    assert [part.idle for part in parts] == [True, False]
    assert [part.share for part in parts] == [0.0, 1.0]
    assert parts[0].batch.batch_size == 1


def test_rows_that_have_run_out_are_no_stand_ins() -> None:
    parts = shards(batch_of(2, [0, 4]), 2, contiguous=True)
    assert [part.idle for part in parts] == [False, False]  # the state of such a row is carried on


def test_one_process_gets_the_batch_itself() -> None:
    batch = batch_of(3)
    assert shard_of(batch, 0, 1, contiguous=False).batch is batch
