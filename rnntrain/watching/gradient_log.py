"""What `diagnose=gradients` adds to each evaluation of a run: gradients by lag, and norms by parameter."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnntrain.metrics import Picture
from rnntrain.watching.diagnosis import LayerDiagnosis, diagnose, verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rnntrain.trainer import Trainer

ROWS = 16  # of the first batch of the validation split


class GradientLog:
    """Measures a trainer's model; keeps the weights of the step before, to tell how far each step goes."""

    def __init__(self) -> None:
        self._before: list[Tensor] = []
        self._after: list[Tensor] = []

    def started(self, trainer: Trainer) -> None:
        """Take in the weights that the next step starts from."""
        self._after = [weight.detach().clone() for weight in trainer.parameters]

    def stepped(self, trainer: Trainer) -> None:
        """Take in the weights after a step."""
        self._before = self._after
        self.started(trainer)

    def scalars(self, trainer: Trainer, diagnoses: list[LayerDiagnosis]) -> dict[str, float]:
        """Return numbers by name: of each layer, and of the last step's gradient and update of each parameter."""
        named: dict[str, float] = {}
        for number, diagnosis in enumerate(diagnoses, 1):
            named |= layer_scalars(number, diagnosis)
        names = [name for name, weight in trainer.model.named_parameters() if weight.requires_grad]
        for name, weight, before, after in zip(names, trainer.parameters, self._before, self._after, strict=True):
            if weight.grad is not None:
                named[f"gradient_norm/{name}"] = float(weight.grad.norm())
            named[f"update_share/{name}"] = float((after - before).norm() / before.norm().clamp(min=1e-12))
        return named


def diagnose_trainer(trainer: Trainer) -> list[LayerDiagnosis]:
    """Diagnose a model on the beginning of its validation split."""
    batch = next(iter(trainer.data.eval_batches("val")))
    batch = batch.take(torch.arange(min(ROWS, batch.batch_size))).to(trainer.device)
    return diagnose(trainer.model, trainer.task, batch)


def layer_scalars(number: int, diagnosis: LayerDiagnosis) -> dict[str, float]:
    """Return what was measured of a layer by name; an unlimited memory counts as all lags that were looked at."""
    lags = len(diagnosis.gradient_K) - 1
    return {
        f"memory/steps_layer{number}": float(diagnosis.memory or lags),
        f"memory/factor_per_step_layer{number}": diagnosis.factor_per_step,
        f"memory/spectral_radius_layer{number}": diagnosis.spectral_radius,
        f"units/dead_layer{number}": diagnosis.dead,
        **{f"units/saturated_{gate}_layer{number}": share for gate, share in diagnosis.saturation.items()},
    }


def picture(diagnoses: list[LayerDiagnosis]) -> Picture:
    """Return the picture of gradients by lag."""
    return partial(_draw, diagnoses)


def _draw(diagnoses: list[LayerDiagnosis]) -> Figure:
    from rnntrain.watching.pictures import gradients_by_lag

    norms_LK = torch.stack([diagnosis.gradient_K for diagnosis in diagnoses]).numpy()
    return gradients_by_lag(norms_LK, [f"layer {number}" for number in range(1, len(diagnoses) + 1)])


def words(diagnoses: list[LayerDiagnosis]) -> str:
    """Say what the numbers mean, a line for each layer."""
    return "\n".join(verdict(number, diagnosis) for number, diagnosis in enumerate(diagnoses, 1))


def table_lines(diagnoses: list[LayerDiagnosis]) -> list[str]:
    """Return the numbers of all layers as a table."""
    gates = sorted({gate for diagnosis in diagnoses for gate in diagnosis.saturation})
    heads = ["layer", "memory", "per step", "radius", "dead", *(f"{gate} saturated" for gate in gates)]
    lines = ["  ".join(f"{head:>11}" for head in heads)]
    for number, diagnosis in enumerate(diagnoses, 1):
        lags = len(diagnosis.gradient_K) - 1
        memory = f"over {lags}" if diagnosis.memory is None else str(diagnosis.memory)
        cells = [str(number), memory, f"{diagnosis.factor_per_step:.4f}", f"{diagnosis.spectral_radius:.3f}"]
        cells += [f"{diagnosis.dead:.1%}"]
        cells += [f"{diagnosis.saturation[g]:.1%}" if g in diagnosis.saturation else "" for g in gates]
        lines.append("  ".join(f"{cell:>11}" for cell in cells))
    return lines
