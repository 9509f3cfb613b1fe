"""What the regularised LSTM and GRU share: their weights, the noise of a sequence, and the call of their kernels."""

# B batch, T time, D input, H hidden, G = number of gates · H

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.base import State
from rnntrain.cells.init import Init, initialize
from rnntrain.cells.noise import Dropped, Noise, draw_noise
from rnntrain.cells.projected import ProjectedCell
from rnntrain.native import library, recurrence


class NoisyCell(ProjectedCell):
    """Holds weights and rates; a subclass has `advance`, `scan` and `kernel`.

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

    @abstractmethod
    def kernel(self) -> recurrence.Kernel: ...

    def run_native(self, x_BTD: Tensor, state: State, lengths_B: Tensor | None) -> tuple[Tensor, State] | None:
        parts = state if isinstance(state, tuple) else (state,)
        if self._drops_state() or not library.usable(x_BTD, *parts, *self.parameters()):
            return None
        kernel = self.kernel()  # first: the plain path draws what is dropped of the weights before all else
        y_BTH, *last = recurrence.recur(kernel, x_BTD, parts, lengths_B, self._native_noise(x_BTD.shape[1], parts[0]))
        return y_BTH, (tuple(last) if isinstance(state, tuple) else last[0])

    def step_native(self, x_BD: Tensor, state: State) -> tuple[Tensor, State] | None:
        parts = state if isinstance(state, tuple) else (state,)
        if self.training or x_BD.dtype != torch.float32:  # nothing may be drawn twice
            return None
        last = recurrence.step(self.kernel(), x_BD, parts, self._native_noise(1, parts[0]))
        return None if last is None else (last[0], last if isinstance(state, tuple) else last[0])

    def _drops_state(self) -> bool:
        """Say whether a mask falls on the state, which no kernel knows."""
        return self.training and self.recurrent_dropout > 0 and self.dropped == "state"

    def _native_noise(self, num_steps: int, like_BH: Tensor) -> recurrence.Noise:
        noise = self.noise(num_steps, like_BH)
        zones = (None if zone is None else zone.contiguous() for zone in (noise.zone_cell_TBH, noise.zone_hidden_TBH))
        return recurrence.Noise(noise.update_BH, *zones)
