"""Looks on while a run trains: logs it, shows it, and keeps its checkpoints."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rnntrain.checkpoints.checkpoint import (
    CheckpointWriteError,
    checkpoint_name,
    find_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from rnntrain.checkpoints.generators import capture_generators
from rnntrain.checkpoints.saving import Mark, Saver
from rnntrain.guard import Incident
from rnntrain.metrics import Picture
from rnntrain.processes import distributed
from rnntrain.runs.run import RunDir
from rnntrain.trainer import Trainer
from rnntrain.watching.gradient_log import GradientLog, diagnose_trainer, picture, words
from rnntrain.watching.logger import Logger
from rnntrain.watching.watcher import Watcher
from rnntrain.watching.window import StepResult

RECORDS_LIMIT = 5  # of steps that were not finite: each is as large as the model


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
        self.saver = Saver(run.checkpoints, keep_checkpoints, logger.warning)
        self._gradients = gradient_log
        self._saved_step: int | None = None  # by this process
        self._mark: Mark | None = None  # that was given with it
        self._last_units = 0
        self._last_time = 0.0
        # What the first evaluation gives to draw waits until something is drawn: how a run begins tells most.
        self._first_pictures: tuple[int, dict[str, Picture]] | None = None

    def started(self, trainer: Trainer) -> None:
        self.saver.durable_step = trainer.step
        self._last_units, self._last_time = trainer.units_seen, time.monotonic()
        if self._gradients is not None:
            self._gradients.started(trainer)

    def stepped(self, trainer: Trainer, result: StepResult) -> None:
        self.saver.check()
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
        pictures = {title: each for title, each in shown.items() if not isinstance(each, str)}
        if self._first_pictures is None:
            self._first_pictures = trainer.step, pictures
        if self.logger.pictures_due():
            for step, drawn in {self._first_pictures[0]: self._first_pictures[1], trainer.step: pictures}.items():
                self.logger.pictures(step, {title: draw() for title, draw in drawn.items()})
            self._first_pictures = trainer.step, {}

    def _diagnose(self, trainer: Trainer, gradients: GradientLog) -> dict[str, str | Picture]:
        diagnoses = diagnose_trainer(trainer)
        self.logger.scalars(trainer.step, gradients.scalars(trainer, diagnoses))
        text = words(diagnoses)
        self.logger.message(text)
        return {"gradients": text, "gradients by lag": picture(diagnoses)}

    def caught(self, trainer: Trainer, incident: Incident) -> None:
        """Write the step aside for `rnntrain replay`: the first few tell what there is to know."""
        folder, name = self.run.nonfinite, checkpoint_name(incident.step)
        self.logger.message(f"step {incident.step:,}: {incident.problem}; {self._consequence(trainer)}")
        if len(find_checkpoints(folder)) >= RECORDS_LIMIT and not (folder / name).exists():
            return
        tree = incident.to_tree(trainer.seed)
        tree |= {"model": trainer.model.state_dict(), "codec": trainer.data.codec.state_dict()}
        try:
            save_checkpoint(folder, name, tree, reason="not finite")
        except CheckpointWriteError as error:  # the record is a help; the policy holds without it
            self.logger.warning(str(error))

    def _consequence(self, trainer: Trainer) -> str:
        guard = trainer.guard
        if guard.policy == "rollback":
            return f"going back to the weights of step {guard.anchor:,}"
        return "skipping it" if guard.policy == "skip" else "stopping"

    def save(self, trainer: Trainer, reason: str) -> None:
        # The best, the interval and the end may fall on one step, and save one state. That of a step which this process
        # has not saved itself is written anew: what stands there may be damaged.
        best = trainer.best
        mark = None if best.value is None else Mark(best.step, trainer.task.monitor, best.value)
        if self._saved_step == trainer.step:
            if mark is not None and mark != self._mark:  # the evaluation at the end may have found another best
                self.saver.mark(mark)
            self._mark = mark
            return
        self.logger.flush()  # else a crash after the save would leave a gap that no resume fills
        anchor = trainer.guard.anchor if trainer.guard.policy == "rollback" else None
        self.saver.save(trainer.step, checkpoint_tree(trainer), reason, mark, self.logger.sync, anchor)
        self._saved_step, self._mark = trainer.step, mark

    def secure(self, trainer: Trainer, step: int) -> None:
        if self.saver.durable_step < step:
            self.saver.settle()

    def settle(self, trainer: Trainer) -> None:
        self.saver.settle()

    def recall(self, trainer: Trainer, step: int) -> dict[str, Any]:
        distributed.from_first(self.saver.settle)
        return load_checkpoint(self.run.checkpoints / checkpoint_name(step))


class Follower(Watcher):
    """Of all processes but the first: writes nothing, and gives its part to the checkpoints that the first writes."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self._saved_step: int | None = None

    def save(self, trainer: Trainer, reason: str) -> None:
        if self._saved_step != trainer.step:  # as the first decides
            checkpoint_tree(trainer)
            self._saved_step = trainer.step

    def recall(self, trainer: Trainer, step: int) -> dict[str, Any]:
        distributed.from_first(lambda: None)  # once the first has it on the disk
        return load_checkpoint(self.run.checkpoints / checkpoint_name(step))


def checkpoint_tree(trainer: Trainer) -> dict[str, Any]:
    """Return all that a run needs to go on, and its codec, with which a checkpoint alone can predict.

    Several processes must call this together. The carried state is that of all rows, as one process would have it; the
    states of generators are in `generators_by_process`, too.
    """
    tree: dict[str, Any] = {
        "trainer": trainer.state_dict(),
        "generators": capture_generators(),
        "codec": trainer.data.codec.state_dict(),
    }
    if distributed.world_size() > 1:
        own = {"state": None if trainer.idle else trainer.state, "generators": tree["generators"]}
        parts = distributed.gather(own)
        tree["trainer"]["state"] = distributed.rows_of_all([part["state"] for part in parts])
        tree["generators_by_process"] = [part["generators"] for part in parts]
    return tree
