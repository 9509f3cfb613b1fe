"""Series out of a table: which columns they stand in, in order of time, without gaps and holes but those allowed."""

# T time, C targets, O observed columns

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from rnntrain.data.forecast.series_tables import Table
from rnntrain.data.forecast.time_index import Frequency, Times, infer_frequency, is_time, parse_times
from rnntrain.errors import UserError

Gaps = Literal["refuse", "forward", "interpolate", "drop", "ignore"]
Missing = Literal["refuse", "forward", "interpolate", "drop"]
ON_STEP = 1e-6  # how far from a whole number of steps a row may lie
MOST_FILLED = 100  # rows that may be added for each one there is


@dataclass(frozen=True)
class Columns:
    """Which columns of a table say what; `time` is None where rows are only counted."""

    time: str | None
    series: str | None
    targets: list[str]
    observed: list[str]

    @property
    def values(self) -> list[str]:
        return [*self.targets, *self.observed]


@dataclass(frozen=True)
class Panel:
    """One series of one or more columns at regular steps.

    Attributes:
        times: of its rows; None where they are only counted.
        values_TD: targets first, then what is observed beside them.
        valid_T: False where a value is missing, so that no window may reach over it.
        places: says where a row stands in the file, for messages.
    """

    name: str
    times: Times | None
    values_TD: np.ndarray
    valid_T: np.ndarray
    places: Callable[[int], str]

    def __len__(self) -> int:
        return len(self.values_TD)


@dataclass(frozen=True)
class Repairs:
    """What was found in the rows of a table, to be said."""

    filled_rows: int = 0
    missing_values: int = 0
    gaps: int = 0

    def said(self, gaps: Gaps, missing: Missing) -> str:
        """Return it in words, beside what was chosen for it."""
        text = f"; {self.gaps:,} gaps ({self.filled_rows:,} rows): {gaps}" if self.gaps else ""
        return text + (f"; {self.missing_values:,} missing values: {missing}" if self.missing_values else "")


def choose_columns(
    table: Table, time: str | None, series: str | None, targets: list[str] | None, observed: list[str]
) -> tuple[Columns, list[str]]:
    """Return the columns to read, and the config keys of those that were guessed, with their values.

    The time is the first column that reads as one; the series' name the one column of text that tells rows
    of the same time apart; the targets all other columns of numbers.

    Raises:
        UserError: a column is not there, or there is nothing to forecast.
    """
    guessed = []
    if time is None:
        time = _guess_time(table)
        guessed.append("no time (rows are steps)" if time is None else f"time={time}")
    if series is None and time is not None and (targets is None or len(targets) == 1):
        series = _guess_series(table, time, observed)
        guessed += [f"series={series}"] if series is not None else []
    if targets is None:
        taken = {time, series, *observed}
        targets = [name for name in table.columns if name not in taken and table.is_numeric(name)]
        guessed.append(f"target=[{','.join(targets)}]")
        if not targets:
            raise UserError(f"data.target: {table.path} has no column of numbers to forecast; name one of its columns")
    for key, name in (("data.time", time), ("data.series", series)):
        if name is not None:
            table.column(key, name)
    for key, names in (("data.target", targets), ("data.observed", observed)):
        for name in names:
            table.column(key, name)
            if name in (time, series) or (key == "data.observed" and name in targets):
                raise UserError(f"{key}: {name} is also the time, the series' name or a target; name each column once")
    return Columns(time, series, targets, observed), guessed


def _guess_time(table: Table) -> str | None:
    """Return the first column of text that begins with a time."""
    texts = [name for name, column in table.columns.items() if isinstance(column, list)]
    return next((name for name in texts if is_time(table.texts("data.time", name)[0])), None)


def _guess_series(table: Table, time: str, observed: list[str]) -> str | None:
    """Return the one column of words that tells rows of the same time apart; None where no time comes twice."""
    times = table.texts("data.time", time)
    if len(set(times)) == len(times):
        return None
    words = [name for name in table.columns if name not in (time, *observed) and not table.is_numeric(name)]
    found = [name for name in words if _tells_apart(table.texts("data.series", name), times)]
    return found[0] if len(found) == 1 else None


def _tells_apart(names: Sequence[str], times: Sequence[str]) -> bool:
    return len(set(zip(names, times, strict=True))) == len(times)


def read_panels(
    table: Table,
    columns: Columns,
    *,
    time_format: str | None,
    time_zone: str | None,
    gaps: Gaps,
    missing: Missing,
) -> tuple[list[Panel], Frequency, Repairs]:
    """Return every series of a table at regular steps, the step, and what had to be mended.

    Raises:
        UserError: names the row of what is out of order, doubled, missing or between two steps.
    """
    values = [table.numbers("data.target", name) for name in columns.values]
    values_ND = np.stack(values, 1)
    values_ND[~np.isfinite(values_ND)] = np.nan
    times = None
    if columns.time is not None:
        times = parse_times(table.texts("data.time", columns.time), table.place, time_format, time_zone)
    panels = [_panel(table, name, rows, times, values_ND) for name, rows in _rows_of_series(table, columns.series)]
    for panel in panels:
        _check_order(panel, columns)
    frequency = Frequency("row")
    if times is not None:
        frequency = infer_frequency([panel.times.index_T for panel in panels if panel.times is not None])
    repairs = Repairs()
    regular = []
    for panel in panels:
        panel, filled, num_gaps = _close_gaps(panel, frequency, gaps)
        panel, num_missing = _mend_values(panel, columns.values, gaps, missing)
        repairs = Repairs(repairs.filled_rows + filled, repairs.missing_values + num_missing, repairs.gaps + num_gaps)
        regular.append(panel)
    return regular, frequency, repairs


def _rows_of_series(table: Table, column: str | None) -> list[tuple[str, np.ndarray]]:
    """Return the names of the series, in the order of their first rows, and the numbers of their rows."""
    if column is None:
        return [("", np.arange(table.num_rows))]
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(table.texts("data.series", column)):
        if not name:
            raise UserError(f"{table.place(row)}: {column} is empty, so that no series has this row; name one")
        rows.setdefault(name, []).append(row)
    return [(name, np.array(its)) for name, its in rows.items()]


def _panel(table: Table, name: str, rows: np.ndarray, times: Times | None, values_ND: np.ndarray) -> Panel:
    its_times = None if times is None else Times(times.index_T[rows], times.local_T[rows])
    return Panel(name, its_times, values_ND[rows], np.ones(len(rows), bool), lambda row: table.place(int(rows[row])))


def _check_order(panel: Panel, columns: Columns) -> None:
    if panel.times is None:
        return
    index_T, local_T = panel.times.index_T, panel.times.local_T
    steps = np.diff(index_T).astype(np.int64)
    if not (steps <= 0).any():
        return
    row = int(np.argmax(steps <= 0)) + 1
    of_series = f" in the series {panel.name}" if panel.name else ""
    fix = "" if columns.series else ", or name the column that tells series apart: data.series=…"
    if steps[row - 1] == 0:
        raise UserError(
            f"{panel.places(row)}: {local_T[row]} comes twice{of_series}, first at {panel.places(row - 1)}; keep one "
            f"of the rows{fix}"
        )
    raise UserError(
        f"{panel.places(row)}: {local_T[row]} comes after {local_T[row - 1]}{of_series}; sort the rows by time{fix}"
    )


def _close_gaps(panel: Panel, frequency: Frequency, gaps: Gaps) -> tuple[Panel, int, int]:
    """Give a panel one row a step; return it, the number of rows that were added, and that of the gaps."""
    if panel.times is None or frequency.unit == "row" or gaps == "ignore":
        return panel, 0, 0
    index_T = panel.times.index_T
    positions_T = frequency.positions(index_T)
    between = np.abs(positions_T - np.round(positions_T)) > ON_STEP
    between[1:] |= np.diff(np.round(positions_T)) < 1
    if between.any():
        row = int(between.argmax())
        raise UserError(
            f"{panel.places(row)}: {panel.times.local_T[row]} lies between two steps of 1 {frequency}, the step of "
            "most rows; correct it, or take rows as steps whenever they are: data.gaps=ignore"
        )
    steps_T = np.round(positions_T).astype(np.int64)
    num_gaps = int((np.diff(steps_T) > 1).sum())
    if not num_gaps:
        return panel, 0, 0
    if gaps == "refuse":
        row = int(np.argmax(np.diff(steps_T) > 1)) + 1
        raise UserError(
            f"{panel.places(row)}: {int(np.diff(steps_T)[row - 1]) - 1} steps of 1 {frequency} are left out before "
            f"{panel.times.local_T[row]}, the first of {num_gaps} gaps; choose data.gaps=forward, interpolate, drop "
            "(no window over a gap) or ignore (rows are steps, as trading days are)"
        )
    total = int(steps_T[-1]) + 1
    if total > MOST_FILLED * len(panel):
        raise UserError(
            f"{panel.places(0)}: steps of 1 {frequency} up to the last row are {total:,}, and only {len(panel):,} rows "
            "are there; correct the times, or set data.gaps=ignore"
        )
    return _with_rows(panel, steps_T, total, frequency), total - len(panel), num_gaps


def _with_rows(panel: Panel, steps_T: np.ndarray, total: int, frequency: Frequency) -> Panel:
    """Return the panel with rows of NaN at the steps that it leaves out."""
    assert panel.times is not None
    values_TD = np.full((total, panel.values_TD.shape[1]), np.nan)
    values_TD[steps_T] = panel.values_TD
    valid_T = np.zeros(total, bool)
    valid_T[steps_T] = True
    index_T = frequency.at(panel.times.index_T[0], np.arange(total))
    # The clock of added rows goes on from the row before: it can be an hour wrong in a gap in which it was changed.
    before_T = np.maximum.accumulate(np.where(valid_T, np.arange(total), 0))
    shift_T = np.zeros(total, "timedelta64[s]")
    shift_T[steps_T] = panel.times.local_T - panel.times.index_T
    origin_T = np.searchsorted(steps_T, before_T)
    return replace(
        panel,
        times=Times(index_T, index_T + shift_T[before_T]),
        values_TD=values_TD,
        valid_T=valid_T,
        places=lambda row: panel.places(int(origin_T[row])),
    )


def _mend_values(panel: Panel, names: Sequence[str], gaps: Gaps, missing: Missing) -> tuple[Panel, int]:
    """Fill or mark what is missing, in rows that were there and in rows that were added, each as chosen."""
    lacks_TD = np.isnan(panel.values_TD)
    own_TD = lacks_TD & panel.valid_T[:, None]
    if own_TD.any() and missing == "refuse":
        row, column = np.argwhere(own_TD)[0].tolist()
        raise UserError(
            f"{panel.places(row)}: {names[column]} is missing or not finite, one of {int(own_TD.sum()):,} such values; "
            "choose data.missing=forward, interpolate or drop (no window over one)"
        )
    if not lacks_TD.any():
        return panel, 0
    values_TD, lacks_after_TD = panel.values_TD.copy(), lacks_TD.copy()
    for way, rows_TD in ((missing, own_TD), (gaps, lacks_TD & ~panel.valid_T[:, None])):
        if way in ("forward", "interpolate"):
            for column in np.flatnonzero(rows_TD.any(0)):
                filled_T = _filled(panel.values_TD[:, column], way)
                values_TD[rows_TD[:, column], column] = filled_T[rows_TD[:, column]]
            lacks_after_TD[rows_TD] = np.isnan(values_TD[rows_TD])
    valid_T = ~lacks_after_TD.any(1)
    for column in np.flatnonzero(lacks_after_TD.any(0)):
        # No window reaches these, but a simple method may look back to one, and a NaN would spread through sums.
        known_T = np.nan_to_num(_filled(panel.values_TD[:, column], "forward"))
        values_TD[lacks_after_TD[:, column], column] = known_T[lacks_after_TD[:, column]]
    return replace(panel, values_TD=values_TD, valid_T=valid_T), int(own_TD.sum())


def _filled(values_T: np.ndarray, way: str) -> np.ndarray:
    """Fill NaN by the last value before, or by a line between its neighbours; before the first value it stays."""
    known = np.flatnonzero(~np.isnan(values_T))
    if not len(known):
        return values_T
    rows = np.arange(len(values_T))
    if way == "interpolate":
        filled = np.interp(rows, known, values_T[known])
    else:
        filled = values_T[known[np.maximum(np.searchsorted(known, rows, side="right") - 1, 0)]]
    filled[: known[0]] = np.nan
    return filled


def channels_of(panel: Panel, targets: list[str]) -> list[Panel]:
    """Return each target as a series of its own, with all observed columns."""
    observed_TO = panel.values_TD[:, len(targets) :]
    return [
        Panel(
            f"{panel.name}/{target}".lstrip("/"),
            panel.times,
            np.concatenate([panel.values_TD[:, column : column + 1], observed_TO], 1),
            panel.valid_T,
            panel.places,
        )
        for column, target in enumerate(targets)
    ]
