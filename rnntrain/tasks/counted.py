"""What tasks share that give an output at every step of which only some count."""

# B batch, T time, H hidden, O output

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnntrain.batch import Batch, length_mask


class PerStep(nn.Module):
    """A linear layer from the hidden state of each step to its output.

    Initialisation: weights uniform in ±1/√H, the bias zero, so that a new classifier's loss is about the
    log of its classes.
    """

    def __init__(self, input_size: int, output_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, output_size)
        nn.init.uniform_(self.linear.weight, -(input_size**-0.5), input_size**-0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, y_BTH: Tensor, batch: Batch | None = None) -> Tensor:
        """Return ``output_BTO``, or ``output_BO`` of a single step."""
        output: Tensor = self.linear(y_BTH)
        return output


def counted_steps(batch: Batch) -> Tensor | None:
    """Return ``mask_BT`` of the steps that are valid and whose targets count; None where all are."""
    if batch.lengths_B is None:
        return batch.counted_BT
    valid_BT = length_mask(batch.lengths_B, batch.inputs.shape[1])
    return valid_BT if batch.counted_BT is None else valid_BT & batch.counted_BT


def of_each_length(batch: Batch, steps: int, per_step: bool) -> Tensor:
    """Return which of what counts belongs to rows of so many valid steps: of rows, or of their counted steps."""
    num_steps = batch.inputs.shape[1]
    if batch.lengths_B is None:
        chosen_B = torch.full((batch.batch_size,), num_steps == steps, device=batch.inputs.device)
    else:
        chosen_B = batch.lengths_B == steps
    if not per_step:
        return chosen_B
    chosen_BT = chosen_B[:, None].expand(-1, num_steps)
    mask_BT = counted_steps(batch)
    return chosen_BT.flatten() if mask_BT is None else chosen_BT[mask_BT]
