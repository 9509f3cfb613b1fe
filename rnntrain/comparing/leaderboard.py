"""A leaderboard of groups: what each reaches, how sure its place is, and what differs between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rnntrain.comparing.groups import Group, Statistics, differences, larger_is_better
from rnntrain.comparing.records import STATUSES
from rnntrain.comparing.significance import FEWEST_RUNS, Difference, difference, holm

Order = Literal["mean", "median", "worst", "best"]


@dataclass(frozen=True)
class Row:
    """One group on the leaderboard.

    Attributes:
        rank: from 1; None where no run of the group has finished.
        statistics: of each metric, where a run has it.
        versus_best: of the first metric, against the first row.
        is_told_apart: whether the difference stands beside all others that are looked at.
    """

    rank: int | None
    group: Group
    statistics: dict[str, Statistics]
    versus_best: Difference | None
    is_told_apart: bool

    def verdict(self) -> str:
        """Return in words how the group stands to the best; empty for the best itself."""
        if self.versus_best is None:
            return ""
        if self.versus_best.too_few:
            return f"too few runs to tell ({self.versus_best.runs} of {FEWEST_RUNS})"
        return "worse" if self.is_told_apart else "not told apart"

    def unfinished(self) -> str:
        """Return how many runs of the group did not finish, and why."""
        counts = {status: self.group.count(status) for status in STATUSES if status != "finished"}
        return ", ".join(f"{count} {status}" for status, count in counts.items() if count)


@dataclass(frozen=True)
class Leaderboard:
    """Groups in order.

    Attributes:
        metrics: the first one orders.
        senses: of each metric, whether more of it is better.
        keys: what differs between the groups, by dotted key.
    """

    metrics: list[str]
    senses: list[bool]
    keys: list[str]
    rows: list[Row]

    @property
    def larger_is_better(self) -> bool:
        """The sense of the first metric."""
        return self.senses[0]

    @property
    def finished(self) -> list[Row]:
        """The rows that have a rank."""
        return [row for row in self.rows if row.rank is not None]

    @property
    def best(self) -> Row | None:
        return next(iter(self.finished), None)


def rank(
    groups: Sequence[Group], metrics: Sequence[str], *, order: Order = "mean", senses: Sequence[bool] | None = None
) -> Leaderboard:
    """Order groups by a metric; those without a finished run come last.

    Args:
        senses: of each metric, whether more of it is better; guessed from their names where None.
    """
    metric, senses = metrics[0], [larger_is_better(each) for each in metrics] if senses is None else list(senses)
    larger = senses[0]
    measured = {id(each): _statistics(each, dict(zip(metrics, senses, strict=True))) for each in groups}

    def place(each: Group) -> float:
        value = getattr(measured[id(each)][metric], order) if metric in measured[id(each)] else math.nan
        return math.inf if math.isnan(value) else -value if larger else value

    ordered = sorted(groups, key=place)
    finished = [each for each in ordered if metric in measured[id(each)]]
    against = [difference(finished[0].values(metric), each.values(metric)) for each in finished[1:]]
    stands = holm([each.p_value for each in against])
    sense = -1 if larger else 1
    rows = []
    for number, each in enumerate(ordered):
        compared = against[number - 1] if 0 < number < len(finished) else None
        worse = compared is not None and stands[number - 1] and sense * compared.mean > 0
        rows.append(Row(number + 1 if number < len(finished) else None, each, measured[id(each)], compared, worse))
    return Leaderboard(list(metrics), senses, differences(groups), rows)


def _statistics(group: Group, senses: Mapping[str, bool]) -> dict[str, Statistics]:
    found = {metric: group.statistics(metric, larger) for metric, larger in senses.items()}
    return {metric: numbers for metric, numbers in found.items() if numbers is not None}


def plain(board: Leaderboard) -> dict[str, Any]:
    """Return a leaderboard as plain values, with every run."""
    return {
        "metrics": board.metrics,
        "larger_is_better": board.larger_is_better,
        "differing_keys": board.keys,
        "groups": [_plain_row(row, board) for row in board.rows],
    }


def _plain_row(row: Row, board: Leaderboard) -> dict[str, Any]:
    against = row.versus_best
    return {
        "rank": row.rank,
        "differs": {key: row.group.config.get(key) for key in board.keys},
        "metrics": {metric: _plain_numbers(vars(numbers)) for metric, numbers in row.statistics.items()},
        "versus_best": None if against is None else _plain_numbers(vars(against)) | {"verdict": row.verdict()},
        "runs": [
            {"path": str(run.path), "seed": run.seed, "status": run.status}
            | {metric: _plain_number(run.metrics.get(metric)) for metric in board.metrics}
            for run in row.group.runs
        ],
    }


def _plain_numbers(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain_number(value) for name, value in values.items()}


def _plain_number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
