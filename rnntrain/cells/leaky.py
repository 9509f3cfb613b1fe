"""Leaky integrator units: each holds its state for a time of its own, which is learnt."""

# B batch, T time, D input, H hidden

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.init import Init, initialize
from rnntrain.cells.projected import ProjectedCell
from rnntrain.cells.simple_scan import activate, simple_scan
from rnntrain.errors import UserError
from rnntrain.native import recurrence
from rnntrain.ranges import PositiveInt, Range

TimeConstant = Annotated[float, Range(1, low_open=True)]


class Leaky(ProjectedCell):
    """h_t = (1 - α) ⊙ h_{t-1} + α ⊙ φ(W_xh x_t + b + W_hh h_{t-1}),  α = σ(a) = 1/τ

    Jaeger et al. 2007, "Optimization and applications of echo state networks with leaky-integrator neurons";
    with several time scales side by side, Bengio et al. 2013, arXiv:1212.0901 (their leaky integration), and
    with τ learnt by gradient, Mozer 1992. A unit forgets with the time constant of τ steps; τ > 1 holds for every a.

    The state is ``h_BH`` and starts at zero. The τ start evenly spaced on a logarithmic scale, unit 0 at `tau_min`
    and the last at `tau_max`. W_hh starts orthogonal, W_xh Xavier uniform and b zero, or all of them U(-1/√H, 1/√H)
    with ``init="uniform"``.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the state and of the output.
        tau_min: time constant of the fastest unit at the start, in steps.
        tau_max: time constant of the slowest unit at the start, in steps.
        learn_tau: train the time constants.
        nonlinearity: the function φ.
        init: how the weights start.

    Raises:
        UserError: if `tau_max` lies below `tau_min`.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        tau_min: TimeConstant = 1.25,
        tau_max: TimeConstant = 64.0,
        learn_tau: bool = True,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        init: Init = "orthogonal",
    ) -> None:
        super().__init__()
        if tau_max < tau_min:
            raise UserError(
                f"model.cell.tau_max={tau_max:g}: lies below tau_min={tau_min:g}; raise it or lower tau_min"
            )
        self.input_size, self.output_size = input_size, hidden_size
        self.nonlinearity: Literal["tanh", "relu"] = nonlinearity
        self.from_input = nn.Linear(input_size, hidden_size)
        self.from_hidden = nn.Linear(hidden_size, hidden_size, bias=False)
        initialize(init, self.from_input.weight, self.from_hidden.weight, self.from_input.bias)
        tau_H = torch.linspace(math.log(tau_min), math.log(tau_max), hidden_size).exp()
        self.logit_rate_H = nn.Parameter(-torch.log(tau_H - 1), requires_grad=learn_tau)

    def time_constants(self) -> Tensor:
        """Return each unit's τ in steps."""
        return 1 / torch.sigmoid(self.logit_rate_H)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_hidden.weight.new_zeros(batch_size, self.output_size)

    def prepare(self) -> tuple[Tensor, Tensor]:
        return self.from_hidden.weight, torch.sigmoid(self.logit_rate_H)

    def project(self, x: Tensor, weights: Any) -> Tensor:
        return self.from_input(x)

    def kernel(self) -> recurrence.Kernel:
        weight_HH, rate_H = self.prepare()
        kind, linear = recurrence.LEAKY[self.nonlinearity], self.from_input
        return recurrence.Kernel(kind, linear.weight, weight_HH, linear.bias, options_O=rate_H)

    def advance(self, products_BG: Tensor, state: Tensor, weights: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        weight_HH, rate_H = weights
        n_BH = activate(products_BG + F.linear(state, weight_HH), self.nonlinearity)
        h_BH = state + rate_H * (n_BH - state)
        return h_BH, h_BH

    def scan(
        self, products_TBG: Tensor, state: Tensor, weights: tuple[Tensor, Tensor], valid_TB: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        weight_HH, rate_H = weights
        gain = rate_H if valid_TB is None else rate_H * valid_TB[..., None]
        y_TBH = simple_scan(products_TBG, state, weight_HH, self.nonlinearity, gain_TBH=gain.expand(products_TBG.shape))
        return y_TBH, y_TBH[-1]
