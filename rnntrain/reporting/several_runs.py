"""The report of several runs: a leaderboard over seeds, curves on one another, and which key matters."""

from __future__ import annotations

from collections.abc import Sequence

from rnntrain.comparing.groups import choose_metric, group, short_names, shown_value
from rnntrain.comparing.leaderboard import Leaderboard, Row, rank
from rnntrain.comparing.records import RunRecord, finite
from rnntrain.reporting import setup
from rnntrain.reporting.charts import bars, grid, scatter, strip
from rnntrain.reporting.details import details_of_runs
from rnntrain.reporting.html import Child, Html, cell, element, number_text, section, table
from rnntrain.reporting.overlaid import overlaid_charts
from rnntrain.reporting.page import document, smoothing_slider
from rnntrain.reporting.result import baselines_of, judged_by
from rnntrain.reporting.scales import Scale, scale_of

MOST_KEYS = 6  # that have a column of their own
MOST_BARS = 12


def several_runs(records: Sequence[RunRecord], metric: str | None) -> str:
    """Return the page of several runs, as HTML.

    Args:
        metric: what they are ordered by; by default what most of them are told by, on test where they have it.

    Raises:
        UserError: no run has the metric.
    """
    metric = choose_metric(records, metric) if metric is not None else _usual_metric(records)
    board = rank(group(records), [metric])
    sense = "more is better" if board.larger_is_better else "less is better"
    parts = {
        "leaderboard": section(
            "Leaderboard",
            _bars(board, records),
            leaderboard_table(board),
            identity="leaderboard",
            note=f"By the mean of {metric} over seeds ({sense}). Runs that differ in their seed alone are one row; the "
            "deviation is that of a sample. A heading sorts by its column.",
        ),
        "curves": section("Curves", smoothing_slider(), *overlaid_charts(board, metric), identity="curves"),
        "keys": section("Which key matters", *_keys(board), identity="keys"),
        "runs": section("All runs", runs_table(records, metric), identity="runs"),
        "each": section("Each run", details_of_runs(board), identity="each"),
        "shared": section("What the runs share", _shared(records), identity="shared"),
    }
    names = {"keys": "Which key matters", "runs": "All runs", "each": "Each run", "shared": "What the runs share"}
    contents = [(key, names.get(key, key.capitalize())) for key, part in parts.items() if part is not None]
    title = f"{len(records)} runs, {len(board.rows)} configurations"
    return document(title, [_facts(board, records)], list(parts.values()), contents)


def leaderboard_table(board: Leaderboard) -> Html:
    """Return one row a configuration, to be sorted by any column."""
    metric = board.metrics[0]
    keys = board.keys if len(board.keys) <= MOST_KEYS else []
    names = short_names(keys)
    values = [value for row in board.rows for value in row.group.values(metric).values()]
    scale = scale_of(values, 6, 144, log=False)
    head = [
        "rank",
        *([names[key] for key in keys] or ["configuration"]),
        "seeds",
        "mean",
        "±",
        "median",
        "worst",
        "best",
    ]
    rows = [_board_row(row, metric, keys, scale) for row in board.rows]
    caption = f"{metric} by configuration"
    return table([*head, "each seed", "beside the first"], rows, caption=caption, class_="sortable")


def runs_table(records: Sequence[RunRecord], metric: str) -> Html:
    """Return one row a run, to be sorted by any column."""
    others = [name for name in ("test/loss", "val/loss") if name != metric and any(name in r.metrics for r in records)]
    head = ["run", "seed", "status", metric, *others, "steps", "best at", "minutes"]
    rows = [[record.name, *_run_cells(record, [metric, *others])] for record in records]
    return table(head, rows, caption="Every run", class_="sortable")


def _board_row(row: Row, metric: str, keys: Sequence[str], scale: Scale) -> list[Child]:
    told: list[Child] = [shown_value(key, row.group.config.get(key, "–")) for key in keys] or [row.group.label]
    place = str(row.rank) if row.rank is not None else "–"
    numbers = row.statistics.get(metric)
    if numbers is None:
        return [place, *told, cell("0", 0.0), *(cell("–") for _ in range(5)), "", row.unfinished()]
    shown = (numbers.mean, numbers.deviation, numbers.median, numbers.worst, numbers.best)
    marks = strip(list(row.group.values(metric).values()), scale)
    remark = ", ".join(filter(None, (row.verdict(), row.unfinished())))
    digits = (4, 2, 4, 4, 4)  # of a deviation over a few seeds no more than two say anything
    cells = [cell(number_text(v if finite(v) else None, d), v) for v, d in zip(shown, digits, strict=True)]
    return [place, *told, cell(str(numbers.runs), numbers.runs), *cells, marks, remark]


def _run_cells(record: RunRecord, metrics: Sequence[str]) -> list[Child]:
    values = [record.metrics.get(name) for name in metrics]
    costs = [record.summary.get(name) for name in ("step", "best/step", "minutes")]
    numbers = [float(value) if isinstance(value, (int, float)) else None for value in (*values, *costs)]
    status = record.status if record.finished or not record.reason else f"{record.status} ({record.reason})"
    shown = [cell(number_text(value), value) for value in numbers[:-1]]
    last = numbers[-1]
    return [str(record.seed), status, *shown, cell("–" if last is None else f"{last:.2f}", last)]


def _usual_metric(records: Sequence[RunRecord]) -> str:
    told = [name for record in records if record.finished and (name := judged_by(record)) is not None]
    return max(dict.fromkeys(told), key=told.count) if told else choose_metric(records, None)


def _bars(board: Leaderboard, records: Sequence[RunRecord]) -> Html | None:
    metric = board.metrics[0]
    reached = [
        (row.group.label, row.statistics[metric].mean) for row in board.rows[:MOST_BARS] if metric in row.statistics
    ]
    simple: dict[str, float] = {}
    for record in records:
        for method, values in baselines_of(record).items():
            if metric in values:
                simple.setdefault(method, values[metric])
    return bars(f"{metric}, mean over seeds", [*reached, *simple.items()]) if reached and simple else None


def _facts(board: Leaderboard, records: Sequence[RunRecord]) -> Html:
    metric, best = board.metrics[0], board.best
    finished = sum(record.finished for record in records)
    minutes = sum(float(m) for record in records if isinstance(m := record.summary.get("minutes"), (int, float)))
    pairs = [("runs", str(len(records)), f"{finished} finished"), ("configurations", str(len(board.rows)), "")]
    if best is not None:
        numbers = best.statistics[metric]
        spread = f"±\u00a0{number_text(numbers.deviation, 2)}" if finite(numbers.deviation) else "one seed"
        pairs.append((f"best {metric}", number_text(numbers.mean), f"{spread}, {best.group.label}"))
    pairs.append(("time in all", f"{minutes:.1f} min", ""))
    items = (
        element("div", element("dt", label), element("dd", value, element("small", f" {more}") if more else None))
        for label, value, more in pairs
    )
    return element("dl", *items, class_="facts")


def _keys(board: Leaderboard) -> list[Html | None]:
    """Return what a sweep is read by: the share of each key, and the metric along each of them."""
    if len(board.keys) == 0:
        return []
    from rnntrain.comparing.importance import importances
    from rnntrain.comparing.pictures import columns_of

    columns, values_G = columns_of(board)
    if not columns or len(values_G) < 3:
        return []
    shares = importances(columns, values_G, larger_is_better=board.larger_is_better)
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    figures = [
        scatter(
            column.label,
            list(zip(map(float, column.places_G), map(float, values_G), strict=True)),
            names=column.names,
            y_label=board.metrics[0],
            log_x=column.log,
            best=0,
        )
        for column in columns
    ]
    told = element(
        "p", f"{board.metrics[0]} along each key, a mark for each configuration; the square is the best.", class_="note"
    )
    return [
        bars(f"Importance over {len(values_G)} points (PED-ANOVA)", ordered) if ordered else None,
        told,
        grid(figures),
    ]


def _shared(records: Sequence[RunRecord]) -> Html:
    first, *others = (record.config for record in records)
    shared = {
        key: value
        for key, value in first.items()
        if all(key in other and other[key] == value for other in others) and not key.startswith("run.")
    }
    usual = {key: value for key, value in setup.defaults().items() if key in shared}
    return setup.config_tables(shared, usual, "all of them")
