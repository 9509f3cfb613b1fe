"""Tables of text: CSV, TSV and JSON lines, gzipped or not, as rows that know their line; formats are guessed."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rnntrain.data.bounded import check_columns, check_unpacked
from rnntrain.data.source import read_bytes
from rnntrain.errors import UserError, closest

DELIMITERS = ",\t;|"
LOOKED_AT = 200  # records that a guess is made from
CELL_BYTES = 8  # of a list of cells
LONGEST_FIELD = 2**31 - 1  # characters; the csv module's own limit is below the length of a long article


class Record(NamedTuple):
    """The cells of one row of a file, and the line that it begins on."""

    cells: list[Any]
    line: int


@dataclass(frozen=True)
class Table:
    """A file as rows of as many cells as it has columns.

    Attributes:
        columns: their names; "1", "2", … where the file has no header.
        header: the file names its columns.
        format: for people: "CSV", "TSV", "JSON lines", or what parts the cells.
    """

    path: Path
    columns: list[str]
    records: list[Record]
    header: bool
    format: str

    def column(self, name: str, key: str) -> int:
        """Return the place of a column.

        Raises:
            UserError: there is none of that name; says which there are.
        """
        if name in self.columns:
            return self.columns.index(name)
        hint = closest(name, self.columns)
        raise UserError(f"{key}={name}: {self.path} has no such column{hint}; it has: {', '.join(self.columns)}")


def read_table(
    path: Path,
    key: str,
    *,
    delimiter: str | None = None,
    header: bool | None = None,
    quotes: bool | None = None,
    is_header: Callable[[list[str]], bool] = lambda cells: False,
) -> Table:
    """Read a table whose every cell is a text, or the value that JSON gives.

    Args:
        key: the config key that the path comes from, for messages.
        delimiter: what parts the cells; guessed where None.
        header: the first row names the columns; where None, it does unless one of its cells stands again below it.
        quotes: cells may stand in double quotes; where None, they may but in files whose cells are parted by tabs,
            of which a quote is as good a part as any other sign.
        is_header: knows a header by its cells, whatever stands below it.

    Raises:
        UserError: names file and line of what is not UTF-8, ragged, or no JSON object.
    """
    text = read_text(path, key, lines=True)
    if not text.strip():
        raise UserError(f"{key}={path}: the file is empty; give one with rows of text and label")
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".jsonl", ".ndjson", ".json")):
        return _read_json_lines(path, text)
    if delimiter is None:
        delimiter = "\t" if name.endswith((".tsv", ".tab")) else guess_delimiter(text)
    quotes = delimiter != "\t" if quotes is None else quotes
    records = list(_records(path, text, delimiter, quotes))
    width = _width(records)
    check_columns(width, f"{path}:{records[0].line}")
    for cells, line in records:
        if len(cells) != width:
            advice = "quote cells that hold the delimiter" if quotes else "or set data.quotes=true if cells are quoted"
            raise UserError(
                f"{path}:{line}: {len(cells)} cells where the other rows have {width}, parted by {delimiter!r}; "
                f"mend the row, {advice}, or set data.delimiter"
            )
    if header is None:
        header = is_header(records[0].cells) or looks_like_header(records)
    kind = {",": "CSV", "\t": "TSV"}.get(delimiter, f"cells parted by {delimiter!r}")
    if header:
        columns = [cell.strip() for cell in records[0].cells]
        repeated = [name for name, count in Counter(columns).items() if count > 1]
        if repeated:
            raise UserError(f"{path}:1: two columns are called {repeated[0]!r}; rename one, or set data.header=false")
        return Table(path, columns, records[1:], True, kind)
    return Table(path, [str(number + 1) for number in range(width)], records, False, kind)


def read_text(path: Path, key: str, *, lines: bool = False) -> str:
    """Return a file decoded from UTF-8, without a byte-order mark, line ends as they are.

    Args:
        lines: it is a table, whose lines are not endless.

    Raises:
        UserError: it cannot be read, or names the line that is not UTF-8.
    """
    data = read_bytes(path, key, lines=lines)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path}:{line}: not UTF-8 ({key}): byte 0x{data[error.start]:02x} at offset {error.start}; convert it "
            "(iconv -f latin1 -t utf-8)"
        ) from error


def _records(path: Path, text: str, delimiter: str, quotes: bool) -> Iterator[Record]:
    """Yield all rows but empty ones; a quoted cell may hold line ends."""
    # StringIO without translation hands over the line ends within quotes as they are.
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, quoting=_quoting(quotes), strict=True)
    line = 1
    with _long_fields():
        try:
            for cells in reader:
                if cells:
                    yield Record(cells, line)
                line = reader.line_num + 1
        except csv.Error as error:
            raise UserError(
                f"{path}:{line}: {error}; mend the quotes of that row, or set data.quotes=false if quotes are text"
            ) from error


def _quoting(quotes: bool) -> Literal[0, 3]:
    return csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE


@contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def guess_delimiter(text: str) -> str:
    """Return what parts most of the first rows into the same number of cells, two or more."""

    def agreement(delimiter: str) -> float:
        quoting = _quoting(delimiter != "\t")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
        with _long_fields():
            widths = [len(cells) for cells, _ in zip(reader, range(LOOKED_AT), strict=False) if cells]
        width, count = Counter(widths).most_common(1)[0]
        return count / len(widths) if width > 1 else 0.0

    return max(DELIMITERS, key=agreement)


def _width(records: Sequence[Record]) -> int:
    return Counter(len(record.cells) for record in records).most_common(1)[0][0]


def looks_like_header(records: Sequence[Record]) -> bool:
    first, *others = (record.cells for record in records[:LOOKED_AT])
    return not any(cell in {other[place] for other in others} for place, cell in enumerate(first))


def _read_json_lines(path: Path, text: str) -> Table:
    if text.lstrip().startswith("["):
        raise UserError(f"{path}: one JSON array; write one JSON object a line (jq -c '.[]' {path.name})")
    objects: list[tuple[dict[str, Any], int]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}:{number}: no JSON ({error}); write one JSON object a line") from error
        if not isinstance(value, dict):
            raise UserError(f"{path}:{number}: {type(value).__name__} in place of one JSON object a line; mend it")
        objects.append((value, number))
    # Cells of objects that lack a key are None, which whoever needs the column refuses.
    columns = list(dict.fromkeys(name for value, _ in objects for name in value))
    check_columns(len(columns), str(path))
    # Where every line has keys of its own, the table grows with the square of the file.
    check_unpacked(CELL_BYTES * len(columns) * len(objects), len(text), str(path))
    records = [Record([value.get(name) for name in columns], line) for value, line in objects]
    return Table(path, columns, records, True, "JSON lines")


def as_label(value: Any) -> str | None:
    """Return a cell as the name of a class; None where it holds none: nothing, NaN, or what is no plain value."""
    if isinstance(value, str):
        name = value.strip()
        return None if not name or name.lower() == "nan" else name
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    return None
