"""JANET: an LSTM with a forget gate and nothing else."""

# B batch, T time, S = T + 1 states, D input, H hidden, G = 2H: forget gate and candidate

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnntrain.cells.base import SATURATED
from rnntrain.cells.init import Init, initialize, start_memory_
from rnntrain.cells.projected import ProjectedCell
from rnntrain.native import recurrence
from rnntrain.ranges import MemorySpan, PositiveInt


class JANET(ProjectedCell):
    """s_t = W_f x_t + U_f h_{t-1} + b_f
    g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)
    h_t = σ(s_t) ⊙ h_{t-1} + (1 - σ(s_t - β)) ⊙ g_t

    "Just another network": van der Westhuizen and Lasenby 2018, arXiv:1804.04849. With β > 0 more comes
    in than is forgotten. It is made for long memories with `t_max`, the chrono initialisation.

    The state is ``h_BH`` and starts at zero. Each U starts orthogonal, each W Xavier uniform and the biases zero, or
    all of them U(-1/√H, 1/√H) with ``init="uniform"``; then b_f is set.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the state and of the output.
        beta: β.
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
        beta: float = 1.0,
        init: Init = "orthogonal",
        forget_bias: float | None = 1.0,
        t_max: MemorySpan | None = None,
        uniform_gates: bool = False,
    ) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.beta = beta
        self.from_input = nn.Linear(input_size, 2 * hidden_size)
        self.from_hidden = nn.Linear(hidden_size, 2 * hidden_size, bias=False)
        bias_G = self.from_input.bias
        initialize(init, self.from_input.weight, self.from_hidden.weight, bias_G)
        start_memory_((bias_G,), 0, 2, forget_bias=forget_bias, t_max=t_max, uniform_gates=uniform_gates)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_hidden.weight.new_zeros(batch_size, self.output_size)

    def project(self, x: Tensor, weights: Any) -> Tensor:
        return self.from_input(x)

    def gate_values(self, x_BD: Tensor, state: Tensor) -> dict[str, Tensor]:
        s, _ = (self.from_input(x_BD) + self.from_hidden(state)).chunk(2, -1)
        return {"f": torch.sigmoid(s), "i": torch.sigmoid(self.beta - s)}

    def kernel(self) -> recurrence.Kernel:
        linear, hidden_GH = self.from_input, self.from_hidden.weight
        beta_H = hidden_GH.new_full((self.output_size,), self.beta)
        return recurrence.Kernel(recurrence.JANET, linear.weight, hidden_GH, linear.bias, options_O=beta_H)

    def advance(self, products_BG: Tensor, state: Tensor, weights: Any) -> tuple[Tensor, Tensor]:
        s, g = (products_BG + self.from_hidden(state)).chunk(2, -1)
        h_BH = torch.sigmoid(s) * state + torch.sigmoid(self.beta - s) * torch.tanh(g)
        return h_BH, h_BH

    def scan(self, products_TBG: Tensor, state: Tensor, weights: Any, valid_TB: Tensor | None) -> tuple[Tensor, Tensor]:
        if valid_TB is not None:
            # Through the padding, the state is kept exactly: σ(s) is 1 and σ(β - s) is 0.
            freeze_G = products_TBG.new_tensor([SATURATED, 0.0]).repeat_interleave(self.output_size)
            products_TBG = torch.where(valid_TB[..., None], products_TBG, freeze_G)
        y_TBH: Tensor = _JanetScan.apply(products_TBG, state, self.from_hidden.weight, self.beta)
        return y_TBH, y_TBH[-1]


class _JanetScan(torch.autograd.Function):
    """All steps in one pass; what does not wait for another step is taken for all of them at once."""

    @staticmethod
    def forward(ctx: Any, x_TBG: Tensor, h_BH: Tensor, weight_GH: Tensor, beta: float) -> Tensor:
        ctx.x_dtype = x_TBG.dtype
        with torch.autocast(x_TBG.device.type, enabled=False):
            x_TBG = x_TBG.to(weight_GH.dtype)  # autocast hands over half precision
            gates_TB2H = torch.empty_like(x_TBG).unflatten(-1, (2, -1))
            write_TBH = x_TBG.new_empty(len(x_TBG), *h_BH.shape)
            h_SBH = x_TBG.new_empty(len(x_TBG) + 1, *h_BH.shape)
            h_SBH[0] = h_BH
            transposed_HG = weight_GH.t().contiguous()
            h, products = h_SBH.unbind(), gates_TB2H.flatten(2).unbind()
            forget, candidate, write = gates_TB2H[:, :, 0].unbind(), gates_TB2H[:, :, 1].unbind(), write_TBH.unbind()
            for t, x_BG in enumerate(x_TBG.unbind()):
                torch.addmm(x_BG, h[t], transposed_HG, out=products[t])
                torch.sub(beta, forget[t], out=write[t]).sigmoid_()
                torch.mul(forget[t].sigmoid_(), h[t], out=h[t + 1]).addcmul_(write[t], candidate[t].tanh_())
        ctx.save_for_backward(h_SBH, gates_TB2H, write_TBH, weight_GH)
        return h_SBH[1:]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_TBH: Tensor) -> tuple[Tensor | None, ...]:
        h_SBH, gates_TB2H, write_TBH, weight_GH = ctx.saved_tensors
        with torch.autocast(grad_TBH.device.type, enabled=False):
            f_TBH, g_TBH = gates_TB2H.unbind(2)
            # dh_t / ds_t and dh_t / d(what goes into g_t); times dh_t, they become the gradients, in place.
            grads_TB2H = torch.empty_like(gates_TB2H)
            grads_TB2H[:, :, 0] = f_TBH * (1 - f_TBH) * h_SBH[:-1] - write_TBH * (1 - write_TBH) * g_TBH
            grads_TB2H[:, :, 1] = write_TBH * (1 - g_TBH * g_TBH)
            h_grad_SBH = torch.cat([torch.zeros_like(h_SBH[:1]), grad_TBH])
            h_grads, both, forget = h_grad_SBH.unbind(), grads_TB2H.unbind(), f_TBH.unbind()
            flat = grads_TB2H.flatten(2).unbind()
            for t in range(len(both) - 1, -1, -1):
                both[t].mul_(h_grads[t + 1][:, None])
                h_grads[t].addcmul_(h_grads[t + 1], forget[t]).addmm_(flat[t], weight_GH)
            grad_TBG = grads_TB2H.flatten(2)
            weight_grad = grad_TBG.flatten(0, 1).t() @ h_SBH[:-1].flatten(0, 1)
        return grad_TBG.to(ctx.x_dtype), h_grad_SBH[0], weight_grad, None
