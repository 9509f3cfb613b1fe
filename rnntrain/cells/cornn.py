"""The coupled oscillatory network: damped oscillators that the input drives."""

# B batch, T time, S = T + 1 states, D input, H hidden

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.base import last_valid
from rnntrain.cells.init import Init, initialize
from rnntrain.cells.projected import ProjectedCell
from rnntrain.errors import UserError
from rnntrain.native import recurrence
from rnntrain.ranges import NonNegativeFloat, PositiveFloat, PositiveInt


class CoRNN(ProjectedCell):
    """z_t = z_{t-1} + Δt (tanh(V x_t + b + W y_{t-1} + U z_{t-1}) - γ y_{t-1} - ε z_{t-1})
    y_t = y_{t-1} + Δt z_t

    Rusch and Mishra 2021, arXiv:2010.00951, with the damping taken explicitly, as in the authors' own program
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

    Raises:
        UserError: if an oscillator left alone would not come to rest in steps of this size.
    """

    recurrent_names = ("from_state",)

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
        # The eigenvalues of one step of (y, z) without force lie within the unit circle below 4.
        if step_size**2 * stiffness + 2 * step_size * damping >= 4:
            raise UserError(
                f"model.cell.step_size={step_size:g}: with stiffness={stiffness:g} and damping={damping:g} the "
                f"oscillators swing ever wider; keep step_size² · stiffness + 2 · step_size · damping below 4"
            )
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

    def kernel(self) -> recurrence.Kernel:
        weight_H2H = self.from_state.weight
        constants = (self.step_size, self.step_size * self.stiffness, 1 - self.step_size * self.damping)
        return recurrence.Kernel(
            recurrence.CORNN,
            self.from_input.weight,
            torch.cat(weight_H2H.chunk(2, 1)),
            self.from_input.bias,
            options_O=weight_H2H.new_tensor(constants).repeat_interleave(self.output_size),
        )

    def advance(
        self, products_BG: Tensor, state: tuple[Tensor, Tensor], weights: Any
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y_BH, z_BH = state
        force_BH = torch.tanh(products_BG + F.linear(torch.cat(state, -1), self.from_state.weight))
        pull_BH = self.stiffness * y_BH + self.damping * z_BH
        z_BH = z_BH + self.step_size * (force_BH - pull_BH)
        y_BH = y_BH + self.step_size * z_BH
        return y_BH, (y_BH, z_BH)

    def scan(
        self, products_TBG: Tensor, state: tuple[Tensor, Tensor], weights: Any, valid_TB: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        constants = self.step_size, self.stiffness, self.damping
        state_TB2H: Tensor = _OscillatorScan.apply(products_TBG, *state, self.from_state.weight, *constants)
        y_TBH, z_TBH = state_TB2H.unbind(2)
        if valid_TB is None:
            return y_TBH, (y_TBH[-1], z_TBH[-1])
        # Through the padding the oscillators swing on, which their constants keep bounded.
        lengths_B = valid_TB.sum(0)
        parts = zip((y_TBH, z_TBH), state, strict=True)
        last = tuple(last_valid(part_TBH.transpose(0, 1), lengths_B, first_BH) for part_TBH, first_BH in parts)
        return y_TBH, (last[0], last[1])


class _OscillatorScan(torch.autograd.Function):
    """All steps in one pass, with the gradients of the weights in one product over time."""

    @staticmethod
    def forward(
        ctx: Any,
        x_TBH: Tensor,
        y_BH: Tensor,
        z_BH: Tensor,
        weight_H2H: Tensor,
        step_size: float,
        stiffness: float,
        damping: float,
    ) -> Tensor:
        ctx.x_dtype, ctx.constants = x_TBH.dtype, (step_size, stiffness, damping)
        with torch.autocast(x_TBH.device.type, enabled=False):
            x_TBH = x_TBH.to(weight_H2H.dtype)  # autocast hands over half precision
            # y and z side by side, so that one product serves both
            state_SB2H = x_TBH.new_empty(len(x_TBH) + 1, y_BH.shape[0], 2, y_BH.shape[1])
            state_SB2H[0, :, 0], state_SB2H[0, :, 1] = y_BH, z_BH
            force_TBH, transposed = torch.empty_like(x_TBH), weight_H2H.t().contiguous()
            joined, y, z = state_SB2H.flatten(2).unbind(), state_SB2H[:, :, 0].unbind(), state_SB2H[:, :, 1].unbind()
            for t, (x_BH, force_BH) in enumerate(zip(x_TBH.unbind(), force_TBH.unbind(), strict=True)):
                torch.addmm(x_BH, joined[t], transposed, out=force_BH).tanh_()
                torch.mul(z[t], 1 - step_size * damping, out=z[t + 1])
                z[t + 1].add_(force_BH, alpha=step_size).sub_(y[t], alpha=step_size * stiffness)
                torch.add(y[t], z[t + 1], alpha=step_size, out=y[t + 1])
        ctx.save_for_backward(state_SB2H, force_TBH, weight_H2H)
        return state_SB2H[1:]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_TB2H: Tensor) -> tuple[Tensor | None, ...]:
        state_SB2H, force_TBH, weight_H2H = ctx.saved_tensors
        step_size, stiffness, damping = ctx.constants
        with torch.autocast(grad_TB2H.device.type, enabled=False):
            # tanh' Δt of all steps; times the gradient by z_t, it becomes that by x_t, in place.
            a_grad_TBH = (1 - force_TBH * force_TBH).mul_(step_size)
            grad_SB2H = torch.cat([torch.zeros_like(grad_TB2H[:1]), grad_TB2H])
            y_grads, z_grads = (grad_SBH.unbind() for grad_SBH in grad_SB2H.unbind(2))
            from_y_HH, from_z_HH = weight_H2H.chunk(2, 1)
            for t, a_grad_BH in reversed(list(enumerate(a_grad_TBH.unbind()))):
                z_grad_BH = z_grads[t + 1].add_(y_grads[t + 1], alpha=step_size)
                a_grad_BH.mul_(z_grad_BH)
                y_grads[t].add_(y_grads[t + 1]).sub_(z_grad_BH, alpha=step_size * stiffness)
                y_grads[t].addmm_(a_grad_BH, from_y_HH)
                z_grads[t].add_(z_grad_BH, alpha=1 - step_size * damping).addmm_(a_grad_BH, from_z_HH)
            weight_grad = a_grad_TBH.flatten(0, 1).t() @ state_SB2H[:-1].flatten(2).flatten(0, 1)
        return a_grad_TBH.to(ctx.x_dtype), y_grads[0], z_grads[0], weight_grad, None, None, None
