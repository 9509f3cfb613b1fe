"""Choose runs by what they are, order them, and show them as a table or as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rnntrain.comparing.groups import larger_is_better, shown_value
from rnntrain.comparing.records import RunRecord
from rnntrain.errors import UserError, closest
from rnntrain.runs.run import RunDir

WORDS = ("started", "name", "status", "seed", "step", "minutes", "num_parameters")


def choose(
    records: Sequence[RunRecord], filters: Sequence[str] = (), task: str | None = None, status: str | None = None
) -> list[RunRecord]:
    """Return the runs whose config says what each `key=value` says, of a task and a status.

    A class is matched by its name or its module's, in any case: `model.cell=gru`, `task=ctc`.

    Raises:
        UserError: no run has a key that is asked for.
    """
    wanted = [tuple(each.split("=", 1)) for each in filters] + ([("task", task)] if task else [])
    for key, _ in wanted:
        if records and not any(_values(record, key) for record in records):
            known = sorted({name for record in records for name in record.config})
            raise UserError(f"{key}: no run has this key{closest(key, known)}; name one of a run's config")
    return [
        record
        for record in records
        if (status is None or record.status == status) and all(_matches(record, key, value) for key, value in wanted)
    ]


def order(records: Sequence[RunRecord], by: str = "started", reverse: bool = False) -> list[RunRecord]:
    """Return the runs by a word of `WORDS`, a metric, the best first, or a key of the config; those without it last.

    Raises:
        UserError: no run has such a thing.
    """
    values = {id(record): value_of(record, by) for record in records}
    if records and by not in WORDS and all(value is None for value in values.values()):
        known = sorted({name for record in records for name in (*record.metrics, *record.config)} | set(WORDS))
        raise UserError(f"--sort {by}: no run has it{closest(by, known)}; name a metric, a key, or {', '.join(WORDS)}")
    present = [record for record in records if values[id(record)] is not None]
    present.sort(
        key=lambda record: _order_key(values[id(record)]), reverse=reverse != ("/" in by and larger_is_better(by))
    )
    return present + [record for record in records if values[id(record)] is None]


def value_of(record: RunRecord, name: str) -> Any:
    """Return a word's, a metric's or a key's value of a run; None where it has none."""
    if name == "started":
        return RunDir(record.path).info.stat().st_mtime
    if name in ("name", "status", "seed"):
        return getattr(record, name)
    if name in record.metrics:
        value = record.metrics[name]
        return None if math.isnan(value) else value
    return record.config.get(name, record.summary.get(name))


def table(records: Sequence[RunRecord], extra: str | None = None) -> list[str]:
    """Return one line a run; `extra` is a metric or a key that has a column of its own."""
    if not records:
        return ["no runs"]
    shows_extra = extra is not None and extra not in WORDS
    head = ["run", "status", "task", "cell", "seed", "steps", "best", "minutes", "started"]
    rows = [[*head, *([extra] if shows_extra and extra else [])]]
    for record in records:
        row = [str(record.path), record.status, *_parts(record), str(record.seed), _steps(record), _best(record)]
        minutes = record.summary.get("minutes")
        row += [f"{minutes:.1f}" if isinstance(minutes, (int, float)) else "", _started(record)]
        if shows_extra and extra:
            value = value_of(record, extra)
            row.append("" if value is None else shown_value(extra, value))
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def as_json(records: Sequence[RunRecord]) -> list[str]:
    """Return one JSON object a run, with its config and its metrics."""
    return [json.dumps(_plain(record), allow_nan=False) for record in records]


def _plain(record: RunRecord) -> dict[str, Any]:
    metrics = {name: value if math.isfinite(value) else str(value) for name, value in record.metrics.items()}
    return {
        "run": str(record.path),
        "status": record.status,
        "reason": record.reason,
        "seed": record.seed,
        "started": _started(record),
        "metrics": metrics,
        "config": record.config,
    }


def _parts(record: RunRecord) -> list[str]:
    return [shown_value("_target_", str(record.config.get(f"{name}._target_", ""))) for name in ("task", "model.cell")]


def _steps(record: RunRecord) -> str:
    step = record.summary.get("step")
    if not isinstance(step, int):
        step = max((points[-1][0] for points in record.curves.values()), default=0)
    return f"{step:,}"


def _best(record: RunRecord) -> str:
    name = record.monitored()
    value = record.metrics.get(name.replace("val/", "best/", 1)) if name else None
    return f"{name} {value:.4g}" if value is not None else ""


def _started(record: RunRecord) -> str:
    return datetime.fromtimestamp(value_of(record, "started")).strftime("%Y-%m-%d %H:%M")


def _values(record: RunRecord, key: str) -> list[str]:
    """Return the texts that a key's value is known by; empty where the run lacks the key."""
    if key == "seed":
        return [str(record.seed)]
    target = record.config.get(f"{key}._target_")
    if target is not None:
        *_, module, cls = f".{target}".split(".")
        return [str(target), cls, module]
    return [shown_value(key, record.config[key]), str(record.config[key])] if key in record.config else []


def _matches(record: RunRecord, key: str, value: str) -> bool:
    known = _values(record, key)
    if value.lower() in (each.lower() for each in known):
        return True
    try:  # 1e-3 is 0.001
        return any(float(each) == float(value) for each in known)
    except ValueError:
        return False


def _order_key(value: Any) -> tuple[bool, float, str]:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return (not is_number, float(value) if is_number else 0.0, str(value))
