"""The coupled oscillatory network: damped oscillators that the input drives."""

# B batch, T time, D input, H hidden

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.init import Init, initialize
from rnntrain.cells.projected import ProjectedCell
from rnntrain.ranges import NonNegativeFloat, PositiveFloat, PositiveInt


class CoRNN(ProjectedCell):
    """z_t = z_{t-1} + Δt (tanh(V x_t + b + W y_{t-1} + U z_{t-1}) - γ y_{t-1} - ε z_{t-1})
    y_t = y_{t-1} + Δt z_t

    Rusch and Mishra 2021, arXiv:2010.00951, eq. 3, with the damping taken explicitly, as in the authors' own program
    (the paper's n̄ = n - 1): each unit is an oscillator at position y with velocity z, and the coupling is bounded, so
    that gradients neither vanish nor explode while Δt is small.

    The state is the tuple ``(y_BH, z_BH)`` and starts at zero; the output is y. [W U] is one matrix. W and U start
    orthogonal, V Xavier uniform and b zero, or all of them U(-1/√H, 1/√H) with ``init="uniform"``.

    Args:
        input_size: width D of the input.
        hidden_size: width H of each part of the state and of the output.
        step_size: Δt.
        stiffness: γ; the square of the frequency of an oscillator left alone.
        damping: ε.
        init: how the weights start.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        step_size: PositiveFloat = 0.05,
        stiffness: NonNegativeFloat = 2.7,
        damping: NonNegativeFloat = 4.7,
        init: Init = "orthogonal",
    ) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.step_size, self.stiffness, self.damping = step_size, stiffness, damping
        self.from_input = nn.Linear(input_size, hidden_size)
        self.from_state = nn.Linear(2 * hidden_size, hidden_size, bias=False)
        for block_HH in self.from_state.weight.chunk(2, 1):
            initialize(init, self.from_input.weight, block_HH, self.from_input.bias)

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        y_BH = self.from_state.weight.new_zeros(batch_size, self.output_size)
        return y_BH, torch.zeros_like(y_BH)

    def project(self, x: Tensor, weights: Any) -> Tensor:
        return self.from_input(x)

    def advance(
        self, products_BG: Tensor, state: tuple[Tensor, Tensor], weights: Any
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y_BH, z_BH = state
        force_BH = torch.tanh(products_BG + F.linear(torch.cat(state, -1), self.from_state.weight))
        pull_BH = self.stiffness * y_BH + self.damping * z_BH
        z_BH = z_BH + self.step_size * (force_BH - pull_BH)
        y_BH = y_BH + self.step_size * z_BH
        return y_BH, (y_BH, z_BH)
