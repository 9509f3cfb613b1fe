"""The LSTM variants and JANET compute their equations, written out here once more for one row at a time."""

# B batch, T time, D input, H hidden, P projection

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnntrain.cells.coupled_lstm import CoupledLSTM
from rnntrain.cells.custom_lstm import CustomLSTM
from rnntrain.cells.janet import JANET
from rnntrain.cells.peephole_lstm import PeepholeLSTM
from rnntrain.cells.projected_lstm import ProjectedLSTM
from rnntrain.errors import UserError

B, T, D, H, P = 3, 5, 4, 6, 2

sigmoid, tanh = torch.sigmoid, torch.tanh


def by_hand(
    advance: Callable[[Tensor, Any], tuple[Tensor, Any]], x_BTD: Tensor, states: list[Any]
) -> list[list[Tensor]]:
    """Return the outputs of each row, run alone from its state."""
    rows = []
    for x_TD, state in zip(x_BTD, states, strict=True):
        outputs = []
        for x in x_TD:
            y, state = advance(x, state)
            outputs.append(y)
        rows.append(outputs)
    return rows


def gates_of(cell: CustomLSTM, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    """Return W x + U h + b of each gate."""
    w, u, b = (z.chunk(cell.num_gates) for z in (cell.from_input.weight, cell.from_hidden.weight, cell.from_input.bias))
    return tuple(w_k @ x + u_k @ h + b_k for w_k, u_k, b_k in zip(w, u, b, strict=True))


def check(cell: CustomLSTM, advance: Callable[[Tensor, Any], tuple[Tensor, Any]]) -> None:
    x_BTD, h_BP, c_BH = torch.randn(B, T, D), torch.randn(B, cell.output_size), torch.randn(B, H)
    y_BTP, _ = cell(x_BTD, (h_BP, c_BH))
    for row, outputs in enumerate(by_hand(advance, x_BTD, list(zip(h_BP, c_BH, strict=True)))):
        torch.testing.assert_close(y_BTP[row], torch.stack(outputs))


def test_peephole_lstm_equals_the_equations_of_graves() -> None:
    cell = PeepholeLSTM(D, H, init="uniform")
    p_o, p_i, p_f = cell.peephole_oif.chunk(3)

    def advance(x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Any]:
        h, c = state
        o, i, f, g = gates_of(cell, x, h)
        new = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * tanh(g)
        h = sigmoid(o + p_o * new) * tanh(new)
        return h, (h, new)

    check(cell, advance)


def test_peephole_lstm_starts_as_an_lstm() -> None:
    cell, reference = PeepholeLSTM(D, H), nn.LSTM(D, H, batch_first=True)
    o, i, f, g = range(4)
    order = [i, f, g, o]
    with torch.no_grad():
        for name, ours in (
            ("weight_ih_l0", cell.from_input.weight),
            ("weight_hh_l0", cell.from_hidden.weight),
            ("bias_ih_l0", cell.from_input.bias),
        ):
            getattr(reference, name).copy_(torch.cat([ours.chunk(4)[gate] for gate in order]))
        reference.bias_hh_l0.zero_()
    x_BTD = torch.randn(B, T, D)
    torch.testing.assert_close(cell(x_BTD)[0], reference(x_BTD)[0])


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_projected_lstm_equals_torch() -> None:
    cell, reference = (
        ProjectedLSTM(D, H, projection_size=P, init="uniform"),
        nn.LSTM(D, H, batch_first=True, proj_size=P),
    )
    order = [1, 2, 3, 0]  # torch has i, f, g, o
    with torch.no_grad():
        for name, ours in (
            ("weight_ih_l0", cell.from_input.weight),
            ("weight_hh_l0", cell.from_hidden.weight),
            ("bias_ih_l0", cell.from_input.bias),
        ):
            getattr(reference, name).copy_(torch.cat([ours.chunk(4)[gate] for gate in order]))
        reference.bias_hh_l0.zero_()
        reference.weight_hr_l0.copy_(cell.projection_PH)
    x_BTD, h_BP, c_BH = torch.randn(B, T, D), torch.randn(B, P), torch.randn(B, H)
    y_BTP, (last_h_BP, last_c_BH) = cell(x_BTD, (h_BP, c_BH))
    expected_BTP, (expected_h_1BP, expected_c_1BH) = reference(x_BTD, (h_BP[None], c_BH[None]))
    torch.testing.assert_close((y_BTP, last_h_BP, last_c_BH), (expected_BTP, expected_h_1BP[0], expected_c_1BH[0]))


def test_coupled_lstm_equals_its_equations() -> None:
    cell = CoupledLSTM(D, H, init="uniform")

    def advance(x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Any]:
        h, c = state
        o, f, g = gates_of(cell, x, h)
        c = sigmoid(f) * c + (1 - sigmoid(f)) * tanh(g)
        h = sigmoid(o) * tanh(c)
        return h, (h, c)

    check(cell, advance)


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_janet_equals_its_equations(beta: float) -> None:
    cell = JANET(D, H, beta=beta, init="uniform")
    (w_f, w_g), (u_f, u_g) = cell.from_input.weight.chunk(2), cell.from_hidden.weight.chunk(2)
    b_f, b_g = cell.from_input.bias.chunk(2)

    def advance(x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        s = w_f @ x + u_f @ h + b_f
        h = sigmoid(s) * h + (1 - sigmoid(s - beta)) * tanh(w_g @ x + u_g @ h + b_g)
        return h, h

    x_BTD, h_BH = torch.randn(B, T, D), torch.randn(B, H)
    y_BTH, _ = cell(x_BTD, h_BH)
    for row, outputs in enumerate(by_hand(advance, x_BTD, list(h_BH))):
        torch.testing.assert_close(y_BTH[row], torch.stack(outputs))


# -- how they start ---


@pytest.mark.parametrize("build", [PeepholeLSTM, CoupledLSTM, JANET])
def test_forget_bias_starts_as_asked_and_nothing_else_does(build: Callable[..., Any]) -> None:
    bias = build(D, H, forget_bias=2.5).from_input.bias
    gate = {PeepholeLSTM: 2, CoupledLSTM: 1, JANET: 0}[build]
    blocks = bias.split(H)
    torch.testing.assert_close(blocks[gate], torch.full((H,), 2.5))
    assert not any(block.any() for number, block in enumerate(blocks) if number != gate)


@pytest.mark.parametrize("build", [PeepholeLSTM, CoupledLSTM, JANET])
def test_chrono_reaches_t_max(build: Callable[..., Any]) -> None:
    blocks = build(D, 300, t_max=51).from_input.bias.split(300)
    forget = blocks[{PeepholeLSTM: 2, CoupledLSTM: 1, JANET: 0}[build]]
    assert 47 < forget.exp().max() <= 50
    assert 1 <= forget.exp().min() < 4
    if build is PeepholeLSTM:
        assert torch.equal(blocks[1], -forget)


def test_projection_is_half_as_wide_unless_said() -> None:
    assert ProjectedLSTM(D, H).output_size == H // 2
    assert ProjectedLSTM(D, 1).output_size == 1


# -- what is refused ---


def test_projection_wider_than_the_cell_is_refused() -> None:
    with pytest.raises(UserError, match=r"^model\.cell\.projection_size=7: larger than hidden_size=6; .* at most 6$"):
        ProjectedLSTM(D, H, projection_size=7)


@pytest.mark.parametrize("build", [PeepholeLSTM, ProjectedLSTM, CoupledLSTM, JANET])
def test_two_starts_of_the_gates_are_refused(build: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match=r"model\.cell\.t_max=9 and model\.cell\.uniform_gates=true"):
        build(D, H, t_max=9, uniform_gates=True)
