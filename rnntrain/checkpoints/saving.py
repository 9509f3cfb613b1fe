"""Checkpoints of a run: copied in memory, then written beside the training, tried again where the disk refuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from torch import Tensor

from rnntrain.checkpoints import durable
from rnntrain.checkpoints.beside import Beside
from rnntrain.checkpoints.checkpoint import (
    CheckpointWriteError,
    checkpoint_name,
    encoded_bytes,
    find_checkpoints,
    write_checkpoint,
)
from rnntrain.checkpoints.retention import mark_best, rotate
from rnntrain.checkpoints.snapshot import Snapshots
from rnntrain.errors import UserError

if TYPE_CHECKING:
    from rnntrain.trainer import Trainer

PAUSES_SECONDS = (0.2, 1.0, 3.0)  # before each new attempt: a disk that others fill or a network may recover


@dataclass(frozen=True)
class Mark:
    """What `best.json` is to say."""

    step: int
    metric: str
    value: float


def check_room(folder: Path, size: int, keep: int, warn: Callable[[str], None]) -> None:
    """Compare the free space with what the coming checkpoints of about `size` bytes need, before the first is due.

    Raises:
        UserError: not even one fits.
    """
    try:
        free = durable.free_bytes(folder)
    except OSError:
        return  # a disk that cannot be asked will say itself what is wrong
    if free < size:
        raise UserError(
            f"{folder}: a checkpoint takes about {_megabytes(size)} and {_megabytes(free)} are free; "
            "free space, or choose another disk with run.root"
        )
    most = keep + 2  # the best, and the new one before an old one goes
    need = max(most - len(find_checkpoints(folder)), 1) * size
    if free < need:
        warn(
            f"{folder}: trainer.keep_checkpoints={keep} comes to {_megabytes(need)} more and {_megabytes(free)} are "
            "free; free space or keep fewer"
        )


def coming_bytes(trainer: Trainer) -> int:
    """Return about what a checkpoint will take, before the optimizer has any state as if it kept two of each weight."""
    copies = 1 + (trainer.average is not None) + (0 if trainer.optimizer.state else 2)
    size = copies * sum(p.numel() * p.element_size() for p in trainer.model.parameters())
    for state in trainer.optimizer.state.values():
        size += sum(part.numel() * part.element_size() for part in state.values() if isinstance(part, Tensor))
    return size


class Saver:
    """Writes a run's checkpoints one at a time beside its training; `with` it, the last one stands at the end.

    An error of the disk comes out at the next call of any method. Until then, and after, the checkpoints before stand.

    Attributes:
        durable_step: the newest step that a kill, or power that fails, would leave; the run's start counts as saved.

    Args:
        folder: the run's folder of checkpoints.
        keep: how many of the newest stay, beside the best.
        warn: is told in one line what the user should know before it is too late.
    """

    def __init__(self, folder: Path, keep: int, warn: Callable[[str], None]) -> None:
        self.folder = folder
        self._keep = keep
        self._warn = warn
        self._beside = Beside()
        self._snapshots = Snapshots()
        self.durable_step = 0
        self._marked: int | None = None
        self._warned = False

    def save(
        self,
        step: int,
        tree: dict[str, Any],
        reason: str,
        best: Mark | None,
        before: Callable[[], None],
        keep_also: int | None = None,
    ) -> None:
        """Copy the tree, and begin to write it as the checkpoint of a step; then mark the best, then delete old ones.

        Args:
            before: is called beside the training too, before anything of the checkpoint is written.
            keep_also: the step of one more checkpoint that stays.
        """
        self._beside.wait()  # its memory is used again
        text, tensors = self._snapshots.take(tree)
        name = checkpoint_name(step)

        def write() -> None:
            before()
            self._insist(lambda: write_checkpoint(self.folder, name, text, tensors, reason=reason))
            self.durable_step = step
            self._insist(lambda: self._mark(best))
            self._insist(lambda: rotate(self.folder, self._keep, keep_also))
            self._look_ahead(encoded_bytes(text, tensors))

        self._beside.start(write)

    def mark(self, best: Mark) -> None:
        """Begin to mark the best; nothing is saved."""
        self._beside.start(lambda: self._insist(lambda: self._mark(best)))

    def settle(self) -> None:
        """Return once all of it stands."""
        self._beside.wait()

    def settled(self) -> bool:
        """Say whether nothing is being written, without waiting."""
        return self._beside.idle()

    def check(self) -> None:
        """Raise the error of a write that has failed; cheap enough to ask at every step."""
        self._beside.check()

    def _mark(self, best: Mark | None) -> None:
        """Make `best.json` say what the trainer says, which after a resume may be less than what stands there."""
        if best is None or best.step == self._marked or not (self.folder / checkpoint_name(best.step)).is_dir():
            return
        mark_best(self.folder, checkpoint_name(best.step), best.metric, best.value)
        self._marked = best.step

    def _insist(self, action: Callable[[], object]) -> None:
        for pause in PAUSES_SECONDS:
            try:
                action()
                return
            except CheckpointWriteError as error:
                self._warn(f"{error.path}: {error.reason}; trying again in {pause:g} s")
                time.sleep(pause)
        action()

    def _look_ahead(self, size: int) -> None:
        try:
            free = durable.free_bytes(self.folder)
        except OSError:
            return
        if free >= size:
            self._warned = False
        elif not self._warned:
            self._warned = True
            self._warn(
                f"{self.folder}: the next checkpoint takes about {_megabytes(size)} and {_megabytes(free)} are free"
            )

    def __enter__(self) -> Saver:
        self._beside.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._beside.__exit__(kind, error, trace)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
