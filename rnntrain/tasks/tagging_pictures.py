"""Pictures of a tagger's results."""

# C classes

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
from matplotlib.figure import Figure

from rnntrain.watching.pictures import COLOURS, STYLE, new_figure


def f1_bars(f1: Mapping[str, float], counts: Mapping[str, int]) -> Figure:
    """Draw the F1 of each type as a bar, with the number of true spans beside its name, the best on top."""
    names = sorted(f1, key=lambda name: (f1[name], name))
    figure = new_figure(6.4, 1.2 + 0.32 * len(names))
    with matplotlib.rc_context({**STYLE, "axes.grid.axis": "x"}):
        axes = figure.subplots()
    values = [100 * f1[name] for name in names]
    axes.barh(range(len(names)), values, color=COLOURS[0])
    axes.set_yticks(range(len(names)), [f"{name} ({counts.get(name, 0):,})" for name in names])
    axes.set_xlim(0, 105)
    axes.set_xlabel("F1 in % (number of true spans in brackets)")
    for place, value in enumerate(values):
        axes.text(value + 1, place, f"{value:.1f}", va="center")
    return figure
