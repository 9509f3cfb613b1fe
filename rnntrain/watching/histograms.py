"""What `diagnose=histograms` adds to each evaluation: how weights, gradients and gates are spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from rnntrain.metrics import Picture
from rnntrain.watching.diagnosis import gates
from rnntrain.watching.logger import Logger
from rnntrain.watching.passing_on import PassingOn
from rnntrain.watching.watcher import Watcher

if TYPE_CHECKING:
    from rnntrain.trainer import Trainer


class Histograms(PassingOn):
    """Writes histograms to TensorBoard whenever the trainer shows what it does."""

    def __init__(self, inner: Watcher, logger: Logger) -> None:
        super().__init__(inner)
        self._logger = logger

    def illustrate(self, trainer: Trainer, shown: Mapping[str, str | Picture]) -> None:
        self._logger.histograms(trainer.step, spreads(trainer))
        super().illustrate(trainer, shown)


def spreads(trainer: Trainer) -> dict[str, Tensor]:
    """Return values by name: every weight, the gradient of the last step, the gates on the first validation batch.

    A model that cannot run step by step, as one that reads in both directions, has no gates to look at.
    """
    found: dict[str, Tensor] = {}
    for name, weight in trainer.model.named_parameters():
        found[f"weights/{name}"] = weight.detach()
        if weight.grad is not None:
            found[f"gradients/{name}"] = weight.grad
    if not trainer.model.backbone.bidirectional:
        batch = next(iter(trainer.data.eval_batches("val"))).to(trainer.device)
        for number, of_layer in enumerate(gates(trainer.model, batch), 1):
            found |= {f"gates/layer{number}_{name}": values for name, values in of_layer.items()}
    return found
