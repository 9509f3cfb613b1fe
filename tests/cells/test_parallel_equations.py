"""The recurrences that run in parallel over time compute, step by step, what their docstrings state."""

# B batch, T time, D input, H hidden

from __future__ import annotations

import cmath
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rnntrain.cells.gated_linear import GatedLinear
from rnntrain.cells.lru import LRU
from rnntrain.cells.mingru import MinGRU
from rnntrain.cells.minlstm import MinLSTM
from rnntrain.cells.qrnn import QRNN
from rnntrain.cells.rglru import RGLRU
from rnntrain.cells.scanned import positive
from rnntrain.cells.sru import SRU

B, T, D, H = 2, 5, 3, 4


@pytest.fixture
def x_BTD() -> Tensor:
    return torch.randn(B, T, D, dtype=torch.float64)


@pytest.fixture
def h_BH() -> Tensor:
    return torch.randn(B, H, dtype=torch.float64)


def scrambled(cell: Any) -> Any:
    """Give every weight a value of its own."""
    cell.double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return cell


def products(cell: Any, x: Tensor, num_gates: int) -> list[Tensor]:
    """Return the gates' products for one input, from their own blocks of the weights."""
    weights, biases = cell.from_input.weight.chunk(num_gates), cell.from_input.bias.chunk(num_gates)
    return [weight @ x + bias for weight, bias in zip(weights, biases, strict=True)]


@pytest.mark.parametrize("candidate", ["linear", "positive"])
def test_mingru_equals_its_equations(candidate: Any, x_BTD: Tensor, h_BH: Tensor) -> None:
    cell = scrambled(MinGRU(D, H, candidate))
    y_BTH, _ = cell(x_BTD, h_BH)
    for row in range(B):
        h = h_BH[row]
        for t in range(T):
            k, v = products(cell, x_BTD[row, t], 2)
            z = torch.sigmoid(k)
            h = (1 - z) * h + z * (v if candidate == "linear" else positive(v))
            torch.testing.assert_close(y_BTH[row, t], h)


@pytest.mark.parametrize("candidate", ["linear", "positive"])
def test_minlstm_equals_its_equations(candidate: Any, x_BTD: Tensor, h_BH: Tensor) -> None:
    cell = scrambled(MinLSTM(D, H, candidate))
    y_BTH, _ = cell(x_BTD, h_BH)
    for row in range(B):
        h = h_BH[row]
        for t in range(T):
            f, i, v = products(cell, x_BTD[row, t], 3)
            f, i = torch.sigmoid(f), torch.sigmoid(i)
            h = f / (f + i) * h + i / (f + i) * (v if candidate == "linear" else positive(v))
            torch.testing.assert_close(y_BTH[row, t], h)


def test_positive_candidate_is_continuous_and_positive() -> None:
    assert positive(torch.tensor([2.0, 0.0])).tolist() == [2.5, 0.5]
    torch.testing.assert_close(positive(torch.tensor(-3.0)), torch.tensor(1 / (1 + math.exp(3))))
    x = torch.linspace(-20, 20, 4001)
    assert (positive(x) > 0).all()
    assert (positive(x).diff() > 0).all()


@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_minlstm_with_both_gates_closed_is_no_zero_over_zero(scale: float) -> None:
    cell = MinLSTM(1, 1)
    with torch.no_grad():
        cell.from_input.weight.zero_()
        cell.from_input.bias.copy_(torch.tensor([-scale, -scale, 3.0]))
    y_BTH, _ = cell(torch.zeros(1, 1, 1), torch.ones(1, 1))
    y_BTH.sum().backward()
    assert y_BTH.item() == pytest.approx(2)
    assert all(parameter.grad.isfinite().all() for parameter in cell.parameters())


@pytest.mark.parametrize("negative", [True, False])
def test_gated_linear_equals_its_equations(negative: bool, x_BTD: Tensor, h_BH: Tensor) -> None:
    cell = scrambled(GatedLinear(D, H, negative=negative, forget_bias=0))
    y_BTH, _ = cell(x_BTD, h_BH)
    seen = []
    for row in range(B):
        h = h_BH[row]
        for t in range(T):
            k, i, v = products(cell, x_BTD[row, t], 3)
            a = 2 * torch.sigmoid(k) - 1 if negative else torch.sigmoid(k)
            h = a * h + torch.sigmoid(i) * v
            seen.append(a)
            torch.testing.assert_close(y_BTH[row, t], h)
    assert bool((torch.stack(seen) < 0).any()) == negative


def test_negative_eigenvalues_compute_parity() -> None:
    """a = 1 - 2x and the value x: what no positive eigenvalue can do."""
    cell = GatedLinear(1, 1)
    with torch.no_grad():
        cell.from_input.weight.copy_(torch.tensor([[-200.0], [0.0], [1.0]]))
        cell.from_input.bias.copy_(torch.tensor([100.0, 100.0, 0.0]))
    bits_BT = (torch.rand(4, 500) < 0.5).float()
    y_BTH, _ = cell(bits_BT[..., None])
    torch.testing.assert_close(y_BTH[..., 0], bits_BT.cumsum(1) % 2)


def test_rglru_equals_its_equations(x_BTD: Tensor, h_BH: Tensor) -> None:
    cell = scrambled(RGLRU(D, H))
    y_BTH, _ = cell(x_BTD, h_BH)
    for row in range(B):
        h = h_BH[row]
        for t in range(T):
            r, i, v = products(cell, x_BTD[row, t], 3)
            a = torch.sigmoid(-cell.decay) ** (8 * torch.sigmoid(r))
            h = a * h + (1 - a**2).sqrt() * (torch.sigmoid(i) * v)
            torch.testing.assert_close(y_BTH[row, t], h)


def test_rglru_decays_start_in_their_range() -> None:
    a_H = torch.sigmoid(-RGLRU(D, 1000).decay.detach()) ** 8
    assert 0.9 <= a_H.min() < 0.905
    assert 0.994 < a_H.max() <= 0.9991


def test_rglru_gradient_is_finite_where_the_gate_is_shut() -> None:
    cell = RGLRU(1, 1)
    with torch.no_grad():
        cell.from_input.bias[0] = -1e4
    y_BTH, state = cell(torch.ones(1, 3, 1), torch.ones(1, 1))
    y_BTH.sum().backward()
    torch.testing.assert_close(state, torch.ones(1, 1), atol=1e-5, rtol=0)
    assert all(parameter.grad.isfinite().all() for parameter in cell.parameters())


@pytest.mark.parametrize("input_size", [D, H])
def test_sru_equals_its_equations(input_size: int, h_BH: Tensor) -> None:
    cell = scrambled(SRU(input_size, H))
    x_BTD = torch.randn(B, T, input_size, dtype=torch.float64)
    y_BTH, _ = cell(x_BTD, h_BH)
    w_c, w_f, w_r, *w_x = cell.from_input.weight.split(H)
    b_f, b_r = cell.bias.chunk(2)
    for row in range(B):
        c = h_BH[row]
        for t in range(T):
            x = x_BTD[row, t]
            f, r = torch.sigmoid(w_f @ x + b_f), torch.sigmoid(w_r @ x + b_r)
            c = f * c + (1 - f) * (w_c @ x)
            highway = x if input_size == H else w_x[0] @ x
            torch.testing.assert_close(y_BTH[row, t], r * c + (1 - r) * math.sqrt(3) * highway)


@pytest.mark.parametrize("window", [1, 2, 4])
def test_qrnn_equals_its_equations(window: int, x_BTD: Tensor, h_BH: Tensor) -> None:
    cell = scrambled(QRNN(D, H, window))
    history_BWD = torch.randn(B, window - 1, D, dtype=torch.float64)
    y_BTH, (_, kept_BWD) = cell(x_BTD, (h_BH, history_BWD))
    for row in range(B):
        c = h_BH[row]
        inputs = [*history_BWD[row], *x_BTD[row]]
        for t in range(T):
            z, f, o = products(cell, torch.cat(inputs[t : t + window]), 3)
            f = torch.sigmoid(f)
            c = f * c + (1 - f) * torch.tanh(z)
            torch.testing.assert_close(y_BTH[row, t], torch.sigmoid(o) * c)
        assert torch.equal(kept_BWD[row], torch.stack(inputs[T:]) if window > 1 else history_BWD[row])


@pytest.mark.parametrize("eigenvalues", ["complex", "real", "positive"])
def test_lru_equals_its_equations(eigenvalues: Any, x_BTD: Tensor, h_BH: Tensor) -> None:
    cell = scrambled(LRU(D, H, eigenvalues))
    state = (h_BH, h_BH.flip(0)) if eigenvalues == "complex" else h_BH
    y_BTH, _ = cell(x_BTD, state)
    for row in range(B):
        s = [complex(value) for value in h_BH[row]]
        if eigenvalues == "complex":
            s = [complex(re, im) for re, im in zip(h_BH[row], h_BH.flip(0)[row], strict=True)]
        for t in range(T):
            x = x_BTD[row, t]
            s = [lru_eigenvalue(cell, n) * s[n] + lru_input(cell, n, x) for n in range(H)]
            read = torch.stack([sum(lru_output(cell, m, n, s[n]) for n in range(H)) for m in range(H)])
            u = read + cell.past_state.weight @ x + cell.past_state.bias
            g = 0.5 * u * (1 + torch.erf(u / math.sqrt(2)))
            (w_1, w_2), (b_1, b_2) = cell.glu.weight.chunk(2), cell.glu.bias.chunk(2)
            torch.testing.assert_close(y_BTH[row, t], (w_1 @ g + b_1) * torch.sigmoid(w_2 @ g + b_2))


def lru_eigenvalue(cell: LRU, n: int) -> complex:
    radius = math.exp(-math.exp(cell.log_decay[n].item()))
    if cell.eigenvalues == "complex":
        return cmath.rect(radius, math.exp(cell.log_phase[n].item()))
    return -radius if cell.eigenvalues == "real" and n % 2 else radius


def lru_input(cell: LRU, n: int, x: Tensor) -> complex:
    scale = math.exp(cell.log_scale[n].item())
    if cell.eigenvalues != "complex":
        return scale * (cell.to_state[n] @ x).item()
    return scale * complex((cell.to_state[2 * n] @ x).item(), (cell.to_state[2 * n + 1] @ x).item())


def lru_output(cell: LRU, m: int, n: int, s: complex) -> Tensor:
    if cell.eigenvalues != "complex":
        return cell.from_state[m, n].detach() * s.real
    return cell.from_state[m, 2 * n].detach() * s.real + cell.from_state[m, 2 * n + 1].detach() * s.imag


def test_lru_starts_on_its_ring() -> None:
    cell = LRU(D, 2000, min_radius=0.8, max_radius=0.9, max_phase=1.0)
    radius_H = torch.exp(-torch.exp(cell.log_decay.detach()))
    assert 0.799 < radius_H.min() < 0.802
    assert 0.898 < radius_H.max() < 0.901
    # Uniform by area: the median lies beyond the middle.
    assert radius_H.median().item() == pytest.approx(((0.8**2 + 0.9**2) / 2) ** 0.5, abs=2e-3)
    torch.testing.assert_close(cell.log_scale.detach().exp() ** 2, 1 - radius_H**2, rtol=1e-3, atol=1e-5)
    phase_H = cell.log_phase.detach().exp()
    assert 0 < phase_H.min() < 0.01
    assert 0.99 < phase_H.max() <= 1


def test_lru_refuses_a_ring_inside_out() -> None:
    with pytest.raises(ValueError, match=r"min_radius=0\.95 is larger than max_radius=0\.9"):
        LRU(D, H, min_radius=0.95, max_radius=0.9)


@pytest.mark.parametrize(("eigenvalues", "negative"), [("real", True), ("positive", False)])
def test_lru_eigenvalues_have_the_signs_asked_for(eigenvalues: Any, negative: bool) -> None:
    cell = LRU(D, H, eigenvalues)
    a_TBN, *_ = cell.coefficients(torch.zeros(1, 1, D))
    assert not a_TBN.is_complex()
    assert bool((a_TBN < 0).any()) == negative


def test_forget_biases_start_as_asked() -> None:
    for cell, gate, num_gates, sign in (
        (MinGRU, 0, 2, -1),
        (MinLSTM, 0, 3, 1),
        (QRNN, 1, 3, 1),
        (GatedLinear, 0, 3, 1),
    ):
        gates = cell(D, H, forget_bias=2.5).from_input.bias.detach().chunk(num_gates)
        torch.testing.assert_close(gates[gate], torch.full((H,), sign * 2.5))
        assert not any(other.any() for number, other in enumerate(gates) if number != gate)
    assert SRU(D, H, forget_bias=2.5).bias.tolist() == H * [2.5] + H * [0.0]
