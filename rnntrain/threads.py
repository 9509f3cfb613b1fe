"""How many threads a run computes with, where the user leaves it open: measured on its own training step."""

from __future__ import annotations

import copy
import os
import time

import torch

from rnntrain.checkpoints.generators import capture_generators, restore_generators
from rnntrain.device import autocast
from rnntrain.settings import Precision
from rnntrain.trainer import Trainer

# A step that takes so long is that of a model large enough to keep all cores busy; it is measured no further.
LONG_STEP_SECONDS = 0.03
LONG_FIRST_STEP_SECONDS = 0.1  # which also pays for buffers
ROUNDS = 3


def fastest_threads(trainer: Trainer, precision: Precision) -> int:
    """Return the number of threads, one or all, at which a training step of `trainer` is faster, and set it.

    Small models are faster on one thread: the others cost more to wake and to wait for than they take over. Steps are
    timed on a copy of the model and the first batch, in turn, and the fastest of each counts, so that a moment's
    load of the machine does not decide. The model, the generators and the order of data stay as they were: the run
    depends on the measurement through the number of threads alone.

    Nothing is measured on a GPU, where there is one thread only, or where OMP_NUM_THREADS says how many there are.
    """
    most = torch.get_num_threads()
    if trainer.device.type == "cpu" and most > 1 and "OMP_NUM_THREADS" not in os.environ:
        generators = capture_generators()
        try:
            torch.set_num_threads(_faster_of(_Step(trainer, precision), most))
        finally:
            restore_generators(generators)
    return torch.get_num_threads()


def _faster_of(step: _Step, most: int) -> int:
    if step.seconds(most) > LONG_FIRST_STEP_SECONDS or step.seconds(most) > LONG_STEP_SECONDS:
        return most
    step.seconds(1)
    seconds: dict[int, list[float]] = {most: [], 1: []}
    for _ in range(ROUNDS):
        for threads, taken in seconds.items():
            taken.append(step.seconds(threads))
    return min(seconds, key=lambda threads: min(seconds[threads]))


class _Step:
    """A forward and a backward pass as the trainer's, on a copy of its model."""

    def __init__(self, trainer: Trainer, precision: Precision) -> None:
        self.task, self.autocast = trainer.task, autocast(trainer.device, precision)
        self.model = copy.deepcopy(trainer.model).train()
        self.batch = next(iter(trainer.data.train_batches(trainer.seed, 0, 0)))

    def seconds(self, threads: int) -> float:
        torch.set_num_threads(threads)
        self.model.zero_grad()
        started = time.perf_counter()
        with self.autocast:
            output, _ = self.model(self.batch, None)
            loss_sum, count = self.task.loss(output, self.batch)
        (loss_sum / count).backward()
        return time.perf_counter() - started
