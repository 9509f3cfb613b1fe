"""Batch sizes by doubling: how fast each trains, what memory it takes, and where more of it gains nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rnntrain.build import Experiment
from rnntrain.device import memory_mebibytes
from rnntrain.errors import UserError
from rnntrain.out_of_memory import OutOfMemory, memory_explained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WARM_UP_STEPS = 2
LEAST_STEPS = 3
LEAST_SECONDS = 1.0
ENOUGH = 0.9  # of the best throughput: beyond, a larger batch costs more than it gains
NO_GAIN = 1.05  # times the throughput of the size before; two sizes in a row without it end the trial


@dataclass(frozen=True)
class SizeTrial:
    """What one batch size came to.

    Attributes:
        units_per_second: time steps trained on.
        memory: of the process on a CPU, allocated at most on CUDA; in MiB.
    """

    batch_size: int
    step_seconds: float
    units_per_second: float
    memory: float


def try_sizes(built: Callable[[int], Experiment], first: int, most: int) -> Iterator[SizeTrial | str]:
    """Yield what each size came to, from `first` on by doubling, and at last why no larger one was tried.

    Args:
        built: builds the experiment for a batch size.

    Raises:
        UserError: not even the first size can be trained.
    """
    size, before, without_gain = first, 0.0, 0
    while size <= most:
        try:
            with memory_explained():
                trial = _time(built(size), size)
        except OutOfMemory as error:
            if size == first:
                raise
            yield f"{size} does not fit: {error}"
            return
        except UserError as error:  # the data has no batch of that size
            if size == first:
                raise
            yield f"{size} is refused: {error}"
            return
        yield trial
        without_gain = without_gain + 1 if trial.units_per_second < NO_GAIN * before else 0
        if without_gain == 2:
            yield "the last two doublings gained nothing"
            return
        before = max(before, trial.units_per_second)
        size *= 2
    yield f"--most {most} is reached"


def suggestion(trials: list[SizeTrial]) -> SizeTrial:
    """Return the smallest size that has nearly the best throughput."""
    best = max(trial.units_per_second for trial in trials)
    return next(trial for trial in trials if trial.units_per_second >= ENOUGH * best)


def in_words(trials: list[SizeTrial], usual: int | None) -> list[str]:
    """Say which size is suggested and why."""
    chosen = suggestion(trials)
    best = max(trial.units_per_second for trial in trials)
    lines = [
        f"Try data.batch_size={chosen.batch_size}: the smallest with {ENOUGH:.0%} of the best throughput "
        f"({chosen.units_per_second:,.0f} of {best:,.0f} a second), {chosen.memory:,.0f} MiB. A larger one takes more "
        "memory and makes fewer updates of the same data."
    ]
    if usual is not None and usual != chosen.batch_size:
        factor = chosen.batch_size / usual
        lines.append(
            f"That is {factor:g} times the present {usual}: begin with optimizer.lr times {factor**0.5:.2g}, its root, "
            "and see `rnntrain find lr`."
        )
    return lines


def _time(experiment: Experiment, size: int) -> SizeTrial:
    trainer = experiment.trainer
    trainer.model.train()
    if trainer.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(trainer.device)
    for _ in range(WARM_UP_STEPS):
        trainer.train_step()
    units, seconds = trainer.units_seen, list[float]()
    while len(seconds) < LEAST_STEPS or sum(seconds) < LEAST_SECONDS:
        began = _now(trainer.device)
        trainer.train_step()
        seconds.append(_now(trainer.device) - began)
    usual = statistics.median(seconds)  # a step during which the machine did something else says nothing
    speed = (trainer.units_seen - units) / len(seconds) / usual
    return SizeTrial(size, usual, speed, memory_mebibytes(trainer.device))


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def line(trial: SizeTrial, unit: str) -> str:
    """Return a trial as a line of a table."""
    step = f"{1000 * trial.step_seconds:,.1f} ms a step"
    return f"{trial.batch_size:>8}  {step:>20}  {trial.units_per_second:>12,.0f} {unit}/s  {trial.memory:>8,.0f} MiB"


def draw(trials: list[SizeTrial], unit: str) -> Figure:
    """Draw throughput and memory by batch size."""
    import matplotlib

    from rnntrain.watching.pictures import COLOURS, STYLE, new_figure

    figure = new_figure(8.0, 3.4)
    with matplotlib.rc_context(STYLE):
        left, right = figure.subplots(1, 2)
    sizes = [trial.batch_size for trial in trials]
    left.plot(sizes, [trial.units_per_second for trial in trials], "o-", color=COLOURS[0])
    left.axvline(suggestion(trials).batch_size, color=COLOURS[1], linestyle="--", label="suggestion")
    left.set_ylabel(f"{unit} a second")
    left.set_ylim(bottom=0)
    left.legend()
    right.plot(sizes, [trial.memory for trial in trials], "s--", color=COLOURS[2])
    right.set_ylabel("memory, MiB")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set_xlabel("batch size")
    return figure
