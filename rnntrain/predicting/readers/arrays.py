"""Numbers, symbols and piano rolls: NumPy archives, and lines of text or JSON with a sequence each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from rnntrain.data.numbers.npz import SPLIT_KEYS, find, read_npz, sequences
from rnntrain.errors import UserError
from rnntrain.predicting.readers.items import Item, Reading, Stream, head_of
from rnntrain.predicting.readers.texts import JSON_LINES, json_lines

PLAIN = ("x", "y", "lengths")  # names of arrays in an archive without splits


def read_arrays(path: str, reading: Reading) -> Iterator[Item]:
    """Yield the sequences of a file or standard input.

    An archive holds `x`, and `lengths` where sequences differ in it, or the same of splits (`x_test`). A line of text
    is symbols between spaces; a line of JSON a list of steps, or an object with `x` and, where labelled, `y`.

    Raises:
        UserError: names the file, and the array or line in it.
    """
    stream = Stream.of(path)
    if stream.path is not None and stream.suffix == ".npz":
        yield from _of_archive(stream.path, reading)
        return
    lines = stream.lines()
    head = head_of(lines)
    form = reading.form
    if form == "auto":
        first = head[0].lstrip() if head else ""
        form = "jsonl" if stream.suffix in JSON_LINES or first.startswith(("[", "{")) else "lines"
    everything = chain(head, lines)
    if form == "lines":
        if reading.labelled:
            raise UserError(f'{path}: labelled sequences are lines of JSON, {{"x": …, "y": …}}, or an .npz archive')
        for number, line in enumerate(everything, 1):
            if line.strip():
                yield Item(line.strip(), f"{stream.name}:{number}", {"line": number})
    elif form == "jsonl":
        for number, value in json_lines(stream.name, everything):
            yield _of_json(value, number, stream.name, reading)
    else:
        raise UserError(f"--input {form}: this model reads sequences of numbers; choose lines or jsonl, or give .npz")


def _of_json(value: Any, number: int, name: str, reading: Reading) -> Item:
    where = f"{name}:{number}"
    truth = None
    if isinstance(value, dict):
        truth = value.get("y")
        if "x" not in value:
            raise UserError(f"{where}: has no key x with the sequence; it has: {', '.join(value)}")
        value = value["x"]
    if reading.labelled and truth is None:
        raise UserError(f"{where}: has no key y with what is true; add it")
    return Item(value, where, {"line": number}, truth)


def _of_archive(path: Path, reading: Reading) -> Iterator[Item]:
    arrays = read_npz(path, "FILE")
    if "x" in arrays:
        arrays = {f"{name}_test": arrays[name] for name in PLAIN if name in arrays}
        split = "test"
    else:
        split = _split_of(arrays, path, reading)
    rows = sequences(arrays, split, str(path)) or []
    truths = _truths(arrays, split, rows, path) if reading.labelled else [None] * len(rows)
    for number, (row, truth) in enumerate(zip(rows, truths, strict=True)):
        yield Item(row, f"{path}: row {number}", {"row": number}, truth)


def _split_of(arrays: dict[str, np.ndarray], path: Path, reading: Reading) -> str:
    there = [split for split in SPLIT_KEYS if find(arrays, "x", split)]
    if not there:
        raise UserError(f"{path}: has no array x; it has: {', '.join(sorted(arrays)[:12]) or 'nothing'}")
    if reading.split is None and len(there) > 1:
        raise UserError(f"{path}: has {', '.join(there)}; say which with --split")
    split = reading.split or there[0]
    if split not in there:
        raise UserError(f"--split {split}: {path} has {', '.join(there)}")
    reading.note(f"{path}: the split {split}")
    return split


def _truths(arrays: dict[str, np.ndarray], split: str, rows: list[np.ndarray], path: Path) -> list[Any]:
    """Return the targets of each row: one a row, or one a step, padded as the rows are or end to end."""
    found = find(arrays, "y", split)
    if found is None:
        raise UserError(f"{path}: has no y beside x; add what is true of each sequence")
    name, y = found
    lengths = [len(row) for row in rows]
    if len(y) == sum(lengths) != len(rows):
        return np.split(y, np.cumsum(lengths)[:-1])
    if len(y) != len(rows):
        raise UserError(f"{path}: {name} has {len(y)} rows and x {len(rows)}; they must be as many")
    if y.ndim > 1 and y.shape[1] >= max(lengths) and y.shape[1] == max(lengths):
        return [target[:length] for target, length in zip(y, lengths, strict=True)]
    return list(y)


def read_rolls(path: str, reading: Reading) -> Iterator[Item]:
    """Yield the pieces of a piano-roll archive (`.npz`, or `.mat` as Boulanger-Lewandowski's), or of lines of JSON."""
    if path != "-" and path.lower().endswith(".mat"):
        from rnntrain.data.numbers.matlab import read_matlab
        from rnntrain.data.numbers.pianoroll import MATLAB_NAMES

        cells = read_matlab(Path(path).expanduser(), "FILE")
        there = {split: cells[name] for split, name in MATLAB_NAMES.items() if isinstance(cells.get(name), list)}
        split = reading.split or ("test" if "test" in there else next(iter(there), ""))
        if split not in there:
            raise UserError(f"{path}: has no pieces for {split or 'any split'}; it has: {', '.join(there) or 'none'}")
        reading.note(f"{path}: the split {split}")
        for number, piece in enumerate(there[split]):
            yield Item(piece, f"{path}: piece {number}", {"row": number})
        return
    # A piece is its own truth.
    plain = replace(reading, labelled=False)
    yield from read_arrays(path, plain)
