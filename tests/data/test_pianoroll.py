"""Piano rolls: what is input and what is due, transposition, and files that will not do."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from rnntrain.data.numbers.pianoroll import PianoRoll, PianoRollCodec, _free_keys, _shift
from rnntrain.errors import UserError


def pieces(seed: int, number: int = 6, keys: int = 12) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [(rng.random((length, keys)) < 0.3).astype(np.uint8) for length in rng.integers(2, 9, number)]


def write(folder: Path, **splits: list[np.ndarray]) -> Path:
    splits = {"train": pieces(0), "val": pieces(1), "test": pieces(2)} | splits
    arrays = {}
    for split, rows in splits.items():
        arrays |= {f"x_{split}": np.concatenate(rows), f"lengths_{split}": np.array(list(map(len, rows)))}
    np.savez(folder / "pieces.npz", **arrays)
    return folder / "pieces.npz"


def load(path: Path, **options) -> PianoRoll:
    data = PianoRoll(str(path), **options)
    data.load()
    return data


def rows(data: PianoRoll, split: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return inputs and targets of every piece without padding, in no certain order."""
    found = []
    for batch in data.eval_batches(split):
        lengths = [batch.inputs.shape[1]] * batch.batch_size if batch.lengths_B is None else batch.lengths_B.tolist()
        found += [(x[:n].numpy(), y[:n].numpy()) for x, y, n in zip(batch.inputs, batch.targets, lengths, strict=True)]
    return found


def test_each_chord_is_to_be_told_from_those_before(tmp_path: Path) -> None:
    data = load(write(tmp_path), eval_batch_size=4)
    found = rows(data, "val")
    expected = sorted((piece[:-1].tobytes(), piece[1:].tobytes()) for piece in pieces(1))
    assert sorted((x.astype(np.uint8).tobytes(), y.astype(np.uint8).tobytes()) for x, y in found) == expected


def test_the_first_chord_can_be_predicted_from_silence(tmp_path: Path) -> None:
    data = load(write(tmp_path), predict_first=True)
    for x, y in rows(data, "val"):
        assert not x[0].any()
        assert np.array_equal(x[1:], y[:-1])
    assert sum(len(y) for _, y in rows(data, "val")) == sum(map(len, pieces(1)))


def test_frequencies_are_those_of_the_training_targets(tmp_path: Path) -> None:
    codec = load(write(tmp_path)).codec
    targets = np.concatenate([piece[1:] for piece in pieces(0)])
    assert isinstance(codec, PianoRollCodec)
    assert codec.counts_K == targets.sum(0).tolist()
    assert codec.num_steps == len(targets)
    assert ((codec.frequency_K > 0) & (codec.frequency_K < 1)).all()


def test_transposition_moves_whole_pieces_and_keeps_every_note(tmp_path: Path) -> None:
    data = load(write(tmp_path), transpose=3, batch_size=1)
    shapes = {}
    for epoch in range(40):
        for batch in data.train_batches(0, epoch):
            roll = torch.cat([batch.inputs[0], batch.targets[0, -1:]]).numpy()
            used = np.flatnonzero(roll.any(0))
            key = (len(roll), roll[:, used[0] : used[-1] + 1].tobytes())
            shapes.setdefault(key, set()).add(int(used[0]))
    assert len(shapes) == len(pieces(0))
    assert any(len(places) > 1 for places in shapes.values())


def test_all_shifts_are_equally_likely_and_none_loses_a_note() -> None:
    piece = np.zeros((2, 30), np.uint8)
    piece[0, 10] = piece[1, 15] = 1
    shares = np.random.default_rng(0).uniform(-1, 1, 7000)
    free = _free_keys(piece)
    assert free == (10, 14)
    counts = np.bincount([10 + _shift(share, 3, free) for share in shares])[7:14]
    assert counts.sum() == 7000
    assert (abs(counts - 1000) < 150).all()
    at_the_edge = _free_keys(np.roll(piece, -10, axis=1))
    assert {_shift(share, 3, at_the_edge) for share in shares[:100]} == {0, 1, 2, 3}
    assert _shift(0.9, 0, free) == 0
    assert _free_keys(np.zeros((2, 30), np.uint8)) == (0, 0)


def test_evaluation_is_never_transposed(tmp_path: Path) -> None:
    plain, moved = load(write(tmp_path)), load(write(tmp_path), transpose=5)
    for split in ("val", "test"):
        for a, b in zip(rows(plain, split), rows(moved, split), strict=True):
            assert np.array_equal(a[0], b[0])


def test_chords_are_named_as_musicians_do(tmp_path: Path) -> None:
    codec = PianoRollCodec([1] * 88, 10)
    chord = np.zeros(88)
    chord[[39, 43, 46]] = 1
    assert codec.chord(chord) == "C4 E4 G4"
    assert codec.chord(np.zeros(88)) == "-"
    assert codec.chord(np.eye(88)[0]) == "A0"


def test_codec_refuses_what_is_no_state() -> None:
    good = PianoRollCodec([1, 2], 3).state_dict()
    assert PianoRollCodec.from_state(json.loads(json.dumps(good))).state_dict() == good
    for change in ({"counts": [4, 0]}, {"counts": [1.0]}, {"counts": None}, {"num_steps": "3"}, {"counts": []}):
        with pytest.raises(UserError, match="damaged"):
            PianoRollCodec.from_state(good | change)


def test_people_are_told_what_is_there(tmp_path: Path) -> None:
    data = load(write(tmp_path))
    assert data.describe().startswith("Piano rolls of 12 keys, pieces: 6 train (")
    assert len(data.examples("train", 2)) == 2
    assert data.fingerprint()["splits"] == {"train": 6, "val": 6, "test": 6}


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": [np.full((3, 12), 2, np.uint8)]}, "train piece 0 holds other values than 0 and 1"),
        ({"val": [np.zeros((3, 11), np.uint8)]}, r"val piece 0 has the shape \[3, 11\]; all must be \[time, 12\]"),
        ({"test": [np.zeros((1, 12), np.uint8)]}, "test: no piece has two chords"),
    ],
)
def test_pieces_that_will_not_do_are_refused(tmp_path: Path, splits: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(write(tmp_path, **splits))


def test_missing_splits_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.zeros((2, 3, 4)))
    with pytest.raises(UserError, match="has no pieces for val"):
        load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", y_train=np.zeros((2, 3, 4)))
    with pytest.raises(UserError, match="has no x or x_train"):
        load(tmp_path / "b.npz")


def test_the_chorales_are_those_of_the_papers() -> None:
    folder = os.environ.get("RNNTRAIN_DATA")
    if folder is None or not (Path(folder) / "jsb").is_dir():
        pytest.skip("RNNTRAIN_DATA has no jsb")
    data = load(Path(folder) / "jsb" / "JSB_Chorales.mat")
    assert {split: len(data.pieces(split)) for split in data.splits} == {"train": 229, "val": 76, "test": 77}
    assert data.num_keys == 88
