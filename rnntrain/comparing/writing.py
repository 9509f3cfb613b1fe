"""Write a leaderboard: for a terminal, as Markdown, as CSV for spreadsheets, as JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Container, Sequence
from typing import Any

from rnntrain.comparing.groups import MISSING, shown_value
from rnntrain.comparing.leaderboard import Leaderboard, Row, plain
from rnntrain.comparing.significance import FEWEST_RUNS
from rnntrain.spreadsheet import safe_cell

MOST_ROWS = 40  # on a terminal


def to_text(board: Leaderboard, most_rows: int = MOST_ROWS) -> list[str]:
    """Return the lines of a table for a terminal, and what to make of it."""
    header, rows = _table(board)
    shown = rows[:most_rows]
    lines = aligned([header, *shown], left=(1, len(header) - 1))
    if len(rows) > most_rows:
        lines.append(f"… and {len(rows) - most_rows} more")
    return [*lines, *_notes(board)]


def to_markdown(board: Leaderboard) -> str:
    """Return a table that Markdown renders."""
    header, rows = _table(board)
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in (header, *rows)]
    rule = ["---:" if place != 1 else "---" for place in range(len(header))]
    lines = [f"| {' | '.join(line)} |" for line in (escaped[0], rule, *escaped[1:])]
    return "\n".join([*lines, "", *_notes(board), ""])


def to_csv(board: Leaderboard) -> str:
    """Return one line a group: its rank, what differs, and the numbers of each metric."""
    numbers = ("runs", "mean", "deviation", "median", "best", "worst")
    names = [f"{metric} {number}" for metric in board.metrics for number in numbers]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ["rank", *map(safe_cell, board.keys), "finished", "unfinished", *map(safe_cell, names), "verdict", "paths"]
    )
    for row in board.rows:
        values = [
            _cell(getattr(row.statistics[metric], number)) if metric in row.statistics else ""
            for metric in board.metrics
            for number in numbers
        ]
        differs = [_cell(row.group.config.get(key, MISSING)) for key in board.keys]
        paths = safe_cell(" ".join(str(run.path) for run in row.group.runs))
        finished = row.group.count("finished")
        writer.writerow([row.rank or "", *differs, finished, row.unfinished(), *values, row.verdict(), paths])
    return file.getvalue()


def to_json(board: Leaderboard) -> str:
    """Return everything, every run included."""
    return json.dumps(plain(board), indent=2, allow_nan=False, default=str) + "\n"


def number(value: float) -> str:
    """Return a number with four digits that count, a whole one with all that it has."""
    size = abs(value)
    if math.isnan(value):
        return ""
    if 1000 <= size < 1e9 or (100 <= size < 1000 and value.is_integer()):
        return f"{value:,.0f}"
    return f"{value:#.4g}" if 1e-4 <= size < 1000 or value == 0 else f"{value:.3e}"


def _table(board: Leaderboard) -> tuple[list[str], list[list[str]]]:
    metric, *others = board.metrics
    sense = "higher is better" if board.larger_is_better else "lower is better"
    header = ["", f"by {metric}, {sense}", "runs", "mean", "sd", "worst", *others, "against the best", ""]
    rows = [_cells(row, board) for row in board.rows]
    kept = [place for place in range(len(header)) if place < 2 or any(row[place] for row in rows)]
    return [header[place] for place in kept], [[row[place] for place in kept] for row in rows]


def _cells(row: Row, board: Leaderboard) -> list[str]:
    metric, *others = board.metrics
    first = row.statistics.get(metric)
    against = row.versus_best
    interval = ""
    if against is not None:
        half = "" if math.isnan(against.half_width) else f" ± {against.half_width:.2g}"
        interval = f"{against.mean:+.3g}{half}"
    measured = [number(first.mean), number(first.deviation), number(first.worst)] if first else ["", "", ""]
    runs = str(row.group.count("finished")) + (f" ({row.unfinished()})" if row.unfinished() else "")
    more = [number(row.statistics[other].mean) if other in row.statistics else "" for other in others]
    verdict = row.verdict() if _some_told(board) else ""
    return [str(row.rank or "-"), row.group.label, runs, *measured, *more, interval, verdict]


def _some_told(board: Leaderboard) -> bool:
    return any(row.versus_best is not None and not row.versus_best.too_few for row in board.rows)


def _notes(board: Leaderboard) -> list[str]:
    """Return what the words of the table mean, where they stand in it."""
    lines = []
    judged = [row.versus_best for row in board.rows if row.versus_best is not None and not row.versus_best.too_few]
    if not judged and sum(row.rank is not None for row in board.rows) > 1:
        lines.append(f"Too few runs to tell any of them apart: that takes {FEWEST_RUNS} seeds of each.")
    elif judged:
        paired = sum(each.method == "paired" for each in judged)
        how = "paired over common seeds" if paired == len(judged) else "Welch's" if paired == 0 else "paired or Welch's"
        lines.append(
            f"± is a 95 % interval of the difference; worse: t-test ({how}) at 5 % over all rows at once (Holm)."
        )
    if len(board.rows) > 1 and board.best is not None:
        lines.append("The best of several is flattered by chance: repeat it with new seeds before you report it.")
    return ["", *lines] if lines else []


def aligned(rows: Sequence[Sequence[str]], left: Container[int]) -> list[str]:
    """Return rows of cells as lines of columns; the places in `left` are flush left, all others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return safe_cell(shown_value("", value))
