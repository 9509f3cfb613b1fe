"""LSTM with peepholes: the gates see the cell."""

# B batch, T time, H hidden, D input

from __future__ import annotations

import torch
from torch import nn

from rnntrain.cells.custom_lstm import CustomLSTM
from rnntrain.cells.init import Init, uniform_
from rnntrain.cells.lstm_scan import LSTMWeights
from rnntrain.native import recurrence
from rnntrain.ranges import MemorySpan, PositiveInt


class PeepholeLSTM(CustomLSTM):
    """i_t = σ(W_i x_t + U_i h_{t-1} + p_i ⊙ c_{t-1} + b_i)
    f_t = σ(W_f x_t + U_f h_{t-1} + p_f ⊙ c_{t-1} + b_f)
    g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)
    c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t
    o_t = σ(W_o x_t + U_o h_{t-1} + p_o ⊙ c_t + b_o)
    h_t = o_t ⊙ tanh(c_t)

    Gers and Schmidhuber 2000, "Recurrent nets that time and count"; as written here, Graves 2013,
    arXiv:1308.0850. A closed output gate hides the cell from the gates of `LSTM`; these see it, which helps to time
    and to count.

    The state is the tuple ``(h_BH, c_BH)`` and starts at zero. Each U starts orthogonal, each W Xavier uniform, the
    peepholes and biases zero, or all of them U(-1/√H, 1/√H) with ``init="uniform"``; then b_f is set.

    Args:
        input_size: width D of the input.
        hidden_size: width H of each part of the state and of the output.
        init: how the weights start.
        forget_bias: where b_f starts; None leaves it as `init` has it.
        t_max: chrono initialisation for memories of up to so many steps, in place of `forget_bias`
            (`rnntrain.cells.init.start_memory_`).
        uniform_gates: uniform gate initialisation, in place of `forget_bias`.

    Raises:
        UserError: if both `t_max` and `uniform_gates` are given.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        init: Init = "orthogonal",
        forget_bias: float | None = 1.0,
        t_max: MemorySpan | None = None,
        uniform_gates: bool = False,
    ) -> None:
        super().__init__(input_size, hidden_size, hidden_size, 4, init, forget_bias, t_max, uniform_gates)
        self.peephole_oif = nn.Parameter(torch.zeros(3 * hidden_size))
        if init == "uniform":
            uniform_(self.peephole_oif, hidden_size)

    def prepare(self) -> LSTMWeights:
        return LSTMWeights(self.from_hidden.weight, peephole=self.peephole_oif)

    def kernel(self) -> recurrence.Kernel:
        linear, hidden_GH = self.from_input, self.from_hidden.weight
        return recurrence.Kernel(
            recurrence.PEEPHOLE_LSTM, linear.weight, hidden_GH, linear.bias, options_O=self.peephole_oif
        )
