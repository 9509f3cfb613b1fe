"""Figures of one look, drawn without a screen: readable in print and by people who cannot tell red from green."""

# C classes; imports matplotlib, so only whoever draws imports this

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Eight colours that stay apart in every common form of colour blindness (Okabe and Ito 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MOST_NAMED_CLASSES = 30  # beyond that, names and counts would cover each other
LONGEST_UPRIGHT = 5  # characters of a name that stands upright below its column
STYLE: dict[Any, Any] = {
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.size": 9.0,
    "legend.frameon": False,
}


def new_figure(width_inches: float = 6.4, height_inches: float = 4.0) -> Figure:
    """Return an empty figure in the common style; draw it with `figure.subplots()` and methods of its axes."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
        FigureCanvasAgg(figure)
    return figure


def pixels(figure: Figure) -> np.ndarray:
    """Return the figure as an image: ``[height, width, 3]`` in bytes."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def confusion_matrix(counts_CC: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw how often each class (a row) was taken for each other (a column); shades are shares of a row."""
    longest = len(f"{int(counts_CC.max(initial=0)):,}")
    size = min(2.0 + max(0.45, 0.09 * longest) * len(names), 12.0)
    figure = new_figure(size + 1.0, size)
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        axes = figure.subplots()
    shares_CC = counts_CC / np.maximum(counts_CC.sum(1, keepdims=True), 1)
    # What never happened is white as the paper is, not the faintest blue.
    shades = matplotlib.colormaps["Blues"].with_extremes(under="white")
    image = axes.imshow(shares_CC, cmap=shades, vmin=float(np.finfo(np.float32).tiny), vmax=1.0)
    figure.colorbar(image, ax=axes, label="share of the true class")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(names) <= MOST_NAMED_CLASSES:
        slants = max(map(len, names), default=0) > LONGEST_UPRIGHT
        axes.set_xticks(range(len(names)), names, rotation=45 if slants else 0, ha="right" if slants else "center")
        axes.set_yticks(range(len(names)), names)
        for (row, column), count in np.ndenumerate(counts_CC):
            if count:
                colour = "white" if shares_CC[row, column] > 0.5 else "black"
                axes.text(column, row, f"{int(count):,}", ha="center", va="center", color=colour)
    return figure


def gradients_by_lag(norms_LK: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw the norm of a gradient `k` steps back, as a curve for each layer and as a heat map, in logarithms."""
    figure = new_figure(6.4, 5.0)
    with matplotlib.rc_context(STYLE):
        above, below = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    shares_LK = norms_LK / np.maximum(norms_LK.max(1, keepdims=True), np.finfo(np.float32).tiny)
    floor = max(float(shares_LK[shares_LK > 0].min(initial=1.0)), 1e-12)
    shares_LK = np.maximum(shares_LK, floor)
    for shares_K, name in zip(shares_LK, names, strict=True):
        above.semilogy(shares_K, label=name)
    above.axhline(0.01, color="black", linewidth=0.8, linestyle="--", label="1 %")
    above.set_ylabel("gradient by the state,\nas a share of the largest")
    above.legend()
    image = below.imshow(np.log10(shares_LK), aspect="auto", cmap="cividis", vmax=0.0, interpolation="nearest")
    below.set_yticks(range(len(names)), names)
    below.grid(False)
    below.set_xlabel("lag: steps back from the loss")
    figure.colorbar(image, ax=below, label="log10")
    return figure
