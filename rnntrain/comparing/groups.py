"""Runs that differ in nothing but their seed make a group; groups are told apart by what differs in their configs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rnntrain.comparing.records import RunRecord, finite
from rnntrain.errors import UserError, closest

# What says where and under which name a run computed rather than what: it parts no groups.
NOT_THE_EXPERIMENT = ("seed", "run", "device", "threads", "kernels", "deterministic", "plugins", "diagnose")
# Metrics of which more is better, by the words in their names; of all others less is.
LARGER_IS_BETTER = ("accuracy", "f1", "precision", "recall", "r2", "auc", "mcc", "kappa", "units_per_second", "skill")
MISSING = "(default)"


@dataclass
class Group:
    """Runs of one config over seeds.

    Attributes:
        config: what the runs share, by dotted key.
        runs: finished or not.
        label: what tells the group from the others it was compared with, such as "cell=gru lr=0.01".
    """

    config: dict[str, Any]
    runs: list[RunRecord] = field(default_factory=list)
    label: str = ""

    def values(self, metric: str) -> dict[str, float]:
        """Return the finite values of the finished runs by their seed, and by what else they differ in.

        A run that only repeats another tells nothing new, and is left out.
        """
        found: dict[str, float] = {}
        for run in self.runs:
            value = run.metrics.get(metric) if run.finished else None
            if value is not None and finite(value):
                rest = {key: each for key, each in _shared(run.config).items() if key not in self.config}
                found.setdefault(f"{run.seed} {sorted(rest.items())}", value)
        return found

    def statistics(self, metric: str, larger_is_better: bool) -> Statistics | None:
        """Return what the group reaches over its seeds, or None where no run has finished with the metric."""
        values = list(self.values(metric).values())
        if not values:
            return None
        pick = (max, min) if larger_is_better else (min, max)
        deviation = statistics.stdev(values) if len(values) > 1 else math.nan
        return Statistics(
            len(values),
            statistics.fmean(values),
            deviation,
            statistics.median(values),
            pick[0](values),
            pick[1](values),
        )

    def count(self, status: str) -> int:
        return sum(run.status == status for run in self.runs)


@dataclass(frozen=True)
class Statistics:
    """Of a metric over seeds; the deviation is that of a sample, NaN for a single run."""

    runs: int
    mean: float
    deviation: float
    median: float
    best: float
    worst: float


def group(records: Sequence[RunRecord], by: Sequence[str] = ()) -> list[Group]:
    """Return the groups of runs whose configs say the same, apart from `NOT_THE_EXPERIMENT`, in order of appearance.

    Args:
        by: keys that alone part the groups, in place of the whole config.
    """
    groups: dict[str, Group] = {}
    for record in records:
        config = _shared(record.config, by)
        groups.setdefault(repr(sorted(config.items())), Group(config)).runs.append(record)
    found = list(groups.values())
    differing = differences(found)
    names = short_names(differing)
    for each in found:
        told = (f"{names[key]}={shown_value(key, each.config.get(key, MISSING))}" for key in differing)
        each.label = " ".join(told) if differing else each.runs[0].name
    return found


def _shared(config: dict[str, Any], by: Sequence[str] = ()) -> dict[str, Any]:
    if by:
        return {key: config.get(key, MISSING) for key in by}
    return {key: value for key, value in config.items() if key.partition(".")[0] not in NOT_THE_EXPERIMENT}


def differences(groups: Sequence[Group]) -> list[str]:
    """Return the keys whose values are not the same in all groups, in the order of the configs."""
    keys = dict.fromkeys(key for each in groups for key in each.config)
    return [key for key in keys if len({repr(each.config.get(key, MISSING)) for each in groups}) > 1]


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return the shortest ending of each key that no other of them has; `model.cell._target_` is "cell"."""
    plain = {key: key.removesuffix("._target_") for key in keys}
    names = {}
    for key, text in plain.items():
        parts = text.split(".")
        endings = [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]
        others = [other for each, other in plain.items() if each != key]
        free = (ending for ending in endings if not any(f".{other}".endswith(f".{ending}") for other in others))
        names[key] = next(free, key)
    return names


def shown_value(key: str, value: Any) -> str:
    """Return a value as tables show it: a class by its name, a number with no more digits than it needs."""
    if key.endswith("_target_") and isinstance(value, str):
        return value.rpartition(".")[2]
    if isinstance(value, float):
        return f"{value:.4g}"
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))


def larger_is_better(metric: str) -> bool:
    """Guess the sense of a metric from its name, as in `val/accuracy_len_64`; kinds may follow (`val/f1/LOC`)."""
    name = metric.removeprefix("best/").split("/")[:2][-1]
    return any(word in name for word in LARGER_IS_BETTER)


def choose_metric(records: Sequence[RunRecord], wanted: str | None) -> str:
    """Return the metric to compare by: the one asked for, else the one that most runs chose their best weights by.

    Raises:
        UserError: no run has the metric that was asked for.
    """
    known = sorted({name for record in records for name in record.metrics if "/" in name and name[:5] != "best/"})
    if wanted is not None:
        if not any(wanted in record.metrics for record in records):
            listed = ", ".join(known) or "none: no run has been evaluated"
            raise UserError(f"--metric {wanted}: no run has it{closest(wanted, known)}; there are: {listed}")
        return wanted
    monitored = [metric for record in records if (metric := record.monitored()) is not None]
    return max(set(monitored), key=monitored.count, default="val/loss")
