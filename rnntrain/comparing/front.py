"""Of several metrics: the groups that no other beats in all of them, the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rnntrain.comparing.leaderboard import Leaderboard, Row
from rnntrain.comparing.writing import aligned, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def front(board: Leaderboard) -> list[Row]:
    """Return the rows that no other beats: is as good as in every metric, and better in one. Ordered by the first.

    Rows without a value of every metric take no part; of rows with equal values each stays.
    """
    rows = [row for row in board.rows if all(metric in row.statistics for metric in board.metrics)]
    costs = [_costs(row, board) for row in rows]
    kept = [place for place, own in enumerate(costs) if not any(_beats(other, own) for other in costs)]
    return [rows[place] for place in sorted(kept, key=lambda place: costs[place])]


def _costs(row: Row, board: Leaderboard) -> tuple[float, ...]:
    means = (row.statistics[metric].mean for metric in board.metrics)
    return tuple(-mean if more else mean for mean, more in zip(means, board.senses, strict=True))


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(mine <= theirs for mine, theirs in zip(one, other, strict=True))


def front_lines(board: Leaderboard, rows: Sequence[Row], names: Sequence[str] = ()) -> list[str]:
    """Return a table of the front for a terminal.

    Args:
        names: of the rows, before their values; their ranks by the first metric where left out.
    """
    table = [["", *board.metrics, "runs", ""]]
    for place, row in enumerate(rows):
        values = [number(row.statistics[metric].mean) for metric in board.metrics]
        name = names[place] if names else str(row.rank)
        table.append([name, *values, str(row.group.count("finished")), row.group.label])
    lines = aligned(table, left=(0, len(table[0]) - 1))
    several = any(row.group.count("finished") > 1 for row in rows)
    means = ", by their means over seeds" if several else ""
    return [
        f"Not beaten in every metric by any other: {len(rows)} of {len(board.finished)}{means}",
        "",
        *lines,
    ]


def front_picture(board: Leaderboard, rows: Sequence[Row]) -> Figure:
    """Draw each pair of metrics: one point a group, those of the front filled and joined."""
    from itertools import combinations

    import matplotlib

    from rnntrain.watching.pictures import STYLE, new_figure

    pairs = list(combinations(board.metrics, 2))
    figure = new_figure(4.8 * len(pairs), 3.8)
    with matplotlib.rc_context(STYLE):
        panels = figure.subplots(1, len(pairs), squeeze=False)[0]
    for axes, (across, up) in zip(panels, pairs, strict=True):
        _draw_pair(axes, board, rows, across, up)
    panels[0].legend(fontsize=8, frameon=False)
    return figure


def _draw_pair(axes: Axes, board: Leaderboard, rows: Sequence[Row], across: str, up: str) -> None:
    from rnntrain.comparing.pictures import is_log
    from rnntrain.watching.pictures import COLOURS

    def means(of: Sequence[Row], metric: str) -> list[float]:
        return [row.statistics[metric].mean for row in of]

    measured = [row for row in board.rows if across in row.statistics and up in row.statistics]
    others = [row for row in measured if row not in rows]
    axes.scatter(
        means(others, across), means(others, up), s=18, facecolors="none", edgecolors=COLOURS[0], label="beaten"
    )
    if len(board.metrics) == 2:  # in more it would join what lies apart; its corners are the worse of two neighbours
        axes.plot(means(rows, across), means(rows, up), color=COLOURS[1], linewidth=0.9, drawstyle="steps-post")
    axes.scatter(means(rows, across), means(rows, up), s=28, color=COLOURS[1], zorder=3, label="not beaten")
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    if is_log(means(measured, across)):
        axes.set_xscale("log")
    if is_log(means(measured, up)):
        axes.set_yscale("log")
