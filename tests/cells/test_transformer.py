"""The Transformer layer: against plain attention, its window, its rotation, and as an encoder."""

# B batch, T time, C context, D input, H hidden, N heads, K width of a head

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rnntrain.cells.lstm import LSTM
from rnntrain.cells.transformer import ROTARY_BASE, Transformer, rotate

B, T, D, N, K = 2, 9, 5, 2, 4
H = N * K


def scrambled(cell: Any) -> Any:
    cell.double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return cell


def turned(vector: Tensor, place: int) -> Tensor:
    """Rotate each pair (j, j + K/2) as a complex number."""
    half = len(vector) // 2
    out = vector.clone()
    for j in range(half):
        angle = place * ROTARY_BASE ** (-j / half)
        out[j] = vector[j] * math.cos(angle) - vector[j + half] * math.sin(angle)
        out[j + half] = vector[j] * math.sin(angle) + vector[j + half] * math.cos(angle)
    return out


def plain(cell: Transformer, x_TD: Tensor, context: int) -> Tensor:
    """One row by itself, query by query and head by head, with places counted from the first step."""
    u = x_TD if cell.input_size == H else x_TD @ cell.from_input.weight.T
    normed = F.layer_norm(u, (H,), cell.attention_norm.weight, cell.attention_norm.bias)
    q, k, v = (normed @ cell.to_qkv.weight.T + cell.to_qkv.bias).split(H, -1)
    outputs = []
    for t in range(len(x_TD)):
        read = []
        last = t if cell.causal else t + context
        seen = [j for j in range(len(x_TD)) if t - context <= j <= last]
        for head in range(N):
            part = slice(head * K, (head + 1) * K)
            scores = torch.stack([turned(q[t, part], t) @ turned(k[j, part], j) for j in seen]) / math.sqrt(K)
            read.append(scores.softmax(0) @ v[seen, part])
        outputs.append(torch.cat(read))
    s = u + torch.stack(outputs) @ cell.from_heads.weight.T + cell.from_heads.bias
    normed = F.layer_norm(s, (H,), cell.feedforward_norm.weight, cell.feedforward_norm.bias)
    return s + F.gelu(normed @ cell.widen.weight.T + cell.widen.bias) @ cell.narrow.weight.T + cell.narrow.bias


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("context", [1, 2, 3, 4, 8, 30])
@pytest.mark.parametrize("input_size", [D, H])
def test_transformer_equals_plain_attention(input_size: int, context: int, causal: bool) -> None:
    cell = scrambled(Transformer(input_size, H, N, context, causal=causal))
    x_BTD, lengths_B = torch.randn(B, T, input_size, dtype=torch.float64), torch.tensor([T, 5])
    y_BTH, _ = cell(x_BTD, None, lengths_B)
    for row, length in enumerate(lengths_B.tolist()):
        torch.testing.assert_close(y_BTH[row, :length], plain(cell, x_BTD[row, :length], context))


@pytest.mark.parametrize("context", [1, 3, 20])
def test_a_carried_window_equals_one_sequence(context: int) -> None:
    """Also over many chunks, where places by the window must not drift."""
    cell = scrambled(Transformer(D, H, N, context))
    x_BTD = torch.randn(B, 40, D, dtype=torch.float64)
    outputs, state = [], None
    for chunk_BTD in x_BTD.split(7, 1):
        y_BTH, state = cell(chunk_BTD, state)
        outputs.append(y_BTH)
    for row in range(B):
        torch.testing.assert_close(torch.cat(outputs, 1)[row], plain(cell, x_BTD[row], context))


def test_nothing_beyond_the_context_is_seen() -> None:
    cell = Transformer(D, H, N, context=3).double()
    x_BTD = torch.randn(1, T, D, dtype=torch.float64, requires_grad=True)
    y_BTH, _ = cell(x_BTD)
    (grad_BTD,) = torch.autograd.grad(y_BTH[0, 6].sum(), x_BTD)
    assert [bool(grad_TD.any()) for grad_TD in grad_BTD[0]] == [3 <= t <= 6 for t in range(T)]


def test_state_has_one_size() -> None:
    cell = Transformer(D, H, N, context=3)
    for num_steps in (1, 2, 3, 7):
        _, state = cell(torch.randn(B, num_steps, D))
        assert [part.shape for part in state] == [part.shape for part in cell.initial_state(B)]
        assert state[2].sum(1).tolist() == B * [min(num_steps, 3)]


def test_window_not_yet_full_is_no_attention_to_zeros() -> None:
    """An empty place in the cache would take part of the softmax."""
    cell = Transformer(D, H, N, context=3).double()
    x_BTD = torch.randn(B, 1, D, dtype=torch.float64)
    k_BCH, v_BCH, valid_BC = cell.initial_state(B)
    y_BTH, _ = cell(x_BTD)
    torch.testing.assert_close(cell(x_BTD, (k_BCH + 5, v_BCH - 7, valid_BC))[0], y_BTH)


def test_rotation_depends_on_the_distance_alone() -> None:
    q, k = torch.randn(2, 1, K, dtype=torch.float64)
    near = rotate(q, torch.tensor([3])) @ rotate(k, torch.tensor([1])).mT
    far = rotate(q, torch.tensor([103])) @ rotate(k, torch.tensor([101])).mT
    other = rotate(q, torch.tensor([103])) @ rotate(k, torch.tensor([100])).mT
    torch.testing.assert_close(near, far)
    assert not torch.allclose(near, other)


def test_encoder_sees_both_sides_and_no_padding() -> None:
    cell = Transformer(D, H, N, context=30, causal=False).double()
    assert cell.bidirectional
    x_BTD = torch.randn(1, T, D, dtype=torch.float64, requires_grad=True)
    y_BTH, _ = cell(x_BTD, None, torch.tensor([7]))
    (grad_BTD,) = torch.autograd.grad(y_BTH[0, 2].sum(), x_BTD)
    assert [bool(grad_TD.any()) for grad_TD in grad_BTD[0]] == [t < 7 for t in range(T)]
    torch.testing.assert_close(y_BTH[:, :7], cell(x_BTD[:, :7])[0])
    assert not y_BTH[:, 7:].any()


def test_encoder_refuses_to_step() -> None:
    cell = Transformer(D, H, N, causal=False)
    with pytest.raises(NotImplementedError, match=r"set model\.cell\.causal=true"):
        cell.step(torch.randn(B, D), cell.initial_state(B))


@pytest.mark.parametrize("input_size", [D, H])
def test_parameters_are_as_many_as_said(input_size: int) -> None:
    def count(cell: Any) -> int:
        return sum(parameter.numel() for parameter in cell.parameters())

    past = 0 if input_size == H else input_size * H
    assert count(Transformer(input_size, H, N)) == 12 * H**2 + 13 * H + past
    F_ = 7
    assert count(Transformer(input_size, H, N, feedforward_size=F_)) == 4 * H**2 + 2 * F_ * H + 9 * H + F_ + past
    assert count(LSTM(input_size, H)) == 4 * H * (input_size + H + 2)


@pytest.mark.parametrize(("num_heads", "match"), [(3, "num_heads=3 does not divide hidden_size=8"), (8, "even width")])
def test_heads_of_no_use_are_refused(num_heads: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Transformer(D, 8, num_heads)


def test_dropout_falls_in_training_alone() -> None:
    cell = Transformer(D, H, N, dropout=0.5)
    x_BTD = torch.randn(B, T, D)
    assert not torch.equal(cell(x_BTD)[0], cell(x_BTD)[0])
    cell.eval()
    torch.testing.assert_close(cell(x_BTD)[0], cell(x_BTD)[0], rtol=0, atol=0)
