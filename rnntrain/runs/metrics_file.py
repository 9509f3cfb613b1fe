"""The lines of `metrics.jsonl`, of which a run that goes on drops those that it will write again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rnntrain.checkpoints import durable
from rnntrain.errors import UserError

LINE_LIMIT_BYTES = 1 << 20  # far more than any line that a run writes
TORN_LIMIT_BYTES = 16 << 20  # what a file system may leave of zeros where the power failed


def open_metrics(path: Path) -> BinaryIO:
    """Open the file for reading; a run that came from elsewhere may have a pipe, a device or a link in its place.

    Raises:
        UserError: it is none of a run.
        OSError: it is missing or cannot be read.
    """
    try:
        descriptor, _ = durable.open_regular(path)
    except ValueError as error:
        raise UserError(f"{path}: {error}, where a run has a file; restore it") from error
    return open(descriptor, "rb")


def truncate_after_step(path: Path, step: int) -> int:
    """Drop the lines of a JSON-lines file that a resume from `step` will write again, and torn ones.

    The file is replaced, so open it for appending afterwards.

    Returns:
        How many lines were dropped. Without any the file is not touched; a missing one is fine.

    Raises:
        UserError: the disk refused, or a line has no end; the file is as it was.
    """
    with durable.one_line(path):
        if not path.exists():
            return 0
        with open_metrics(path) as file:
            dropped = sum(not _keep_line(line, step) for line in lines_of(file, path))
        if dropped:
            with open_metrics(path) as file:
                durable.replace_from(path, _kept_pieces(file, path, step))
    return dropped


def _kept_pieces(file: BinaryIO, path: Path, step: int) -> Iterator[bytes]:
    """Yield the lines that stay, many at a time."""
    piece = bytearray()
    for line in lines_of(file, path):
        if _keep_line(line, step):
            piece += line
        if len(piece) >= durable.PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def lines_of(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Yield lines, and one that is longer than any that a run writes in parts, which are no JSON.

    Raises:
        UserError: a line has no end.
    """
    torn = 0
    while line := file.readline(LINE_LIMIT_BYTES):
        torn = 0 if line.endswith(b"\n") else torn + len(line)
        if torn > TORN_LIMIT_BYTES:
            raise UserError(f"{path}: a line of more than {TORN_LIMIT_BYTES:,} bytes, which no run writes; mend it")
        yield line


def _keep_line(line: bytes, step: int) -> bool:
    if not line.endswith(b"\n"):
        return False  # torn by a crash
    try:
        record = json.loads(line)
        return isinstance(record, dict) and not record.get("step", step) > step
    except (ValueError, TypeError, RecursionError):
        return False
