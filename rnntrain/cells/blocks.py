"""A recurrence run block by block of time, so that a long sequence leaves little but its states in memory."""

# B batch, T time, D input, H output, N state

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

# From ``x_TBD`` and the state ``h_BN`` before it to every output ``y_TBH`` and every state ``h_TBN``.
Run: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def run_in_blocks(
    run: Run, weights: Sequence[Tensor], x_TBD: Tensor, h_BN: Tensor, num_steps: int
) -> tuple[Tensor, Tensor]:
    """Return what ``run(x_TBD, h_BN)`` does, block by block of time.

    Input, states and outputs are all that is kept. The backward pass runs each block once more, from the last to the
    first, so that what is made in between lives as long as its block and never leaves the processor's cache.

    Args:
        run: draws no random numbers.
        weights: all that `run` uses beside its arguments and that may need a gradient.
        num_steps: time steps of a block.
    """
    y_TBH, h_TBN = _InBlocks.apply(run, num_steps, x_TBD, h_BN, *weights)
    return y_TBH, h_TBN


class _InBlocks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, run: Run, num_steps: int, x_TBD: Tensor, h_BN: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        y_TBH = h_TBN = h_BN.new_empty(0)
        last_BN = h_BN
        for start in range(0, len(x_TBD), num_steps):
            y, h = run(x_TBD[start : start + num_steps], last_BN)
            if start == 0:
                h_TBN = h.new_empty(len(x_TBD), *h.shape[1:])
                y_TBH = h_TBN if y is h else y.new_empty(len(x_TBD), *y.shape[1:])
            h_TBN[start : start + num_steps] = h
            if y is not h:
                y_TBH[start : start + num_steps] = y
            last_BN = h[-1]
        ctx.run, ctx.num_steps = run, num_steps
        ctx.save_for_backward(x_TBD, h_BN, h_TBN, *weights)
        ctx.set_materialize_grads(False)
        device = x_TBD.device.type
        # What is run once more must be so in the same precision, and backward passes lie outside of autocast.
        ctx.autocast = device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        return (h_TBN.view_as(h_TBN) if y_TBH is h_TBN else y_TBH), h_TBN

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
            x = x_TBD[block].detach().requires_grad_(grad_x_TBD is not None)
            before_BN = (h_TBN[start - 1] if start else h_BN).detach().requires_grad_()
            with torch.enable_grad(), torch.autocast(*ctx.autocast):
                y, h = ctx.run(x, before_BN)
                last_BN = h[-1]
            pairs = (
                (y, None if grad_y_TBH is None else grad_y_TBH[block]),
                (h, None if grad_h_TBN is None else grad_h_TBN[block]),
                (last_BN, grad_last_BN),
            )
            outputs, grads = zip(*[pair for pair in pairs if pair[1] is not None], strict=True)
            sources = [before_BN, *learnt, *([x] if x.requires_grad else [])]
            grad_last_BN, *found = torch.autograd.grad(outputs, sources, grads, allow_unused=True)
            if grad_x_TBD is not None:
                grad_x = found.pop()
                grad_x_TBD[block] = 0 if grad_x is None else grad_x
            sums = [_add(total, gradient) for total, gradient in zip(sums, found, strict=True)]
        by_weight = iter(sums)
        return None, None, grad_x_TBD, grad_last_BN, *(next(by_weight) if w.requires_grad else None for w in weights)


def _add(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
