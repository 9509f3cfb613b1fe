"""LSTM with a projection: a large cell behind a narrow output."""

# B batch, T time, H hidden, D input, G = 4H, P projection

from __future__ import annotations

import torch
from torch import nn

from rnntrain.cells.custom_lstm import CustomLSTM
from rnntrain.cells.init import Init, uniform_
from rnntrain.cells.lstm_scan import LSTMWeights
from rnntrain.errors import UserError
from rnntrain.native import recurrence
from rnntrain.ranges import MemorySpan, PositiveInt


class ProjectedLSTM(CustomLSTM):
    """i_t, f_t, o_t = σ(W x_t + U h_{t-1} + b), each gate with its own
    g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)
    c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t
    h_t = P (o_t ⊙ tanh(c_t))

    LSTMP of Sak, Senior and Beaufays 2014, arXiv:1402.1128, without peepholes and non-recurrent
    projection, as `torch.nn.LSTM` has it with `proj_size`: the state of H units costs products of P units alone.

    The state is the tuple ``(h_BP, c_BH)`` and starts at zero. Each U starts with orthonormal columns, P with
    orthonormal rows, each W Xavier uniform and the biases zero, or all of them U(-1/√H, 1/√H) with ``init="uniform"``;
    then b_f is set.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the cell.
        projection_size: width P of the output; half of H where None.
        init: how the weights start.
        forget_bias: where b_f starts; None leaves it as `init` has it.
        t_max: chrono initialisation for memories of up to so many steps, in place of `forget_bias`
            (`rnntrain.cells.init.start_memory_`).
        uniform_gates: uniform gate initialisation, in place of `forget_bias`.

    Raises:
        UserError: if the projection is wider than the cell, or both `t_max` and `uniform_gates` are given.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        projection_size: PositiveInt | None = None,
        init: Init = "orthogonal",
        forget_bias: float | None = 1.0,
        t_max: MemorySpan | None = None,
        uniform_gates: bool = False,
    ) -> None:
        if projection_size is None:
            projection_size = max(1, hidden_size // 2)
        if projection_size > hidden_size:
            raise UserError(
                f"model.cell.projection_size={projection_size}: larger than hidden_size={hidden_size}; "
                f"a projection narrows, so give at most {hidden_size}"
            )
        super().__init__(input_size, hidden_size, projection_size, 4, init, forget_bias, t_max, uniform_gates)
        self.projection_PH = nn.Parameter(torch.empty(projection_size, hidden_size))
        if init == "orthogonal":
            nn.init.orthogonal_(self.projection_PH)
        else:
            uniform_(self.projection_PH, hidden_size)

    def prepare(self) -> LSTMWeights:
        return LSTMWeights(self.from_hidden.weight, projection_PH=self.projection_PH)

    def kernel(self) -> recurrence.Kernel:
        linear, hidden_GP = self.from_input, self.from_hidden.weight
        return recurrence.Kernel(
            recurrence.PROJECTED_LSTM, linear.weight, hidden_GP, linear.bias, projection_PH=self.projection_PH
        )
