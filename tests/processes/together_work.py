"""What tests let several processes do, and one alone, to compare what it comes to."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from tasks.cases import TASKS
from training import CELLS, Notes, make_config

from rnntrain import commands
from rnntrain.batch import Batch
from rnntrain.build import Experiment, build
from rnntrain.checkpoints import saving
from rnntrain.checkpoints.beside import Beside
from rnntrain.data.base import DataSet
from rnntrain.errors import Followed, Interrupted, UserError
from rnntrain.guard import Guard
from rnntrain.processes import distributed, joining, partners
from rnntrain.processes.joining import joined
from rnntrain.running import Trained
from rnntrain.settings import DeviceSettings
from rnntrain.tasks.base import carry_nothing
from rnntrain.trainer import Trainer
from rnntrain.watching.recorder import Follower, Recorder


def cpu() -> DeviceSettings:
    return DeviceSettings(kind="cpu", timeout_minutes=1.0)


def fit(path: str, changes: dict[str, Any], cell: str = "lstm") -> dict[str, Any]:
    """Train; return the losses of all steps, the weights, the logged lines and the number of units seen."""
    with joined(cpu):
        return _fitted(build(make_config(Path(path), changes, cell=cell)))


def fit_all_cells(path: str, changes: dict[str, Any]) -> dict[str, Any]:
    with joined(cpu):
        return {cell: _fitted(build(make_config(Path(path), changes, cell=cell))) for cell in CELLS}


def fit_task(folder: str, task: str, steps: int) -> dict[str, Any]:
    """Train a task for some steps; return that, and the metrics of each split and way to evaluate.

    Batches are uneven: of rows whose number no two processes share equally, and of one row.
    """
    with joined(cpu):
        # Each process writes its own files, of the same content.
        experiment = TASKS[task](Path(folder) / f"{distributed.world_size()}-{distributed.rank()}").experiment
        trainer = experiment.trainer
        _make_uneven(experiment.data)
        found = {"losses": [], "weights": []}
        for _ in range(steps):
            result = trainer.train_step()
            found["losses"].append(float(result.loss_sum / result.count))
        found["weights"] = _weights(experiment)
        found["metrics"] = {
            f"{split}{way}": trainer.evaluate(split, carry)
            for split in sorted({"val", "test"} & set(experiment.data.splits))
            for way, carry in {"": carry_nothing, **experiment.task.evaluations()}.items()
        }
        return found


def _make_uneven(data: DataSet) -> None:
    """Take one row away from batches where that is odd; all but one from some, where rows do not go on."""

    def fewer(batch: Batch, number: int) -> Batch:
        odd = max(1, batch.batch_size - 1 + batch.batch_size % 2)
        return batch.stretch(0, 1 if number % 3 == 1 and not data.contiguous else odd)

    train_batches, eval_batches = data.train_batches, data.eval_batches
    data.train_batches = lambda *place: map(fewer, train_batches(*place), count())  # type: ignore[method-assign]
    data.eval_batches = lambda split: map(fewer, eval_batches(split), count())  # type: ignore[method-assign]


def count_exchanges(path: str, changes: dict[str, Any]) -> list[int]:
    """Return how often gradients were exchanged, and how many values, in each step."""
    add_bucket, seen = distributed._add_bucket, []

    def counted(bucket: Any) -> Any:
        seen.append(bucket.buffer().numel())
        return add_bucket(bucket)

    with joined(cpu):
        distributed._add_bucket = counted
        try:
            trainer = build(make_config(Path(path), changes)).trainer
            steps = []
            for _ in range(3):
                seen.clear()
                trainer.train_step()
                steps.append([len(seen), sum(seen)])
        finally:
            distributed._add_bucket = add_bucket
        return [steps, sum(parameter.numel() for parameter in trainer.parameters)]


def without_gradient(folder: str) -> dict[str, list[str]]:
    """Return the weights that get no gradient from a batch, by task: DistributedDataParallel would wait for them."""
    missing = {}
    for name, make in TASKS.items():
        case = make(Path(folder) / name)
        case.loss(case.batch)[0].backward()
        missing[name] = [name for name, p in case.model.named_parameters() if p.requires_grad and p.grad is None]
    return missing


def train_run(path: str, changes: dict[str, Any], stop_at: int | None = None) -> dict[str, Any]:
    """Train a whole run, which a signal to the last of the processes stops at a step; return what it comes to."""
    watcher = Follower if distributed_size() > 1 else Recorder
    stepped = watcher.stepped

    def stepped_and_stopped(self: Any, trainer: Any, result: Any) -> None:
        stepped(self, trainer, result)
        if trainer.step == stop_at:
            signal.raise_signal(signal.SIGTERM)

    watcher.stepped = stepped_and_stopped  # type: ignore[method-assign]
    try:
        return _of_run(commands.train(make_config(Path(path), changes), quiet=True))
    except (Followed, Interrupted) as end:
        return {"ended": type(end).__name__}
    finally:
        watcher.stepped = stepped  # type: ignore[method-assign]


def resume_run(folder: str, overrides: list[str]) -> dict[str, Any]:
    return _of_run(commands.resume(Path(folder), overrides, quiet=True))


def train_with_a_bad_step(path: str, changes: dict[str, Any], step: int) -> dict[str, Any]:
    """Train a whole run of which the guard keeps one update away."""
    problem = Guard.problem

    def problem_or_made_up(self: Guard, *seen: Any) -> str | None:
        calls.append(1)
        return "made up" if len(calls) == step else problem(self, *seen)

    calls: list[int] = []
    Guard.problem = problem_or_made_up  # type: ignore[method-assign]
    try:
        return _of_run(commands.train(make_config(Path(path), changes), quiet=True))
    finally:
        Guard.problem = problem  # type: ignore[method-assign]


def train_with_slow_writes(path: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Train a run whose writes end no sooner than they are waited for; also return the steps at which that was."""
    write, wait, stepped, asked = saving.write_checkpoint, Beside.wait, Recorder.stepped, threading.Event()
    waited: list[int] = []
    taken = [0]

    def slow(*args: Any, **options: Any) -> Path:
        assert asked.wait(60)
        return write(*args, **options)

    def noted(self: Beside) -> None:
        if not self.idle():
            waited.append(taken[-1])
            asked.set()
        wait(self)
        asked.clear()

    def counted(self: Recorder, trainer: Trainer, result: Any) -> None:
        stepped(self, trainer, result)
        taken.append(trainer.step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "write_checkpoint", slow)
        patch.setattr(Beside, "wait", noted)
        patch.setattr(Recorder, "stepped", counted)
        return {**_of_run(commands.train(make_config(Path(path), changes), quiet=True)), "waited": waited}


def fit_by_the_clock(path: str, changes: dict[str, Any], minutes: list[float]) -> list[Any]:
    """Train with clocks that show so many minutes in each process; return why and where it ended."""
    with joined(cpu):
        trainer = build(make_config(Path(path), changes)).trainer
        trainer.clock.own_seconds = lambda: 60.0 * minutes[distributed.rank()]  # type: ignore[method-assign]
        return [trainer.fit(), trainer.step]


def gather_trees() -> list[Any]:
    with joined(cpu):
        own = {"number": distributed.rank(), "tensor": torch.full((2 + 3 * distributed.rank(),), distributed.rank())}
        return [[tree["number"], tree["tensor"].tolist()] for tree in distributed.gather(own)]


def fail_in_first() -> str:
    """Make a user's mistake in the first process alone."""

    def fail() -> None:
        raise UserError("the first says why")

    return _mistake(lambda: distributed.from_first(fail))


def differ(values: list[Any]) -> str:
    return _mistake(lambda: distributed.check_alike({"data": values[distributed.rank()]}))


def see(folders: list[str]) -> str:
    """Look for a folder that the first process has made; in each by a name of its own."""
    distributed.SEEN_SECONDS = 0.2
    return _mistake(lambda: distributed.check_seen(Path(folders[distributed.rank()])))


def join_with(mistakes: list[str | None], devices: list[str | None]) -> str:
    """Join with a mistake or a device in some of the processes."""
    rank = int(os.environ["RANK"])

    def settings() -> DeviceSettings:
        if mistakes[rank] is not None:
            raise UserError(mistakes[rank])
        return cpu()

    take_device, grace_seconds = joining._take_device, partners.GRACE_SECONDS
    joining._take_device = lambda settings: devices[rank]
    partners.GRACE_SECONDS = 0.0  # the first process does not end here
    try:
        with joined(settings):
            return "none"
    except (UserError, Followed) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        joining._take_device, partners.GRACE_SECONDS = take_device, grace_seconds


def _mistake(function: Callable[[], Any]) -> str:
    with joined(cpu):
        try:
            function()
        except (UserError, Followed) as error:
            return f"{type(error).__name__}: {error}"
    return "none"


def distributed_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _fitted(experiment: Experiment) -> dict[str, Any]:
    notes = Notes()
    trainer = experiment.trainer
    trainer.watcher = notes
    trainer.fit()
    return {
        "losses": [float(result.loss_sum / result.count) for result in notes.results],
        "norms": [result.grad_norm for result in notes.results],
        "weights": _weights(experiment),
        "lines": [
            [step, {name: value for name, value in line.items() if not name.startswith("cost/")}]
            for step, line in notes.lines
        ],
        "units": trainer.units_seen,
        "draws": torch.rand(3).tolist(),
    }


def _weights(experiment: Experiment) -> list[float]:
    return torch.cat([p.detach().double().flatten() for p in experiment.model.parameters()]).tolist()


def _of_run(trained: Trained) -> dict[str, Any]:
    return {"weights": _weights(trained.experiment), "metrics": trained.summary.metrics, "writes": trained.writes}
