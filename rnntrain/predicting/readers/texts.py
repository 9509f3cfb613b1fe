"""Texts: one a line, one a row of a table or a JSON object, or one a file of a folder."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from rnntrain.data.labelled.labelled_rows import LABEL_NAMES, TEXT_NAMES, find_rows
from rnntrain.data.labelled.labelled_rows import Reading as RowReading
from rnntrain.data.labelled.tables import LONGEST_FIELD, Record, as_label, guess_delimiter, looks_like_header, read_text
from rnntrain.data.source import find_documents
from rnntrain.errors import UserError, closest
from rnntrain.predicting.readers.items import LOOK_LINES, Item, Reading, Stream, check_file, head_of

TABLES = (".csv", ".tsv", ".tab")
JSON_LINES = (".jsonl", ".ndjson", ".json")


def read_texts(path: str, reading: Reading) -> Iterator[Item]:
    """Yield the texts of a file, a folder or standard input.

    Raises:
        UserError: names file and line.
    """
    if reading.labelled:
        yield from _labelled(path, reading)
        return
    stream = Stream.of(path)
    if stream.path is not None and stream.path.is_dir():
        yield from _of_folder(stream.path)
        return
    lines = stream.lines()
    head = head_of(lines)
    everything = chain(head, lines)
    form = reading.form if reading.form != "auto" else _form(stream, head)
    if form == "lines":
        yield from _of_lines(stream.name, everything)
    elif form == "jsonl":
        yield from _of_json(stream.name, everything, reading)
    elif form == "table":
        yield from _of_table(stream, head, everything, reading)
    else:
        raise UserError(f"--input {form}: this model reads texts; choose lines, table or jsonl")


def read_documents(path: str, reading: Reading) -> Iterator[Item]:
    """Yield each file whole, for models that are judged by running text."""
    if path == "-":
        yield Item("".join(Stream.of(path).lines()), "stdin")
        return
    for document in find_documents(Path(path), "FILE", (), any_file=False):
        yield Item("".join(document.text()), document.name)


def _form(stream: Stream, head: list[str]) -> str:
    if stream.suffix in JSON_LINES:
        return "jsonl"
    # A table by its name, or a file without an end to its name whose every line has a tab.
    tabbed = not stream.suffix and len(head) > 1 and all("\t" in line for line in head)
    if stream.suffix in TABLES or tabbed:
        return "table"
    return "lines"


def _of_folder(folder: Path) -> Iterator[Item]:
    for document in find_documents(folder, "FILE", (), any_file=False):
        text = read_text(Path(document.name), "FILE").replace("\r\n", "\n")
        yield Item(text, document.name, {"source": document.name})


def _of_lines(name: str, lines: Iterator[str]) -> Iterator[Item]:
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if text.strip():
            yield Item(text, f"{name}:{number}", {"line": number, "text": text})


def _of_json(name: str, lines: Iterator[str], reading: Reading) -> Iterator[Item]:
    column = reading.column("text")
    for number, value in json_lines(name, lines):
        where = f"{name}:{number}"
        if isinstance(value, dict):
            column = column if column is not None and column in value else _text_key(value, where)
            value = value[column]
        if not isinstance(value, str):
            raise UserError(f"{where}: holds no text but {value!r}; mend it, or name the key with data.text=")
        yield Item(value, where, {"line": number, "text": value})


def json_lines(name: str, lines: Iterator[str]) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each line of JSON.

    Raises:
        UserError: names the line that is none.
    """
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{name}:{number}: no JSON ({error}); write one value a line") from error


def _text_key(value: dict[str, Any], where: str) -> str:
    texts = [key for key, its in value.items() if isinstance(its, str)]
    named = [key for key in TEXT_NAMES if key in texts]
    if not texts:
        raise UserError(f"{where}: no key holds a text; there are: {', '.join(value)}")
    return named[0] if named else max(texts, key=lambda key: len(value[key]))


class _Table(NamedTuple):
    columns: list[str]
    header: bool
    format: str
    records: Iterator[Record]
    looked_at: list[Record]


def _of_table(stream: Stream, head: list[str], lines: Iterator[str], reading: Reading) -> Iterator[Item]:
    table = _open_table(stream, head, lines, reading)
    place, guessed = _text_place(table, reading, stream.name)
    how = ", guessed" if guessed else ""
    reading.note(f"{stream.name}: {table.format}, text in column {table.columns[place]!r}{how}")
    for cells, number in table.records:
        if len(cells) != len(table.columns):
            raise UserError(
                f"{stream.name}:{number}: {len(cells)} cells where the first row has {len(table.columns)}; mend the "
                "row, or set data.delimiter"
            )
        yield Item(cells[place], f"{stream.name}:{number}", {"line": number, "text": cells[place]})


def _open_table(stream: Stream, head: list[str], lines: Iterator[str], reading: Reading) -> _Table:
    recorded = reading.recorded
    tabs = stream.suffix in (".tsv", ".tab") or (not stream.suffix and all("\t" in line for line in head))
    delimiter = recorded.get("delimiter")
    if delimiter is None:
        text = "".join(head)
        delimiter = "\t" if tabs else guess_delimiter(text) if text.strip() else ","
    quotes = delimiter != "\t" if recorded.get("quotes") is None else bool(recorded["quotes"])
    records = _records(stream.name, lines, delimiter, quotes)
    first = list(islice(records, LOOK_LINES))
    if not first:
        raise UserError(f"{stream.name}: holds no row; give one text a row")
    header = recorded.get("header")
    top = first[0].cells
    if header is None or len(first) == 1:
        names = {cell.strip().lower() for cell in top}
        asked = {column.lower() for column in (reading.column("text"), reading.column("label")) if column}
        known = bool(names & (asked | set(TEXT_NAMES)))
        header = known or (len(first) > 1 and len(top) > 1 and looks_like_header(first))
    kind = {",": "CSV", "\t": "TSV"}.get(delimiter, f"cells parted by {delimiter!r}")
    if not header:
        width = Counter(len(record.cells) for record in first).most_common(1)[0][0]
        columns = [str(number + 1) for number in range(width)]
        return _Table(columns, False, kind, chain(first, records), first)
    return _Table([cell.strip() for cell in top], True, kind, chain(first[1:], records), first[1:])


def _records(name: str, lines: Iterator[str], delimiter: str, quotes: bool) -> Iterator[Record]:
    csv.field_size_limit(LONGEST_FIELD)
    quoting: Any = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield Record(cells, line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{name}:{line}: {error}; mend the quotes of that row, or set data.quotes=false") from error


def _text_place(table: _Table, reading: Reading, name: str) -> tuple[int, bool]:
    """Return the column of the texts, and whether it was guessed."""
    asked = reading.column("text")
    if asked is not None:
        if asked in table.columns:
            return table.columns.index(asked), False
        near = closest(asked, table.columns)
        columns = ", ".join(table.columns)
        raise UserError(f"{name}: has no column {asked}{near}; name one with data.text=, it has: {columns}")
    lowered = [column.lower() for column in table.columns]
    for wanted in TEXT_NAMES:
        if table.header and wanted in lowered:
            return lowered.index(wanted), True
    label = reading.column("label")
    taken = {label.lower()} if label else set(LABEL_NAMES) if table.header else set()
    free = [place for place, column in enumerate(lowered) if column not in taken] or list(range(len(lowered)))
    return max(free, key=lambda place: _mean_length(table.looked_at, place)), len(free) > 1


def _mean_length(records: Sequence[Record], place: int) -> float:
    return sum(len(cells[place]) for cells, _ in records if place < len(cells)) / max(len(records), 1)


def _labelled(path: str, reading: Reading) -> Iterator[Item]:
    """Yield labelled texts, by the rules by which a data set reads them."""
    recorded = reading.recorded
    if path == "-":
        raise UserError("-: labelled texts are read from a file or folder; save them to one")
    how = RowReading(
        reading.column("text"),
        reading.column("label"),
        recorded.get("delimiter"),
        recorded.get("header"),
        recorded.get("quotes"),
    )
    place = Path(path).expanduser()
    if not place.is_dir():
        check_file(place, path)
    found = find_rows(place, "FILE", how)
    for line in found.notes:
        reading.note(f"{path}: {line}")
    for rows in found.rows.values():
        for row in rows:
            yield Item(row.text, row.place, {"source": row.place, "text": row.text}, as_label(row.label))
