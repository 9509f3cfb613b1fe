"""Look at the configs of a sweep before its first run: `python -m rnntrain.sweeps.probe`.

A process of its own, since only it imports torch: it checks every config it is given and builds the first one.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rnntrain.errors import UserError


@dataclass(frozen=True)
class Findings:
    """What a sweep must know of its runs.

    Attributes:
        monitor: the metric by which the task chooses its best weights.
        larger_is_better: the sense of it.
        evaluated: metrics that each evaluation during training reports.
        final: metrics of the validation split that the end of a run reports.
        evaluations: of a run up to its limit; None where only the clock ends it.
        num_gpus: that the runs may use; 0 where they compute on the processor.
    """

    monitor: str
    larger_is_better: bool
    evaluated: list[str]
    final: list[str]
    evaluations: int | None
    num_gpus: int


def probe(configs: Sequence[Mapping[str, Any]], environment: Mapping[str, str]) -> Findings:
    """Check configs in a process of its own; return what the first comes to.

    Raises:
        UserError: one of them is wrong, or its data cannot be read.
    """
    ended = subprocess.run(
        [sys.executable, "-m", "rnntrain.sweeps.probe"],
        input=json.dumps(list(configs)),
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer = json.loads(ended.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        last = (ended.stderr.strip().splitlines() or [f"ended with code {ended.returncode}"])[-1]
        raise RuntimeError(f"the look at the sweep's configs failed: {last[:300]}") from None
    if "error" in answer:
        raise UserError(answer["error"])
    return Findings(**answer)


def find(plains: Sequence[dict[str, Any]]) -> Findings:
    """Check every config and build the first.

    Raises:
        UserError: one of them is wrong, or its data cannot be read.
    """
    from rnntrain import config as configs
    from rnntrain.build import build

    checked = [configs.check(plain) for plain in plains]
    first = checked[0]
    experiment = build(first)
    trainer, task = experiment.trainer, experiment.task
    batches = experiment.data.num_train_batches(first.top.seed, 0)
    if first.trainer.eval_batches is None:
        trainer.settings = replace(first.trainer, eval_batches=1)
    names = list(trainer.evaluate("val", next(iter(task.evaluations().values()))))
    ways = [f"_{way}" for way in task.evaluations() if way]
    return Findings(
        monitor=f"val/{task.monitor}",
        larger_is_better=task.larger_is_better,
        evaluated=[f"val/{name}" for name in names],
        final=[f"val/{name}{way}" for way in ("", *ways) for name in names],
        evaluations=_evaluations(first.trainer, batches),
        num_gpus=_num_gpus(experiment.device.type),
    )


def _evaluations(settings: Any, batches: int) -> int | None:
    """Return how often a run is evaluated up to its limit in steps or epochs, at its end at the latest."""
    steps_an_epoch = batches / settings.accumulate
    limits = [settings.max_steps, settings.max_epochs and settings.max_epochs * steps_an_epoch]
    steps = min((limit for limit in limits if limit), default=None)
    if steps is None:
        return None
    return math.ceil(steps / (settings.eval_every_steps or steps_an_epoch) - 1e-9)


def _num_gpus(device: str) -> int:
    import torch

    return torch.cuda.device_count() if device == "cuda" else 0


def main() -> int:
    """Read configs from standard input; write what was found."""
    try:
        answer = vars(find(json.load(sys.stdin)))
    except UserError as error:
        answer = {"error": str(error)}
    print("\n" + json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    os._exit(main())
