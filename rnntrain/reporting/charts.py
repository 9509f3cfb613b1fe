"""Line charts and bars as SVG. They are whole without a script; the page's script smooths them and reads values off."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rnntrain.reporting.html import Html, element, join, number_text
from rnntrain.reporting.scales import Scale, scale_of, tick_text

WIDTH, HEIGHT = 380, 230
LEFT, RIGHT, TOP, BOTTOM = 50, 10, 10, 32
COLOURS = 8  # of the page's style sheet, each with its own dashes and marks
MOST_POINTS = 240  # of a line: more than there are places for in its width
MOST_MARKS = 25  # beyond so many points, marks would hide the line

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        style: its colour, dashes and marks, counted from 0; None for a faint grey one that is not named.
        smooth: the page's slider smooths it.
        band: the lowest and highest value at each step, drawn behind it.
    """

    name: str
    points: Points
    style: int | None = 0
    smooth: bool = False
    band: Sequence[tuple[float, float, float]] = ()


def line_chart(title: str, lines: Sequence[Line], *, x_label: str = "step", log: bool | None = None) -> Html | None:
    """Return a figure of lines with a legend, or None where there is nothing to draw."""
    finite = [line for line in lines if any(math.isfinite(y) for _, y in line.points)]
    if not finite:
        return None
    xs = [x for line in finite for x, y in line.points if math.isfinite(y)]
    ys = [y for line in finite for _, y in line.points] + [y for line in finite for band in line.band for y in band[1:]]
    across = scale_of(xs, LEFT, WIDTH - RIGHT, log=False)
    up = scale_of(ys, HEIGHT - BOTTOM, TOP, log=log)
    drawn = [part for line in finite for part in _line(line, across, up)]
    svg = element(
        "svg",
        *_axes(across, up, x_label),
        *drawn,
        element("line", class_="guide", y1=TOP, y2=HEIGHT - BOTTOM, x1=-9, x2=-9),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=_in_words(title, finite),
        data_x=f"{across.low!r} {across.high!r} {LEFT} {WIDTH - RIGHT}",
        data_y=f"{up.low!r} {up.high!r} {HEIGHT - BOTTOM} {TOP}",
        data_log=up.log,
    )
    named = sorted((line for line in finite if line.style is not None), key=lambda line: line.style or 0)
    legend = element("ul", *(_legend_item(line) for line in named), class_="legend")
    return element("figure", element("figcaption", title), svg, legend, class_="chart")


def bars(title: str, values: Sequence[tuple[str, float]], *, strong: int = 0) -> Html | None:
    """Return horizontal bars from zero; the one numbered `strong` stands out by its pattern too."""
    finite = [(name, value) for name, value in values if math.isfinite(value)]
    if not finite:
        return None
    low, high = min(0.0, *(value for _, value in finite)), max(0.0, *(value for _, value in finite))
    span = (high - low) or 1.0
    rows = []
    for number, (name, value) in enumerate(finite):
        start, size = (min(value, 0.0) - low) / span, abs(value) / span
        bar = element(
            "svg",
            element("rect", x=f"{100 * start:.2f}", y=0, width=f"{max(100 * size, 0.4):.2f}", height=10),
            viewBox="0 0 100 10",
            preserveAspectRatio="none",
            aria_hidden="true",
            class_="bar strong" if number == strong else "bar",
        )
        rows.append(element("li", element("span", name), bar, element("b", number_text(value))))
    return element("figure", element("figcaption", title), element("ol", *rows, class_="bars"), class_="barchart")


def scatter(
    title: str, points: Points, *, names: Sequence[str] = (), y_label: str, log_x: bool = False, best: int | None = None
) -> Html:
    """Return a figure of single points; the one numbered `best` stands out by its shape and size too.

    Args:
        names: of the places 0, 1, … along x, where these are no numbers.
    """
    across = scale_of([x for x, _ in points], LEFT + 12, WIDTH - RIGHT - 12, log=log_x)
    up = scale_of([y for _, y in points], HEIGHT - BOTTOM - 8, TOP + 4)
    marks = [
        mark(1, across.place(x), up.place(y), 5.0) if number == best else mark(0, across.place(x), up.place(y), 3.2)
        for number, (x, y) in enumerate(points)
    ]
    told = "; ".join(f"{names[int(x)] if names else number_text(x)}: {number_text(y)}" for x, y in points[:20])
    svg = element(
        "svg",
        *_axes(across, up, "", names),
        *marks,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{y_label} by {title}: {told}",
    )
    return element("figure", element("figcaption", title), svg, class_="chart")


def strip(values: Sequence[float], scale: Scale) -> Html:
    """Return the values of one row as marks on a line, and their mean as a bar across it."""
    mean = scale.place(sum(values) / len(values))
    marks = [mark(0, scale.place(value), 8, 2.6) for value in values]
    bar = element("line", x1=f"{mean:.4g}", x2=f"{mean:.4g}", y1=1, y2=15, class_="mean")
    return element("svg", *marks, bar, viewBox="0 0 150 16", aria_hidden="true", class_="strip")


def thin(points: Points, most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """Return at most about `most` points: the first, the least and the largest of each stretch, and the last."""
    if len(points) <= most:
        return list(points)
    kept: list[tuple[float, float]] = []
    size = len(points) / (most // 2)
    for number in range(most // 2):
        stretch = points[int(number * size) : max(int((number + 1) * size), int(number * size) + 1)]
        ends = {min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])}
        kept += sorted(ends)
    return [points[0], *(p for p in kept if p[0] not in (points[0][0], points[-1][0])), points[-1]]


def _line(line: Line, across: Scale, up: Scale) -> list[Html]:
    places = [(across.place(x), up.place(y)) for x, y in thin(_drawable(line.points, up))]
    text = " ".join(f"{x:.4g},{y:.4g}" for x, y in places)
    kind = "faint" if line.style is None else f"s{line.style % COLOURS}"
    parts = []
    if line.band:
        edge = [(x, low) for x, low, _ in line.band] + [(x, high) for x, _, high in reversed(line.band)]
        corners = " ".join(f"{across.place(x):.4g},{up.place(y):.4g}" for x, y in _drawable(edge, up))
        parts.append(element("polygon", points=corners, class_=f"band {kind}"))
    parts.append(element("polyline", points=text, class_=f"line {kind}", data_smooth=line.smooth, data_name=line.name))
    if line.style is not None and len(places) <= MOST_MARKS:
        parts += [mark(line.style, x, y) for x, y in places]
    return parts


def _drawable(points: Points, up: Scale) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if math.isfinite(y) and (y > 0 or not up.log)]


def mark(style: int, x: float, y: float, size: float = 2.6) -> Html:
    """Return a mark of the style's own shape: colours alone tell nothing to those who see few."""
    kind = f"mark s{style % COLOURS}"
    if style % 4 == 0:
        return element("circle", cx=f"{x:.4g}", cy=f"{y:.4g}", r=size, class_=kind)
    corners = {
        1: ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        2: ((0, -1.3), (1.2, 1), (-1.2, 1)),
        3: ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
    }[style % 4]
    points = " ".join(f"{x + size * dx:.4g},{y + size * dy:.4g}" for dx, dy in corners)
    return element("polygon", points=points, class_=kind)


def swatch(style: int) -> Html:
    """Return a short piece of a line in its style."""
    line = element("polyline", points="0,6 26,6", class_=f"line s{style % COLOURS}")
    return element("svg", line, mark(style, 13, 6), viewBox="0 0 26 12", aria_hidden="true", class_="swatch")


def _legend_item(line: Line) -> Html:
    last = next((y for _, y in reversed(line.points) if math.isfinite(y)), None)
    return element("li", swatch(line.style or 0), line.name, element("b", number_text(last)), data_name=line.name)


def _axes(across: Scale, up: Scale, x_label: str, names: Sequence[str] = ()) -> list[Html]:
    parts = []
    for value in up.ticks():
        y = f"{up.place(value):.4g}"
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(element("text", tick_text(value), x=LEFT - 5, y=y, class_="tick left"))
    for value in range(len(names)) if names else across.ticks():
        x, text = f"{across.place(value):.4g}", names[int(value)] if names else tick_text(value)
        parts.append(element("text", text, x=x, y=HEIGHT - BOTTOM + 14, class_="tick"))
    end = element("text", x_label, x=WIDTH - RIGHT, y=HEIGHT - 4, class_="tick right")
    return [*parts, end]


def _in_words(title: str, lines: Sequence[Line]) -> str:
    ends = []
    for line in lines:
        if line.style is not None:
            known = [y for _, y in line.points if math.isfinite(y)]
            ends.append(f"{line.name} from {number_text(known[0])} to {number_text(known[-1])}")
    return f"{title}: {'; '.join(ends)}"


def grid(figures: Sequence[Html | None]) -> Html | None:
    """Return figures side by side, as many as fit."""
    found = [figure for figure in figures if figure is not None]
    return element("div", join(found), class_="grid") if found else None
