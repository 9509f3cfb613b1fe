"""A point of a sweep while it is worked on: its runs, one a seed, and what it comes to when they have ended."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rnntrain.comparing.records import RunRecord, read_run
from rnntrain.errors import UserError
from rnntrain.runs.lock import is_held
from rnntrain.runs.run import RunDir
from rnntrain.sweeps.leases import Lease
from rnntrain.sweeps.process import Progress, RunProcess
from rnntrain.sweeps.space import Value

_CHECKPOINT = re.compile(
    r"step-([0-9]{9,18})(\.replaced)?"
)  # `rnntrain.checkpoints.checkpoint` has it too, and needs torch

State = Literal["waiting", "running", "finished", "pruned", "failed"]


@dataclass
class SeedRun:
    """One run of a point.

    Attributes:
        values: of the sweep's metrics, once it has finished.
        crashes: ends that were not asked for, since the run last got further.
        best_step: the furthest that it has been saved at when it crashed.
        told_to_stop: whether its process has been asked to save and end.
    """

    number: int
    seed: int
    folder: Path
    progress: Progress
    state: State = "waiting"
    process: RunProcess | None = None
    slot: int = -1
    values: list[float] = field(default_factory=list)
    error: str = ""
    crashes: int = 0
    best_step: int = -1
    told_to_stop: bool = False

    @property
    def name(self) -> str:
        return self.folder.name

    def read(self, metrics: Sequence[str]) -> bool:
        """Take in how the run ended, if it has; return whether it can be gone on with where it has not.

        A folder from which no run can go on is deleted, since the run that takes its place needs an empty one.
        """
        record = recorded(self.folder)
        if record is not None and record.status == "finished":
            self._finish(record, metrics)
        elif record is not None and record.status == "pruned":
            self.state = "pruned"
        elif record is not None and record.status == "failed":
            self.state, self.error = "failed", record.reason
        elif record is not None and newest_step(self.folder) is not None:
            return True
        else:
            self.discard()
        return False

    def discard(self) -> None:
        """Delete what the run has left, so that it begins anew."""
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _finish(self, record: RunRecord, metrics: Sequence[str]) -> None:
        missing = [metric for metric in metrics if metric not in record.metrics]
        if missing:
            self.state, self.error = "failed", f"the run reports no {missing[0]}"
            return
        values = {metric: record.metrics[metric] for metric in metrics}
        broken = next((f"{metric} is {value}" for metric, value in values.items() if not math.isfinite(value)), None)
        if broken is not None:
            self.state, self.error = "failed", broken
            return
        self.state, self.values = "finished", list(values.values())

    def stop(self) -> None:
        """Ask the run's process to save and end, once."""
        if self.process is not None and not self.told_to_stop:
            self.process.stop()
            self.told_to_stop = True

    def crashed(self) -> int:
        """Count a crash; return how many came in a row without the run getting further."""
        step = newest_step(self.folder)
        reached = -1 if step is None else step
        self.crashes = 1 if reached > self.best_step else self.crashes + 1
        self.best_step = max(self.best_step, reached)
        return self.crashes

    def is_free(self) -> bool:
        """Say whether no process writes the run, such as one that a killed sweep left to save."""
        return not is_held(RunDir(self.folder).lock_file)


@dataclass
class Point:
    """A point of the space that this process has leased, with a run for each seed."""

    number: int
    values: Mapping[str, Value]
    lease: Lease
    runs: list[SeedRun]

    def waiting(self, one_first: bool) -> list[SeedRun]:
        """Return the runs that may start now; with pruning, the others wait for what the first comes to."""
        if any(run.state in ("pruned", "failed") for run in self.runs):
            return []
        open_runs = self.runs[:1] if one_first and self.runs[0].state != "finished" else self.runs
        return [run for run in open_runs if run.state == "waiting" and run.is_free()]

    def running(self) -> list[SeedRun]:
        return [run for run in self.runs if run.state == "running"]

    def verdict(self) -> Literal["complete", "pruned", "fail"] | None:
        """Return what the point came to, or None where a run of it has yet to end."""
        if self.running():
            return None
        states = {run.state for run in self.runs}
        if "failed" in states:
            return "fail"
        if "pruned" in states:
            return "pruned"
        return "complete" if states == {"finished"} else None

    def means(self) -> list[float]:
        """Return the mean of each metric over the seeds."""
        columns = zip(*(run.values for run in self.runs), strict=True)
        return [sum(column) / len(self.runs) for column in columns]

    def error(self) -> str:
        return next((f"{run.name}: {run.error}" for run in self.runs if run.error), "")


def newest_step(run: Path) -> int | None:
    """Return the step of a run's newest checkpoint, which need not verify, or None where it has none."""
    names = (path.name for path in RunDir(run).checkpoints.glob("step-*") if path.is_dir())
    return max((int(match[1]) for name in names if (match := _CHECKPOINT.fullmatch(name))), default=None)


def recorded(folder: Path) -> RunRecord | None:
    """Return the run in a folder, or None where none was begun."""
    run = RunDir(folder)
    if not run.info.is_file():
        return None
    try:
        return read_run(folder)
    except UserError:
        return None


def seeds_note(point: Point) -> str:
    """Return what a point's seeds came to, as a note that Optuna can keep."""
    return json.dumps({run.seed: run.values or run.state for run in point.runs})
