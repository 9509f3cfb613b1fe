"""Unpack a zip or tar archive that may come from anywhere: nothing leaves its folder, and nothing grows without end."""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from rnntrain.data.known.download import check_free
from rnntrain.errors import UserError

BLOCK = 1 << 20
MOST_FILES = 250_000
MOST_BYTES = 20 << 30
LONGEST_NAME = 4096
OVERHEAD = 2048  # bytes of headers and padding that a tar archive has for each file, and more for long names


# What the modules raise for archives that are cut off, encrypted, or packed in a way that they do not know.
DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
)


@dataclass(frozen=True)
class Limits:
    """What an archive may come to.

    Attributes:
        files: number of files.
        size: bytes of all files together, as they are unpacked, whatever the archive says of itself.
    """

    files: int = MOST_FILES
    size: int = MOST_BYTES


def unpack(archive: Path, folder: Path, limits: Limits, wanted: Callable[[str], bool] = lambda name: True) -> None:
    """Unpack the files of an archive whose names are `wanted` into an empty folder.

    Links, devices, and names that lead out of the folder or do not fit another system are refused with the whole
    archive: an archive of data has no use for them.

    Raises:
        UserError: names the archive, its member and what is wrong.
        OSError: a file cannot be written.
    """
    try:
        if zipfile.is_zipfile(archive):
            _write_all(archive, _zip_members(archive, wanted), folder, limits)
        else:
            _write_all(archive, _tar_members(archive, wanted, limits), folder, limits)
    except DAMAGED as error:
        raise UserError(f"{archive}: no zip or tar archive, or a damaged one ({error}); get it anew") from error


def _write_all(archive: Path, members: Iterator[tuple[str, int, IO[bytes]]], folder: Path, limits: Limits) -> None:
    written = 0
    for number, (name, size, source) in enumerate(members, 1):
        if number > limits.files:
            raise UserError(f"{archive}: more than {limits.files:,} files; unpack it by hand if you trust it")
        if written + size > limits.size:
            raise _too_large(archive, limits)
        check_free(folder, size)
        target = folder / PurePosixPath(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            while block := source.read(BLOCK):
                written += len(block)
                if written > limits.size:  # what a header says of a size need not be true
                    raise _too_large(archive, limits)
                file.write(block)


def _too_large(archive: Path, limits: Limits) -> UserError:
    return UserError(f"{archive}: unpacks to more than {limits.size:,} bytes; unpack it by hand if you trust it")


def _zip_members(archive: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, int, IO[bytes]]]:
    seen: set[str] = set()
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            _check_name(archive, info.filename.rstrip("/"), seen)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UserError(f"{archive}: {info.filename!r} is a link or a device; nothing was unpacked")
            if not info.is_dir() and wanted(info.filename):
                with file.open(info) as source:
                    yield info.filename, info.file_size, source


def _tar_members(archive: Path, wanted: Callable[[str], bool], limits: Limits) -> Iterator[tuple[str, int, IO[bytes]]]:
    seen: set[str] = set()
    # As a stream: a header cannot point back, and a bomb is met piece by piece. What counts the bytes stands below
    # tarfile, which reads headers of any length into memory.
    with _opened(archive) as plain, tarfile.open(fileobj=_counted(plain, archive, limits), mode="r|") as file:
        for info in file:
            name = info.name.removeprefix("./").rstrip("/") or "."
            if name == "." and info.isdir():
                continue
            _check_name(archive, name, seen)
            if info.isdir():
                continue
            source = file.extractfile(info) if info.isreg() else None
            if source is None:
                raise UserError(f"{archive}: {info.name!r} is a link or a device; nothing was unpacked")
            if wanted(name):
                yield name, info.size, source


def _opened(archive: Path) -> IO[bytes]:
    with archive.open("rb") as file:
        magic = file.read(6)
    if magic.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(archive))
    if magic.startswith(b"BZh"):
        return bz2.open(archive)
    return lzma.open(archive) if magic.startswith(b"\xfd7zXZ") else archive.open("rb")


def _counted(file: IO[bytes], archive: Path, limits: Limits) -> IO[bytes]:
    return cast(IO[bytes], _Counted(file, archive, limits))


class _Counted:
    """Reads on until more has come than an archive within the limits can hold, headers included."""

    def __init__(self, file: IO[bytes], archive: Path, limits: Limits) -> None:
        self._file, self._archive, self._limits = file, archive, limits
        self._left = limits.size + OVERHEAD * min(limits.files, MOST_FILES) + tarfile.RECORDSIZE

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise _too_large(self._archive, self._limits)
        return data


def _check_name(archive: Path, name: str, seen: set[str]) -> None:
    parts = name.split("/")
    odd = not name or len(name) > LONGEST_NAME or not name.isprintable() or "\\" in name or ":" in name
    if odd or name.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise UserError(
            f"{archive}: the name {ascii(name)[:100]} leads out of it or fits no file; nothing was unpacked"
        )
    if name in seen:
        raise UserError(f"{archive}: {name!r} stands in it twice; nothing was unpacked")
    seen.add(name)
