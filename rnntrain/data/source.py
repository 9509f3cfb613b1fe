"""Where text comes from: files and folders, read in blocks, decoded and counted."""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rnntrain.data import bounded
from rnntrain.errors import UserError, closest

BLOCK = 1 << 20  # bytes read at once
LOOK = 1 << 16  # bytes that tell text from other files
# Control characters that no text has: all but backspace to carriage return, and escape.
NO_TEXT = bytes({*range(8), *range(14, 27), *range(28, 32)})
SPLIT_NAMES = {
    "train": {"train", "training", "trn"},
    "val": {"val", "valid", "validation", "dev"},
    "test": {"test", "testing"},
}

Chunk = TypeVar("Chunk", str, bytes)


@dataclass(frozen=True)
class Document:
    """A named text that can be read as often as needed, without being held.

    Attributes:
        name: for messages; the path as the user would write it.
        key: the config key it came from, for messages.
        blocks: opens it and yields its bytes.
        or_else: what else to do about a byte that is no text; empty where nothing else will do.
    """

    name: str
    key: str
    blocks: Callable[[], Iterator[bytes]]
    or_else: str = ", or read bytes with data.unit=byte"

    @classmethod
    def of_file(cls, path: Path, key: str) -> Document:
        return cls(str(path), key, lambda: _read(path, key))

    @classmethod
    def of_bytes(cls, name: str, data: bytes) -> Document:
        return cls(name, "data", lambda: iter([data]))

    def text(self) -> Iterator[str]:
        """Yield it decoded from UTF-8, without a byte-order mark, with LF for CRLF and CR as line ends."""
        return _decode(self.blocks(), self)

    def scan(self, as_bytes: bool) -> Scan:
        """Read it once through: count, check and hash."""
        size, digest = 0, hashlib.sha256()

        def hashed() -> Iterator[bytes]:
            nonlocal size
            for block in self.blocks():
                size += len(block)
                digest.update(block)
                yield block

        length = sum(map(len, hashed() if as_bytes else _decode(hashed(), self)))
        return Scan(self.name, length, size, digest.hexdigest())


@dataclass(frozen=True)
class Scan:
    """What one reading of a document told; `length` is in characters, or bytes where these are the unit."""

    name: str
    length: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Piece:
    """A stretch of a document, counted as its `Scan.length` is."""

    document: Document
    start: int
    stop: int

    def text(self) -> Iterator[str]:
        return _stretch(self.document.text(), self.start, self.stop)

    def blocks(self) -> Iterator[bytes]:
        return _stretch(self.document.blocks(), self.start, self.stop)


def cut(documents: list[Document], lengths: list[int], bounds: list[int]) -> list[list[Piece]]:
    """Cut documents, laid end to end, at the given places; the last bound is the end."""
    parts, start = [], 0
    for stop in bounds:
        pieces, offset = [], 0
        for document, length in zip(documents, lengths, strict=True):
            low, high = max(start - offset, 0), min(stop - offset, length)
            if low < high:
                pieces.append(Piece(document, low, high))
            offset += length
        parts.append(pieces)
        start = stop
    return parts


def find_splits(path: Path, key: str, suffixes: tuple[str, ...], any_file: bool) -> dict[str, list[Document]]:
    """Return the documents of a file or folder by split.

    A folder with train files gives its splits: files, or folders of files, that have the name of a split as a
    part of their own name (`train.txt`, `wiki.valid.tokens`, `test/`). All other files and folders give
    "all".
    """
    named = _named(path, suffixes, any_file) if path.is_dir() else {}
    if "train" in named:
        return {split: [Document.of_file(file, key) for file in files] for split, files in named.items()}
    parts = [file for files in named.values() for file in files if file.parent == path]
    if parts:
        raise UserError(
            f"{key}={path}: there is {parts[0].name} but no train file beside it; add one, or name the file to train on"
        )
    return {"all": find_documents(path, key, suffixes, any_file)}


def find_documents(path: Path, key: str, suffixes: tuple[str, ...], any_file: bool) -> list[Document]:
    """Return a file, or all files of a folder that hold text, as documents in the order of their names."""
    if not path.is_dir():
        _check_file(path, key)
        return [Document.of_file(path, key)]
    files = _files(path, suffixes, any_file)
    if not files:
        kind = f"file that ends in {' or '.join(suffixes)}" if suffixes else "text file"
        raise UserError(f"{key}={path}: the folder holds no {kind}; name a folder or file with text")
    return [Document.of_file(file, key) for file in files]


def _named(path: Path, suffixes: tuple[str, ...], any_file: bool) -> dict[str, list[Path]]:
    """Return the files of each split that the first level of a folder names."""
    named: dict[str, list[Path]] = {}
    for file in _files(path, suffixes, any_file):
        parts = re.findall("[a-z]+", file.relative_to(path).parts[0].lower())
        split = next((split for split, names in SPLIT_NAMES.items() if names.intersection(parts)), None)
        if split:
            named.setdefault(split, []).append(file)
    return named


def _files(path: Path, suffixes: tuple[str, ...], any_file: bool) -> list[Path]:
    """Return the files below a folder, sorted, that end in a suffix or, if none is given, look like text."""
    files = []
    for folder, folders, names in os.walk(path, onerror=_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = Path(folder, name)
            if name.startswith(".") or not name.endswith(suffixes or "") or not file.is_file():
                continue
            if suffixes or any_file or _looks_like_text(file):
                files.append(file)
    return sorted(files)


def _unreadable(error: OSError) -> None:
    raise UserError(f"{error.filename}: {_reason(error)}; make the folder readable") from error


def _looks_like_text(path: Path) -> bool:
    return not _has_controls(next(_read(path, "data.path"), b"")[:LOOK])


def _has_controls(data: bytes) -> bool:
    return len(data.translate(None, NO_TEXT)) < len(data)


def _check_file(path: Path, key: str) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        near = closest(path.name, os.listdir(path.parent)) if path.parent.is_dir() else ""
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise UserError(f"{key}={path}: there is no such file or folder{where}{near}; check the path") from error
    except OSError as error:
        raise UserError(f"{key}={path}: {_reason(error)}; check the path and its permissions") from error
    if not stat.S_ISREG(mode):
        raise UserError(f"{key}={path}: this is no file but a device, pipe or socket; copy the text into a file")


def _read(path: Path, key: str) -> Iterator[bytes]:
    _check_file(path, key)  # opening a pipe would wait for ever
    try:
        with bounded.open_data(path, f"{key}={path}") as file:
            while block := file.read(BLOCK):
                yield block
    except OSError as error:
        raise UserError(f"{key}: cannot read {path}: {_reason(error)}; make the file readable") from error


def _decode(blocks: Iterable[bytes], document: Document) -> Iterator[str]:
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")(), translate=True)
    size = lines = 0
    block = b""
    try:
        for block in blocks:
            yield decoder.decode(block)
            size += len(block)
            lines += block.count(b"\n")
        block = b""
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        # The decoder reports places in what it holds, which ends where the block ends.
        offset = size + len(block) - len(error.object) + error.start
        line = lines + error.object[: error.start].count(b"\n") + 1
        raise UserError(
            f"{document.name}:{line}: not UTF-8 ({document.key}): byte 0x{error.object[error.start]:02x} "
            f"at offset {offset}; {_advice(error.object, offset)}{document.or_else}"
        ) from error


def _advice(held: bytes, offset: int) -> str:
    """Say what to do with a file that is not UTF-8, from the bytes about `offset`."""
    if offset == 0 and held.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "convert it (iconv -f utf-16 -t utf-8)"
    if _has_controls(held):
        return "it seems to be no text: unpack it, name another file"
    return "convert it (iconv -f latin1 -t utf-8)"


def _stretch(chunks: Iterator[Chunk], start: int, stop: int) -> Iterator[Chunk]:
    offset = 0
    for chunk in chunks:
        if offset >= stop:
            return
        yield chunk[max(start - offset, 0) : stop - offset]
        offset += len(chunk)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def read_bytes(path: Path, key: str, *, lines: bool = False) -> bytes:
    """Return a whole file, unpacked if its name ends in `.gz`.

    Args:
        lines: it is a table, whose lines are not endless.

    Raises:
        UserError: it cannot be read or unpacked, or would unpack to more than a file of its size can mean.
    """
    _check_file(path, key)
    packed = path.suffix.lower() == ".gz"
    try:
        data = bounded.read_whole(path, f"{key}={path}", lines=lines and not packed)
    except OSError as error:
        raise UserError(f"{key}: cannot read {path}: {_reason(error)}; make the file readable") from error
    return bounded.unpack_gzip(data, f"{key}={path}", lines=lines) if packed else data
