"""What an optimizer does to each kind of parameter: weight decay and learning rate."""

from __future__ import annotations

from typing import Any

from torch import nn

from rnntrain.cells.base import Recurrent
from rnntrain.models.sequence import SequenceModel
from rnntrain.settings import GroupSettings

# Of the parts of a model, those that give their matrices a name of their own.
_PARTS = {"input": "embedding", "head": "output"}


def parameter_groups(
    model: nn.Module, weight_decay: float, lr: float | None = None, by_kind: GroupSettings | None = None
) -> list[dict[str, Any]]:
    """Split parameters by what the optimizer does to them; those that are frozen are left out.

    Only matrices decay, unless `by_kind` says otherwise: biases and norms have no length to keep small.

    Args:
        lr: the rate that `by_kind.lr_by` multiplies; None leaves it to the optimizer.
    """
    by_kind = by_kind or GroupSettings()
    kinds = parameter_kinds(model)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    # Matrices first, so that the rate that is logged, the first group's, is one of theirs.
    for parameter in sorted((p for p in model.parameters() if p.requires_grad), key=lambda p: p.dim() < 2):
        kind = kinds[parameter]
        decay, factor = getattr(by_kind.weight_decay_by, kind), getattr(by_kind.lr_by, kind)
        if decay is None:
            decay = 0.0 if kind == "vector" else weight_decay
        groups.setdefault((decay, 1.0 if factor is None else factor), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay} | ({} if lr is None else {"lr": lr * factor})
        for (decay, factor), parameters in groups.items()
    ]


def parameter_kinds(model: nn.Module) -> dict[nn.Parameter, str]:
    """Return the kind of each parameter, a name in `rnntrain.settings.ByKind`.

    A matrix is recurrent where a cell names it, or the module that holds it, in `Recurrent.recurrent_names`. Else its
    kind is that of the part of the model where it first stands, so that a tied matrix is an embedding.
    """
    parts = _PARTS if isinstance(model, SequenceModel) else {}
    kinds = {
        parameter: "vector" if parameter.dim() < 2 else parts.get(name.partition(".")[0], "input")
        for name, parameter in model.named_parameters()
    }
    for cell in (module for module in model.modules() if isinstance(module, Recurrent)):
        for name, parameter in cell.named_parameters():
            if parameter.dim() >= 2 and any(part.startswith(cell.recurrent_names) for part in name.split(".")):
                kinds[parameter] = "recurrent"
    return kinds
