"""The simple recurrent network, at the speed of PyTorch's kernel."""

# B batch, T time, D input, H hidden

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.base import Recurrent, last_valid, weights_of, zero_padding
from rnntrain.cells.init import Init, initialize
from rnntrain.native import library, recurrence
from rnntrain.ranges import PositiveInt


class RNN(Recurrent):
    """h_t = φ(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), with φ = tanh or relu

    Elman 1990, "Finding structure in time"; with relu, Le, Jaitly and Hinton 2015, arXiv:1504.00941.
    `torch.nn.RNN` computes it, or our own kernels on a processor where these are built; the second bias is redundant
    and stays because cuDNN has it.

    The state is ``h_BH`` and starts at zero. W_hh starts orthogonal, W_ih Xavier uniform and the biases zero, or
    all of them U(-1/√H, 1/√H), PyTorch's own, with ``init="uniform"``.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the state and of the output.
        nonlinearity: the function φ.
        init: how the weights start.

    Raises:
        ValueError: if a size is below 1, or the nonlinearity is neither of the two.
        RuntimeError: from `forward` or `step`, if the input is not `input_size` wide.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        init: Init = "orthogonal",
    ) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.rnn = nn.RNN(input_size, hidden_size, nonlinearity=nonlinearity, batch_first=True)
        initialize(init, *self.rnn.all_weights[0])

    def initial_state(self, batch_size: int) -> Tensor:
        return self.rnn.all_weights[0][0].new_zeros(batch_size, self.output_size)

    def forward(
        self, x_BTD: Tensor, state: Tensor | None = None, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if state is None:
            state = self.initial_state(x_BTD.shape[0])
        if library.usable(x_BTD, state, *self.rnn.all_weights[0]):
            y_BTH, last_BH = recurrence.recur(self._kernel(), x_BTD, (state,), lengths_B)
            return y_BTH, last_BH
        if lengths_B is not None:
            x_BTD = zero_padding(x_BTD, lengths_B)
        y_BTH, last_1BH = self.rnn(x_BTD, state[None])
        if lengths_B is None:
            return y_BTH, last_1BH[0]
        return zero_padding(y_BTH, lengths_B), last_valid(y_BTH, lengths_B, state)

    def _kernel(self) -> recurrence.Kernel:
        weight_ih, weight_hh, bias_ih, bias_hh = weights_of(self.rnn)
        kind = recurrence.RNN_TANH if self.rnn.nonlinearity == "tanh" else recurrence.RNN_RELU
        return recurrence.Kernel(kind, weight_ih, weight_hh, bias_ih, bias_hh)

    def step(self, x_BD: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        if library.usable_for_step(x_BD):
            found = recurrence.step(self._kernel(), x_BD, (state,))
            if found is not None:
                return found[0], found[0]
        weight_ih, weight_hh, bias_ih, bias_hh = self.rnn.all_weights[0]
        a_BH = F.linear(x_BD, weight_ih, bias_ih) + F.linear(state, weight_hh, bias_hh)
        h_BH = torch.tanh(a_BH) if self.rnn.nonlinearity == "tanh" else torch.relu(a_BH)
        return h_BH, h_BH
