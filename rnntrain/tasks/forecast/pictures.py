"""Pictures of forecasts: over their history with a band, their error by step, their coverage."""

# T time of the window, S steps of the horizon

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnntrain.watching.pictures import COLOURS, STYLE, new_figure

MOST_HISTORY = 4  # times the horizon, of which the rest of a long window is not drawn


@dataclass(frozen=True)
class Shown:
    """One forecast beside what came, in measured units.

    Attributes:
        low_S: lower end of the band; None where there is none.
    """

    title: str
    history_T: np.ndarray
    truth_S: np.ndarray
    forecast_S: np.ndarray
    low_S: np.ndarray | None = None
    high_S: np.ndarray | None = None
    band: str = ""


def forecasts(shown: Sequence[Shown]) -> Figure:
    """Draw each forecast after its history, and what came."""
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    figure = new_figure(4.5 * columns, 2.6 * rows)
    with matplotlib.rc_context(STYLE):
        grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(shown) :]:
        axes.set_axis_off()
    for axes, each in zip(grid.flat, shown, strict=False):
        steps_S = np.arange(1, len(each.truth_S) + 1)
        history_T = each.history_T[-max(MOST_HISTORY * len(steps_S), 12) :]
        axes.plot(np.arange(1 - len(history_T), 1), history_T, color=COLOURS[6], linewidth=1.0, label="history")
        style = "o" if len(steps_S) == 1 else "-"
        axes.plot(steps_S, each.truth_S, style, color=COLOURS[0], label="came")
        axes.plot(steps_S, each.forecast_S, "x" if len(steps_S) == 1 else "--", color=COLOURS[1], label="forecast")
        if each.low_S is not None and each.high_S is not None:
            if len(steps_S) == 1:
                axes.vlines(steps_S, each.low_S, each.high_S, color=COLOURS[1], alpha=0.4, linewidth=6, label=each.band)
            else:
                axes.fill_between(
                    steps_S, each.low_S, each.high_S, color=COLOURS[1], alpha=0.2, linewidth=0, label=each.band
                )
        axes.set_title(each.title)
    for axes in grid[-1]:
        axes.set_xlabel("steps after the last value that was known")
    legend_below(figure, grid[0, 0])
    return figure


def legend_below(figure: Figure, axes: Axes) -> None:
    """Name the lines of one panel for all of them, below the panels, where it covers no line."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)


def error_by_step(errors_S: Sequence[float], naive_S: Sequence[float]) -> Figure:
    """Draw the mean absolute error of each step of the horizon, and that of the last value."""
    figure = new_figure()
    with matplotlib.rc_context(STYLE):
        axes = figure.subplots()
    steps_S = range(1, len(errors_S) + 1)
    axes.plot(steps_S, errors_S, label="this model")
    axes.plot(steps_S, naive_S, "--", label="last value")
    axes.set_xlabel("step of the horizon")
    axes.set_ylabel("mean absolute error")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return figure


def coverage(levels: Sequence[float], shares: Sequence[float]) -> Figure:
    """Draw how often a value lay below each quantile, against how often it should."""
    figure = new_figure(4.0, 4.0)
    with matplotlib.rc_context(STYLE):
        axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=COLOURS[6], linewidth=0.8, label="as it should be")
    axes.plot(levels, shares, "o-", color=COLOURS[1], label="this model")
    axes.set_xlabel("level of the quantile")
    axes.set_ylabel("share of values below it")
    axes.legend(frameon=False)
    return figure
