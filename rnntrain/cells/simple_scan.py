"""All time steps of a simple recurrence in one pass, with its gradient by hand."""

# B batch, T time, S = T + 1 states, H hidden

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

Nonlinearity: TypeAlias = Literal["tanh", "relu", "modrelu"]


def simple_scan(
    x_TBH: Tensor,
    h_BH: Tensor,
    weight_HH: Tensor,
    nonlinearity: Nonlinearity,
    *,
    gain_TBH: Tensor | None = None,
    residual: bool = False,
    bias_H: Tensor | None = None,
) -> Tensor:
    """Return the states h_1 … h_T of one of three recurrences, with n_t = φ(x_t + W h_{t-1}):

    - ``h_t = n_t``, where no gain is given;
    - ``h_t = h_{t-1} + gain_t ⊙ (n_t - h_{t-1})``, which leaves h exactly as it is where the gain is 0;
    - ``h_t = h_{t-1} + gain_t ⊙ n_t`` with `residual`, likewise.

    Autograd would keep a node and several tensors for each operation of each step, and take the gradient of W in
    T small products. Here the states lie in one buffer, φ' is taken for all steps at once, and the gradient of W
    in one product over time; a step of the backward pass is one product and two or three elementwise operations.

    Args:
        gain_TBH: may be expanded from fewer dimensions, at no cost.
        bias_H: the bias b of modReLU, φ(a) = sign(a) max(|a| + b, 0) (Arjovsky et al. 2016, arXiv:1511.06464).
    """
    y_TBH: Tensor = _SimpleScan.apply(x_TBH, h_BH, weight_HH, gain_TBH, bias_H, nonlinearity, residual)
    return y_TBH


def activate(a: Tensor, nonlinearity: Nonlinearity, bias_H: Tensor | None = None) -> Tensor:
    """Return φ(a)."""
    if nonlinearity == "tanh":
        return torch.tanh(a)
    if nonlinearity == "relu":
        return torch.relu(a)
    assert bias_H is not None
    return torch.relu(a.abs() + bias_H) * a.sign()


class _SimpleScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_TBH: Tensor,
        h_BH: Tensor,
        weight_HH: Tensor,
        gain_TBH: Tensor | None,
        bias_H: Tensor | None,
        nonlinearity: Nonlinearity,
        residual: bool,
    ) -> Tensor:
        ctx.nonlinearity, ctx.residual, ctx.x_dtype = nonlinearity, residual, x_TBH.dtype
        # Autocast hands over half precision; the state keeps that of the weights.
        x_TBH = x_TBH.to(weight_HH.dtype)
        with torch.autocast(x_TBH.device.type, enabled=False):
            h_SBH = weight_HH.new_empty(x_TBH.shape[0] + 1, *x_TBH.shape[1:])
            h_SBH[0] = h_BH
            n_TBH = h_SBH[1:] if gain_TBH is None else torch.empty_like(x_TBH)
            _run(x_TBH, h_SBH, n_TBH, weight_HH, gain_TBH, bias_H, nonlinearity, residual)
        ctx.save_for_backward(h_SBH, n_TBH, weight_HH, gain_TBH)
        return h_SBH[1:]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_TBH: Tensor) -> tuple[Tensor | None, ...]:
        h_SBH, n_TBH, weight_HH, gain_TBH = ctx.saved_tensors
        with torch.autocast(grad_TBH.device.type, enabled=False):
            a_grad_TBH = 1 - n_TBH * n_TBH if ctx.nonlinearity == "tanh" else (n_TBH != 0).to(n_TBH.dtype)
            if gain_TBH is not None:
                a_grad_TBH *= gain_TBH
            h_grad_SBH = _run_back(grad_TBH, a_grad_TBH, weight_HH, gain_TBH, ctx.residual)
            weight_grad = gain_grad = bias_grad = None
            if ctx.needs_input_grad[2]:
                weight_grad = a_grad_TBH.flatten(0, 1).t() @ h_SBH[:-1].flatten(0, 1)
            if ctx.needs_input_grad[3]:
                gain_grad = h_grad_SBH[1:] * (n_TBH if ctx.residual else n_TBH - h_SBH[:-1])
            if ctx.needs_input_grad[4]:
                bias_grad = (a_grad_TBH * n_TBH.sign()).sum((0, 1))
        return a_grad_TBH.to(ctx.x_dtype), h_grad_SBH[0], weight_grad, gain_grad, bias_grad, None, None


def _run(
    x_TBH: Tensor,
    h_SBH: Tensor,
    n_TBH: Tensor,
    weight_HH: Tensor,
    gain_TBH: Tensor | None,
    bias_H: Tensor | None,
    nonlinearity: Nonlinearity,
    residual: bool,
) -> None:
    """Fill in the states and the values of φ."""
    states, transposed_HH = h_SBH.unbind(), weight_HH.t().contiguous()
    gains = None if gain_TBH is None else gain_TBH.unbind()
    for t, (x_BH, n_BH) in enumerate(zip(x_TBH.unbind(), n_TBH.unbind(), strict=True)):
        torch.addmm(x_BH, states[t], transposed_HH, out=n_BH)
        if nonlinearity == "tanh":
            n_BH.tanh_()
        elif nonlinearity == "relu":
            n_BH.relu_()
        else:
            n_BH.copy_(activate(n_BH, nonlinearity, bias_H))
        if gains is None:
            continue
        if residual:
            torch.addcmul(states[t], n_BH, gains[t], out=states[t + 1])
        else:
            torch.lerp(states[t], n_BH, gains[t], out=states[t + 1])


def _run_back(
    grad_TBH: Tensor, a_grad_TBH: Tensor, weight_HH: Tensor, gain_TBH: Tensor | None, residual: bool
) -> Tensor:
    """Turn `a_grad_TBH` from dh/da into the gradient by a, in place; return the gradient by all states."""
    h_grad_SBH = torch.empty(len(grad_TBH) + 1, *grad_TBH.shape[1:], dtype=grad_TBH.dtype, device=grad_TBH.device)
    h_grad_SBH[0] = 0
    h_grad_SBH[1:] = grad_TBH
    keeps = None if gain_TBH is None or residual else (1 - gain_TBH).unbind()
    h_grads, a_grads = h_grad_SBH.unbind(), a_grad_TBH.unbind()
    for t in range(len(a_grads) - 1, -1, -1):
        h_grads[t].addmm_(a_grads[t].mul_(h_grads[t + 1]), weight_HH)
        if keeps is not None:
            h_grads[t].addcmul_(h_grads[t + 1], keeps[t])
        elif residual:
            h_grads[t].add_(h_grads[t + 1])
    return h_grad_SBH
