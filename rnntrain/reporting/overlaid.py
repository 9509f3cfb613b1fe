"""Curves of many runs on one another: the mean of each configuration over its seeds, and the span of these."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rnntrain.comparing.leaderboard import Leaderboard
from rnntrain.comparing.records import RunRecord
from rnntrain.reporting.charts import COLOURS, Line, line_chart
from rnntrain.reporting.html import Html, element

MOST_FAINT = 40  # curves behind the best configurations


def overlaid_charts(board: Leaderboard, metric: str) -> list[Html]:
    """Return charts of what is judged, of the losses and of the learning rate, the best configurations named."""
    watched = "val/" + metric.partition("/")[2]
    names = dict.fromkeys((watched, "val/loss", "train/loss", "train/grad_norm", "cost/units_per_second"))
    charts = [chart for name in names if (chart := _chart(board, name)) is not None]
    if not charts:
        return []
    note = None
    if any(len(row.group.runs) > 1 for row in board.rows[:COLOURS]):
        note = element("p", "Lines are means over seeds, bands go from the least to the largest.", class_="note")
    return [*([note] if note else []), element("div", *charts, class_="grid")]


def mean_curve(runs: Sequence[RunRecord], name: str) -> tuple[list[tuple[int, float]], list[tuple[int, float, float]]]:
    """Return mean, and least and largest, at the steps that all runs with the curve have."""
    curves = [dict(run.curves[name]) for run in runs if name in run.curves]
    if not curves:
        return [], []
    steps = sorted(set(curves[0]).intersection(*curves[1:]))
    values = [[curve[step] for curve in curves] for step in steps]
    known = [(step, each) for step, each in zip(steps, values, strict=True) if all(map(math.isfinite, each))]
    mean = [(step, math.fsum(each) / len(each)) for step, each in known]
    return mean, [(step, min(each), max(each)) for step, each in known] if len(curves) > 1 else []


def _chart(board: Leaderboard, name: str) -> Html | None:
    named, others = board.rows[:COLOURS], board.rows[COLOURS:]
    faint = [run for row in others for run in row.group.runs if name in run.curves][:MOST_FAINT]
    lines = [Line(run.name, run.curves[name], None) for run in faint]
    for style, row in reversed(list(enumerate(named))):  # the best on top
        mean, band = mean_curve(row.group.runs, name)
        lines.append(Line(row.group.label, mean, style, smooth=name.startswith("train/"), band=band))
    return line_chart(name, lines)
