"""All time steps of an LSTM with peepholes, coupled gates or a projection in one pass, with its gradient by hand."""

# B batch, T time, S = T + 1 states, H hidden, P projection (= H without one), K gates: o, (i,) f, g; G = K · H

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rnntrain.cells.base import SATURATED


class LSTMWeights(NamedTuple):
    """What the steps use. Gates stand in the order o, i, f, g, or o, f, g where input and forget gate are coupled.

    Attributes:
        hidden_GP: from the last output to the gates.
        peephole: from the cell to the gates o, i, f (or o, f), as one vector; None without peepholes.
        projection_PH: from the cell's output to what is given out; None where that is it.
    """

    hidden_GP: Tensor
    peephole: Tensor | None = None
    projection_PH: Tensor | None = None


def lstm_step(
    products_BG: Tensor, state: tuple[Tensor, Tensor], weights: LSTMWeights
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Run one step, by PyTorch's own operations; the reference for `lstm_scan`."""
    gates, c_BH = lstm_gates(products_BG, state, weights)
    h_BP = gates["o"] * torch.tanh(c_BH)
    if weights.projection_PH is not None:
        h_BP = F.linear(h_BP, weights.projection_PH)
    return h_BP, (h_BP, c_BH)


def lstm_gates(
    products_BG: Tensor, state: tuple[Tensor, Tensor], weights: LSTMWeights
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the gates of one step, and the cell after it, which the output gate may look at."""
    h_BP, c_BH = state
    sums = (products_BG + F.linear(h_BP, weights.hidden_GP)).split(c_BH.shape[-1], -1)
    peepholes = None if weights.peephole is None else weights.peephole.split(c_BH.shape[-1])

    def gate(number: int, c_BH: Tensor) -> Tensor:
        return torch.sigmoid(sums[number] if peepholes is None else sums[number] + peepholes[number] * c_BH)

    f, g = gate(len(sums) - 2, c_BH), torch.tanh(sums[-1])
    if len(sums) == 3:
        c_new_BH = g + f * (c_BH - g)
        return {"f": f, "o": gate(0, c_new_BH)}, c_new_BH
    i = gate(1, c_BH)
    c_new_BH = f * c_BH + i * g
    return {"i": i, "f": f, "o": gate(0, c_new_BH)}, c_new_BH


def lstm_scan(
    products_TBG: Tensor, state: tuple[Tensor, Tensor], weights: LSTMWeights
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return the outputs h_1 … h_T and the last state.

    Everything that does not wait for another step, such as the derivatives of the gates by what goes into them, is
    taken for all steps at once, and each weight's gradient in one product over time. What is left to a step of the
    backward pass is one product and four to seven elementwise operations.
    """
    y_TBP, c_BH = _LSTMScan.apply(products_TBG, *state, *weights)
    return y_TBP, (y_TBP[-1], c_BH)


def frozen(products_TBG: Tensor, valid_TB: Tensor, num_gates: int) -> Tensor:
    """Let the cell stand still where steps are not valid: forget gate exactly 1, input gate exactly 0.

    The constant also cuts these products' gradient. The outputs there go on, but are finite.
    """
    freeze_K = [0.0] * num_gates
    freeze_K[-2] = SATURATED
    if num_gates == 4:
        freeze_K[1] = -SATURATED
    freeze_G = products_TBG.new_tensor(freeze_K).repeat_interleave(products_TBG.shape[-1] // num_gates)
    return torch.where(valid_TB[..., None], products_TBG, freeze_G)


class _LSTMScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_TBG: Tensor,
        h_BP: Tensor,
        c_BH: Tensor,
        hidden_GP: Tensor,
        peephole: Tensor | None,
        projection_PH: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        ctx.x_dtype = x_TBG.dtype
        dtype, (num_steps, batch_size, gate_width), hidden_size = hidden_GP.dtype, x_TBG.shape, c_BH.shape[-1]
        with torch.autocast(x_TBG.device.type, enabled=False):
            x_TBG = x_TBG.to(dtype)  # autocast hands over half precision
            gates_TBKH = x_TBG.new_empty(num_steps, batch_size, gate_width // hidden_size, hidden_size)
            h_SBP = x_TBG.new_empty(num_steps + 1, *h_BP.shape)
            c_SBH = x_TBG.new_empty(num_steps + 1, *c_BH.shape)
            tanh_TBH = x_TBG.new_empty(num_steps, *c_BH.shape)
            # What comes out of the cell is its output, if nothing projects it.
            out_TBH = h_SBP[1:] if projection_PH is None else torch.empty_like(tanh_TBH)
            h_SBP[0], c_SBH[0] = h_BP, c_BH
            weights = LSTMWeights(hidden_GP, peephole, projection_PH)
            _run(x_TBG, gates_TBKH, h_SBP, c_SBH, tanh_TBH, out_TBH, weights)
        ctx.save_for_backward(gates_TBKH, h_SBP, c_SBH, tanh_TBH, out_TBH, hidden_GP, peephole, projection_PH)
        return h_SBP[1:], c_SBH[-1]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_TBP: Tensor, grad_c_BH: Tensor) -> tuple[Tensor | None, ...]:
        gates_TBKH, h_SBP, c_SBH, tanh_TBH, out_TBH, *given = ctx.saved_tensors
        weights = LSTMWeights(*given)
        with torch.autocast(grad_TBP.device.type, enabled=False):
            h_grad_SBP = torch.cat([torch.zeros_like(h_SBP[:1]), grad_TBP])
            c_grad_BH = grad_c_BH.clone()
            grads_TBKH = torch.empty_like(gates_TBKH)
            for block in time_blocks(gates_TBKH):
                gates_tBKH = gates_TBKH[block]
                slopes = gate_slopes(gates_tBKH, c_SBH[:-1][block], tanh_TBH[block], grads_TBKH[block])
                h_grad_sBP = h_grad_SBP[block.start : block.stop + 1]
                _run_back(h_grad_sBP, c_grad_BH, *slopes, gates_tBKH[:, :, -2], weights)
            grad_TBG = grads_TBKH.flatten(2)
            hidden_grad = grad_TBG.flatten(0, 1).t() @ h_SBP[:-1].flatten(0, 1)
            peephole_grad = projection_grad = None
            if weights.peephole is not None:
                from_new = (grads_TBKH[:, :, :1] * c_SBH[1:, :, None]).sum((0, 1))
                from_old = (grads_TBKH[:, :, 1:-1] * c_SBH[:-1, :, None]).sum((0, 1))
                peephole_grad = torch.cat([from_new, from_old]).flatten()
            if weights.projection_PH is not None:
                projection_grad = h_grad_SBP[1:].flatten(0, 1).t() @ out_TBH.flatten(0, 1)
        return grad_TBG.to(ctx.x_dtype), h_grad_SBP[0], c_grad_BH, hidden_grad, peephole_grad, projection_grad


def _run(
    x_TBG: Tensor,
    gates_TBKH: Tensor,
    h_SBP: Tensor,
    c_SBH: Tensor,
    tanh_TBH: Tensor,
    out_TBH: Tensor,
    weights: LSTMWeights,
) -> None:
    """Fill in gates, states and outputs."""
    hidden_size, coupled, peephole = c_SBH.shape[-1], gates_TBKH.shape[2] == 3, weights.peephole
    p_o = p_if = None
    if peephole is not None:
        p_o, p_if = peephole[:hidden_size], peephole[hidden_size:].view(-1, hidden_size)
    transposed_PG = weights.hidden_GP.t().contiguous()
    # All views of single steps are made at once, which is much cheaper than slicing in the loop.
    products, h, c = gates_TBKH.flatten(2).unbind(), h_SBP.unbind(), c_SBH.unbind()
    # The output gate waits for the new cell if it has a peephole.
    early = (gates_TBKH[:, :, :-1] if peephole is None else gates_TBKH[:, :, 1:-1]).unbind()
    o, f, g, i = (gates_TBKH[:, :, k].unbind() for k in (0, -2, -1, 1))
    for t, (x_BG, tanh_BH, out_BH) in enumerate(zip(x_TBG.unbind(), tanh_TBH.unbind(), out_TBH.unbind(), strict=True)):
        torch.addmm(x_BG, h[t], transposed_PG, out=products[t])
        if p_if is not None:
            early[t].addcmul_(c[t][:, None], p_if)
        early[t].sigmoid_()
        g[t].tanh_()
        if coupled:
            torch.lerp(g[t], c[t], f[t], out=c[t + 1])
        else:
            torch.mul(f[t], c[t], out=c[t + 1]).addcmul_(i[t], g[t])
        if p_o is not None:
            o[t].addcmul_(c[t + 1], p_o).sigmoid_()
        torch.mul(o[t], torch.tanh(c[t + 1], out=tanh_BH), out=out_BH)
        if weights.projection_PH is not None:
            torch.mm(out_BH, weights.projection_PH.t(), out=h[t + 1])


# Steps are taken back in blocks whose gates fit into a processor's cache.
BLOCK_ELEMENTS = 2**17


def time_blocks(z_TB: Tensor) -> Iterator[slice]:
    """Cut the time steps of a buffer into blocks, the last one first; a GPU takes them all in one."""
    size = len(z_TB) if z_TB.is_cuda else max(1, BLOCK_ELEMENTS // z_TB[0].numel())
    for stop in range(len(z_TB), 0, -size):
        yield slice(max(0, stop - size), stop)


def gate_slopes(
    gates_TBKH: Tensor, old_c_TBH: Tensor, tanh_TBH: Tensor, out: Tensor, update_BH: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return what the gates' gradients are multiples of: o of that of the output, the others of that of the cell.

    The second is d output / d tanh's argument.

    Args:
        out: takes the first.
        update_BH: factors of the candidate g.
    """
    g_TBH, f_TBH = gates_TBKH[:, :, -1], gates_TBKH[:, :, -2]
    sigmoids = gates_TBKH[:, :, :-1]
    torch.mul(sigmoids, 1 - sigmoids, out=out[:, :, :-1])
    out[:, :, 0] *= tanh_TBH
    if gates_TBKH.shape[2] == 3:
        write_TBH = 1 - f_TBH
        out[:, :, 1] *= old_c_TBH - g_TBH
    else:
        write_TBH = gates_TBKH[:, :, 1]
        out[:, :, 1] *= g_TBH
        out[:, :, 2] *= old_c_TBH
    torch.mul(write_TBH, 1 - g_TBH * g_TBH, out=out[:, :, -1])
    if update_BH is not None:
        out[:, :, 1] *= update_BH
        out[:, :, -1] *= update_BH
    return out, gates_TBKH[:, :, 0] * (1 - tanh_TBH * tanh_TBH)


def _run_back(
    h_grad_SBP: Tensor,
    c_grad_BH: Tensor,
    slopes_TBKH: Tensor,
    to_c_TBH: Tensor,
    forget_TBH: Tensor,
    weights: LSTMWeights,
) -> None:
    """Turn slopes into the gates' gradients and `h_grad_SBP`, `c_grad_BH` into those of the states, all in place."""
    p_o, old_peepholes = None, []
    if weights.peephole is not None:
        p_o, *p_if = weights.peephole.split(c_grad_BH.shape[-1])
        old_peepholes = [(slopes_TBKH[:, :, k].unbind(), p) for k, p in enumerate(p_if, 1)]
    h_grads, grads, to_c, forgets = (z.unbind() for z in (h_grad_SBP, slopes_TBKH.flatten(2), to_c_TBH, forget_TBH))
    o_grads, others = slopes_TBKH[:, :, 0].unbind(), slopes_TBKH[:, :, 1:].unbind()
    c_grad_B1H = c_grad_BH[:, None]
    for t in range(len(grads) - 1, -1, -1):
        out_grad_BH = h_grads[t + 1] if weights.projection_PH is None else h_grads[t + 1] @ weights.projection_PH
        o_grads[t].mul_(out_grad_BH)
        c_grad_BH.addcmul_(out_grad_BH, to_c[t])
        if p_o is not None:
            c_grad_BH.addcmul_(o_grads[t], p_o)
        others[t].mul_(c_grad_B1H)
        c_grad_BH.mul_(forgets[t])
        for gate_grads, p in old_peepholes:
            c_grad_BH.addcmul_(gate_grads[t], p)
        h_grads[t].addmm_(grads[t], weights.hidden_GP)
