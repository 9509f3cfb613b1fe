"""Which scalars of a run go into which chart: the loss first, then what is judged, training, gradients, costs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from rnntrain.reporting.charts import Line, Points, line_chart
from rnntrain.reporting.html import Html, element, number_text

Curves = Mapping[str, Points]

MOST_LINES = 8  # of one chart: so many styles are told apart
MOST_CHARTS = 9  # of the validation's metrics, beyond which nobody looks
_LAYER = re.compile(r"_?layer(\d+)$")
_TITLES = {
    "train/grad_norm": "gradient norm, before clipping",
    "train/clipped": "share of steps that were clipped",
    "train/lr": "learning rate",
    "cost/units_per_second": "time steps a second",
    "cost/steps_per_second": "updates a second",
    "cost/memory_mebibytes": "memory, MiB",
    "cost/data_wait": "share of the time spent waiting for data",
}


def learning_charts(curves: Curves, monitored: str | None) -> list[Html | None]:
    """Return the charts of losses and of the metrics of the validation split, what is judged by first."""
    losses = [
        Line(name, curves[name], style, smooth=name == "train/loss")
        for style, name in enumerate(("train/loss", "val/loss"))
        if name in curves
    ]
    groups = group_names([name for name in curves if name.startswith("val/") and name != "val/loss"])
    ordered = sorted(groups.items(), key=lambda item: monitored not in item[1])
    charts = [line_chart(title, _lines(curves, names)) for title, names in ordered[:MOST_CHARTS]]
    return [line_chart("loss", losses), *charts]


def group_names(names: Sequence[str]) -> dict[str, list[str]]:
    """Return names by the title of their chart: one each; kinds (`val/f1/LOC`) and classes (`f1_ham`) share one."""
    heads = [_head(name) for name in names]
    groups: dict[str, list[str]] = {}
    for name, head in zip(names, heads, strict=True):
        kinds = name.count("/") > 1 or (head != name and heads.count(head) > 2)
        title = f"{head.partition('/')[2]} by kind" if kinds else name
        groups.setdefault(title, []).append(name)
    return groups


def training_charts(curves: Curves) -> list[Html | None]:
    """Return the charts of the gradient's norm, clipping and the learning rate."""
    return [_single(curves, name) for name in ("train/grad_norm", "train/clipped", "train/lr")]


def cost_charts(curves: Curves) -> list[Html | None]:
    """Return the charts of speed, memory and waits."""
    return [_single(curves, name) for name in _TITLES if name.startswith("cost/")]


def gradient_charts(curves: Curves) -> list[Html | None]:
    """Return what `diagnose=gradients` measured of each layer: one chart a measure, one line a layer."""
    groups: dict[str, list[str]] = {}
    for name in curves:
        if name.startswith(("memory/", "units/")) and _LAYER.search(name):
            groups.setdefault(_LAYER.sub("", name), []).append(name)
    return [
        line_chart(
            title.partition("/")[2].replace("_", " "),
            [Line(f"layer {_number(name)}", curves[name], style) for style, name in enumerate(names[:MOST_LINES])],
        )
        for title, names in groups.items()
    ]


def heat_map(curves: Curves, prefix: str, title: str) -> Html | None:
    """Return a map of all scalars below a prefix: a row each, time from left to right, darker for larger logarithms."""
    rows = {name.removeprefix(prefix): points for name, points in curves.items() if name.startswith(prefix)}
    values = [math.log10(y) for points in rows.values() for _, y in points if 0 < y < math.inf]
    if not values:
        return None
    low, high = min(values), max(values)
    longest = max(map(len, rows))
    left, width, height = min(8 + 6.2 * longest, 260), 720.0, 16
    parts = []
    for number, (name, points) in enumerate(rows.items()):
        y, size = number * height, (width - left) / len(points)
        parts.append(element("text", name[-42:], x=0, y=y + 12, class_="tick start"))
        for place, (step, value) in enumerate(points):
            share = 0.0 if not 0 < value < math.inf else (math.log10(value) - low) / ((high - low) or 1.0)
            cell = element("title", f"{name}, step {step:,}: {number_text(value)}")
            colour = cividis(share)
            x = f"{left + place * size:.2f}"
            parts.append(element("rect", cell, x=x, y=y, width=f"{size + 0.3:.2f}", height=height - 1, fill=colour))
    label = f"{title}, by parameter and evaluation, from {10**low:.2g} (dark) to {10**high:.2g} (bright)"
    svg = element("svg", *parts, viewBox=f"0 0 {width:g} {height * len(rows)}", role="img", aria_label=label)
    return element("figure", element("figcaption", label), svg, class_="heat")


def cividis(share: float) -> str:
    """Return a colour between dark blue and yellow that people with any kind of colour blindness read alike.

    Points of the map of Nuñez, Anderton and Renslow 2018 (doi:10.1371/journal.pone.0199239), linear between them.
    """
    place = min(max(share, 0.0), 1.0) * (len(_CIVIDIS) - 1)
    first = min(int(place), len(_CIVIDIS) - 2)
    mixed = (a + (b - a) * (place - first) for a, b in zip(_CIVIDIS[first], _CIVIDIS[first + 1], strict=True))
    return "#" + "".join(f"{round(part):02x}" for part in mixed)


_CIVIDIS = ((0, 34, 78), (53, 69, 108), (102, 105, 112), (148, 142, 119), (200, 184, 102), (254, 232, 56))


def _lines(curves: Curves, names: Sequence[str]) -> list[Line]:
    return [
        Line(_short(name) if len(names) > 1 else name, curves[name], style if style < MOST_LINES else None)
        for style, name in enumerate(names)
    ]


def _single(curves: Curves, name: str) -> Html | None:
    if name not in curves:
        return None
    return line_chart(_TITLES.get(name, name), [Line(name, curves[name], smooth=name != "train/lr")])


def _head(name: str) -> str:
    """Return what comes before a kind or a class: "val/f1" of `val/f1/LOC` and of `val/f1_ham`."""
    parts = name.split("/")
    if len(parts) > 2:
        return "/".join(parts[:2])
    head, underscore, _ = name.partition("_")
    return head if underscore and head != "val/macro" else name


def _short(name: str) -> str:
    parts = name.split("/")
    return "/".join(parts[2:]) if len(parts) > 2 else parts[-1]


def _number(name: str) -> str:
    found = _LAYER.search(name)
    return found[1] if found else ""
