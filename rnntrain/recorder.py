"""Looks on while a run trains: logs it, shows it, and keeps its checkpoints."""

from __future__ import annotations

import time
from typing import Any

from rnntrain.checkpoint import checkpoint_name, save_checkpoint
from rnntrain.generators import capture_generators
from rnntrain.logger import Logger
from rnntrain.retention import mark_best, rotate
from rnntrain.run import RunDir
from rnntrain.trainer import StepResult, Trainer, Watcher


class Recorder(Watcher):
    """Writes what a trainer does into its run directory.

    Args:
        keep_checkpoints: how many of the newest checkpoints stay beside the best.
    """

    def __init__(self, run: RunDir, logger: Logger, keep_checkpoints: int) -> None:
        self.run = run
        self.logger = logger
        self._keep = keep_checkpoints
        self._saved: set[str] = set()
        self._last_units = 0
        self._last_time = time.monotonic()

    def stepped(self, trainer: Trainer, result: StepResult) -> None:
        if not self.logger.progress_due():
            return
        now = time.monotonic()
        speed = (trainer.units_seen - self._last_units) / max(now - self._last_time, 1e-9)
        self._last_units, self._last_time = trainer.units_seen, now
        loss = float(result.loss_sum / result.count)
        self.logger.progress(trainer.step, trainer.progress(), loss, trainer.window.clipped_share(), speed)

    def log(self, trainer: Trainer, scalars: dict[str, float]) -> None:
        self.logger.scalars(trainer.step, scalars)
        if evaluated := {name: value for name, value in scalars.items() if name.startswith("val/")}:
            self.logger.message(f"step {trainer.step:,}: " + ", ".join(f"{k} {v:.4f}" for k, v in evaluated.items()))

    def illustrate(self, trainer: Trainer, texts: dict[str, str]) -> None:
        self.logger.texts(trainer.step, texts)

    def save(self, trainer: Trainer, reason: str) -> None:
        name = checkpoint_name(trainer.step)
        if name not in self._saved:  # the best, the interval and the end may fall on one step, and save one state
            save_checkpoint(self.run.checkpoints, name, checkpoint_tree(trainer), reason=reason)
            self._saved.add(name)
        if reason == "best":
            assert trainer.best.value is not None
            mark_best(self.run.checkpoints, name, trainer.task.monitor, trainer.best.value)
        rotate(self.run.checkpoints, self._keep)


def checkpoint_tree(trainer: Trainer) -> dict[str, Any]:
    """Return all that a run needs to go on, and its codec, with which a checkpoint alone can predict."""
    return {
        "trainer": trainer.state_dict(),
        "generators": capture_generators(),
        "codec": trainer.data.codec.state_dict(),
    }
