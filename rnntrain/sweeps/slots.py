"""How many runs at once on this machine, and the processor threads and GPU that each gets."""

from __future__ import annotations

import os
from typing import Any

from rnntrain.processes.alone import environment_of_one


class Slots:
    """Places for runs.

    Args:
        workers: how many; None takes one a GPU, else one for each `threads` processor cores.
        num_gpus: that there are; runs are spread over them in turn. 0 for runs on the processor.
        threads: of one run.
    """

    def __init__(self, workers: int | None, num_gpus: int, threads: int) -> None:
        self.number = workers or num_gpus or max(1, available_cores() // threads)
        self._gpus = _visible_gpus(num_gpus)
        self._taken: set[int] = set()

    def free(self) -> int | None:
        """Return the first place that is free, or None."""
        return next((slot for slot in range(self.number) if slot not in self._taken), None)

    def take(self, slot: int) -> None:
        self._taken.add(slot)

    def give_back(self, slot: int) -> None:
        self._taken.discard(slot)

    def environment(self, slot: int, threads: Any) -> dict[str, str]:
        """Return the environment of the process in a place."""
        variables = environment_of_one()
        if isinstance(threads, int):
            variables["OMP_NUM_THREADS"] = str(threads)
        if self._gpus:
            variables["CUDA_VISIBLE_DEVICES"] = self._gpus[slot % len(self._gpus)]
        return variables


def available_cores() -> int:
    """Return the processor cores that this process may use; those of a Slurm job, also where Slurm binds it to none."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(cores, int(given)) if given.isdecimal() and int(given) else cores


def _visible_gpus(number: int) -> list[str]:
    """Return the names of GPUs as CUDA_VISIBLE_DEVICES lists them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return [name.strip() for name in named.split(",") if name.strip()][:number] or [str(gpu) for gpu in range(number)]
