"""Looks on while a run trains: logs it, shows it, and keeps its checkpoints."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rnntrain.checkpoint import checkpoint_name, save_checkpoint
from rnntrain.generators import capture_generators
from rnntrain.gradient_log import GradientLog, diagnose_trainer, picture, words
from rnntrain.logger import Logger
from rnntrain.metrics import Picture
from rnntrain.retention import mark_best, rotate
from rnntrain.run import RunDir
from rnntrain.trainer import StepResult, Trainer, Watcher


class Recorder(Watcher):
    """Writes what a trainer does into its run directory.

    Args:
        keep_checkpoints: how many of the newest checkpoints stay beside the best.
        gradient_log: measures gradients at each evaluation, where a run asks for it.
    """

    def __init__(
        self, run: RunDir, logger: Logger, keep_checkpoints: int, gradient_log: GradientLog | None = None
    ) -> None:
        self.run = run
        self.logger = logger
        self._gradients = gradient_log
        self._keep = keep_checkpoints
        self._saved_step: int | None = None  # by this process
        self._marked_step: int | None = None
        self._last_units = 0
        self._last_time = 0.0

    def started(self, trainer: Trainer) -> None:
        self._last_units, self._last_time = trainer.units_seen, time.monotonic()
        if self._gradients is not None:
            self._gradients.started(trainer)

    def stepped(self, trainer: Trainer, result: StepResult) -> None:
        if self._gradients is not None:
            self._gradients.stepped(trainer)
        if not self.logger.progress_due():
            return
        now = time.monotonic()
        speed = (trainer.units_seen - self._last_units) / max(now - self._last_time, 1e-9)
        self._last_units, self._last_time = trainer.units_seen, now
        loss = float(result.loss_sum / result.count)
        clipped = trainer.window.means()["train/clipped"]
        self.logger.progress(trainer.step, trainer.progress(), loss, clipped, speed)

    def log(self, trainer: Trainer, scalars: dict[str, float], final: bool = False) -> None:
        self.logger.scalars(trainer.step, scalars, final)
        if evaluated := {name: value for name, value in scalars.items() if name.startswith("val/")}:
            self.logger.message(f"step {trainer.step:,}: " + ", ".join(f"{k} {v:.4f}" for k, v in evaluated.items()))

    def illustrate(self, trainer: Trainer, shown: Mapping[str, str | Picture]) -> None:
        if self._gradients is not None:
            shown = {**shown, **self._diagnose(trainer, self._gradients)}
        self.logger.texts(trainer.step, {title: each for title, each in shown.items() if isinstance(each, str)})
        if self.logger.pictures_due():
            pictures = {title: each() for title, each in shown.items() if not isinstance(each, str)}
            self.logger.pictures(trainer.step, pictures)

    def _diagnose(self, trainer: Trainer, gradients: GradientLog) -> dict[str, str | Picture]:
        diagnoses = diagnose_trainer(trainer)
        self.logger.scalars(trainer.step, gradients.scalars(trainer, diagnoses))
        text = words(diagnoses)
        self.logger.message(text)
        return {"gradients": text, "gradients by lag": picture(diagnoses)}

    def save(self, trainer: Trainer, reason: str) -> None:
        # The best, the interval and the end may fall on one step, and save one state. That of a step which this process
        # has not saved itself is written anew: what stands there may be damaged.
        is_new = self._saved_step != trainer.step
        if is_new:
            self.logger.flush()  # else a crash after the save would leave a gap that no resume fills
            name = checkpoint_name(trainer.step)
            save_checkpoint(self.run.checkpoints, name, checkpoint_tree(trainer), reason=reason)
            self._saved_step = trainer.step
        self._mark_best(trainer)
        if is_new:  # the evaluation at the end marks another best and saves nothing, so that the one before stays
            rotate(self.run.checkpoints, self._keep)

    def _mark_best(self, trainer: Trainer) -> None:
        """Make `best.json` say what the trainer says, which after a resume may be less than what stands there."""
        best = trainer.best
        name = checkpoint_name(best.step)
        if best.value is None or self._marked_step == best.step or not (self.run.checkpoints / name).is_dir():
            return
        mark_best(self.run.checkpoints, name, trainer.task.monitor, best.value)
        self._marked_step = best.step


def checkpoint_tree(trainer: Trainer) -> dict[str, Any]:
    """Return all that a run needs to go on, and its codec, with which a checkpoint alone can predict."""
    return {
        "trainer": trainer.state_dict(),
        "generators": capture_generators(),
        "codec": trainer.data.codec.state_dict(),
    }
