"""The temporal convolution network under the contract of a recurrence: its state is what its filters still see."""

# B batch, T time, D input, H hidden, K steps of history

from __future__ import annotations

from typing import TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.base import Recurrent, zero_padding
from rnntrain.cells.history import last_inputs, with_history
from rnntrain.ranges import DropoutRate, PositiveInt

Histories: TypeAlias = tuple[Tensor, ...]


class TCN(Recurrent):
    """For each level l = 0, 1, …, with x⁰ = x and dilation d = 2ˡ:

    a_t = relu(b_1 + Σ_{j<k} V_1j x_{t-jd})
    c_t = relu(b_2 + Σ_{j<k} V_2j a_{t-jd})
    x_t of the next level = relu(c_t + x_t), with W x_t for x_t where the width changes

    Bai et al. 2018, arXiv:1803.01271, with weight norm V = g v / |v| for each filter and dropout after each
    relu. A step sees 1 + 2 (k - 1) (2^levels - 1) inputs back to itself.

    The state is a tuple with the last (k - 1) d inputs of each of the 2 · levels convolutions,
    ``[B, (k - 1) d, width]``, and starts at zero, which is the paper's padding. Each v starts as in He et al. 2015
    (arXiv:1502.01852), g at |v| so that V = v, W Xavier uniform, the biases zero.

    Parameters: H (k (D + H) + 4) in the first level, and D H + H more where D is not H; H (2 k H + 4) in each other.

    Args:
        input_size: width D of the input.
        hidden_size: width H of all levels and of the output.
        levels: residual blocks, each of twice the dilation of the one below.
        kernel_size: taps k of each filter.
        dropout: share dropped after each relu of a convolution.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        levels: PositiveInt = 4,
        kernel_size: PositiveInt = 3,
        dropout: DropoutRate = 0.0,
    ) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.convolutions = nn.ModuleList(
            CausalConvolution(width, hidden_size, kernel_size, 2**level)
            for level in range(levels)
            for width in (input_size if level == 0 else hidden_size, hidden_size)
        )
        self.past = nn.Identity() if input_size == hidden_size else nn.Linear(input_size, hidden_size)
        if isinstance(self.past, nn.Linear):
            nn.init.xavier_uniform_(self.past.weight)
            nn.init.zeros_(self.past.bias)
        self.dropout = nn.Dropout(dropout)

    def initial_state(self, batch_size: int) -> Histories:
        return tuple(convolution.initial_state(batch_size) for convolution in self._convolutions())

    def forward(
        self, x_BTD: Tensor, state: Histories | None = None, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, Histories]:
        if state is None:
            state = self.initial_state(x_BTD.shape[0])
        if lengths_B is not None:
            x_BTD = zero_padding(x_BTD, lengths_B)
        convolutions = self._convolutions()
        after: list[Tensor] = []
        y_BTH = x_BTD
        for number, (convolution, history) in enumerate(zip(convolutions, state, strict=True)):
            if number % 2 == 0:
                past_BTH = self.past(y_BTH) if number == 0 else y_BTH
            a_BTH, last = convolution(y_BTH, history, lengths_B)
            y_BTH = self.dropout(F.relu(a_BTH))
            if number % 2 == 1:
                y_BTH = F.relu(y_BTH + past_BTH)
            after.append(last)
        return (y_BTH if lengths_B is None else zero_padding(y_BTH, lengths_B)), tuple(after)

    def step(self, x_BD: Tensor, state: Histories) -> tuple[Tensor, Histories]:
        y_B1H, state = self(x_BD[:, None], state)
        return y_B1H[:, 0], state

    def _convolutions(self) -> list[CausalConvolution]:
        return [cast(CausalConvolution, convolution) for convolution in self.convolutions]


class CausalConvolution(nn.Module):
    """A dilated convolution over the present and past inputs, with weight norm, that carries its history."""

    def __init__(self, input_size: int, output_size: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.direction = nn.Parameter(torch.empty(output_size, input_size, kernel_size))
        nn.init.kaiming_normal_(self.direction, nonlinearity="relu")
        self.length = nn.Parameter(self.direction.detach().flatten(1).norm(dim=1))
        self.bias = nn.Parameter(torch.zeros(output_size))

    def initial_state(self, batch_size: int) -> Tensor:
        _, input_size, kernel_size = self.direction.shape
        return self.direction.new_zeros(batch_size, (kernel_size - 1) * self.dilation, input_size)

    def forward(self, x_BTD: Tensor, history_BKD: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor]:
        extended_BTD = with_history(x_BTD, history_BKD)
        # The latest tap comes last, as time does.
        weight = F.normalize(self.direction.flatten(1), dim=1) * self.length[:, None]
        y_BHT = F.conv1d(extended_BTD.mT, weight.view_as(self.direction), self.bias, dilation=self.dilation)
        return y_BHT.mT, last_inputs(extended_BTD, history_BKD, lengths_B)
