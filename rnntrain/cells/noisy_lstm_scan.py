"""All time steps of an LSTM with layer norm, zoneout and recurrent dropout in one pass, with its gradient by hand."""

# B batch, T time, S = T + 1 states, H hidden, G = 4H: output, input, forget gate and candidate

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rnntrain.cells.lstm_scan import gate_slopes, time_blocks
from rnntrain.cells.noise import Noise

EPSILON = 1e-5  # of the layer norms, PyTorch's own


class NoisyWeights(NamedTuple):
    """What the steps use; without layer norm, the last three are None.

    Attributes:
        hidden_GH: from the last output to the gates o, i, f, g.
        gain_G: of the norm over that product.
        cell_gain_H: of the norm over the cell.
        cell_bias_H: likewise.
    """

    hidden_GH: Tensor
    gain_G: Tensor | None = None
    cell_gain_H: Tensor | None = None
    cell_bias_H: Tensor | None = None


def noisy_lstm_step(
    products_BG: Tensor, state: tuple[Tensor, Tensor], weights: NoisyWeights, noise: Noise, t: int = 0
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Run step `t` of the noise, by PyTorch's own operations; the reference for `noisy_lstm_scan`."""
    h_BH, c_BH = state
    read_BH = h_BH if noise.state_BH is None else h_BH * noise.state_BH
    o, i, f, g = noisy_lstm_sums(products_BG, read_BH, weights)
    g = torch.tanh(g) if noise.update_BH is None else torch.tanh(g) * noise.update_BH
    new_c_BH = torch.sigmoid(f) * c_BH + torch.sigmoid(i) * g
    shown_BH = new_c_BH
    if weights.cell_gain_H is not None:
        shown_BH = F.layer_norm(new_c_BH, c_BH.shape[-1:], weights.cell_gain_H, weights.cell_bias_H, EPSILON)
    new_h_BH = torch.sigmoid(o) * torch.tanh(shown_BH)
    if noise.zone_cell_TBH is not None:
        new_c_BH = new_c_BH + noise.zone_cell_TBH[t] * (c_BH - new_c_BH)
    if noise.zone_hidden_TBH is not None:
        new_h_BH = new_h_BH + noise.zone_hidden_TBH[t] * (h_BH - new_h_BH)
    return new_h_BH, (new_h_BH, new_c_BH)


def noisy_lstm_sums(products_BG: Tensor, read_BH: Tensor, weights: NoisyWeights) -> tuple[Tensor, ...]:
    """Return what o, i, f and g are functions of."""
    from_hidden_BG = F.linear(read_BH, weights.hidden_GH)
    if weights.gain_G is not None:
        from_hidden_BG = F.layer_norm(from_hidden_BG, weights.gain_G.shape, weights.gain_G, None, EPSILON)
    return (products_BG + from_hidden_BG).chunk(4, -1)


def noisy_lstm_scan(
    products_TBG: Tensor, state: tuple[Tensor, Tensor], weights: NoisyWeights, noise: Noise
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return the outputs h_1 … h_T and the last state, as `noisy_lstm_step` would give them one by one."""
    y_TBH, c_BH = _NoisyScan.apply(products_TBG, *state, *weights, *noise)
    return y_TBH, (y_TBH[-1], c_BH)


class _Tape(NamedTuple):
    """What the forward pass leaves for the backward pass.

    Attributes:
        gates_TB4H: after their functions, g without the mask on it.
        h_SBH, c_SBH: the states.
        new_c_TBH: the cells before zoneout.
        tanh_TBH: tanh of the cell, after its norm.
        read_TBH: the states as they entered the recurrent product.
        hidden_TBG, hidden_stats_2TB1: what the first norm read, and its means and reciprocal deviations.
        cell_stats_2TB1: those of the second norm.
    """

    gates_TB4H: Tensor
    h_SBH: Tensor
    c_SBH: Tensor
    new_c_TBH: Tensor
    tanh_TBH: Tensor
    read_TBH: Tensor
    hidden_TBG: Tensor | None
    hidden_stats_2TB1: Tensor | None
    cell_stats_2TB1: Tensor | None


class _NoisyScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TBG: Tensor, h_BH: Tensor, c_BH: Tensor, *given: Tensor | None) -> tuple[Tensor, Tensor]:
        weights, noise = NoisyWeights(*given[:4]), Noise(*given[4:])  # type: ignore[arg-type]
        ctx.x_dtype = x_TBG.dtype
        with torch.autocast(x_TBG.device.type, enabled=False):
            # Autocast hands over half precision; the state keeps that of the weights.
            tape = _run(x_TBG.to(weights.hidden_GH.dtype), h_BH, c_BH, weights, noise)
        ctx.save_for_backward(*weights, *noise, *tape)
        return tape.h_SBH[1:], tape.c_SBH[-1]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_TBH: Tensor, grad_c_BH: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        weights, noise, tape = NoisyWeights(*saved[:4]), Noise(*saved[4:8]), _Tape(*saved[8:])
        with torch.autocast(grad_TBH.device.type, enabled=False):
            grads = _run_back(grad_TBH, grad_c_BH, weights, noise, tape)
        return grads[0].to(ctx.x_dtype), *grads[1:], None, None, None, None  # type: ignore[union-attr]


def _run(x_TBG: Tensor, h_BH: Tensor, c_BH: Tensor, weights: NoisyWeights, noise: Noise) -> _Tape:
    num_steps, normed = len(x_TBG), weights.gain_G is not None
    gates_TB4H = torch.empty_like(x_TBG).unflatten(-1, (4, -1))
    h_SBH, c_SBH = (x_TBG.new_empty(num_steps + 1, *z.shape) for z in (h_BH, c_BH))
    h_SBH[0], c_SBH[0] = h_BH, c_BH
    tanh_TBH = torch.empty_like(h_SBH[1:])
    new_c_TBH = c_SBH[1:] if noise.zone_cell_TBH is None else torch.empty_like(tanh_TBH)
    read_TBH = h_SBH[:-1] if noise.state_BH is None else torch.empty_like(tanh_TBH)
    hidden_TBG = torch.empty_like(x_TBG) if normed else None
    hidden_stats: list[tuple[Tensor, Tensor]] = []
    cell_stats: list[tuple[Tensor, Tensor]] = []
    transposed_HG = weights.hidden_GH.t().contiguous()
    # All views of single steps are made at once, which is much cheaper than slicing in the loop.
    h, c, new_c, tanh, read = (z.unbind() for z in (h_SBH, c_SBH, new_c_TBH, tanh_TBH, read_TBH))
    gates, sigmoids = gates_TB4H.flatten(2).unbind(), gates_TB4H[:, :, :3].unbind()
    o, i, f, g = (gate.unbind() for gate in gates_TB4H.unbind(2))
    zone_c, zone_h = (None if z is None else z.unbind() for z in (noise.zone_cell_TBH, noise.zone_hidden_TBH))
    for t, x_BG in enumerate(x_TBG.unbind()):
        if noise.state_BH is not None:
            torch.mul(h[t], noise.state_BH, out=read[t])
        if hidden_TBG is None:
            torch.addmm(x_BG, read[t], transposed_HG, out=gates[t])
        else:
            assert weights.gain_G is not None
            product_BG = torch.mm(read[t], transposed_HG, out=hidden_TBG[t])
            normal_BG, *stats = torch.native_layer_norm(product_BG, x_BG.shape[-1:], weights.gain_G, None, EPSILON)
            torch.add(x_BG, normal_BG, out=gates[t])
            hidden_stats.append((stats[0], stats[1]))
        sigmoids[t].sigmoid_()
        g[t].tanh_()
        update_BH = g[t] if noise.update_BH is None else g[t] * noise.update_BH
        shown_BH = torch.mul(f[t], c[t], out=new_c[t]).addcmul_(i[t], update_BH)
        if normed:
            shown_BH, *stats = torch.native_layer_norm(
                shown_BH, c_BH.shape[-1:], weights.cell_gain_H, weights.cell_bias_H, EPSILON
            )
            cell_stats.append((stats[0], stats[1]))
        torch.mul(o[t], torch.tanh(shown_BH, out=tanh[t]), out=h[t + 1])
        if zone_c is not None:
            torch.lerp(new_c[t], c[t], zone_c[t], out=c[t + 1])
        if zone_h is not None:
            h[t + 1].lerp_(h[t], zone_h[t])
    stats_2TB1 = [
        torch.stack([torch.stack(part) for part in zip(*s, strict=True)]) for s in (hidden_stats, cell_stats) if s
    ]
    return _Tape(
        gates_TB4H, h_SBH, c_SBH, new_c_TBH, tanh_TBH, read_TBH, hidden_TBG, *(stats_2TB1 if normed else (None, None))
    )


def _run_back(
    grad_TBH: Tensor, c_grad_BH: Tensor, weights: NoisyWeights, noise: Noise, tape: _Tape
) -> list[Tensor | None]:
    """Return the gradients by x, h_0, c_0 and the four weights."""
    normed, c_grad_BH = weights.gain_G is not None, c_grad_BH.clone()
    h_grad_SBH = torch.cat([torch.zeros_like(tape.h_SBH[:1]), grad_TBH])
    h_grads, grads_TB4H = h_grad_SBH.unbind(), torch.empty_like(tape.gates_TB4H)
    # The gradient by the recurrent product, before its norm if it has one.
    hidden_grad_TBG = torch.empty_like(tape.hidden_TBG) if tape.hidden_TBG is not None else grads_TB4H.flatten(2)
    small = [None if w is None else torch.zeros_like(w) for w in weights[1:]]
    for block in time_blocks(grads_TB4H):
        gates_tB4H, update = tape.gates_TB4H[block], noise.update_BH
        old_c_tBH = tape.c_SBH[:-1][block]
        slopes_tB4H, to_c_tBH = gate_slopes(
            gates_tB4H, old_c_tBH, tape.tanh_TBH[block], out=grads_TB4H[block], update_BH=update
        )
        o_grads, others = slopes_tB4H[:, :, 0].unbind(), slopes_tB4H[:, :, 1:].unbind()
        for k in range(len(to_c_tBH) - 1, -1, -1):
            t = block.start + k
            out_grad_BH = h_grads[t + 1]
            if noise.zone_hidden_TBH is not None:
                kept_BH = out_grad_BH * noise.zone_hidden_TBH[t]
                h_grads[t].add_(kept_BH)
                out_grad_BH = out_grad_BH - kept_BH
            o_grads[k].mul_(out_grad_BH)
            shown_grad_BH = out_grad_BH * to_c_tBH[k]
            if tape.cell_stats_2TB1 is not None:
                shown_grad_BH = norm_back(
                    shown_grad_BH,
                    tape.new_c_TBH[t],
                    tape.cell_stats_2TB1[:, t],
                    weights.cell_gain_H,
                    small[1],
                    small[2],
                )
            kept_c_BH = None
            if noise.zone_cell_TBH is not None:
                kept_c_BH = c_grad_BH * noise.zone_cell_TBH[t]
                c_grad_BH = c_grad_BH - kept_c_BH
            c_grad_BH = shown_grad_BH.add_(c_grad_BH)
            others[k].mul_(c_grad_BH[:, None])
            c_grad_BH = c_grad_BH * gates_tB4H[k, :, 2]
            if kept_c_BH is not None:
                c_grad_BH += kept_c_BH
            if tape.hidden_TBG is not None:
                assert tape.hidden_stats_2TB1 is not None
                hidden_grad_TBG[t] = norm_back(
                    grads_TB4H[t].flatten(1), tape.hidden_TBG[t], tape.hidden_stats_2TB1[:, t], weights.gain_G, small[0]
                )
            if noise.state_BH is None:
                h_grads[t].addmm_(hidden_grad_TBG[t], weights.hidden_GH)
            else:
                h_grads[t].addcmul_(hidden_grad_TBG[t] @ weights.hidden_GH, noise.state_BH)
    weight_grad = hidden_grad_TBG.flatten(0, 1).t() @ tape.read_TBH.flatten(0, 1)
    return [grads_TB4H.flatten(2), h_grad_SBH[0], c_grad_BH, weight_grad, *(small if normed else (None,) * 3)]


def norm_back(
    grad: Tensor,
    given: Tensor,
    stats_2B1: Tensor,
    gain: Tensor | None,
    gain_grad: Tensor | None,
    bias_grad: Tensor | None = None,
) -> Tensor:
    """Return the gradient by what a layer norm was given; add up those of its gain and bias."""
    mean_B1, rstd_B1 = stats_2B1
    by_given, by_gain, by_bias = torch.ops.aten.native_layer_norm_backward.default(
        grad, given, given.shape[-1:], mean_B1, rstd_B1, gain, gain, [True, True, bias_grad is not None]
    )
    if gain_grad is not None:
        gain_grad += by_gain
    if bias_grad is not None:
        bias_grad += by_bias
    result: Tensor = by_given
    return result
