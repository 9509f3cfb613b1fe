"""`rnntrain eval`: how good a run's best weights are, on a split of its data or on files that it has never seen."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnntrain.errors import DONE, UserError
from rnntrain.verbs.parsing import Parser, parse, require_run
from rnntrain.verbs.predicting import paths_and_overrides

if TYPE_CHECKING:
    from rnntrain.metrics import Table

MOST_RESAMPLINGS = 100_000


def evaluate(arguments: list[str]) -> int:
    parser = Parser(
        prog="rnntrain eval",
        description="Evaluate the best weights of a run on one of its splits, or on labelled files of the same kind.",
    )
    parser.add_argument("run", type=Path, help="the folder of a run or a bundle")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="FILE|key=value",
        help="labelled files that the run has never seen; and how to read them, device, threads or data.path",
    )
    parser.add_argument("--split", choices=["val", "test", "train"], help="val is the default")
    parser.add_argument(
        "--bootstrap", type=int, metavar="N", help="95 %% intervals over N resamplings of the rows; 1000 is usual"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the resamplings (0)")
    parser.add_argument("--detail", action="store_true", help="also by class, by step of the horizon and by length")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parse(parser, arguments)
    require_run(options.run)
    if options.bootstrap is not None and not 1 <= options.bootstrap <= MOST_RESAMPLINGS:
        raise UserError(f"--bootstrap {options.bootstrap}: give 1 to {MOST_RESAMPLINGS:,} resamplings, such as 1000")
    if options.seed < 0:
        raise UserError(f"--seed {options.seed}: must be at least 0")
    files, overrides = paths_and_overrides(options.words)

    from rnntrain import using

    each_row = bool(options.bootstrap or options.detail)
    if files:
        judgement = using.judge_files(options.run, files, overrides, options.split, progress=True)
    else:
        split = options.split or "val"
        judgement = using.judge_split(options.run, split, overrides, each_row=each_row, progress=True)
    intervals = judgement.intervals(options.bootstrap, options.seed) if options.bootstrap else {}
    tables = judgement.tables() if options.detail else {}
    if options.json:
        shown: dict[str, Any] = {name: _plain(value) for name, value in judgement.metrics.items()}
        shown |= {"intervals": intervals} if options.bootstrap else {}
        shown |= {"tables": tables} if options.detail else {}
        print(json.dumps(shown))
    else:
        print("\n".join([*_metric_lines(judgement.metrics, intervals), *_table_lines(tables)]))
    return DONE


def _plain(value: float) -> float | str:
    """Return a number as JSON can hold it."""
    return value if math.isfinite(value) else str(value)


def _metric_lines(metrics: dict[str, float], intervals: dict[str, tuple[float, float]]) -> list[str]:
    width = max(map(len, metrics))
    lines = []
    for name, value in metrics.items():
        line = f"{name:<{width}}  {value:.6f}"
        if name in intervals:
            low, high = intervals[name]
            line += f"  [{low:.6f}, {high:.6f}]"
        lines.append(line)
    return lines


def _table_lines(tables: dict[str, Table]) -> list[str]:
    lines: list[str] = []
    for title, table in tables.items():
        columns = list(dict.fromkeys(column for row in table.values() for column in row))
        width = max(len(title), *map(len, table))
        heads = [max(len(column), 10) for column in columns]
        pairs = zip(columns, heads, strict=True)
        lines += ["", "  ".join([f"{title:<{width}}", *(f"{column:>{head}}" for column, head in pairs)])]
        for name, row in table.items():
            cells = (f"{_cell(row.get(column)):>{head}}" for column, head in zip(columns, heads, strict=True))
            lines.append("  ".join([f"{name:<{width}}", *cells]).rstrip())
    return lines


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) > 1 else f"{value:.4f}"
