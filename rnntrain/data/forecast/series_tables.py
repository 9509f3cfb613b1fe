"""Tables with named columns: CSV (also compressed with gzip) and Parquet, every cell with its place in the file."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnntrain.data import bounded
from rnntrain.data.forecast.parquet_tables import read_parquet
from rnntrain.errors import UserError, closest

MISSING = {"", "na", "n/a", "nan", "null", "none", "-", "?"}
DELIMITERS = ",;\t|"
PARQUET = (".parquet", ".pq")


@dataclass(frozen=True)
class Table:
    """Columns of one length.

    Attributes:
        path: for messages; the file as the user wrote it.
        columns: text as it stands in the file, or numbers where the file itself knows them as such.
        lines: of the file, one a row; None where a file has rows and no lines.
        sha256: of the file.
    """

    path: str
    columns: dict[str, list[str] | np.ndarray]
    lines: list[int] | None
    sha256: str

    @property
    def num_rows(self) -> int:
        return len(next(iter(self.columns.values())))

    def place(self, row: int) -> str:
        """Return where a row stands, for messages."""
        return f"{self.path}: row {row + 1}" if self.lines is None else f"{self.path}:{self.lines[row]}"

    def column(self, key: str, name: str) -> list[str] | np.ndarray:
        """Return a column as it was read.

        Args:
            key: the config key that names it, for messages.

        Raises:
            UserError: there is none of this name.
        """
        if name not in self.columns:
            names = ", ".join(self.columns)
            raise UserError(f"{key}={name}: {self.path} has no such column{closest(name, list(self.columns))}: {names}")
        return self.columns[name]

    def texts(self, key: str, name: str) -> list[str]:
        """Return a column as text."""
        column = self.column(key, name)
        return column if isinstance(column, list) else [f"{value:.15g}" for value in column.tolist()]

    def numbers(self, key: str, name: str) -> np.ndarray:
        """Return a column as float64; NaN where a cell is empty or says that the value is missing.

        Raises:
            UserError: names file, line and column of the first cell that is no number.
        """
        column = self.column(key, name)
        if isinstance(column, np.ndarray):
            return column
        try:
            return np.array(column, np.float64)  # the common case, many times faster than one by one
        except ValueError:
            return np.array([self._number(row, name, text) for row, text in enumerate(column)], np.float64)

    def _number(self, row: int, name: str, text: str) -> float:
        if is_missing(text):
            return math.nan
        try:
            return float(text)
        except ValueError:
            raise UserError(
                f"{self.place(row)}: {name} is {text[:40]!r}, which is no number; correct it, or empty the cell and "
                "set data.missing"
            ) from None

    def is_numeric(self, name: str) -> bool:
        """Say whether the first cell of a column that is not empty is a number."""
        column = self.columns[name]
        if isinstance(column, np.ndarray):
            return True
        first = next((text for text in column if not is_missing(text)), None)
        try:
            return first is not None and math.isfinite(float(first))
        except ValueError:
            return False


def is_missing(text: str) -> bool:
    """Say whether a cell stands for a value that is not there."""
    return text.strip().lower() in MISSING


def read_table(path: Path, key: str) -> Table:
    """Read a table; the end of the name says how: `.parquet` (or `.pq`), else CSV with a line of names.

    Raises:
        UserError: the file cannot be read, is empty, or a row has more or fewer cells than there are names.
    """
    try:
        content = bounded.read_whole(path, f"{key}={path}", lines=not path.name.lower().endswith((".gz", *PARQUET)))
    except OSError as error:
        near = ""
        if not path.exists() and path.parent.is_dir():
            near = closest(path.name, sorted(other.name for other in path.parent.iterdir()))
        raise UserError(f"{key}={path}: cannot be read ({error.strerror}){near}; give a CSV or Parquet file") from error
    digest = hashlib.sha256(content).hexdigest()
    if path.suffix.lower() in PARQUET:
        return Table(str(path), read_parquet(content, f"{key}={path}"), None, digest)
    if path.suffix.lower() == ".gz":
        content = bounded.unpack_gzip(content, f"{key}={path}", lines=True)
    return _read_csv(path, content, digest)


def _read_csv(path: Path, content: bytes, digest: str) -> Table:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path}:{line}: is not UTF-8 (byte {content[error.start]:#04x}); save it as UTF-8") from error
    first = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(DELIMITERS, key=first.count)
    bounded.check_columns(first.count(delimiter) + 1, f"{path}:1")  # before each takes memory
    lines_of_text = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="")  # StringIO takes four bytes a sign
    reader = csv.reader(lines_of_text, delimiter=delimiter, skipinitialspace=True)
    rows, lines = [], []
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: {error}; correct the line") from error
    if len(rows) < 2:
        raise UserError(f"{path}: has no rows; give a line with the names of the columns, and one row for each time")
    names = [name.strip() for name in rows[0]]
    bounded.check_columns(len(names), f"{path}:{lines[0]}")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(f"{path}:{lines[0]}: two columns are called {name!r}; rename one")
        seen.add(name)
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise UserError(f"{path}:{line}: {len(row)} cells where the first line names {len(names)}; correct the row")
    columns: dict[str, list[str] | np.ndarray] = {
        name: [cell.strip() for cell in cells] for name, cells in zip(names, zip(*rows[1:], strict=True), strict=True)
    }
    return Table(str(path), columns, lines[1:], digest)
