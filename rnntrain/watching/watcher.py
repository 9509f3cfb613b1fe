"""What a trainer tells of itself while it trains, and to whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rnntrain.errors import UserError
from rnntrain.metrics import Picture
from rnntrain.watching.window import StepResult

if TYPE_CHECKING:
    from rnntrain.guard import Incident
    from rnntrain.trainer import Trainer


class Watcher:
    """Looks on while a trainer trains and writes down what it sees; this one does nothing.

    The trainer tells it what happens; it never reaches back to change the training. What it saved it gives back
    when the trainer asks for it.
    """

    def started(self, trainer: Trainer) -> None:
        """Called before the first step, also of a run that goes on."""

    def stepped(self, trainer: Trainer, result: StepResult) -> None:
        """Called after every step."""

    def caught(self, trainer: Trainer, incident: Incident) -> None:
        """Called when the guard keeps an update away from the weights, before anything is undone."""

    def log(self, trainer: Trainer, scalars: dict[str, float], final: bool = False) -> None:
        """Called with scalars by name; `final` where only the run's end gave rise to them."""

    def illustrate(self, trainer: Trainer, shown: Mapping[str, str | Picture]) -> None:
        """Called with texts and pictures by title."""

    def save(self, trainer: Trainer, reason: str) -> None:
        """Called when the trainer's state is to be saved: "best", "interval", "start", or the reason to stop.

        The trainer may change its state as soon as this returns.
        """

    def secure(self, trainer: Trainer, step: int) -> None:
        """Return once what a kill would leave behind is of this step or of a later one."""

    def settle(self, trainer: Trainer) -> None:
        """Return once all that was saved stands."""

    def recall(self, trainer: Trainer, step: int) -> dict[str, Any]:
        """Return what was saved at a step: the trainer's state and the generators.

        Raises:
            UserError: it is not there, or damaged.
        """
        raise UserError("trainer.on_nonfinite=rollback: nothing is saved here to go back to; use stop or skip")
