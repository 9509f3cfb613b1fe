"""The independently recurrent network: each unit sees of the state its own number alone."""

# B batch, T time, S = T + 1 states, D input, H hidden

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from rnntrain.cells.base import last_valid
from rnntrain.cells.init import xavier_
from rnntrain.cells.projected import ProjectedCell
from rnntrain.cells.simple_scan import activate
from rnntrain.native import gated, library
from rnntrain.ranges import MemorySpan, PositiveInt


class IndRNN(ProjectedCell):
    """h_t = φ(W x_t + b + u ⊙ h_{t-1})

    Li et al. 2018, arXiv:1803.04831. Units meet in the layer above, so that stacks of several layers are the
    rule; the gradient through time is a product of u and φ' of one unit, and u says how long it lasts. With `t_max`,
    |u| is held at 2^(1/t_max) or below, so that with relu no gradient more than doubles over t_max steps.

    The state is ``h_BH`` and starts at zero. u starts U(0, 1), all time scales side by side, W Xavier uniform and b
    zero.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the state and of the output.
        nonlinearity: the function φ.
        t_max: length of the longest sequence, for the bound of u; None leaves u free.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        nonlinearity: Literal["relu", "tanh"] = "relu",
        t_max: MemorySpan | None = None,
    ) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.nonlinearity: Literal["relu", "tanh"] = nonlinearity
        self.bound = None if t_max is None else 2 ** (1 / t_max)
        self.from_input = nn.Linear(input_size, hidden_size)
        xavier_(self.from_input.weight)
        nn.init.zeros_(self.from_input.bias)
        self.recurrent_H = nn.Parameter(torch.rand(hidden_size))

    def initial_state(self, batch_size: int) -> Tensor:
        return self.recurrent_H.new_zeros(batch_size, self.output_size)

    def prepare(self) -> Tensor:
        return self.recurrent_H if self.bound is None else self.recurrent_H.clamp(-self.bound, self.bound)

    def project(self, x: Tensor, weights: Tensor) -> Tensor:
        return self.from_input(x)

    def run_native(self, x_BTD: Tensor, state: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor] | None:
        if not library.usable(x_BTD, state, *self.parameters()):
            return None
        return gated.run(self._kernel(), x_BTD, state, lengths_B)

    def step_native(self, x_BD: Tensor, state: Tensor) -> tuple[Tensor, Tensor] | None:
        return gated.step(self._kernel(), x_BD, state)

    def _kernel(self) -> gated.Kernel:
        linear = self.from_input
        return gated.Kernel(gated.INDRNN[self.nonlinearity], linear.weight, linear.bias, self.prepare())

    def advance(self, products_BG: Tensor, state: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        h_BH = activate(products_BG + weights * state, self.nonlinearity)
        return h_BH, h_BH

    def scan(
        self, products_TBG: Tensor, state: Tensor, weights: Tensor, valid_TB: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if valid_TB is None:
            y_TBH: Tensor = _IndependentScan.apply(products_TBG, state, weights, self.nonlinearity)
            return y_TBH, y_TBH[-1]
        # Through the padding u is 0: nothing can grow there.
        recurrent_TBH = weights * valid_TB[..., None]
        y_TBH = _IndependentScan.apply(products_TBG, state, recurrent_TBH, self.nonlinearity)
        return y_TBH, last_valid(y_TBH.transpose(0, 1), valid_TB.sum(0), state)


class _IndependentScan(torch.autograd.Function):
    """All steps in one pass; the gradients of x and u are taken for all steps at once."""

    @staticmethod
    def forward(ctx: Any, x_TBH: Tensor, h_BH: Tensor, recurrent: Tensor, nonlinearity: str) -> Tensor:
        ctx.nonlinearity, ctx.x_dtype = nonlinearity, x_TBH.dtype
        x_TBH = x_TBH.to(recurrent.dtype)  # that of the state, where autocast hands over half precision
        recurrent_TBH = recurrent.expand(x_TBH.shape)
        h_SBH = recurrent.new_empty(len(x_TBH) + 1, *h_BH.shape)
        h_SBH[0] = h_BH
        states = h_SBH.unbind()
        for t, (x_BH, u_BH) in enumerate(zip(x_TBH.unbind(), recurrent_TBH.unbind(), strict=True)):
            torch.addcmul(x_BH, states[t], u_BH, out=states[t + 1])
            states[t + 1].relu_() if nonlinearity == "relu" else states[t + 1].tanh_()
        ctx.save_for_backward(h_SBH, recurrent)
        return h_SBH[1:]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_TBH: Tensor) -> tuple[Tensor | None, ...]:
        h_SBH, recurrent = ctx.saved_tensors
        y_TBH = h_SBH[1:]
        a_grad_TBH = 1 - y_TBH * y_TBH if ctx.nonlinearity == "tanh" else (y_TBH != 0).to(y_TBH.dtype)
        # dh_{t-1} = dy_{t-1} + u φ'_t dh_t: u φ' of all steps at once leaves one operation a step.
        factors = (recurrent * a_grad_TBH).unbind()
        h_grad_SBH = torch.cat([torch.zeros_like(h_SBH[:1]), grad_TBH])
        h_grads = h_grad_SBH.unbind()
        for t in range(len(factors) - 1, -1, -1):
            h_grads[t].addcmul_(h_grads[t + 1], factors[t])
        a_grad_TBH *= h_grad_SBH[1:]
        recurrent_grad = (a_grad_TBH * h_SBH[:-1]).sum_to_size(recurrent.shape)
        return a_grad_TBH.to(ctx.x_dtype), h_grad_SBH[0], recurrent_grad, None
