"""Records written down: lines for people, JSON lines, a CSV table; to standard output, or to a file that is whole."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from rnntrain.checkpoints import durable
from rnntrain.errors import UserError
from rnntrain.predicting.predictor import Predictor, Record
from rnntrain.spreadsheet import safe_cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Format: TypeAlias = Literal["text", "jsonl", "csv"]
FORMATS = ("text", "jsonl", "csv")
SUFFIXES: dict[str, Format] = {".jsonl": "jsonl", ".json": "jsonl", ".csv": "csv"}


BLOCK_CHARS = 1 << 16  # written at once
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)  # made once: there may be millions of records


def format_of(asked: Format | None, out: Path | None) -> Format:
    """Return the format asked for, else that of the end of the file's name, else text."""
    if asked is not None:
        return asked
    return "text" if out is None else SUFFIXES.get(out.suffix.lower(), "text")


def check_out(out: Path | None, force: bool, option: str = "--out") -> None:
    """Refuse a file that exists, or whose folder does not, before anything is computed.

    Raises:
        UserError: says the fix.
    """
    if out is None:
        return
    if os.path.lexists(out) and not force:
        raise UserError(f"{option} {out}: exists; choose another name, or add --force to replace it")
    if out.is_dir():
        raise UserError(f"{option} {out}: is a folder; name a file in it")
    if not out.parent.is_dir():
        raise UserError(f"{option} {out}: there is no folder {out.parent}; make it first")


def pieces(records: Iterable[Record], predictor: Predictor, how: Format) -> Iterator[str]:
    """Yield what stands in the file, a record at a time."""
    if how == "jsonl":
        return (as_json(record) + "\n" for record in records)
    if how == "csv":
        return _table(row for record in records for row in predictor.rows(record))
    return ("".join(f"{printable(line)}\n" for line in predictor.lines(record)) for record in records)


def as_json(record: Record) -> str:
    """Return a record as one line of JSON; numbers that are not finite, which JSON lacks, are null."""
    try:
        return _JSON.encode(record)
    except ValueError:
        return json.dumps(_finite(record), ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return list(map(_finite, value))
    return None if isinstance(value, float) and not math.isfinite(value) else value


def printable(line: str) -> str:
    """Escape what would break a line or steer the terminal: an input may hold anything."""
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in line)


def deliver(texts: Iterable[str], out: Path | None) -> None:
    """Print pieces of text as they come, or write them to a file that appears only when it is whole."""
    if out is None:
        for text in texts:
            print(text, end="", flush=True)
        return
    with durable.one_line(out):
        durable.replace_from(out, _blocks(texts))


def _blocks(texts: Iterable[str]) -> Iterator[bytes]:
    """Yield pieces of text as blocks: the system is not called for every line."""
    held: list[str] = []
    size = 0
    for text in texts:
        held.append(text)
        size += len(text)
        if size >= BLOCK_CHARS:
            yield "".join(held).encode("utf-8", "replace")
            held, size = [], 0
    yield "".join(held).encode("utf-8", "replace")


def save_picture(figure: Figure, path: Path) -> None:
    """Write a figure as PNG in one step."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=150)
    with durable.one_line(path):
        durable.replace_file(path, data.getvalue())


def _table(rows: Iterable[Record]) -> Iterator[str]:
    """Yield the lines of a CSV table; the first row names the columns."""
    buffer = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(buffer, list(row), lineterminator="\n", extrasaction="ignore")
            writer.writeheader()
        writer.writerow({name: _cell(value) for name, value in row.items()})
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _cell(value: Any) -> Any:
    """Return a value as a cell: plain ones as they are, lists of plain ones parted by spaces, all others as JSON.

    Texts, which come from a user's data, are such that no spreadsheet takes them for formulas.
    """
    if isinstance(value, str):
        return safe_cell(value)
    if isinstance(value, list) and not any(isinstance(part, list | dict) for part in value):
        joined = " ".join(map(str, value))
        return safe_cell(joined) if any(isinstance(part, str) for part in value) else joined
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def counted(records: Iterable[Record], what: str, shown: bool) -> Iterator[Record]:
    """Yield records, with a count of them on standard error, where that is a terminal and `shown`."""
    from tqdm import tqdm

    bar = tqdm(records, unit=f" {what}", file=sys.stderr, disable=None if shown else True, leave=False)
    yield from bar
