"""Forecasts drawn after their history, each target in a panel of its own."""

# T time, S steps

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from rnntrain.data.forecast.time_index import Frequency
from rnntrain.predicting.history import History
from rnntrain.predicting.predictor import Record
from rnntrain.tasks.forecast.pictures import legend_below
from rnntrain.watching.pictures import COLOURS, STYLE, new_figure

MOST_PANELS = 12
MOST_HISTORY = 4  # times the horizon that are drawn before it
LEAST_HISTORY = 24


def draw_forecasts(
    pairs: Sequence[tuple[History, Record]], targets: Sequence[str], trained: int, frequency: Frequency
) -> Figure:
    """Draw forecasts in measured units, with their bands and dates; no more than `MOST_PANELS`.

    Args:
        pairs: whole histories, and the record of the forecast of each.
        trained: steps that the model was trained to forecast; where a forecast goes on beyond, a line marks it.
    """
    panels = [(history, record, place) for history, record in pairs for place in range(len(targets))][:MOST_PANELS]
    columns = 1 if len(panels) == 1 else 2
    rows = -(-len(panels) // columns)
    figure = new_figure(4.8 * columns + 1.2 * (columns == 1), 2.8 * rows)
    with matplotlib.rc_context(STYLE):
        grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (history, record, place) in zip(grid.flat, panels, strict=False):
        _panel(axes, history, record, targets[place], place, frequency)
        steps = len(record["dates"])
        if steps > trained:
            at = _places(history, steps, frequency)[1][trained - 1]
            axes.axvline(at, color=COLOURS[6], linewidth=0.8, linestyle=":", label="trained horizon")
    legend_below(figure, grid[0, 0])
    return figure


def _panel(axes: Any, history: History, record: Record, target: str, place: int, frequency: Frequency) -> None:
    told = record["targets"][target]
    steps = len(told["forecast"])
    recent = history.last(max(MOST_HISTORY * steps, LEAST_HISTORY))
    past_T, coming_S = _places(recent, steps, frequency)
    axes.plot(past_T, recent.values_TD[:, place], color=COLOURS[6], linewidth=1.0, label="history")
    axes.plot(coming_S, told["forecast"], "o-" if steps == 1 else "--", color=COLOURS[1], label="forecast")
    if "lower" in told:
        share = f"{100 * record['band']:.3g} % band"
        axes.fill_between(coming_S, told["lower"], told["upper"], color=COLOURS[1], alpha=0.2, linewidth=0, label=share)
    axes.set_title(" ".join(part for part in (record["series"], target) if part))
    if history.times is not None:
        axes.tick_params(axis="x", labelrotation=25, labelsize=7)


def _places(history: History, steps: int, frequency: Frequency) -> tuple[np.ndarray, np.ndarray]:
    """Return where the rows of a history and those to come stand on the axis: their times, or their numbers."""
    coming = history.coming(steps, frequency)
    if history.times is None or coming is None:
        end = history.before + len(history)
        return np.arange(history.before + 1, end + 1), np.arange(end + 1, end + 1 + steps)
    return history.times.local_T, coming.local_T
