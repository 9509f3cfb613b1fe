"""Labelled texts where they lie: tables, folders of classes, folders of splits; rows that know their file and line."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rnntrain.data.labelled.tables import Table, as_label, read_table, read_text
from rnntrain.data.source import SPLIT_NAMES, find_documents, read_bytes
from rnntrain.errors import UserError

# What columns are mostly called, the commonest first; only the names of a header are compared with these.
TEXT_NAMES = ("text", "message", "sentence", "review", "content", "body", "comment", "tweet", "sms", "document", "v2")
LABEL_NAMES = ("label", "labels", "class", "category", "target", "sentiment", "tag", "y", "v1")
MOST_CLASSES = 1000  # beyond that, a column of labels is one of something else


class Row(NamedTuple):
    """A text with its label, and where both stand."""

    text: str
    label: str
    file: str
    line: int

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Reading:
    """How files are to be read; None where it is to be guessed.

    Attributes:
        text, label: the columns, by name or, where there is no header, by number from 1.
        delimiter, header, quotes: see `rnntrain.data.labelled.tables.read_table`.
    """

    text: str | None = None
    label: str | None = None
    delimiter: str | None = None
    header: bool | None = None
    quotes: bool | None = None


class Found(NamedTuple):
    """Rows by split; those of "all" are to be cut into splits. `notes` says what was guessed, `files` what was read."""

    rows: dict[str, list[Row]]
    notes: list[str]
    files: list[Path]


def find_rows(path: Path, key: str, reading: Reading) -> Found:
    """Read a table, a folder with one folder a class, or a folder with files or such folders for each split.

    Raises:
        UserError: names the file, its line and the fix.
    """
    if not path.is_dir():
        rows, note = _rows_of_table(path, key, reading)
        return Found({"all": rows}, [note], [path])
    inside = sorted(Path(entry.path) for entry in os.scandir(path) if not entry.name.startswith("."))
    splits = {split: place for place in inside if (split := _split_of(place)) is not None}
    if "train" in splits:
        found = {split: find_rows(place, key, reading) for split, place in splits.items()}
        rows_of = {split: [row for rows in its.rows.values() for row in rows] for split, its in found.items()}
        notes = list(dict.fromkeys(note for its in found.values() for note in its.notes))
        return Found(rows_of, notes, [file for its in found.values() for file in its.files])
    folders = [place for place in inside if place.is_dir()]
    if len(folders) > 1:
        return _rows_of_folders(path, folders, key)
    files = [place for place in inside if place.is_file() and not _is_about(place)]
    if len(files) == 1 and not folders:
        return find_rows(files[0], key, reading)
    raise UserError(
        f"{key}={path}: expected one folder a class, files or folders called train and test, or one table; "
        f"it holds {len(folders)} folders and {len(files)} files; name the file to read"
    )


def _split_of(place: Path) -> str | None:
    """Return the split that the name of a file or folder speaks of: `train`, `test.csv`, `imdb_valid.tsv`."""
    words = set(re.findall("[a-z]+", place.name.lower()))
    return next((split for split, names in SPLIT_NAMES.items() if names & words), None)


def _is_about(place: Path) -> bool:
    return place.stem.lower() in ("readme", "licence", "license", "origin")


def _rows_of_folders(path: Path, folders: list[Path], key: str) -> Found:
    """Read every text file below a folder as one row, labelled with the folder's name."""
    rows, files = [], []
    for folder in folders:
        if folder.is_symlink() and not folder.resolve().is_relative_to(path.resolve()):
            raise UserError(f"{folder}: is a link that leads out of {path}; put the folder there itself")
        for document in find_documents(folder, key, (), any_file=False):
            file = Path(document.name)
            text = read_text(file, key).replace("\r\n", "\n")
            rows.append(Row(text, folder.name, document.name, 0))
            files.append(file)
    return Found({"all": rows}, [f"one folder a class: {_some([folder.name for folder in folders])}"], files)


def _rows_of_table(path: Path, key: str, reading: Reading) -> tuple[list[Row], str]:
    table = read_table(
        path,
        key,
        delimiter=reading.delimiter,
        header=reading.header,
        quotes=reading.quotes,
        is_header=lambda cells: _is_header(cells, reading),
    )
    if not table.records:
        raise UserError(f"{key}={path}: there is a header but no row; give rows, or set data.header=false")
    label = _label_column(table, reading, key)
    text = _text_column(table, reading, label, key)
    rows = []
    for cells, line in table.records:
        name, content = as_label(cells[label]), cells[text]
        if name is None:
            raise UserError(
                f"{path}:{line}: column {table.columns[label]!r} holds no label but {cells[label]!r}; "
                "fill it in, or delete the row"
            )
        if not isinstance(content, str):
            raise UserError(
                f"{path}:{line}: column {table.columns[text]!r} holds no text but {content!r}; mend the row"
            )
        # JSON may hold halves of surrogate pairs, which are no characters.
        rows.append(Row(content.encode("utf-8", "replace").decode("utf-8"), name, str(path), line))
    if not any(row.text.strip() for row in rows):
        raise UserError(f"{path}: column {table.columns[text]!r} is empty in every row; name another with data.text=")
    names = f"text in column {table.columns[text]!r}, label in {table.columns[label]!r}"
    header = "" if table.header else " (no header)"
    guessed = "" if reading.text and reading.label else ", guessed"
    return rows, f"{table.format}{header}, {names}{guessed}"


def _is_header(cells: Sequence[str], reading: Reading) -> bool:
    """Say whether the cells are names of columns: those asked for, or what text and label are mostly called."""
    names = {cell.strip().lower() for cell in cells}
    asked = {name.lower() for name in (reading.text, reading.label) if name is not None and not name.isdecimal()}
    return bool(names & asked) or bool(names.intersection(TEXT_NAMES) and names.intersection(LABEL_NAMES))


def _label_column(table: Table, reading: Reading, key: str) -> int:
    """Return the column asked for; else the one called so; else the one of the fewest values, two or more."""
    if reading.label is not None:
        return table.column(reading.label, "data.label")
    taken = None if reading.text is None else table.column(reading.text, "data.text")
    named = _called(table, LABEL_NAMES, taken)
    if named is not None:
        return named
    counts = {}
    for place in range(len(table.columns)):
        values = {as_label(record.cells[place]) for record in table.records}
        if place != taken and 2 <= len(values) <= min(MOST_CLASSES, len(table.records) // 2):
            counts[place] = len(values)
    if not counts:
        raise UserError(
            f"{key}={table.path}: no column looks like labels, of which there are two or more that stand in several "
            f"rows each; name it with data.label=, one of: {', '.join(table.columns)}"
        )
    return min(counts, key=lambda place: counts[place])


def _text_column(table: Table, reading: Reading, label: int, key: str) -> int:
    """Return the column asked for; else the one called so; else the one of the longest texts."""
    if reading.text is not None:
        place = table.column(reading.text, "data.text")
        if place == label:
            raise UserError(f"data.text={reading.text}: that column holds the labels; name another")
        return place
    named = _called(table, TEXT_NAMES, label)
    if named is not None:
        return named
    lengths = {
        place: sum(len(r.cells[place]) for r in table.records if isinstance(r.cells[place], str))
        for place in range(len(table.columns))
        if place != label
    }
    if not lengths:
        raise UserError(
            f"{key}={table.path}: one column alone, {table.columns[label]!r}; give text and label, or data.delimiter"
        )
    return max(lengths, key=lambda place: lengths[place])


def _called(table: Table, names: Sequence[str], taken: int | None) -> int | None:
    """Return the first column of a header that has one of the names."""
    lowered = [column.lower() for column in table.columns]
    places = [lowered.index(name) for name in names if table.header and name in lowered]
    return next((place for place in places if place != taken), None)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def label_counts(rows: Sequence[Row]) -> dict[str, int]:
    """Return how often each label occurs, the most frequent first, then by name."""
    counts = Counter(row.label for row in rows)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def digest_of(files: Sequence[Path], key: str) -> str:
    """Return the SHA-256 of a file, unpacked, or of the list of those of several."""
    digests = [hashlib.sha256(read_bytes(file, key)).hexdigest() for file in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()
