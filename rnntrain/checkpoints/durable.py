"""Files that are whole or not there: written aside, fsynced, renamed; read bounded, never through a link."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnntrain.errors import UserError

PIECE_BYTES = 4 << 20  # hashed and written while it is in the processor's cache

_TEMPORARY = re.compile(r"\.tmp-.+-([0-9]{1,9})", re.DOTALL)
_in_progress: set[Path] = set()  # temporary folders that a thread of this process is writing


@dataclass(frozen=True)
class FileRecord:
    """What a manifest holds of a file."""

    size: int
    sha256: str


def write_new(path: Path, chunks: Iterable[bytes | memoryview]) -> FileRecord:
    """Write and fsync a file that must not exist yet; hash the bytes on their way, so none is read again.

    Raises:
        OSError: from any of the system calls; the file may then be there in part.
    """
    digest, size = hashlib.sha256(), 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    try:
        for piece in _pieces(chunks):
            digest.update(piece)
            size += len(piece)
            _write_all(descriptor, piece)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return FileRecord(size, digest.hexdigest())


def replace_file(path: Path, data: bytes) -> None:
    """Write a file in one step: readers and a crash see the old content or the new, never a part.

    Raises:
        OSError: from any of the system calls; the old content then stands.
    """
    replace_from(path, [data])


def replace_from(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Like `replace_file`, from pieces, for content that need not fit in memory at once."""
    temporary = temporary_name(path)
    with suppress(FileNotFoundError):
        os.unlink(temporary)  # left by an earlier process of the same number, as in containers
    try:
        write_new(temporary, chunks)
        os.rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    sync_directory(path.parent)


def free_bytes(path: Path) -> int:
    """Return the space that is free for us on the disk that holds `path`, or its nearest parent that exists.

    Raises:
        OSError: the disk cannot be asked.
    """
    for place in (path, *path.parents):
        with suppress(FileNotFoundError):
            return shutil.disk_usage(place).free
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def require_room(path: Path, size: int) -> None:
    """Refuse to begin with what will not fit: a disk that is filled to the brim fails whoever else writes to it.

    Raises:
        OSError: as a write to a full disk does.
    """
    if free_bytes(path) < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Make a temporary folder for what shall be `path`; it is deleted unless the block has renamed it.

    Raises:
        OSError: it cannot be made.
    """
    temporary = temporary_name(path)
    if temporary in _in_progress:
        raise RuntimeError(f"{path} is being written by another thread")
    _in_progress.add(temporary)
    try:
        if os.path.lexists(temporary):
            _delete(temporary)  # left by an earlier process of the same number, as in containers
        os.mkdir(temporary)
        yield temporary
    except BaseException:
        with suppress(OSError):
            _delete(temporary)
        raise
    finally:
        _in_progress.discard(temporary)


def discard(path: Path) -> None:
    """Delete a file or folder; it is renamed first, so that half of it is never taken for the whole.

    Raises:
        OSError: it cannot be renamed or deleted.
    """
    temporary = temporary_name(path.with_name(f"old-{path.name}"))
    if os.path.lexists(temporary):
        _delete(temporary)
    os.rename(path, temporary)
    sync_directory(path.parent)
    _delete(temporary)


def remove_stale(folder: Path) -> None:
    """Delete the temporaries of processes that are gone; call it with the run's lock held."""
    with suppress(OSError):
        for path in [Path(entry.path) for entry in os.scandir(folder)]:
            match = _TEMPORARY.fullmatch(path.name)
            if match and path not in _in_progress and not _alive_elsewhere(int(match[1])):
                with suppress(OSError):
                    _delete(path)


@contextmanager
def one_line(path: Path) -> Iterator[None]:
    """Turn an error of the file system into one line for the user; `FileExistsError` is left to the caller.

    Raises:
        UserError: in place of any other `OSError`.
    """
    try:
        yield
    except FileExistsError:
        raise
    except FileNotFoundError as error:
        name = error.filename or path
        raise UserError(f"{name}: does not exist, or its folder does not; create it first") from error
    except OSError as error:
        name = error.filename or path
        raise UserError(f"{name}: {error.strerror}; mend that or choose another folder") from error


def temporary_name(path: Path) -> Path:
    """Return the sibling of `path` that holds it until it is whole."""
    return path.with_name(f".tmp-{path.name}-{os.getpid()}")


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: without this a rename may be lost with the power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems sync no directories
            raise
    finally:
        os.close(descriptor)


def open_regular(path: Path) -> tuple[int, int]:
    """Open a file for reading; return its descriptor and size.

    Raises:
        ValueError: it is a link, a pipe, a device or a directory.
        OSError: it is missing or cannot be read.
    """
    try:
        # O_NONBLOCK: opening a pipe must not wait for its other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError(f"{path.name} is a symbolic link") from None
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise ValueError(f"{path.name} is not a regular file")
    return descriptor, status.st_size


def read_bounded(path: Path, limit_bytes: int) -> bytes:
    """Read a whole regular file of at most `limit_bytes`.

    Raises:
        ValueError: it is larger, or not a regular file.
        OSError: it is missing or cannot be read.
    """
    descriptor, size = open_regular(path)
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(limit_bytes + 1) if size <= limit_bytes else b""
    if size > limit_bytes or len(data) > limit_bytes:
        raise ValueError(f"{path.name} holds {size:,} bytes; at most {limit_bytes:,} are read")
    return data


def seal(document: dict[str, Any]) -> bytes:
    """Return a small JSON document as text that carries its own SHA-256."""
    digest = hashlib.sha256(_canonical(document)).hexdigest()
    return _canonical({**document, "sha256": digest})


def unseal(data: bytes, name: str) -> dict[str, Any]:
    """Return the document that `seal` wrote to the file `name`. Its very bytes are asked: no flip goes unnoticed.

    Raises:
        ValueError: it is anything else.
    """
    try:
        document = json.loads(data)
        del document["sha256"]
        whole = seal(document) == data
    except (ValueError, TypeError, KeyError, RecursionError):
        whole = False
    if not whole:
        raise ValueError(f"{name} is damaged: it does not match the SHA-256 that it carries")
    return dict(document)


def _canonical(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode("ascii")


def _pieces(chunks: Iterable[bytes | memoryview]) -> Iterator[memoryview]:
    for chunk in chunks:
        view = memoryview(chunk)
        for start in range(0, len(view), PIECE_BYTES):
            yield view[start : start + PIECE_BYTES]


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _alive_elsewhere(process: int) -> bool:
    if process in (0, os.getpid()):
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
