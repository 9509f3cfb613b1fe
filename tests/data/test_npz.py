"""Archives of arrays: read as they were written, and refused in one line where they are not what they say."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from rnntrain.data.numbers import npz
from rnntrain.data.numbers.npz import read_npz, sequences
from rnntrain.errors import UserError


def read(path: Path) -> dict[str, np.ndarray]:
    return read_npz(path, "data.path")


def header(shape: tuple[int, ...], descr: str = "<f8") -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": descr, "fortran_order": False, "shape": shape})
    return content.getvalue()


def write(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back_as_they_were(tmp_path: Path, save) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "floats": rng.random((3, 4, 2)),
        "fortran": np.asfortranarray(rng.random((5, 3))),
        "bytes": rng.integers(9, size=7).astype(np.uint8),
        "big_endian": np.arange(5, dtype=">i4"),
        "texts": np.array(["one", "é\U0001f3b5"]),
        "truths": np.array([True, False]),
        "empty": np.zeros((0, 3)),
        "scalar": np.float32(3.5),
    }
    save(tmp_path / "a.npz", **arrays)
    found = read(tmp_path / "a.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(found[name], array), name


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    np.savez(tmp_path / "a.npz", x_train=np.array([Bomb()], object))
    with pytest.raises(UserError, match="x_train: holds object; only numbers and texts"):
        read(tmp_path / "a.npz")
    write(tmp_path / "b.npz", x_train=pickle.dumps(Bomb()))
    with pytest.raises(UserError, match="x_train: is no array"):
        read(tmp_path / "b.npz")
    assert not (tmp_path / "ran").exists()


def test_a_header_that_promises_too_much_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", x_train=header((2**40, 2**30)) + b"abc")
    with pytest.raises(UserError, match=r"would take 9,444,732,965,739,290,427,392 bytes"):
        read(path)


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch) -> None:
    """More content than the header says: reading stops at what was promised."""
    path = write(tmp_path / "a.npz", x_train=header((4,)) + bytes(10_000_000))
    with pytest.raises(UserError, match="goes on beyond its 32 bytes"):
        read(path)
    monkeypatch.setattr(npz, "MOST_BYTES", 1000)
    np.savez_compressed(tmp_path / "b.npz", a=np.zeros(100), b=np.zeros(100))
    with pytest.raises(UserError, match="b: would take 800 bytes; at most 200 more"):
        read(tmp_path / "b.npz")


def test_less_content_than_promised_is_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", x_train=header((1000,)) + bytes(80))
    with pytest.raises(UserError, match="x_train: ends after 80 of 8,000 bytes"):
        read(path)


@pytest.mark.parametrize("place", [30, 200, -30, -5])
def test_a_flipped_byte_is_noticed_or_harmless(tmp_path: Path, place: int) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.arange(100.0))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[place] ^= 0xFF
    (tmp_path / "b.npz").write_bytes(content)
    try:
        found = read(tmp_path / "b.npz")
    except UserError:
        return
    assert np.array_equal(next(iter(found.values())), np.arange(100.0))


@pytest.mark.parametrize("content", [b"", b"PK", b"x,y\n1,2\n"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"data\.path=.*a\.npz: is damaged or no \.npz file"):
        read(tmp_path / "a.npz")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.npz: cannot be read \(No such file"):
        read(tmp_path / "none.npz")


def test_a_member_that_is_no_array_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(UserError, match=r"notes\.txt in it is no array"):
        read(tmp_path / "a.npz")


# -- sequences ---


def test_padded_and_end_to_end_are_the_same_sequences() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.random((length, 2)) for length in (3, 1, 4)]
    padded = np.full((3, 5, 2), np.nan)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    lengths = np.array([3, 1, 4], np.uint8)
    for arrays in (
        {"x_train": padded, "lengths_train": lengths},
        {"x_train": np.concatenate(rows), "lengths_train": lengths},
        {"train_x": padded, "train_lengths": lengths},
        {"X_train": padded, "lengths_train": lengths},
    ):
        found = sequences(arrays, "train", "file")
        assert found is not None
        assert all(np.array_equal(a, b) for a, b in zip(found, rows, strict=True))
    assert sequences({"x_valid": padded[:, :1]}, "val", "file") is not None
    assert sequences({"x_train": padded}, "test", "file") is None


@pytest.mark.parametrize(
    ("x", "lengths", "message"),
    [
        (np.zeros((2, 3)), [1, 4], r"lengths_train\[1\]=4, but x_train has 3 steps"),
        (np.zeros((2, 3)), [1, 0], r"lengths_train\[1\]=0; a sequence has at least one step"),
        (np.zeros((5, 3)), [1, 2], "has 2 lengths, 3 in sum; x_train has 5 rows"),
        (np.zeros((2, 3)), [1.0, 2.0], "lengths_train must be one whole number a sequence"),
        (np.zeros(4), [4], r"x_train has the shape \[4\]"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(x: np.ndarray, lengths: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        sequences({"x_train": x, "lengths_train": np.array(lengths)}, "train", "file")
