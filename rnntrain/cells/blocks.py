"""A scanned recurrence run block by block of time, so that a long sequence leaves nothing but its states in memory."""

# B batch, T time, D input, H output, N state, L steps of a block

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from rnntrain.cells.scan import gradient_of_a, scan_backward, scan_forward

Coefficients: TypeAlias = Callable[[Tensor], tuple[Tensor, ...]]
Readout: TypeAlias = Callable[..., Tensor]


def run_in_blocks(
    coefficients: Coefficients,
    readout: Readout,
    weights: Sequence[Tensor],
    x_TBD: Tensor,
    h_BN: Tensor,
    num_steps: int,
) -> tuple[Tensor, Tensor]:
    """Return ``y_TBH`` and ``h_TBN`` of ``a, b, *rest = coefficients(x)``, h = scan(a, b), ``y = readout(h, *rest)``.

    Input, states and output are all that is kept for the backward pass, which computes the rest anew, a block at a
    time: what is made in between never leaves the processor's cache.

    Args:
        weights: all that `coefficients` and `readout` use beside their arguments and that may need a gradient.
        h_BN: the state before the first step.
        num_steps: time steps of a block.
    """
    h_BN = h_BN.to(torch.promote_types(h_BN.dtype, torch.float32))
    y_TBH, h_TBN = _InBlocks.apply(_Functions(coefficients, readout), num_steps, x_TBD.contiguous(), h_BN, *weights)
    return y_TBH, h_TBN


class _Functions(NamedTuple):
    coefficients: Coefficients
    readout: Readout


class _InBlocks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, functions: _Functions, num_steps: int, x_TBD: Tensor, h_BN: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        h_TBN = h_BN.new_empty(x_TBD.shape[0], *h_BN.shape)
        y_TBH: Tensor | None = None
        last_BN = h_BN
        for start in range(0, len(x_TBD), num_steps):
            block = slice(start, start + num_steps)
            a_LBN, b_LBN, *rest = functions.coefficients(x_TBD[block])
            h_LBN = scan_forward(a_LBN, b_LBN, last_BN, h_TBN[block])
            last_BN = h_LBN[-1]
            y_LBH = functions.readout(h_LBN, *rest)
            if y_LBH is not h_LBN:
                y_TBH = y_LBH.new_empty(len(x_TBD), *y_LBH.shape[1:]) if y_TBH is None else y_TBH
                y_TBH[block] = y_LBH
        ctx.functions, ctx.num_steps = functions, num_steps
        ctx.save_for_backward(x_TBD, h_BN, h_TBN, *weights)
        ctx.set_materialize_grads(False)
        device = x_TBD.device.type
        # What is computed anew must be computed in the same precision, and backward runs outside of autocast.
        ctx.autocast = device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        return (h_TBN.view_as(h_TBN) if y_TBH is None else y_TBH), h_TBN

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_y_TBH: Tensor | None, grad_h_TBN: Tensor | None) -> tuple[Tensor | None, ...]:
        x_TBD, h_BN, h_TBN, *weights = ctx.saved_tensors
        learnt = [weight for weight in weights if weight.requires_grad]
        sums: list[Tensor | None] = [None] * len(learnt)
        grad_x_TBD = torch.empty_like(x_TBD) if ctx.needs_input_grad[2] else None
        grad_last_BN: Tensor | None = None
        for start in reversed(range(0, len(x_TBD), ctx.num_steps)):
            block = slice(start, start + ctx.num_steps)
            x_LBD = x_TBD[block].detach().requires_grad_(grad_x_TBD is not None)
            with torch.enable_grad(), torch.autocast(*ctx.autocast):
                recomputed = _recompute(ctx.functions, x_LBD, h_TBN[block], readout=grad_y_TBH is not None)
            gradients, grad_last_BN = _block_backward(
                recomputed,
                [x_LBD, *learnt] if x_LBD.requires_grad else learnt,
                h_TBN[start - 1] if start else h_BN,
                h_TBN[block],
                None if grad_y_TBH is None else grad_y_TBH[block],
                None if grad_h_TBN is None else grad_h_TBN[block],
                grad_last_BN,
            )
            if grad_x_TBD is not None:
                grad_x_LBD = gradients.pop(0)
                grad_x_TBD[block] = 0 if grad_x_LBD is None else grad_x_LBD
            sums = [_add(total, gradient) for total, gradient in zip(sums, gradients, strict=True)]
        by_weight = iter(sums)
        grad_weights = [next(by_weight) if weight.requires_grad else None for weight in weights]
        return None, None, grad_x_TBD, grad_last_BN, *grad_weights


class _Recomputed(NamedTuple):
    """One block's values with their graphs, in two pieces that the scan lies between."""

    from_input: tuple[Tensor, ...]  # a, b and the rest
    leaves: list[Tensor]  # states and the rest, as leaves
    y_LBH: Tensor | None  # from the leaves


def _recompute(functions: _Functions, x_LBD: Tensor, h_LBN: Tensor, readout: bool) -> _Recomputed:
    from_input = functions.coefficients(x_LBD)
    leaves = [tensor.detach().requires_grad_() for tensor in (h_LBN, *from_input[2:])]
    return _Recomputed(from_input, leaves, functions.readout(*leaves) if readout else None)


def _block_backward(
    block: _Recomputed,
    sources: list[Tensor],
    h_BN: Tensor,
    h_LBN: Tensor,
    grad_y_LBH: Tensor | None,
    grad_h_LBN: Tensor | None,
    grad_last_BN: Tensor | None,
) -> tuple[list[Tensor | None], Tensor]:
    """Return the gradients of one block's `sources` and that of the state ``h_BN`` before it."""
    # Through the readout to the states and to what came by the side.
    grads_leaves: list[Tensor | None] = [None] * len(block.leaves)
    gradients: list[Tensor | None] = [None] * len(sources)
    if block.y_LBH is not None:
        found = torch.autograd.grad(block.y_LBH, [*block.leaves, *sources], grad_y_LBH, allow_unused=True)
        grads_leaves, gradients = list(found[: len(block.leaves)]), list(found[len(block.leaves) :])
    # Through the recurrence to a and b.
    grad_states_LBN = _add(grads_leaves[0], grad_h_LBN)
    if grad_states_LBN is None:
        grad_states_LBN = torch.zeros_like(h_LBN)
    a_LBN = block.from_input[0]
    g_LBN, grad_before_BN = scan_backward(a_LBN.detach(), grad_states_LBN, grad_last_BN)
    grad_a_LBN = gradient_of_a(g_LBN, h_BN, h_LBN) if a_LBN.requires_grad else None
    # And from all of these to the sources.
    pairs = zip(block.from_input, (grad_a_LBN, g_LBN, *grads_leaves[1:]), strict=True)
    tensors, grads = zip(*[(t, grad) for t, grad in pairs if t.requires_grad and grad is not None], strict=True)
    more = torch.autograd.grad(tensors, sources, grads, allow_unused=True)
    return [_add(one, other) for one, other in zip(gradients, more, strict=True)], grad_before_BN


def _add(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
