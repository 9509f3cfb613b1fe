"""Files of data are read whole where they are files, and unpacked as far as a file of their size can mean."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from rnntrain.data import bounded
from rnntrain.data.bounded import check_columns, check_unpacked, open_data, read_whole, unpack_gzip
from rnntrain.errors import UserError


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "SMALL_BYTES", 10_000)
    monkeypatch.setattr(bounded, "BLOCK", 1000)
    monkeypatch.setattr(bounded, "LONGEST_LINE", 3000)


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 5000])
def test_a_file_is_read_as_it_is(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert read_whole(tmp_path / "a", "a") == data
    assert read_whole(tmp_path / "link", "a") == data
    assert unpack_gzip(gzip.compress(data), "a") == data
    assert unpack_gzip(gzip.compress(data) + gzip.compress(b"more"), "a") == data + b"more"


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(UserError, match=r"^data: this is no file but a device, pipe or socket"):
            open_data(path, "data")
    with pytest.raises(UserError, match="this is a folder"):
        open_data(tmp_path, "data")
    with pytest.raises(FileNotFoundError):
        open_data(tmp_path / "none", "data")


def test_a_sparse_file_beyond_memory_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(1 << 42)
    with pytest.raises(UserError, match="more than this machine's memory"):
        read_whole(tmp_path / "a", "data")


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("size", [2999, 3000, 3001, 7000])
def test_a_line_has_an_end(tmp_path: Path, size: int, ends: bool) -> None:
    data = b"a,b\n" * 300 + b"x" * size + (b"\n" + b"c,d\n" * 300 if ends else b"")
    (tmp_path / "a").write_bytes(data)
    assert read_whole(tmp_path / "a", "data") == data
    if size <= 3000:
        assert read_whole(tmp_path / "a", "data", lines=True) == data
        assert unpack_gzip(gzip.compress(data), "data", lines=True) == data
    elif size > 3000 + bounded.BLOCK:  # a block later at the latest
        with pytest.raises(UserError, match="a line of more than 3,000 bytes"):
            read_whole(tmp_path / "a", "data", lines=True)


def test_gzip_unpacks_to_what_its_size_can_mean() -> None:
    packed = gzip.compress(bytes(10_000))
    assert len(unpack_gzip(packed, "data")) == 10_000
    with pytest.raises(UserError, match=r"data: comes to more than 1[0-9],[0-9]{3} bytes"):
        unpack_gzip(gzip.compress(bytes(100_000)), "data")
    text = os.urandom(2000) * 20  # a large file may unpack to a hundred times its size
    assert unpack_gzip(gzip.compress(text), "data") == text


@pytest.mark.parametrize(
    "damaged",
    [b"no gzip", gzip.compress(b"x" * 500, mtime=0)[:-9], gzip.compress(b"x", mtime=0)[:-8] + bytes(8)],
    ids=["other", "cut", "checksum"],
)
def test_damaged_gzip_is_one_line(damaged: bytes) -> None:
    with pytest.raises(UserError, match=r"^data: is no whole gzip file \(.*\); get it anew$"):
        unpack_gzip(damaged, "data")


def test_sizes_that_nothing_means_are_refused() -> None:
    check_unpacked(10_000, 10, "data")
    check_unpacked(99_000, 1000, "data")
    with pytest.raises(UserError, match="data: unpacks to more than 100,000 bytes, 100 times its size"):
        check_unpacked(100_001, 1000, "data")
    check_columns(65_536, "data")
    with pytest.raises(UserError, match="data: 65,537 columns"):
        check_columns(65_537, "data")
