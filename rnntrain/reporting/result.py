"""What a run came to, beside what simple methods reach: the one number that counts, its bars, and the whole table."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from rnntrain.comparing.groups import larger_is_better
from rnntrain.comparing.records import RunRecord, number
from rnntrain.reporting.charts import bars
from rnntrain.reporting.html import Child, Html, element, number_text, table
from rnntrain.runs.summary import stands_again

_BASELINE = re.compile(r"baseline/(?P<method>.+?)/(?P<metric>(?:val|test|train)/.+)")
_SPLITS = ("test/", "val/", "train/")


def metrics_of(record: RunRecord) -> dict[str, float]:
    """Return the final metrics of a run by name, each once; of one that has not ended, the last of each curve."""
    found = {name: value for name, value in record.metrics.items() if name.startswith(_SPLITS)}
    if record.summary and any(name.startswith(("val/", "test/")) for name in record.summary):
        found = {name: value for name, value in found.items() if name in record.summary}
    return {name: value for name, value in found.items() if not stands_again(name, found)}


def baselines_of(record: RunRecord) -> dict[str, dict[str, float]]:
    """Return what simple methods reach, by method and metric."""
    found: dict[str, dict[str, float]] = {}
    for name, each in record.summary.items():
        match, value = _BASELINE.fullmatch(name), number(each)
        if match and value is not None:
            found.setdefault(match["method"], {})[match["metric"]] = value
    return found


def judged_by(record: RunRecord) -> str | None:
    """Return the metric that a run is told by: what its best weights were chosen by, on test where there is one."""
    monitored = record.monitored()
    if monitored is None:
        return next((name for name in ("test/loss", "val/loss") if name in record.metrics), None)
    metrics = record.metrics
    on_test = "test/" + monitored.partition("/")[2]
    return next((name for name in (on_test, monitored) if name in metrics), None)


def headline(record: RunRecord) -> Html | None:
    """Return the metric that counts as bars, this run above the simple methods."""
    name = judged_by(record)
    if name is None:
        return None
    reached = {method: values[name] for method, values in baselines_of(record).items() if name in values}
    if not reached:
        return None
    sense = "more is better" if larger_is_better(name) else "less is better"
    return bars(f"{name} ({sense})", [("this run", record.metrics[name]), *reached.items()])


def metrics_table(metrics: Mapping[str, float], baselines: Mapping[str, Mapping[str, float]]) -> Html | None:
    """Return all metrics, one a row, with those of the simple methods; the best of a row is marked."""
    if not metrics:
        return None
    methods = {"this run": metrics, **baselines}
    splits = [split for split in _SPLITS if any(name.startswith(split) for name in metrics)]
    names = dict.fromkeys(name.partition("/")[2] for name in metrics)
    head = ["metric", *(f"{split[:-1]}: {method}" for split in splits for method in methods)]
    rows = [
        [
            name,
            *(
                cell
                for split in splits
                for cell in _cells(split + name, [m.get(split + name) for m in methods.values()])
            ),
        ]
        for name in names
    ]
    return table(head, rows, caption="Metrics of the weights that the run ends with")


def _cells(name: str, values: list[float | None]) -> list[Child]:
    known = [value for value in values if value is not None and math.isfinite(value)]
    pick = max if larger_is_better(name) else min
    best = pick(known) if len(known) > 1 and min(known) != max(known) else None
    return [
        element("span", number_text(value), class_="better") if value is not None and value == best else _text(value)
        for value in values
    ]


def _text(value: float | None) -> str:
    return "" if value is None else number_text(value)
