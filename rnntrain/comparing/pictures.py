"""Pictures of a leaderboard: which key matters, how the metric lies along each key, and all keys at once."""

# K keys, G groups; imports matplotlib, so only whoever draws imports this

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np

from rnntrain.checkpoints import durable
from rnntrain.comparing.front import front, front_picture
from rnntrain.comparing.groups import MISSING, short_names, shown_value
from rnntrain.comparing.importance import importances
from rnntrain.comparing.leaderboard import Leaderboard
from rnntrain.errors import UserError
from rnntrain.watching.pictures import COLOURS, STYLE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_KEYS = 12  # more would leave no room for any
LOG_RATIO = 20.0  # between the ends of a key, from which it is drawn in logarithms


@dataclass(frozen=True)
class Column:
    """The values of one key over the groups that have a value of the metric.

    Attributes:
        places_G: where each value lies: itself, or the number of its name.
        names: of the places, where they are no numbers.
    """

    key: str
    label: str
    places_G: np.ndarray
    names: list[str]
    log: bool

    @property
    def unit_G(self) -> np.ndarray:
        """The places between 0 and 1."""
        places = np.log(self.places_G) if self.log else self.places_G
        low, high = places.min(), places.max()
        return (places - low) / (high - low) if high > low else np.full_like(places, 0.5)


def draw_all(board: Leaderboard, folder: Path) -> list[Path]:
    """Draw what a leaderboard allows into `folder`; return the files.

    Raises:
        UserError: the groups differ in nothing that can be drawn, or the folder cannot be written.
    """
    columns, values_G = columns_of(board)
    if not columns or len(values_G) < 2:
        raise UserError(f"--pictures {folder}: takes two finished groups that differ in something; compare more runs")
    with durable.one_line(folder):
        folder.mkdir(parents=True, exist_ok=True)
        figures = {"slices": slices(board, columns, values_G), "coordinates": coordinates(board, columns, values_G)}
        if len(board.metrics) > 1 and (rows := front(board)):
            figures["front"] = front_picture(board, rows)
        shares = importances(columns, values_G, larger_is_better=board.larger_is_better)
        if shares:
            figures["importances"] = importance_bars(shares, len(values_G))
        paths = []
        for name, figure in figures.items():
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1], dpi=120)
    return paths


def columns_of(board: Leaderboard) -> tuple[list[Column], np.ndarray]:
    """Return the keys that differ, and the means of the first metric, over the groups that have one."""
    rows = [row for row in board.rows if board.metrics[0] in row.statistics]
    labels = short_names(board.keys)
    columns = []
    for key in board.keys[:MOST_KEYS]:
        values = [row.group.config.get(key, MISSING) for row in rows]
        if len({repr(value) for value in values}) > 1:
            columns.append(_column(key, labels[key], values))
    return columns, np.array([row.statistics[board.metrics[0]].mean for row in rows])


def _column(key: str, label: str, values: list[Any]) -> Column:
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        places_G = np.array(values, dtype=float)
        return Column(key, label, places_G, [], is_log(places_G))
    names = sorted({shown_value(key, value) for value in values})
    places = [float(names.index(shown_value(key, value))) for value in values]
    return Column(key, label, np.array(places), names, False)


def slices(board: Leaderboard, columns: list[Column], values_G: np.ndarray) -> Figure:
    """Draw the metric along each key; one point a group, the best one filled."""
    across = min(len(columns), 4)
    down = math.ceil(len(columns) / across)
    figure = new_figure(2.6 * across + 0.6, 2.6 * down)
    with matplotlib.rc_context(STYLE):
        panels = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    for column, axes in zip(columns, panels, strict=False):
        axes.scatter(column.places_G, values_G, s=18, facecolors="none", edgecolors=COLOURS[0])
        axes.scatter(column.places_G[:1], values_G[:1], s=28, color=COLOURS[1], zorder=3, label="the best")
        axes.set_xlabel(column.label)
        axes.locator_params(axis="x", nbins=5)
        _scale(axes, column, values_G)
    for axes in panels[len(columns) :]:
        axes.set_visible(False)
    for axes in panels[: len(columns) : across]:
        axes.set_ylabel(board.metrics[0])
    panels[0].legend(fontsize=8, frameon=False)
    return figure


def _scale(axes: Axes, column: Column, values_G: np.ndarray) -> None:
    if column.log:
        axes.set_xscale("log")
    if column.names:
        axes.set_xticks(range(len(column.names)), column.names, rotation=30, ha="right")
    if is_log(values_G):
        axes.set_yscale("log")


def coordinates(board: Leaderboard, columns: list[Column], values_G: np.ndarray) -> Figure:
    """Draw each group as a line through all keys; darker is better, and the best is in another colour."""
    last = Column(board.metrics[0], board.metrics[0], values_G, [], is_log(values_G))
    every = [*columns, last]
    figure = new_figure(max(4.0, 1.7 * len(every)), 3.6)
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        axes = figure.subplots()
    heights_KG = np.stack([column.unit_G for column in every])
    order_G = np.argsort(np.argsort(-values_G if board.larger_is_better else values_G))
    shares_G = order_G / max(1, len(values_G) - 1)
    for group in reversed(range(len(values_G))):  # the best comes last, on top
        best = group == 0
        colour = COLOURS[1] if best else matplotlib.colormaps["Blues_r"](0.1 + 0.65 * float(shares_G[group]))
        axes.plot(heights_KG[:, group], color=colour, linewidth=2.2 if best else 0.9)
    white = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
    for place, column in enumerate(every):
        axes.plot([place, place], [0.0, 1.0], color="black", linewidth=0.8)
        for height, text in _ticks(column):
            end = {0.0: (-0.03, "top"), 1.0: (1.03, "bottom")}.get(height)
            if end is None or column.names:
                axes.text(place + 0.03, height, text, fontsize=7.5, va="center", bbox=white, zorder=4)
            else:
                axes.text(place, end[0], text, fontsize=7.5, va=end[1], ha="center")
    labels = [column.label + (" (log)" if column.log else "") for column in every]
    many = max(map(len, labels)) > 18
    axes.set_xticks(range(len(every)), labels, rotation=15 if many else 0, ha="right" if many else "center")
    axes.tick_params(axis="x", length=0, pad=10)
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_xlim(-0.3, len(every) - 0.5)
    axes.set_ylim(-0.06, 1.1)
    axes.set_title(f"{len(values_G)} points; the best by {board.metrics[0]} in orange, darker is better", fontsize=8.5)
    return figure


def is_log(values: Sequence[float] | np.ndarray) -> bool:
    """Say whether values lie so far apart that they are drawn in logarithms."""
    return bool(min(values) > 0 and max(values) / min(values) >= LOG_RATIO)


def _ticks(column: Column) -> list[tuple[float, str]]:
    """Return heights and texts along one key: all names, or both ends."""
    places_G, heights_G = column.places_G, column.unit_G
    if column.names:
        return [(float(heights_G[places_G == place][0]), column.names[int(place)]) for place in np.unique(places_G)]
    return [(0.0, f"{places_G.min():.3g}"), (1.0, f"{places_G.max():.3g}")]


def importance_bars(shares: dict[str, float], number: int) -> Figure:
    """Draw the share of each key in what parts good points from the others."""
    figure = new_figure(5.0, 0.8 + 0.35 * len(shares))
    with matplotlib.rc_context(STYLE):
        axes = figure.subplots()
    names = sorted(shares, key=lambda name: shares[name])
    axes.barh(names, [shares[name] for name in names], color=COLOURS[0])
    axes.set_xlabel(f"importance (PED-ANOVA over {number} points)")
    return figure
