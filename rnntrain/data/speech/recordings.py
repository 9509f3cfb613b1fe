"""Which recordings there are, what is said in each, and which split each belongs to."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnntrain.data.source import SPLIT_NAMES, Document
from rnntrain.data.speech.sound import SUFFIXES
from rnntrain.errors import UserError, closest

PATH_NAMES = ("path", "file", "filename", "file_name", "audio", "audio_filepath", "audio_path", "wav")
TEXT_NAMES = ("text", "label", "transcript", "transcription", "sentence", "digit", "word", "target")
SPLIT_COLUMN_NAMES = ("split", "subset", "fold")
MANIFESTS = (".csv", ".tsv", ".jsonl", ".json")
_FIELD = re.compile(r"\{(\w*)\}")
_RANGE = re.compile(r"(\d+)-(\d+)")


@dataclass(frozen=True)
class Entry:
    """One recording.

    Attributes:
        path: of its file.
        where: the place as messages name it: the file, and the line of the manifest that names it.
        text: the transcript or the label.
        fields: all that the manifest or the file's name says.
    """

    path: Path
    where: str
    text: str
    fields: dict[str, str]

    @property
    def name(self) -> str:
        """The place, and the file where the place is a line of a manifest."""
        return self.where if self.where == str(self.path) else f"{self.where} ({self.path.name})"


@dataclass(frozen=True)
class Found:
    """All recordings, in the order of their names or lines, and how their fields were read, for people."""

    entries: list[Entry]
    said: str
    split_field: str | None = None


def find_recordings(
    path: Path, pattern: str | None, path_field: str | None, text_field: str | None, split_field: str | None
) -> Found:
    """Read a manifest, or the names in a folder.

    Args:
        pattern: of names in a folder, with a field in braces for each part: `{label}_{speaker}_{index}.wav`;
            `{label}/{name}`, a folder a label, where None.
        path_field, text_field, split_field: columns of the manifest, or fields of the pattern; guessed where None.

    Raises:
        UserError: names the file, its line, and the fix.
    """
    if not path.exists():
        near = closest(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else ""
        raise UserError(f"data.path={path}: there is no such file or folder{near}; check the path")
    if path.is_dir():
        if path_field is not None:
            raise UserError(f"data.path_field={path_field}: a folder has no such column; leave it out")
        rows: list[tuple[Path, str, dict[str, str]]] = list(_in_folder(path, pattern or "{label}/{name}"))
        names = list(rows[0][2])
        said = f"names read as {pattern or '{label}/{name}'}"
    else:
        if pattern is not None:
            raise UserError(f"data.pattern={pattern}: is for a folder, and data.path={path} is a file; leave it out")
        lines = list(manifest_lines(path))
        names = list(lines[0][1])
        column = choose("path_field", path_field, PATH_NAMES, names, str(path))
        rows = [(inside(path.parent, values[column], where), where, values) for where, values in lines]
        said = f"files in column {column}"
    text = choose("text_field", text_field, TEXT_NAMES, names, str(path))
    split = split_field or next((name for name in SPLIT_COLUMN_NAMES if name in names), None)
    if split is not None:
        choose("split_field", split, (), names, str(path))
    entries = [Entry(file, where, " ".join(values[text].split()), values) for file, where, values in rows]
    for entry in entries:
        if not entry.text:
            raise UserError(f"{entry.where}: {text} is empty; say what is heard, or leave the recording out")
    return Found(entries, f"{said}, text in {text}" + (f", split in {split}" if split else ""), split)


def assign_splits(
    found: Found, conditions: Mapping[str, Sequence[str]], fractions: dict[str, float]
) -> dict[str, list[Entry]]:
    """Return the entries of each split: test, then val, then train take what meets a condition of theirs.

    Args:
        conditions: of a split `FIELD:VALUE` or `FIELD:FIRST-LAST`; one that holds is enough. A split without
            conditions takes those that the split column gives it, or a share of what is left, drawn by a fixed seed.

    Raises:
        UserError: a condition that nothing meets, a field or split name that does not exist, an empty train split.
    """
    column = found.split_field
    splits: dict[str, list[Entry]] = {}
    left = found.entries
    for split in ("test", "val"):
        given = conditions.get(split) or ()
        if given:
            tests = [_condition(text, split, found.entries) for text in given]
            chosen = [any(test(entry) for test in tests) for entry in left]
            if not any(chosen):
                raise UserError(f"data.{split}={list(given)}: no recording meets it; correct the values")
        elif column is not None:
            chosen = [_split_of(entry, column) == split for entry in left]
        else:
            order = np.random.default_rng(0).permutation(len(left))
            chosen = list(order < round(fractions[split] * len(found.entries)))
        splits[split] = [entry for entry, is_chosen in zip(left, chosen, strict=True) if is_chosen]
        left = [entry for entry, is_chosen in zip(left, chosen, strict=True) if not is_chosen]
    if not left:
        raise UserError("data.val and data.test leave no recording to train on; choose fewer")
    if not splits["val"]:
        raise UserError("there is no recording for validation; say which with data.val, or set data.val_fraction")
    return {"train": left} | {split: splits[split] for split in ("val", "test") if splits[split]}


def _split_of(entry: Entry, column: str) -> str:
    value = entry.fields[column].strip().lower()
    for split, names in SPLIT_NAMES.items():
        if value in names:
            return split
    raise UserError(f"{entry.where}: {column}={value!r} is no split; write train, val or test")


def _condition(text: str, split: str, entries: list[Entry]) -> Any:
    """Return the test of an entry that `FIELD:VALUE` or `FIELD:FIRST-LAST` means."""
    field, colon, value = text.partition(":")
    names = list(entries[0].fields)
    if not colon or not value:
        raise UserError(f"data.{split}={text}: write FIELD:VALUE or FIELD:FIRST-LAST, such as {names[0]}:…")
    if field not in names:
        raise UserError(
            f"data.{split}={text}: there is no field {field}{closest(field, names)}; there are {', '.join(names)}"
        )
    bounds = _RANGE.fullmatch(value)
    if bounds is None:
        return lambda entry: entry.fields[field] == value
    low, high = int(bounds[1]), int(bounds[2])
    return lambda entry: entry.fields[field].isdecimal() and low <= int(entry.fields[field]) <= high


def choose(key: str, chosen: str | None, usual: Sequence[str], names: list[str], where: str) -> str:
    """Return the field that the user chose, or the first usual one that there is."""
    if chosen is not None:
        if chosen in names:
            return chosen
        raise UserError(
            f"data.{key}={chosen}: {where} has no such field{closest(chosen, names)}; it has {', '.join(names)}"
        )
    for name in usual:
        if name in names:
            return name
    raise UserError(f"{where}: has the fields {', '.join(names)}; say which to use with data.{key}=")


def _in_folder(folder: Path, pattern: str) -> Iterator[tuple[Path, str, dict[str, str]]]:
    """Yield the sound files of a folder and the fields of their names."""
    expression = _expression(pattern)
    files = [f for f in sorted(folder.rglob("*")) if f.suffix.lower() in SUFFIXES and f.is_file()]
    if not files:
        raise UserError(f"data.path={folder}: the folder holds no sound ({', '.join(SUFFIXES)}); name another")
    for file in files:
        name = file.relative_to(folder).as_posix()
        # A pattern without an ending is one of names without theirs.
        match = expression.fullmatch(name.removesuffix(file.suffix)) or expression.fullmatch(name)
        if match is None:
            raise UserError(
                f"{file}: the name does not fit data.pattern={pattern}; write the pattern with a field in braces for "
                "each part, such as {label}_{speaker}_{index}.wav, or take the file out"
            )
        yield inside(folder, name, str(file)), str(file), match.groupdict()


def _expression(pattern: str) -> re.Pattern[str]:
    names = _FIELD.findall(pattern)
    if not names or len(set(names)) != len(names) or not all(name.isidentifier() for name in names):
        raise UserError(
            f"data.pattern={pattern}: needs fields of distinct names in braces, such as {{label}}_{{index}}.wav"
        )
    parts = _FIELD.split(pattern)
    return re.compile("".join(f"(?P<{part}>[^/]+?)" if i % 2 else re.escape(part) for i, part in enumerate(parts)))


def inside(root: Path, name: str, where: str) -> Path:
    """Return the file `name` below `root`, which no link and no `..` may lead out of."""
    if not name or "\0" in name:
        raise UserError(f"{where}: the path is empty or has a null; name a file below {root}")
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise UserError(f"{where}: {name} leads out of {root}; move the file there, or the manifest")
    return path


def manifest_lines(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the place and the values of each line of a manifest; all have the fields of the first."""
    if path.suffix.lower() not in MANIFESTS:
        raise UserError(f"data.path={path}: a manifest is {', '.join(MANIFESTS)}; or name a folder of recordings")
    text = "".join(Document.of_file(path, "data.path").text())
    rows = _json_lines(path, text) if path.suffix.lower() in (".jsonl", ".json") else _table(path, text)
    first: list[str] | None = None
    for number, values in rows:
        where = f"{path}:{number}"
        first = first or list(values)
        missing = [name for name in first if name not in values]
        if missing:
            raise UserError(f"{where}: has no {missing[0]}; give every line the fields of the first")
        yield where, values
    if first is None:
        raise UserError(f"data.path={path}: names no recording; write a line for each")


def _table(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    try:
        header = next(reader, [])
        if len(set(header)) != len(header) or not all(header):
            raise UserError(f"{path}:1: names of columns must be distinct and not empty; correct the header")
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                counts = f"{len(row)} values for {len(header)} columns"
                raise UserError(f"{path}:{reader.line_num}: has {counts}; correct it")
            yield reader.line_num, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: {error}; correct the line") from error


def _json_lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}:{number}: is no JSON; write one object a line") from error
        if not isinstance(values, dict):
            raise UserError(f"{path}:{number}: is no JSON object; write one object a line")
        yield number, {name: str(value) for name, value in values.items() if isinstance(value, (str, int, float))}
