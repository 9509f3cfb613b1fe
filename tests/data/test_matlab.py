"""MATLAB 5 files: cells and matrices as MATLAB writes them, and damage in one line."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from rnntrain.data.numbers import matlab
from rnntrain.data.numbers.matlab import read_matlab
from rnntrain.errors import UserError

TYPES = {"u1": (9, 2), "i4": (12, 5), "f8": (6, 9)}  # class and type of numbers in the file


def element(kind: int, content: bytes) -> bytes:
    if len(content) <= 4:
        return struct.pack("<HH", kind, len(content)) + content.ljust(4, b"\0")
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(value: np.ndarray | list[np.ndarray], name: str = "") -> bytes:
    shape = (1, len(value)) if isinstance(value, list) else value.shape
    kind = 1 if isinstance(value, list) else TYPES[value.dtype.str[1:]][0]
    parts = element(6, struct.pack("<II", kind, 0)) + element(5, np.array(shape, "<i4").tobytes())
    parts += element(1, name.encode())
    if isinstance(value, list):
        parts += b"".join(map(matrix, value))
    else:
        parts += element(TYPES[value.dtype.str[1:]][1], value.tobytes(order="F"))
    return struct.pack("<II", 14, len(parts)) + parts


def write(path: Path, packed: bool = True, **variables) -> Path:
    content = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    for name, value in variables.items():
        body = matrix(value, name)
        content += struct.pack("<II", 15, len(zlib.compress(body))) + zlib.compress(body) if packed else body
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("packed", [True, False])
def test_cells_and_matrices_come_back(tmp_path: Path, packed: bool) -> None:
    rng = np.random.default_rng(0)
    pieces = [rng.integers(2, size=(length, 88)).astype(np.uint8) for length in (1, 3, 12)]
    table = rng.random((3, 4))
    path = write(tmp_path / "a.mat", packed, traindata=pieces, table=table, n=np.array([[7]], np.int32))
    found = read_matlab(path, "data.path")
    assert list(found) == ["traindata", "table", "n"]
    assert all(np.array_equal(a, b) for a, b in zip(found["traindata"], pieces, strict=True))
    assert np.array_equal(found["table"], table)
    assert found["n"].tolist() == [[7]]


@pytest.mark.parametrize("packed", [True, False])
def test_scipy_writes_what_we_read(tmp_path: Path, packed: bool) -> None:
    io = pytest.importorskip("scipy.io")
    cell = np.empty((1, 2), object)
    cell[0, 0], cell[0, 1] = np.eye(3, dtype=np.uint8), np.ones((2, 3), np.uint8)
    io.savemat(tmp_path / "a.mat", {"cell": cell, "f": np.arange(6.0).reshape(2, 3)}, do_compression=packed)
    found = read_matlab(tmp_path / "a.mat", "data.path")
    assert np.array_equal(found["cell"][0], np.eye(3))
    assert np.array_equal(found["cell"][1], np.ones((2, 3)))
    assert np.array_equal(found["f"], np.arange(6.0).reshape(2, 3))


def test_every_damage_is_a_user_error(tmp_path: Path) -> None:
    """Cut at any place, and with any byte changed: one line, never another error, never a hang."""
    whole = write(tmp_path / "a.mat", False, traindata=[np.eye(3, dtype=np.uint8)]).read_bytes()
    path, messages = tmp_path / "b.mat", []
    for place in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[place] ^= 0xFF
        for content in (whole[:place], bytes(changed)):
            path.write_bytes(content)
            try:
                read_matlab(path, "data.path")
            except UserError as error:
                messages.append(str(error))
    assert len(messages) > 50
    assert all(str(path) in message for message in messages)


def test_a_variable_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(matlab, "MOST_BYTES", 1000)
    with pytest.raises(UserError, match="a variable of more than 1,000 bytes"):
        read_matlab(write(tmp_path / "a.mat", x=np.zeros((100, 100))), "data.path")


def test_cells_may_not_nest_without_end(tmp_path: Path) -> None:
    nested: list = [np.eye(2, dtype=np.uint8)]
    for _ in range(10):
        nested = [nested]
    with pytest.raises(UserError, match="the file is damaged"):
        read_matlab(write(tmp_path / "a.mat", x=nested), "data.path")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(b"\x89HDF")
    with pytest.raises(UserError, match=r"is no MATLAB 5 file; save it with `save -v7`"):
        read_matlab(tmp_path / "a.mat", "data.path")
    with pytest.raises(UserError, match="cannot be read"):
        read_matlab(tmp_path / "none.mat", "data.path")
