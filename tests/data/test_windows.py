"""Which tokens a batch holds, in every order in which a text is read."""

import itertools

import numpy as np
import pytest
import torch

from rnntrain.batch import Batch, length_mask
from rnntrain.data.text import Text
from rnntrain.data.windows import random_ends

SIZES = [23, 90, 31, 2, 57, 9, 1, 44]  # of documents; the one of a single character has no target
MODES = {
    "streams": {},
    "random_bptt": {"random_bptt": True},
    "documents": {"documents": True},
    "shuffled": {"contiguous": False},
    "shuffled_documents": {"contiguous": False, "documents": True},
}


def folder_of_documents(tmp_path, sizes=SIZES):
    """Every character occurs once, so that a token tells its place."""
    characters = iter(map(chr, range(0x4E00, 0x9000)))
    for number, size in enumerate(sizes):
        text = "".join(itertools.islice(characters, size))
        (tmp_path / f"{number:02d}.txt").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def load(tmp_path):
    def build(sizes=SIZES, **options) -> Text:
        data = Text(
            str(folder_of_documents(tmp_path, sizes)), **{"val_fraction": 0.0, "batch_size": 4, "bptt": 10} | options
        )
        data.load()
        return data

    return build


def same(a: Batch, b: Batch) -> bool:
    pairs = ((getattr(a, name), getattr(b, name)) for name in ("inputs", "targets", "lengths_B", "fresh_B"))
    return all(x is y is None or (x is not None and y is not None and torch.equal(x, y)) for x, y in pairs)


def valid(batch: Batch) -> torch.Tensor:
    """Return inputs and targets of all valid steps, one pair a row."""
    pairs = torch.stack([batch.inputs, batch.targets], -1)
    mask = torch.ones(batch.inputs.shape, dtype=torch.bool)
    if batch.lengths_B is not None:
        mask = length_mask(batch.lengths_B, batch.inputs.shape[1])
    return pairs[mask]


def targets_of(batches) -> list[int]:
    return sorted(int(target) for batch in batches for target in valid(batch)[:, 1])


def document_targets(sizes=SIZES) -> list[int]:
    ends = np.cumsum(sizes)
    return [place for end, size in zip(ends, sizes, strict=True) for place in range(end - size + 1, end)]


def rows_of(batches) -> list[list[int]]:
    """Follow each row through the batches: its inputs in order, with None where the row is fresh."""
    rows: list[list] = []
    for batch in batches:
        rows = rows or [[] for _ in range(batch.batch_size)]
        for row, inputs in enumerate(batch.inputs):
            if batch.fresh_B is not None and batch.fresh_B[row]:
                rows[row].append(None)
            length = len(inputs) if batch.lengths_B is None else int(batch.lengths_B[row])
            rows[row] += inputs[:length].tolist()
    return rows


@pytest.mark.parametrize("bptt", [1, 7, 10, 400])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("documents", [False, True])
def test_every_target_is_seen_once_in_evaluation(load, bptt: int, batch_size: int, documents: bool) -> None:
    data = load(bptt=bptt, batch_size=1, eval_batch_size=batch_size, documents=documents)
    expected = document_targets() if documents else list(range(1, sum(SIZES)))
    assert targets_of(data.eval_batches("train")) == expected


@pytest.mark.parametrize("mode", ["documents", "shuffled_documents"])
def test_every_target_is_seen_once_in_an_epoch_of_documents(load, mode: str) -> None:
    assert targets_of(load(**MODES[mode]).train_batches(3, 0)) == document_targets()


@pytest.mark.parametrize("mode", ["streams", "random_bptt", "shuffled"])
def test_few_targets_are_left_out_and_none_is_seen_twice(load, mode: str) -> None:
    seen = targets_of(load(**MODES[mode]).train_batches(3, 0))
    assert len(set(seen)) == len(seen)
    left_out = sum(SIZES) - 1 - len(seen)
    assert left_out < 2 * 10 if mode == "shuffled" else left_out < 4


@pytest.mark.parametrize("mode", MODES)
def test_targets_are_the_inputs_one_place_later(load, mode: str) -> None:
    for batch in load(**MODES[mode]).train_batches(0, 0):
        assert batch.inputs.dtype == batch.targets.dtype == torch.int64
        assert (valid(batch)[:, 0] + 1 == valid(batch)[:, 1]).all()


def batchify(ids: torch.Tensor, batch_size: int) -> torch.Tensor:
    """As in pytorch/examples, word_language_model/main.py."""
    length = len(ids) // batch_size
    return ids[: length * batch_size].view(batch_size, -1).t()


@pytest.mark.parametrize("size", [201, 204, 205, 207])
def test_streams_equal_batchify(load, size: int) -> None:
    batches = list(load([size]).train_batches(0, 0))
    source_TB = batchify(torch.arange(size), 4)
    inputs_TB = torch.cat([batch.inputs for batch in batches], 1).t()
    targets_TB = torch.cat([batch.targets for batch in batches], 1).t()
    steps = len(source_TB) - 1
    assert len(inputs_TB) == (size - 1) // 4  # batchify's steps, and one more where the text has the target
    assert torch.equal(inputs_TB[:steps], source_TB[:-1])
    assert torch.equal(targets_TB[:steps], source_TB[1:])
    for batch, start in zip(batches, range(0, steps, 10), strict=False):
        window_TB = source_TB[start : min(start + 10, steps)]
        assert torch.equal(batch.inputs.t()[: len(window_TB)], window_TB)


def test_streams_have_no_padding_and_begin_fresh(load) -> None:
    batches = list(load().train_batches(0, 0))
    assert all(batch.lengths_B is None for batch in batches)
    assert batches[0].fresh_B.tolist() == [True] * 4
    assert all(batch.fresh_B is None for batch in batches[1:])
    assert [batch.inputs.shape[1] for batch in batches] == [10, 10, 10, 10, 10, 10, 4]


@pytest.mark.parametrize("mode", MODES)
def test_starting_later_equals_skipping(load, mode: str) -> None:
    data = load(**MODES[mode])
    whole = list(data.train_batches(5, 2))
    assert len(whole) == data.num_train_batches(5, 2) > 2
    for start in (1, 2, len(whole) - 1, len(whole)):
        late = list(data.train_batches(5, 2, start))
        assert len(late) == len(whole) - start
        assert all(map(same, late, whole[start:]))


@pytest.mark.parametrize("mode", ["random_bptt", "documents", "shuffled", "shuffled_documents"])
def test_order_depends_on_seed_and_epoch_alone(load, mode: str) -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        return [batch.inputs.tolist() for batch in load(**MODES[mode]).train_batches(seed, epoch)]

    assert order(1, 1) == order(1, 1)
    assert order(1, 1) != order(1, 2)
    assert order(1, 1) != order(2, 1)


@pytest.mark.parametrize("mode", ["documents", "shuffled_documents"])
def test_windows_never_cross_a_document(load, mode: str) -> None:
    owner = np.repeat(np.arange(len(SIZES)), SIZES)
    for batch in load(**MODES[mode]).train_batches(0, 0):
        assert batch.inputs.shape[1] <= 10
        pairs = valid(batch)
        assert (owner[pairs[:, 0]] == owner[pairs[:, 1]]).all()


@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_rows_go_on_unless_they_are_fresh(load, documents: bool, training: bool) -> None:
    data = load(documents=documents)
    batches = list(data.train_batches(0, 0) if training else data.eval_batches("train"))
    starts = set(np.cumsum([0, *SIZES]).tolist())
    for row in rows_of(batches):
        assert row[0] is None
        for before, after in itertools.pairwise(row):
            if documents and after is not None and before is not None:
                assert after == before + 1
                assert after not in starts
            elif not documents:
                assert before is None or after == before + 1


def test_documents_begin_fresh_wherever_they_begin(load) -> None:
    starts = {int(start) for start, size in zip(np.cumsum([0, *SIZES]), SIZES, strict=False) if size > 1}
    fresh = set()
    for row in rows_of(load(documents=True).train_batches(0, 0)):
        fresh |= {after for before, after in itertools.pairwise(row) if before is None}
    assert starts <= fresh


def test_documents_come_in_another_order(load) -> None:
    rows = rows_of(load(documents=True, batch_size=1).train_batches(0, 0))
    read = [token for token in rows[0] if token is not None]
    assert read != sorted(read)


def test_shuffled_windows_are_full_and_carry_nothing(load) -> None:
    batches = list(load(contiguous=False).train_batches(0, 0))
    assert {batch.inputs.shape[1] for batch in batches} == {10}
    assert all(batch.lengths_B is None and batch.fresh_B is None for batch in batches)
    assert [batch.batch_size for batch in batches][:-1] == [4] * (len(batches) - 1)
    firsts = torch.cat([batch.inputs[:, 0] for batch in batches])
    assert not torch.equal(firsts, firsts.sort().values)


def test_shuffled_windows_begin_elsewhere_in_each_epoch(load) -> None:
    data = load(contiguous=False)
    phases = {int(next(data.train_batches(0, epoch)).inputs[0, 0]) % 10 for epoch in range(20)}
    assert len(phases) > 5


def test_random_lengths_are_those_of_awd_lstm() -> None:
    ends_K = random_ends(1_000_000, 70, np.random.default_rng(0))
    lengths_K = np.diff(ends_K, prepend=0)
    assert ends_K[-1] == 1_000_000
    assert lengths_K[:-1].min() >= 5
    assert lengths_K.max() <= 140
    assert abs((lengths_K < 50).mean() - 0.05) < 0.005
    assert abs(lengths_K[lengths_K > 50].mean() - 70) < 1
    assert abs(lengths_K[lengths_K > 50].std() - 5) < 0.5


@pytest.mark.parametrize("bptt", [1, 2, 3, 20])
def test_random_lengths_stay_within_twice_bptt(bptt: int) -> None:
    lengths_K = np.diff(random_ends(5000, bptt, np.random.default_rng(0)), prepend=0)
    assert lengths_K.sum() == 5000
    assert lengths_K.min() >= 1
    assert lengths_K.max() <= 2 * bptt


@pytest.mark.parametrize("batch_size", [1, 3, 4, 7])
def test_only_the_last_batch_of_evaluation_needs_lengths(load, batch_size: int) -> None:
    batches = list(load(eval_batch_size=batch_size).eval_batches("train"))
    assert len({batch.batch_size for batch in batches}) == 1
    assert all(batch.lengths_B is None for batch in batches[:-1])
    assert batches[0].fresh_B.all()
    assert all(batch.fresh_B is None for batch in batches[1:])


def test_padded_places_hold_no_text(load) -> None:
    padded = [batch for batch in load(documents=True).train_batches(0, 0) if batch.lengths_B is not None]
    assert padded
    for batch in padded:
        mask = ~length_mask(batch.lengths_B, batch.inputs.shape[1])
        assert not batch.inputs[mask].any()
        assert not batch.targets[mask].any()
