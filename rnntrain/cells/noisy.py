"""What the regularised LSTM and GRU share: their weights, the noise of a sequence, and the call of their kernels."""

# B batch, T time, D input, H hidden, G = number of gates · H

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.base import State
from rnntrain.cells.init import Init, initialize
from rnntrain.cells.noise import Dropped, Noise, draw_noise
from rnntrain.cells.projected import ProjectedCell
from rnntrain.native import library, recurrence


class NoisyCell(ProjectedCell):
    """Holds weights and rates; a subclass has `advance`, `scan` and `recur`, which calls its kernel.

    Attributes:
        zoneout_hidden: rate at which units of the output keep their last value.
        zoneout_cell: likewise of the cell, 0 where there is none.
        recurrent_dropout: share dropped by the mask of a sequence.
        dropped: what that mask falls on.
        weight_drop: share of the recurrent weights that is dropped.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_gates: int,
        init: Init,
        *,
        zoneout_hidden: float,
        zoneout_cell: float = 0.0,
        recurrent_dropout: float,
        dropped: Dropped,
        weight_drop: float,
    ) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.zoneout_hidden, self.zoneout_cell = zoneout_hidden, zoneout_cell
        self.recurrent_dropout, self.weight_drop = recurrent_dropout, weight_drop
        self.dropped: Dropped = dropped
        self.from_input = nn.Linear(input_size, num_gates * hidden_size)
        self.from_hidden = nn.Linear(hidden_size, num_gates * hidden_size, bias=False)
        initialize(init, self.from_input.weight, self.from_hidden.weight, self.from_input.bias)

    def project(self, x: Tensor, weights: Any) -> Tensor:
        return self.from_input(x)

    def dropped_weights(self) -> Tensor:
        """Return the recurrent weights of one sequence."""
        return F.dropout(self.from_hidden.weight, self.weight_drop, self.training)

    def noise(self, num_steps: int, like_BH: Tensor) -> Noise:
        """Draw the noise of one sequence."""
        return draw_noise(
            num_steps,
            like_BH,
            training=self.training,
            dropout=self.recurrent_dropout,
            dropped=self.dropped,
            zoneout_hidden=self.zoneout_hidden,
            zoneout_cell=self.zoneout_cell,
        )

    def run_native(self, x_BTD: Tensor, state: State, lengths_B: Tensor | None) -> tuple[Tensor, State] | None:
        parts = state if isinstance(state, tuple) else (state,)
        state_dropped = self.training and self.recurrent_dropout > 0 and self.dropped == "state"
        if state_dropped or not library.usable(x_BTD, *parts, *self.parameters()):
            return None
        weights, noise = self.prepare(), self.noise(x_BTD.shape[1], parts[0])
        native_noise = recurrence.Noise(noise.update_BH, noise.zone_cell_TBH, noise.zone_hidden_TBH)
        y_BTH, *last = self.recur(x_BTD, parts, weights, native_noise, lengths_B)
        return y_BTH, (tuple(last) if isinstance(state, tuple) else last[0])

    @abstractmethod
    def recur(
        self,
        x_BTD: Tensor,
        state: tuple[Tensor, ...],
        weights: Any,
        noise: recurrence.Noise,
        lengths_B: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """Call the kernel: return ``y_BTH`` and the parts of the state."""
