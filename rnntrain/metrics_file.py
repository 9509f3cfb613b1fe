"""The lines of `metrics.jsonl`, of which a run that goes on drops those that it will write again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rnntrain import durable
from rnntrain.errors import UserError

LINE_LIMIT_BYTES = 1 << 20  # far more than any line that a run writes
TORN_LIMIT_BYTES = 16 << 20  # what a file system may leave of zeros where the power failed


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
        with open(path, "rb") as file:
            dropped = sum(not _keep_line(line, step) for line in _lines(file))
        if dropped:
            with open(path, "rb") as file:
                durable.replace_from(path, _kept_pieces(file, step))
    return dropped


def _kept_pieces(file: BinaryIO, step: int) -> Iterator[bytes]:
    """Yield the lines that stay, many at a time."""
    piece = bytearray()
    for line in _lines(file):
        if _keep_line(line, step):
            piece += line
        if len(piece) >= durable.PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield lines, and one that is longer than any that a run writes in parts, which are no JSON."""
    torn = 0
    while line := file.readline(LINE_LIMIT_BYTES):
        torn = 0 if line.endswith(b"\n") else torn + len(line)
        if torn > TORN_LIMIT_BYTES:
            raise UserError(
                f"{file.name}: a line of more than {TORN_LIMIT_BYTES:,} bytes, which no run writes; mend it"
            )
        yield line


def _keep_line(line: bytes, step: int) -> bool:
    if not line.endswith(b"\n"):
        return False  # torn by a crash
    try:
        record = json.loads(line)
        return isinstance(record, dict) and not record.get("step", step) > step
    except (ValueError, TypeError, RecursionError):
        return False
