"""What travels from a data set to a model: one batch, its lengths and its mask."""

# B batch, T time

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One batch of sequences, batch first.

    Attributes:
        inputs: what the model reads, ``[B, T]`` integers or ``[B, T, D]`` numbers.
        targets: what the task compares with; its shape is the task's own.
        lengths_B: number of valid steps in each row, or None where every row is full. Masks come from these
            lengths alone; what stands in padded places has no meaning.
        fresh_B: True for rows that begin a new document, so that a carried state must not reach them;
            None where no row does.
        counted_BT: True for the valid steps whose targets count; None where all of them do.
        target_lengths_B: number of valid targets in each row, where that is not the number of steps.
        context: what the head reads beside the backbone's output, such as what is known of the horizon of a
            forecast; its shape is the task's own.
    """

    inputs: Tensor
    targets: Tensor
    lengths_B: Tensor | None = None
    fresh_B: Tensor | None = None
    counted_BT: Tensor | None = None
    target_lengths_B: Tensor | None = None
    context: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """Copy to `device`, without waiting where the memory is pinned; what is there already is not copied."""
        if self.inputs.device == device:
            return self
        moved = {
            f.name: value.to(device, non_blocking=True)
            for f in fields(self)
            if (value := getattr(self, f.name)) is not None
        }
        return replace(self, **moved)

    def take(self, index_B: Tensor) -> Batch:
        """Return some rows."""
        taken = {f.name: value[index_B] for f in fields(self) if (value := getattr(self, f.name)) is not None}
        return replace(self, **taken)

    def stretch(self, start: int, stop: int) -> Batch:
        """Return the rows from `start` up to `stop`, which share their memory with these."""
        taken = {f.name: value[start:stop] for f in fields(self) if (value := getattr(self, f.name)) is not None}
        return replace(self, **taken)

    @property
    def batch_size(self) -> int:
        return self.inputs.shape[0]

    @property
    def num_steps(self) -> int:
        """Number of valid time steps over all rows; waits for the device where the lengths lie on one."""
        if self.lengths_B is None:
            return self.inputs.shape[0] * self.inputs.shape[1]
        return int(self.lengths_B.sum())


def length_mask(lengths_B: Tensor, num_steps: int) -> Tensor:
    """Return ``mask_BT``, True where a step is valid."""
    return torch.arange(num_steps, device=lengths_B.device) < lengths_B[:, None]


def flip_by_length(x_BTD: Tensor, lengths_B: Tensor | None) -> Tensor:
    """Reverse each row within its own length; padded places stay where they are.

    Its own inverse. Used for the backward direction, so that it starts at a row's last valid step.
    """
    if lengths_B is None:
        return x_BTD.flip(1)
    time_T = torch.arange(x_BTD.shape[1], device=x_BTD.device)
    reversed_BT = lengths_B[:, None] - 1 - time_T
    index_BT = torch.where(reversed_BT >= 0, reversed_BT, time_T)
    # One selection of whole rows: a gather would need an index as large as x, and takes four times as long.
    first_B1 = torch.arange(x_BTD.shape[0], device=x_BTD.device)[:, None] * x_BTD.shape[1]
    return x_BTD.flatten(0, 1).index_select(0, (first_B1 + index_BT).flatten()).view_as(x_BTD)
