"""An archive from anywhere writes into its folder alone, and no more than was allowed."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rnntrain.data.known.unpack import Limits, unpack
from rnntrain.errors import UserError

LIMITS = Limits(files=10, size=1_000_000)
GOOD = {"set/a.txt": b"one\n", "set/deep/b.txt": b"", "c": b"\0" * 1000}


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


WRITERS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {"zip": write_zip, "tar": write_tar}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in/folder").mkdir(parents=True)
    return tmp_path / "in/folder"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(archive: Path, folder: Path, limits: Limits = LIMITS) -> str:
    with pytest.raises(UserError) as error:
        unpack(archive, folder, limits)
    assert "\n" not in str(error.value)
    assert str(archive) in str(error.value)
    # Nothing outside the folder but the archive itself.
    assert {p for p in folder.parents[1].rglob("*") if p.is_file() and folder not in p.parents} <= {archive}
    return str(error.value)


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz", "w"])
def test_a_tar_is_unpacked_however_it_is_packed(tmp_path: Path, folder: Path, mode: str) -> None:
    unpack(write_tar(tmp_path / "x", GOOD, mode), folder, LIMITS)
    assert contents(folder) == GOOD


def test_a_zip_is_unpacked(tmp_path: Path, folder: Path) -> None:
    unpack(write_zip(tmp_path / "x", GOOD | {"empty/": b""}), folder, LIMITS)
    assert contents(folder) == GOOD


def test_a_folder_packed_with_a_dot_is_unpacked(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/a").write_bytes(b"a")
    with tarfile.open(tmp_path / "x", "w:gz") as archive:
        archive.add(tmp_path / "source", ".")
    unpack(tmp_path / "x", folder, LIMITS)
    assert contents(folder) == {"a": b"a"}


@pytest.mark.parametrize("kind", WRITERS)
def test_only_what_is_wanted_is_unpacked(tmp_path: Path, folder: Path, kind: str) -> None:
    unpack(WRITERS[kind](tmp_path / "x", GOOD), folder, LIMITS, lambda name: name.endswith(".txt"))
    assert contents(folder).keys() == {"set/a.txt", "set/deep/b.txt"}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    "name", ["../out", "a/../../out", "/out", "a\\..\\out", "C:/out", "a//out", "a/./out", "a\nb", "..", "a\x1b[2J"]
)
def test_no_name_leads_out(tmp_path: Path, folder: Path, kind: str, name: str) -> None:
    message = refused(WRITERS[kind](tmp_path / "x", {"good": b"1", name: b"2"}), folder)
    assert "leads out of it" in message
    assert message.isprintable()


@pytest.mark.parametrize("kind", ["SYMTYPE", "LNKTYPE", "CHRTYPE", "FIFOTYPE"])
def test_no_link_or_device_is_made_by_a_tar(tmp_path: Path, folder: Path, kind: str) -> None:
    with tarfile.open(tmp_path / "x", "w:gz") as archive:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = getattr(tarfile, kind), "../../out"
        archive.addfile(info)
        data = tarfile.TarInfo("link/inner")
        data.size = 1
        archive.addfile(data, io.BytesIO(b"x"))
    assert "is a link or a device" in refused(tmp_path / "x", folder)
    assert list(folder.iterdir()) == []


def test_no_link_is_made_by_a_zip(tmp_path: Path, folder: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "../../out")
    assert "is a link or a device" in refused(tmp_path / "x", folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", WRITERS)
def test_a_bomb_is_met_before_it_goes_off(tmp_path: Path, folder: Path, kind: str) -> None:
    archive = WRITERS[kind](tmp_path / "x", {"a": bytes(900_000), "b": bytes(50_000_000)})
    assert archive.stat().st_size < 100_000
    assert "more than 1,000,000 bytes" in refused(archive, folder)
    assert sum(map(len, contents(folder).values())) <= 1_000_000


def test_a_zip_that_lies_about_its_sizes_is_met_as_well(tmp_path: Path, folder: Path) -> None:
    path = write_zip(tmp_path / "x", {"a": bytes(5_000_000)})
    data = path.read_bytes().replace((5_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(data)
    refused(path, folder)
    assert sum(map(len, contents(folder).values())) <= 1_000_000


def test_a_header_without_end_is_not_read_into_memory(tmp_path: Path, folder: Path) -> None:
    """A long name may be as long as an archive likes to say."""
    info = tarfile.TarInfo("name")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 36
    with tarfile.open(tmp_path / "x", "w:gz") as archive:
        archive.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(50):
            archive.fileobj.write(bytes(1_000_000))
    assert "more than 1,000,000 bytes" in refused(tmp_path / "x", folder, Limits(10, 1_000_000))


@pytest.mark.parametrize("kind", WRITERS)
def test_more_files_than_allowed_are_refused(tmp_path: Path, folder: Path, kind: str) -> None:
    assert "more than 10 files" in refused(WRITERS[kind](tmp_path / "x", {str(n): b"" for n in range(11)}), folder)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_is_refused(tmp_path: Path, folder: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path / "x", {"a": b"1", "b": b"2"})
    if kind == "zip":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("a", b"3")
    else:
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            for _ in range(2):
                tar.addfile(tarfile.TarInfo("a"))
        path.write_bytes(data.getvalue())
    assert "stands in it twice" in refused(path, folder)


@pytest.mark.parametrize("kind", WRITERS)
def test_an_archive_that_is_cut_off_is_said_to_be_damaged(tmp_path: Path, folder: Path, kind: str) -> None:
    import random

    path = WRITERS[kind](tmp_path / "x", {"a": random.Random(0).randbytes(100_000)})
    path.write_bytes(path.read_bytes()[:60_000])
    assert "get it anew" in refused(path, folder)


@pytest.mark.parametrize("data", [b"", b"hello\n", b"\x1f\x8b\x08garbage", b"PK\x03\x04garbage"])
def test_what_is_no_archive_is_said_to_be_none(tmp_path: Path, folder: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    assert "get it anew" in refused(tmp_path / "x", folder)
