"""Start a sweep or go on with it: check, look, work, and say what came of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any

from rnntrain.comparing.groups import larger_is_better
from rnntrain.errors import Interrupted, UserError, closest
from rnntrain.interrupt import SIGNALS, is_repeated
from rnntrain.processes.alone import environment_of_one
from rnntrain.sweeps.plan import Plan
from rnntrain.sweeps.probe import Findings, probe
from rnntrain.sweeps.scheduler import Scheduler
from rnntrain.sweeps.slots import Slots
from rnntrain.sweeps.space import corner_points
from rnntrain.sweeps.storage import import_optuna
from rnntrain.sweeps.study import Study
from rnntrain.sweeps.view import View

CHECKED_AHEAD = 100  # points that are checked before the first run starts
COSTS = ("num_parameters", "minutes", "units_per_second")  # of a run, which may be searched beside metrics


def run_sweep(plan: Plan, *, quiet: bool = False) -> Study:
    """Work on a sweep until it has all its points; return its study.

    Raises:
        UserError: for what the user can mend, before the first run where that can be known.
        Interrupted: the sweep was stopped before its end; the same command goes on.
    """
    import_optuna()
    points = corner_points(plan.space)[:CHECKED_AHEAD]
    configs = [plan.compose(point, plan.seeds[0]) for point in points]
    findings = probe(configs, {**environment_of_one(), "OMP_NUM_THREADS": "1"})
    metrics, directions = choose_metrics(plan, findings)
    plan = replace(plan, settings=replace(plan.settings, metric=metrics, direction=directions))
    study = Study(plan, directions, findings.evaluations)
    threads = configs[0]["threads"]
    workers = plan.settings.workers
    slots = Slots(None if workers == "auto" else workers, findings.num_gpus, threads)
    view = View(metrics, directions[0] == "maximize", study.best(), quiet=quiet)
    view.event(_opening(plan, study, slots))
    scheduler = Scheduler(study, metrics, findings.evaluations, slots, view)
    try:
        with _stopping_on_signals(scheduler, view):
            reason = scheduler.work()
    finally:
        view.close()
    if reason == "a run failed":
        raise UserError(f"{plan.folder}: stopped, as sweep.on_failure=stop says: {scheduler.failures[0]}")
    if reason is not None:
        raise Interrupted(f"{reason}: all runs are saved in {plan.folder}; the same command goes on with them")
    return study


def choose_metrics(plan: Plan, findings: Findings) -> tuple[list[str], list[Any]]:
    """Return the metrics of a sweep and the sense of each.

    Raises:
        UserError: no evaluation reports one of them, or they are those of the test split.
    """
    wanted = plan.settings.metric or findings.monitor
    metrics = [wanted] if isinstance(wanted, str) else list(wanted)
    ends_early = plan.settings.pruner != "none"
    known = findings.evaluated if ends_early else [*findings.final, *COSTS]
    for metric in metrics:
        if metric.startswith("test/"):
            raise UserError(f"sweep.metric={metric}: what is chosen on test cannot be reported on it; choose on val/")
        if metric not in known:
            what = "no evaluation during training reports it" if ends_early else "no run reports it"
            raise UserError(f"sweep.metric={metric}: {what}{closest(metric, known)}; there are: {', '.join(known)}")
    if len(set(metrics)) < len(metrics):
        raise UserError(f"sweep.metric={metrics}: name each metric once")
    given = plan.settings.direction
    if given is None:
        return metrics, [_direction(metric, findings) for metric in metrics]
    directions = [given] if isinstance(given, str) else list(given)
    if len(directions) != len(metrics):
        raise UserError(f"sweep.direction={directions}: one is needed for each of {', '.join(metrics)}")
    return metrics, directions


def _direction(metric: str, findings: Findings) -> str:
    if metric == findings.monitor:
        return "maximize" if findings.larger_is_better else "minimize"
    return "maximize" if larger_is_better(metric) else "minimize"


def _opening(plan: Plan, study: Study, slots: Slots) -> str:
    began = len(study.standing())
    verb = f"Going on with {plan.folder} ({began} of {plan.trials} points begun)" if began else f"Sweep {plan.folder}"
    senses = zip(study.metrics, study.directions, strict=True)
    aims = ", ".join(f"{sense} {metric}" for metric, sense in senses)
    seeds = f" over {len(plan.seeds)} seeds" if len(plan.seeds) > 1 else ""
    runs = f"{slots.number} runs at once" if slots.number > 1 else "one run at a time"
    return f"{verb}: {plan.trials} points by {plan.settings.sampler}, {aims}{seeds}, {runs}"


@contextmanager
def _stopping_on_signals(scheduler: Scheduler, view: View) -> Iterator[None]:
    """Let the first signal save and stop all runs, and the second end them at once."""

    def receive(number: int, frame: FrameType | None) -> None:
        if scheduler.is_stopping:
            if is_repeated(number):
                return
            raise KeyboardInterrupt
        scheduler.stop(signal.Signals(number).name)
        os.write(2, b"\nStopping: all runs save; once more stops at once.\n")

    previous = {number: signal.signal(number, receive) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
