"""All time steps of a GRU with layer norm, zoneout and recurrent dropout in one pass, with its gradient by hand."""

# B batch, T time, t block of it, S = T + 1 states, H hidden, G = 3H: reset, update and new gate, R = 2H: the first two

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rnntrain.cells.lstm_scan import time_blocks
from rnntrain.cells.noise import Noise
from rnntrain.cells.noisy_lstm_scan import EPSILON, norm_back


class NoisyGRUWeights(NamedTuple):
    """What the steps use.

    Attributes:
        hidden_GH: from the last state to the gates r, z, n.
        reset_bias_H: what the reset gate scales beside the product.
        gain_G: of the norm over that product; None without layer norm.
    """

    hidden_GH: Tensor
    reset_bias_H: Tensor
    gain_G: Tensor | None = None


def gated_norm(products: Tensor, gain_G: Tensor) -> Tensor:
    """Norm the products of r and z together and those of n apart."""
    width = gain_G.shape[0] // 3
    sizes = [2 * width, width]
    parts = zip(products.split(sizes, -1), gain_G.split(sizes), strict=True)
    return torch.cat([F.layer_norm(part, gain.shape, gain, None, EPSILON) for part, gain in parts], -1)


def noisy_gru_step(products_BG: Tensor, h_BH: Tensor, weights: NoisyGRUWeights, noise: Noise, t: int = 0) -> Tensor:
    """Run step `t` of the noise, by PyTorch's own operations; the reference for `noisy_gru_scan`."""
    read_BH = h_BH if noise.state_BH is None else h_BH * noise.state_BH
    _, z, n = noisy_gru_gates(products_BG, read_BH, weights)
    if noise.update_BH is not None:
        n = n * noise.update_BH
    new_BH = (1 - z) * n + z * h_BH
    if noise.zone_hidden_TBH is not None:
        new_BH = new_BH + noise.zone_hidden_TBH[t] * (h_BH - new_BH)
    return new_BH


def noisy_gru_gates(products_BG: Tensor, read_BH: Tensor, weights: NoisyGRUWeights) -> tuple[Tensor, Tensor, Tensor]:
    """Return r, z and n, without the mask on n."""
    hidden_size = read_BH.shape[-1]
    from_hidden_BG = F.linear(read_BH, weights.hidden_GH)
    if weights.gain_G is not None:
        from_hidden_BG = gated_norm(from_hidden_BG, weights.gain_G)
    rz_x, n_x = products_BG.split([2 * hidden_size, hidden_size], -1)
    rz_h, n_h = from_hidden_BG.split([2 * hidden_size, hidden_size], -1)
    r, z = torch.sigmoid(rz_x + rz_h).chunk(2, -1)
    return r, z, torch.tanh(n_x + r * (n_h + weights.reset_bias_H))


def noisy_gru_scan(products_TBG: Tensor, h_BH: Tensor, weights: NoisyGRUWeights, noise: Noise) -> Tensor:
    """Return the states h_1 … h_T, as `noisy_gru_step` would give them one by one."""
    y_TBH: Tensor = _NoisyScan.apply(products_TBG, h_BH, *weights, noise)
    return y_TBH


class _Tape(NamedTuple):
    """What the forward pass leaves for the backward pass.

    Attributes:
        rz_TB2H, n_TBH: the gates, n without the mask on it.
        scaled_TBH: what r scales.
        h_SBH: the states.
        read_TBH: the states as they entered the recurrent products.
        rz_given_TBR, n_given_TBH: what the norms read; None without them.
        stats_4TB1: mean and reciprocal deviation of the norm of r and z, and of that of n.
    """

    rz_TB2H: Tensor
    n_TBH: Tensor
    scaled_TBH: Tensor
    h_SBH: Tensor
    read_TBH: Tensor
    rz_given_TBR: Tensor | None = None
    n_given_TBH: Tensor | None = None
    stats_4TB1: Tensor | None = None


class _NoisyScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_TBG: Tensor,
        h_BH: Tensor,
        hidden_GH: Tensor,
        reset_bias_H: Tensor,
        gain_G: Tensor | None,
        noise: Noise,
    ) -> Tensor:
        ctx.x_dtype = x_TBG.dtype
        weights = NoisyGRUWeights(hidden_GH, reset_bias_H, gain_G)
        with torch.autocast(x_TBG.device.type, enabled=False):
            # Autocast hands over half precision; the state keeps that of the weights.
            tape = _run(x_TBG.to(hidden_GH.dtype), h_BH, weights, noise)
        ctx.save_for_backward(*weights, *noise, *tape)
        return tape.h_SBH[1:]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_TBH: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        weights, noise, tape = NoisyGRUWeights(*saved[:3]), Noise(*saved[3:7]), _Tape(*saved[7:])
        with torch.autocast(grad_TBH.device.type, enabled=False):
            by_x, *others = _run_back(grad_TBH, weights, noise, tape)
        return by_x.to(ctx.x_dtype), *others, None


def _run(x_TBG: Tensor, h_BH: Tensor, weights: NoisyGRUWeights, noise: Noise) -> _Tape:
    hidden_size, num_steps, gain_G = h_BH.shape[-1], len(x_TBG), weights.gain_G
    sizes = [2 * hidden_size, hidden_size]
    h_SBH = x_TBG.new_empty(num_steps + 1, *h_BH.shape)
    h_SBH[0] = h_BH
    rz_TBR = x_TBG.new_empty(num_steps, h_BH.shape[0], 2 * hidden_size)
    n_TBH, scaled_TBH = torch.empty_like(h_SBH[1:]), torch.empty_like(h_SBH[1:])
    read_TBH = h_SBH[:-1] if noise.state_BH is None else torch.empty_like(n_TBH)
    given = None if gain_G is None else (torch.empty_like(rz_TBR), torch.empty_like(n_TBH))
    gain_rz, gain_n = (None, None) if gain_G is None else gain_G.split(sizes)
    stats: list[Tensor] = []
    to_rz_HR, to_n_HH = (u.t().contiguous() for u in weights.hidden_GH.split(sizes))
    # All views of single steps are made at once, which is much cheaper than slicing in the loop.
    h, rz, n, scaled, read = (z.unbind() for z in (h_SBH, rz_TBR, n_TBH, scaled_TBH, read_TBH))
    r, z = (gate.unbind() for gate in rz_TBR.chunk(2, -1))
    steps = (x.unbind() for x in x_TBG.split(sizes, -1))
    for t, (x_rz, x_n) in enumerate(zip(*steps, strict=True)):
        if noise.state_BH is not None:
            torch.mul(h[t], noise.state_BH, out=read[t])
        if given is None:
            torch.addmm(x_rz, read[t], to_rz_HR, out=rz[t])
            torch.addmm(weights.reset_bias_H, read[t], to_n_HH, out=scaled[t])
        else:
            for product, weight, gain, beside, out in (
                (given[0][t], to_rz_HR, gain_rz, x_rz, rz[t]),
                (given[1][t], to_n_HH, gain_n, weights.reset_bias_H, scaled[t]),
            ):
                torch.mm(read[t], weight, out=product)
                normal, *two = torch.native_layer_norm(product, product.shape[-1:], gain, None, EPSILON)
                torch.add(beside, normal, out=out)
                stats += two
        rz[t].sigmoid_()
        torch.addcmul(x_n, r[t], scaled[t], out=n[t]).tanh_()
        update_BH = n[t] if noise.update_BH is None else n[t] * noise.update_BH
        torch.lerp(update_BH, h[t], z[t], out=h[t + 1])
        if noise.zone_hidden_TBH is not None:
            h[t + 1].lerp_(h[t], noise.zone_hidden_TBH[t])
    tape = _Tape(rz_TBR.unflatten(-1, (2, -1)), n_TBH, scaled_TBH, h_SBH, read_TBH)
    if given is None:
        return tape
    stats_4TB1 = torch.stack(stats).unflatten(0, (num_steps, 4)).transpose(0, 1)
    return tape._replace(rz_given_TBR=given[0], n_given_TBH=given[1], stats_4TB1=stats_4TB1)


def _run_back(grad_TBH: Tensor, weights: NoisyGRUWeights, noise: Noise, tape: _Tape) -> list[Any]:
    """Return the gradients by x, h_0 and the three weights."""
    hidden_size, gain_G = grad_TBH.shape[-1], weights.gain_G
    sizes = [2 * hidden_size, hidden_size]
    from_rz_RH, from_n_HH = weights.hidden_GH.split(sizes)
    gain_rz, gain_n = (None, None) if gain_G is None else gain_G.split(sizes)
    gain_grads = None if gain_G is None else torch.zeros_like(gain_G).split(sizes)
    h_grads = torch.cat([torch.zeros_like(tape.h_SBH[:1]), grad_TBH]).unbind()
    grads_TB3H = grad_TBH.new_empty(*grad_TBH.shape[:2], 3, hidden_size)
    # The gradients by the recurrent products, before their norms if they have them.
    rz_grad_TBR, n_grad_TBH = torch.empty_like(tape.rz_TB2H.flatten(2)), torch.empty_like(tape.n_TBH)
    scaled_grad_sum_H = torch.zeros_like(weights.reset_bias_H)
    for block in time_blocks(grads_TB3H):
        r_tBH, z_tBH = tape.rz_TB2H[block].unbind(2)
        n_tBH, keep = tape.n_TBH[block], 1 if noise.update_BH is None else noise.update_BH
        to_n_tBH = (1 - z_tBH) * (1 - n_tBH * n_tBH) * keep
        to_z_tBH = (tape.h_SBH[:-1][block] - n_tBH * keep) * z_tBH * (1 - z_tBH)
        n_to_r_tBH = tape.scaled_TBH[block] * r_tBH * (1 - r_tBH)
        r_grads, z_grads, n_grads = (grads.unbind() for grads in grads_TB3H[block].unbind(2))
        for k in range(len(n_tBH) - 1, -1, -1):
            t = block.start + k
            new_grad_BH = h_grads[t + 1]
            if noise.zone_hidden_TBH is not None:
                kept_BH = new_grad_BH * noise.zone_hidden_TBH[t]
                h_grads[t].add_(kept_BH)
                new_grad_BH = new_grad_BH - kept_BH
            torch.mul(new_grad_BH, to_z_tBH[k], out=z_grads[k])
            torch.mul(new_grad_BH, to_n_tBH[k], out=n_grads[k])
            torch.mul(n_grads[k], n_to_r_tBH[k], out=r_grads[k])
            h_grads[t].addcmul_(new_grad_BH, z_tBH[k])
            rz_grad_BR, scaled_grad_BH = grads_TB3H[t, :, :2].flatten(1), n_grads[k] * r_tBH[k]
            if gain_grads is not None:
                assert tape.rz_given_TBR is not None
                assert tape.n_given_TBH is not None
                assert tape.stats_4TB1 is not None
                scaled_grad_sum_H += scaled_grad_BH.sum(0)
                stats = tape.stats_4TB1[:, t]
                rz_grad_BR = norm_back(rz_grad_BR, tape.rz_given_TBR[t], stats[:2], gain_rz, gain_grads[0])
                scaled_grad_BH = norm_back(scaled_grad_BH, tape.n_given_TBH[t], stats[2:], gain_n, gain_grads[1])
            rz_grad_TBR[t], n_grad_TBH[t] = rz_grad_BR, scaled_grad_BH
            if noise.state_BH is None:
                h_grads[t].addmm_(rz_grad_BR, from_rz_RH).addmm_(scaled_grad_BH, from_n_HH)
            else:
                read_grad_BH = (rz_grad_BR @ from_rz_RH).addmm_(scaled_grad_BH, from_n_HH)
                h_grads[t].addcmul_(read_grad_BH, noise.state_BH)
    read_NH = tape.read_TBH.flatten(0, 1)
    weight_grads = [grad.flatten(0, 1).t() @ read_NH for grad in (rz_grad_TBR, n_grad_TBH)]
    bias_grad_H = n_grad_TBH.sum((0, 1)) if gain_grads is None else scaled_grad_sum_H
    gain_grad_G = None if gain_grads is None else torch.cat(gain_grads)
    return [grads_TB3H.flatten(2), h_grads[0], torch.cat(weight_grads), bias_grad_H, gain_grad_G]
