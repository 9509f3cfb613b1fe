"""Files of data read whole, and unpacked: regular files alone, and no more bytes than a file of their size can mean.

What is packed may unpack to a thousand times its size, and a sparse file of a gigabyte takes no room on the disk. Who
reads data that somebody else made reads it through here.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path

from rnntrain.errors import UserError

BLOCK = 1 << 20  # bytes read at once
SMALL_BYTES = 64 << 20  # to which every file may unpack
RATIO = 100  # bytes that one packed byte may stand for beyond that; text comes to ten, and a bomb to a thousand
LONGEST_LINE = 16 << 20  # bytes of one line of a table
MOST_COLUMNS = 1 << 16  # of a table


def unpacked_limit(packed_bytes: int, ratio: int = RATIO) -> int:
    """Return how many bytes a file of this size may unpack to."""
    return max(SMALL_BYTES, ratio * packed_bytes)


def open_data(path: Path, where: str) -> io.BufferedReader:
    """Open a regular file, or a link to one; opening a pipe would wait for its other end, and a device has no end.

    Args:
        where: the file as messages name it.

    Raises:
        UserError: it is something else, or larger than this machine's memory.
        OSError: it is missing or cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no file but a device, pipe or socket"
        raise UserError(f"{where}: this is {kind}; name a file with data")
    if status.st_size > _memory_bytes():
        os.close(descriptor)
        raise UserError(f"{where}: {status.st_size:,} bytes are more than this machine's memory; give a smaller file")
    return os.fdopen(descriptor, "rb")


def read_whole(path: Path, where: str, *, lines: bool = False) -> bytes:
    """Return the bytes of a file.

    Args:
        where: the file as messages name it.
        lines: it is a table of text: a line of more than `LONGEST_LINE` bytes is refused before the rest is read.

    Raises:
        UserError, OSError: as `open_data`; also where a line is too long.
    """
    with open_data(path, where) as file:
        return _joined(iter(lambda: file.read(BLOCK), b""), _memory_bytes(), where, lines)


def unpack_gzip(packed: bytes, where: str, *, lines: bool = False) -> bytes:
    """Return what a gzip file holds.

    Raises:
        UserError: it is damaged, or unpacks to more than `unpacked_limit`.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            return _joined(iter(lambda: file.read(BLOCK), b""), unpacked_limit(len(packed)), where, lines)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{where}: is no whole gzip file ({str(error).lower()}); get it anew") from error


def check_unpacked(size: int, packed_bytes: int, where: str, ratio: int = RATIO) -> None:
    """Refuse content that is too large for its file.

    Raises:
        UserError: it is larger than `unpacked_limit`.
    """
    limit = unpacked_limit(packed_bytes, ratio)
    if size > limit:
        raise UserError(
            f"{where}: unpacks to more than {limit:,} bytes, {ratio} times its size or more; unpack it yourself if you "
            "trust it, and name what is in it"
        )


def check_columns(number: int, where: str) -> None:
    """Refuse a table with more than `MOST_COLUMNS` columns.

    Raises:
        UserError: names the number.
    """
    if number > MOST_COLUMNS:
        raise UserError(f"{where}: {number:,} columns, where {MOST_COLUMNS:,} are read; leave out what is not needed")


def check_line(size: int, where: str) -> None:
    """Refuse a line that no table has.

    Raises:
        UserError: it is longer than `LONGEST_LINE`.
    """
    if size > LONGEST_LINE:
        raise UserError(f"{where}: a line of more than {LONGEST_LINE:,} bytes; is it text, with line ends?")


def _joined(blocks: Iterator[bytes], limit: int, where: str, lines: bool) -> bytes:
    content, line_began = bytearray(), 0
    for block in blocks:
        content += block
        if len(content) > limit:
            raise UserError(
                f"{where}: comes to more than {limit:,} bytes, which no file of its size means; unpack it yourself if "
                "you trust it"
            )
        if lines:
            line_began = content.rfind(b"\n", max(line_began, len(content) - len(block))) + 1 or line_began
            check_line(len(content) - line_began, where)
    return bytes(content)


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
