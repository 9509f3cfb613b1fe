"""A watcher that looks on beside another: what it is told it passes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rnntrain.metrics import Picture
from rnntrain.watching.watcher import Watcher
from rnntrain.watching.window import StepResult

if TYPE_CHECKING:
    from rnntrain.guard import Incident
    from rnntrain.trainer import Trainer


class PassingOn(Watcher):
    """Passes on all that a trainer tells; a subclass looks at some of it on the way."""

    def __init__(self, inner: Watcher) -> None:
        self.inner = inner

    def started(self, trainer: Trainer) -> None:
        self.inner.started(trainer)

    def stepped(self, trainer: Trainer, result: StepResult) -> None:
        self.inner.stepped(trainer, result)

    def caught(self, trainer: Trainer, incident: Incident) -> None:
        self.inner.caught(trainer, incident)

    def log(self, trainer: Trainer, scalars: dict[str, float], final: bool = False) -> None:
        self.inner.log(trainer, scalars, final)

    def illustrate(self, trainer: Trainer, shown: Mapping[str, str | Picture]) -> None:
        self.inner.illustrate(trainer, shown)

    def save(self, trainer: Trainer, reason: str) -> None:
        self.inner.save(trainer, reason)

    def secure(self, trainer: Trainer, step: int) -> None:
        self.inner.secure(trainer, step)

    def settle(self, trainer: Trainer) -> None:
        self.inner.settle(trainer)

    def recall(self, trainer: Trainer, step: int) -> dict[str, Any]:
        return self.inner.recall(trainer, step)
