"""GRU with zoneout, recurrent dropout and dropped recurrent weights."""

# B batch, T time, D input, H hidden, G = 3H: reset, update and new gate

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.base import SATURATED, last_valid
from rnntrain.cells.init import Init, start_memory_, uniform_
from rnntrain.cells.noise import Dropped
from rnntrain.cells.noisy import NoisyCell
from rnntrain.cells.noisy_gru_scan import NoisyGRUWeights, noisy_gru_gates, noisy_gru_scan, noisy_gru_step
from rnntrain.native import recurrence
from rnntrain.ranges import DropoutRate, MemorySpan, PositiveInt


class RegularizedGRU(NoisyCell):
    """r_t, z_t = σ(W x_t + U (d ⊙ h_{t-1}) + b), each gate with its own
    n_t = m ⊙ tanh(W_n x_t + b_n + r_t ⊙ (U_n (d ⊙ h_{t-1}) + c_n))
    h'_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}
    h_t = z^h_t ⊙ h_{t-1} + (1 - z^h_t) ⊙ h'_t

    The equations of `GRU` in PyTorch's form with the noise of `RegularizedLSTM`, in training alone: zoneout z^h, whose
    expectation takes its place in evaluation, recurrent dropout with one mask a sequence, m or d, and weight drop on U.

    The state is ``h_BH`` and starts at zero. Each U starts orthogonal, each W Xavier uniform and the biases zero, or
    all of them U(-1/√H, 1/√H) with ``init="uniform"``. Gates stand in the order r, z, n.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the state and of the output.
        zoneout: rate at which units keep their last value.
        recurrent_dropout: share dropped by the mask of a sequence.
        dropped: what that mask falls on.
        weight_drop: share of U that is dropped.
        init: how the weights start.
        t_max: chrono initialisation of b_z for memories of up to so many steps (`rnntrain.cells.init.start_memory_`).
        uniform_gates: uniform gate initialisation of b_z.

    Raises:
        UserError: if both `t_max` and `uniform_gates` are given.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        zoneout: DropoutRate = 0.0,
        recurrent_dropout: DropoutRate = 0.0,
        dropped: Dropped = "update",
        weight_drop: DropoutRate = 0.0,
        init: Init = "orthogonal",
        t_max: MemorySpan | None = None,
        uniform_gates: bool = False,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            3,
            init,
            zoneout_hidden=zoneout,
            recurrent_dropout=recurrent_dropout,
            dropped=dropped,
            weight_drop=weight_drop,
        )
        self.reset_bias_H = nn.Parameter(torch.zeros(hidden_size))
        if init == "uniform":
            uniform_(self.reset_bias_H, hidden_size)
        start_memory_((self.from_input.bias,), 1, 3, t_max=t_max, uniform_gates=uniform_gates)
        self.add_norms(hidden_size)

    def add_norms(self, hidden_size: int) -> None:
        """Build the norms of `LayerNormGRU`, which takes the same arguments; here there are none."""

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_hidden.weight.new_zeros(batch_size, self.output_size)

    def prepare(self) -> NoisyGRUWeights:
        return NoisyGRUWeights(self.dropped_weights(), self.reset_bias_H)

    def advance(self, products_BG: Tensor, state: Tensor, weights: NoisyGRUWeights) -> tuple[Tensor, Tensor]:
        h_BH = noisy_gru_step(products_BG, state, weights, self.noise(1, state))
        return h_BH, h_BH

    def gate_values(self, x_BD: Tensor, state: Tensor) -> dict[str, Tensor]:
        weights = self.prepare()
        r, z, _ = noisy_gru_gates(self.project(x_BD, weights), state, weights)
        return {"r": r, "z": z}

    def scan(
        self, products_TBG: Tensor, state: Tensor, weights: NoisyGRUWeights, valid_TB: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        noise = self.noise(len(products_TBG), state)
        if valid_TB is None:
            y_TBH = noisy_gru_scan(products_TBG, state, weights, noise)
            return y_TBH, y_TBH[-1]
        # Through the padding, the update gate is exactly 1 and the state stands still.
        freeze_G = products_TBG.new_tensor([0.0, SATURATED, 0.0]).repeat_interleave(self.output_size)
        y_TBH = noisy_gru_scan(torch.where(valid_TB[..., None], products_TBG, freeze_G), state, weights, noise)
        return y_TBH, last_valid(y_TBH.transpose(0, 1), valid_TB.sum(0), state)

    def kernel(self) -> recurrence.Kernel:
        linear, hidden_GH = self.from_input, self.prepare().hidden_GH
        bias_h_G = F.pad(self.reset_bias_H, (2 * self.output_size, 0))
        return recurrence.Kernel(recurrence.NOISY_GRU, linear.weight, hidden_GH, linear.bias, bias_h_G)
