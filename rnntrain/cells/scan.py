"""The linear recurrence h_t = a_t ⊙ h_{t-1} + b_t over a whole sequence: linear in T, safe for every a."""

# B batch, T time, N state; time comes first, so that each step is one contiguous block

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rnntrain.native import library
from rnntrain.native import scan as native_scan

# Below so many numbers a step, calling an operation costs more than what it does: steps are then taken in pairs.
SMALL_STEP = 4096
# So few steps are taken one by one. On a GPU each operation of the loop is a launch, so pairs go further down.
SHORT = 48
SHORT_ON_GPU = 4


def scan(a_TBN: Tensor, b_TBN: Tensor, h_BN: Tensor) -> Tensor:
    """Return every ``h_TBN`` of h_t = a_t ⊙ h_{t-1} + b_t, from the state ``h_BN`` before the first step.

    Each h_t is made of products and sums alone: no logarithm, which a zero or a negative a would break, and no
    quotient of cumulative products, which underflow within some hundred steps. Where a step holds much, steps are
    taken one after the other, written into one buffer without a graph. Where it holds little, and on a GPU,
    neighbours are joined into half as many steps, (a, b) then (a', b') being (a'a, a'b + b'), until few are left
    (Blelloch 1990, "Prefix sums and their applications"). Work and memory are O(T) either way. The backward pass is
    the same recurrence from the end, g_t = ∂L/∂h_t + a_{t+1} ⊙ g_{t+1}, with ∂L/∂b_t = g_t and
    ∂L/∂a_t = g_t ⊙ h_{t-1}.

    In float32 and complex64 on a processor the kernel of `rnntrain.native` does it, where it is built.

    Half precisions would lose what a slow state gains at each step: they are computed, and returned, in float32.
    Numbers may be complex, and `a_TBN` expanded.
    """
    exact = torch.promote_types(torch.promote_types(a_TBN.dtype, b_TBN.dtype), h_BN.dtype)
    exact = torch.promote_types(exact, torch.float32)
    if library.usable(a_TBN, b_TBN, h_BN, complex_too=True):
        return native_scan.scan(a_TBN, b_TBN, h_BN)
    h_TBN: Tensor = _Scan.apply(a_TBN.to(exact), b_TBN.to(exact), h_BN.to(exact))
    return h_TBN


def in_full_precision(x: Tensor) -> Tensor:
    """Return `x` in float32 where it is in a half precision: in bfloat16 a forget gate of 0.999 would be 1."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a_TBN: Tensor, b_TBN: Tensor, h_BN: Tensor) -> Tensor:
        h_TBN = _run(a_TBN, b_TBN, h_BN)
        ctx.save_for_backward(a_TBN, h_BN, h_TBN)
        return h_TBN

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_TBN: Tensor) -> tuple[Tensor | None, ...]:
        a_TBN, h_BN, h_TBN = ctx.saved_tensors
        # Gradients of complex numbers take the conjugate, which is nothing for real ones.
        g_TBN = _run_back(a_TBN.conj().resolve_conj(), grad_TBN)
        grad_h_BN = a_TBN[0].conj() * g_TBN[0]
        if not ctx.needs_input_grad[0]:
            return None, g_TBN, grad_h_BN
        grad_a_TBN = torch.empty_like(g_TBN)
        torch.mul(g_TBN[0], h_BN.conj(), out=grad_a_TBN[0])
        torch.mul(g_TBN[1:], h_TBN[:-1].conj(), out=grad_a_TBN[1:])
        return grad_a_TBN, g_TBN, grad_h_BN


def _run(a_TBN: Tensor, b_TBN: Tensor, h_BN: Tensor) -> Tensor:
    h_TBN = torch.empty_like(b_TBN, memory_format=torch.contiguous_format)
    if not _in_pairs(b_TBN):
        _step_by_step(a_TBN.unbind(), b_TBN.unbind(), h_BN, h_TBN.unbind())
        return h_TBN
    num_pairs = len(b_TBN) // 2
    first_a, first_b = a_TBN[0 : 2 * num_pairs : 2], b_TBN[0 : 2 * num_pairs : 2]
    second_a, second_b = a_TBN[1::2], b_TBN[1::2]
    second_h = _run(first_a * second_a, torch.addcmul(second_b, second_a, first_b), h_BN)
    h_TBN[1::2] = second_h
    torch.addcmul(b_TBN[0], a_TBN[0], h_BN, out=h_TBN[0])
    torch.addcmul(b_TBN[2::2], a_TBN[2::2], second_h[: len(b_TBN[2::2])], out=h_TBN[2::2])
    return h_TBN


def _run_back(a_TBN: Tensor, grad_TBN: Tensor) -> Tensor:
    """Return g: the gradient of each h_t by itself and through all later steps."""
    g_TBN = torch.empty_like(grad_TBN, memory_format=torch.contiguous_format)
    g_TBN[-1] = grad_TBN[-1]
    if _in_pairs(g_TBN):
        g_TBN[:-1] = _run(a_TBN[1:].flip(0), grad_TBN[:-1].flip(0), g_TBN[-1]).flip(0)
    else:
        _step_by_step(a_TBN.unbind()[:0:-1], grad_TBN.unbind()[-2::-1], g_TBN[-1], g_TBN.unbind()[-2::-1])
    return g_TBN


def _in_pairs(b_TBN: Tensor) -> bool:
    if b_TBN.is_cuda:
        return len(b_TBN) > SHORT_ON_GPU
    return len(b_TBN) > SHORT and b_TBN[0].numel() < SMALL_STEP


def _step_by_step(a: Sequence[Tensor], b: Sequence[Tensor], h_BN: Tensor, out: Sequence[Tensor]) -> None:
    for a_BN, b_BN, out_BN in zip(a, b, out, strict=True):
        h_BN = torch.addcmul(b_BN, a_BN, h_BN, out=out_BN)
