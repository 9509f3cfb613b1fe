"""Whether a model's file is to compute in float64: where float32 would not do, as the model itself shows."""

# B batch, T time, H hidden

from __future__ import annotations

import copy

import torch
from torch import Tensor

from rnntrain.cells.base import State
from rnntrain.exporting.asked import Precision
from rnntrain.exporting.layers import tensors_of
from rnntrain.exporting.reading import reading_of
from rnntrain.models.sequence import SequenceModel

# Many rows: where a recurrence is chaotic, most stray little and one strays far.
NUM_ROWS, NUM_STEPS = 16, 1000
LIMIT = 5e-5  # half of what a file may differ by, whose rounding is another than PyTorch's, but of that size


def computes_in_float64(model: SequenceModel, precision: Precision) -> bool:
    """Say whether a file computes in float64: as it was asked, or where float32 strays too far."""
    return precision == "float64" or (precision == "auto" and not drift(model) <= LIMIT)


@torch.no_grad()
def drift(model: SequenceModel) -> float:
    """Return how far a model in float32 is from itself in float64 after a thousand made-up steps.

    Of two outputs of the recurrent layers, or numbers of their states; in units of the largest number of a tensor,
    where that is above 1. A recurrence that forgets nothing, or is chaotic, stretches the rounding of each step by all
    that follow; one that forgets stays at a few 1e-7. Training moves a model from one kind to the other, so that its
    weights tell, and not its cell.

    0 for a cell of one's own that runs in float32 alone.
    """
    single = copy.deepcopy(model).cpu().float().eval()
    reading = reading_of(single)
    inputs = reading.inputs(NUM_ROWS, reading.steps(NUM_STEPS), torch.Generator().manual_seed(0))
    plain = _outputs(single, inputs)
    try:
        exact = _outputs(single.double(), inputs.double() if inputs.is_floating_point() else inputs)
    except RuntimeError:  # of tensors whose types differ
        return 0.0
    return max(map(_distance, plain, exact))


def _outputs(model: SequenceModel, inputs: Tensor) -> list[Tensor]:
    # Not the head, whose outputs over a large vocabulary would take gigabytes.
    state: State
    y_BTH, state = model.backbone(model.input(inputs), None, None)
    return [y_BTH, *tensors_of(state)]


def _distance(plain: Tensor, exact: Tensor) -> float:
    if not exact.numel():
        return 0.0
    scale = max(1.0, float(exact.abs().max()))
    distance = float((plain - exact).abs().max()) / scale
    return distance if distance == distance else torch.inf
