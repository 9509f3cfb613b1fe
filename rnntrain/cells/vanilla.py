"""The textbook recurrent network, as the example to copy for a cell of one's own."""

# B batch, D input, H hidden

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnntrain.cells.base import Cell
from rnntrain.cells.init import Init, initialize
from rnntrain.ranges import PositiveInt


class Vanilla(Cell):
    """h_t = tanh(W_hh h_{t-1} + W_xh x_t + b)

    Elman 1990, "Finding structure in time"; Goodfellow, Bengio and Courville 2016, eqs. 10.8 and 10.9.

    The state is ``h_BH`` and starts at zero. W_hh starts orthogonal, W_xh Xavier uniform and b zero, or all of
    them U(-1/√H, 1/√H) with ``init="uniform"``. A loop in Python: `RNN` is the same network, fast.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the state and of the output.
        init: how the weights start.
    """

    def __init__(self, input_size: PositiveInt, hidden_size: PositiveInt, init: Init = "orthogonal") -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.from_input = nn.Linear(input_size, hidden_size)
        self.from_hidden = nn.Linear(hidden_size, hidden_size, bias=False)
        initialize(init, self.from_input.weight, self.from_hidden.weight, self.from_input.bias)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_hidden.weight.new_zeros(batch_size, self.output_size)

    def step(self, x_BD: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h_BH = torch.tanh(self.from_hidden(state) + self.from_input(x_BD))
        return h_BH, h_BH
