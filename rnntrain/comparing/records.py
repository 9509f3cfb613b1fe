"""Read what runs recorded: config, metrics, status and curves, as values."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rnntrain.checkpoints import durable
from rnntrain.configuring.config_files import from_yaml
from rnntrain.configuring.overrides import flatten
from rnntrain.runs.lock import is_held
from rnntrain.runs.metrics_file import lines_of, open_metrics
from rnntrain.runs.record import read_config_text
from rnntrain.runs.run import RunDir, find_runs, open_run

SUMMARY_LIMIT_BYTES = 16 << 20
SEARCH_DEPTH = 5  # from `outputs` to the runs of a sweep in it
# What an unfinished run is told by; "running" and "interrupted" are ours, the others stand in its summary.
STATUSES = ("finished", "running", "interrupted", "pruned", "failed")


@dataclass(frozen=True)
class RunRecord:
    """One run as it lies on the disk.

    Attributes:
        path: its folder.
        plain: its config, nested.
        config: its config by dotted key, such as `optimizer.lr`; what stands in no file is not there.
        seed: of its weights and the order of its data.
        status: one of `STATUSES`. Without a summary a run is running where its lock is held, else interrupted.
        reason: why it ended, in the run's own words; empty where it has not.
        summary: what summary.json holds: metrics by name (`val/loss`), and `step`, `minutes`, `num_parameters`.
    """

    path: Path
    plain: dict[str, Any]
    config: dict[str, Any]
    seed: int
    status: str
    reason: str
    summary: dict[str, Any]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def finished(self) -> bool:
        return self.status == "finished"

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The numbers of the summary by name; of a run without them, the last value of each of its curves."""
        numbers = {name: value for name, each in self.summary.items() if (value := number(each)) is not None}
        if any(name.startswith("val/") for name in numbers):
            return numbers
        return {name: points[-1][1] for name, points in self.curves.items()} | numbers

    @cached_property
    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """Points `(step, value)` of each scalar that was logged, by name; read when they are first asked for."""
        curves: dict[str, list[tuple[int, float]]] = {}
        for line in _lines(RunDir(self.path).metrics):
            step = line.get("step")
            if not isinstance(step, int):
                continue
            for name, each in line.items():
                if name not in ("step", "final") and (value := number(each)) is not None:
                    curves.setdefault(name, []).append((step, value))
        return curves

    def monitored(self) -> str | None:
        """Return the metric that the run chose its best weights by, such as "val/loss", where its summary says."""
        names = (name for name in self.summary if name.startswith("best/") and name != "best/step")
        return next((f"val/{name.removeprefix('best/')}" for name in names), None)


def read_runs(paths: Sequence[Path]) -> list[RunRecord]:
    """Return the runs at and below the given folders, each once, in the order of the paths, then by name.

    Raises:
        UserError: a path holds no run, or a run's config cannot be read.
    """
    found: dict[Path, RunRecord] = {}
    for path in paths:
        runs = _runs_at(Path(path))
        for folder in runs:
            if folder not in found:
                found[folder] = read_run(folder)
    return list(found.values())


def read_run(folder: Path) -> RunRecord:
    """Return the run in `folder`.

    Raises:
        UserError: its config cannot be read.
    """
    run = RunDir(folder)
    plain = from_yaml(read_config_text(run), str(run.config))
    summary = _summary(run)
    status, reason = _status(run, summary)
    seed = plain.get("seed", 0)
    seed = seed if isinstance(seed, int) else 0
    return RunRecord(folder, plain, flatten(plain), seed, status, reason, summary)


def number(value: object) -> float | None:
    """Return a logged value as a number: NaN and infinities are logged as texts, since JSON has none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value)
    return float(value) if value in ("nan", "inf", "-inf") else None


def finite(value: float | None) -> bool:
    """Say whether there is a value, and it can be reckoned with."""
    return value is not None and math.isfinite(value)


def _runs_at(path: Path) -> list[Path]:
    if not path.exists():
        open_run(path)  # says what runs there are
    place = path.resolve()
    runs = sorted(find_runs(place, SEARCH_DEPTH), key=lambda run: [_natural(part) for part in run.parts])
    if not runs:
        return [open_run(path).path]  # it may lie above, else says what runs there are
    here = Path.cwd()
    return [Path(os.path.relpath(run, here)) if run.is_relative_to(here) else run for run in runs]


def _natural(text: str) -> tuple[int, str]:
    """Order names that begin with a number by it."""
    digits = text[: len(text) - len(text.lstrip("0123456789"))]
    return (int(digits) if digits and len(digits) < 19 else -1, text)


def _summary(run: RunDir) -> dict[str, Any]:
    try:
        summary = json.loads(durable.read_bounded(run.summary, SUMMARY_LIMIT_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return summary if isinstance(summary, dict) else {}


def _status(run: RunDir, summary: dict[str, Any]) -> tuple[str, str]:
    status = summary.get("status")
    # A summary that is older than the start it would tell of belongs to what came before a resume.
    if status in STATUSES and run.summary.stat().st_mtime >= run.info.stat().st_mtime:
        return str(status), str(summary.get("reason", ""))
    return ("running" if is_held(run.lock_file) else "interrupted"), ""


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with open_metrics(path) as file:
            for text in lines_of(file, path):
                try:
                    line = json.loads(text)
                except (ValueError, RecursionError):
                    continue  # torn by a crash
                if isinstance(line, dict):
                    yield line
    except OSError:
        return
