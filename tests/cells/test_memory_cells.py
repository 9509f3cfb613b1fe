"""Cells made for long or several memories compute their equations, start as said, and refuse what does not fit."""

# B batch, T time, D input, H hidden

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rnntrain.cells.antisymmetric import Antisymmetric
from rnntrain.cells.base import Recurrent, map_state
from rnntrain.cells.clockwork import Clockwork
from rnntrain.cells.cornn import CoRNN
from rnntrain.cells.dilated import INNER, Dilated, Dilation
from rnntrain.cells.indrnn import IndRNN
from rnntrain.cells.irnn import IRNN
from rnntrain.cells.leaky import Leaky
from rnntrain.cells.orthogonal import Orthogonal
from rnntrain.cells.skip import Skip
from rnntrain.errors import UserError

B, T, D, H = 3, 9, 4, 6


def check(cell: Recurrent, advance: Callable[[Tensor, Any, int], tuple[Tensor, Any]], state: Any, start: Any) -> None:
    """Compare with `advance`, run row by row; `start(row)` is a row's state there, `state` all of them for the cell."""
    x_BTD = torch.randn(B, T, D)
    y_BTH, _ = cell(x_BTD, state)
    for row in range(B):
        own = start(row)
        for t in range(T):
            y, own = advance(x_BTD[row, t], own, t)
            torch.testing.assert_close(y_BTH[row, t], y)


def test_leaky_equals_its_equation() -> None:
    cell = Leaky(D, H, init="uniform")
    rate = 1 / (1 + torch.exp(-cell.logit_rate_H))

    def advance(x: Tensor, h: Tensor, t: int) -> tuple[Tensor, Tensor]:
        h = (1 - rate) * h + rate * torch.tanh(
            cell.from_input.weight @ x + cell.from_input.bias + cell.from_hidden.weight @ h
        )
        return h, h

    h_BH = torch.randn(B, H)
    check(cell, advance, h_BH, lambda row: h_BH[row])


def test_leaky_time_constants_start_evenly_spaced_on_a_logarithmic_scale() -> None:
    tau_H = Leaky(D, 7, tau_min=2, tau_max=128).time_constants()
    torch.testing.assert_close(tau_H, torch.tensor([2.0, 4, 8, 16, 32, 64, 128]))


def test_leaky_units_forget_with_their_time_constants() -> None:
    cell = Leaky(D, 2, tau_min=5, tau_max=50)
    for parameter in (cell.from_input.weight, cell.from_input.bias, cell.from_hidden.weight):
        torch.nn.init.zeros_(parameter)
    y_BTH, _ = cell(torch.randn(1, 10, D), torch.ones(1, 2))
    torch.testing.assert_close(y_BTH[0, -1], torch.tensor([0.8**10, 0.98**10]))


@pytest.mark.parametrize("learn_tau", [True, False])
def test_leaky_learns_its_time_constants_unless_told_not_to(learn_tau: bool) -> None:
    cell = Leaky(D, H, learn_tau=learn_tau)
    cell(torch.randn(B, T, D))[0].sum().backward()
    assert (cell.logit_rate_H.grad is not None) == learn_tau


def test_clockwork_groups_move_at_their_periods_and_read_from_slower_ones() -> None:
    periods, size = (1, 2, 4), 2
    cell = Clockwork(D, H, periods=periods, init="uniform")
    weight = cell.from_hidden.weight

    def advance(x: Tensor, h: Tensor, t: int) -> tuple[Tensor, Tensor]:
        a, new = cell.from_input(x), h.clone()
        for i, period in enumerate(periods):
            if t % period == 0:
                rows = slice(i * size, (i + 1) * size)
                reads = sum(
                    weight[rows, j * size : (j + 1) * size] @ h[j * size : (j + 1) * size]
                    for j, other in enumerate(periods)
                    if other >= period
                )
                new[rows] = torch.tanh(a[rows] + reads)
        return new, new

    h_BH = torch.randn(B, H)
    check(cell, advance, (h_BH, torch.zeros(B, len(periods))), lambda row: h_BH[row])


def test_clockwork_phase_stays_small_and_goes_on_where_a_row_stopped() -> None:
    cell = Clockwork(D, H, periods=(1, 2, 5))
    _, (_, phase_BM) = cell(torch.randn(B, 12, D), None, torch.tensor([12, 7, 3]))
    assert phase_BM.tolist() == [[0, 0, 2], [0, 1, 2], [0, 1, 3]]


def test_skip_equals_its_equation() -> None:
    cell = Skip(D, H, skip=3, init="uniform")

    def advance(x: Tensor, past: list[Tensor], t: int) -> tuple[Tensor, list[Tensor]]:
        u, v = cell.from_last.weight, cell.from_skipped.weight
        h = torch.tanh(cell.from_input(x) + u @ past[-1] + v @ past[-3])
        return h, [*past, h]

    state = tuple(torch.randn(B, H) for _ in range(3))
    check(cell, advance, state, lambda row: [part[row] for part in state])


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("dilation", [1, 2, 3, 20])
def test_dilation_reads_the_state_of_d_steps_ago(inner: str, dilation: int) -> None:
    layer = Dilation(INNER[inner](D, H), dilation)
    x_BTD = torch.randn(B, T, D)
    y_BTH, last = layer(x_BTD)
    states = [layer.inner.initial_state(B)] * dilation
    for t in range(T):
        y_BH, state = layer.inner.step(x_BTD[:, t], states[t])
        states.append(state)
        torch.testing.assert_close(y_BTH[:, t], y_BH)
    torch.testing.assert_close(last, tuple(states[-dilation:]))


def test_dilated_stacks_its_dilations() -> None:
    cell = Dilated(D, H, dilations=(1, 3), inner="rnn")
    below, above = cell.layers
    x_BTD = torch.randn(B, T, D)
    torch.testing.assert_close(cell(x_BTD)[0], above(below(x_BTD)[0])[0])
    assert [len(ring) for ring in cell.initial_state(B)] == [1, 3]


@pytest.mark.parametrize("map", ["cayley", "exp"])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu", "modrelu"])
def test_orthogonal_equals_its_equation(nonlinearity: Any, map: Any) -> None:
    cell = Orthogonal(D, H, nonlinearity=nonlinearity, map=map)
    q = cell.recurrent_matrix()

    def advance(x: Tensor, h: Tensor, t: int) -> tuple[Tensor, Tensor]:
        a = cell.from_input(x) + q @ h
        if cell.cutoff_H is not None:
            h = torch.where(a >= 0, 1.0, -1.0) * (a.abs() + cell.cutoff_H).clamp(min=0)
        else:
            h = getattr(torch, nonlinearity)(a)
        return h, h

    h_BH = torch.randn(B, H)
    check(cell, advance, h_BH, lambda row: h_BH[row])


@pytest.mark.parametrize("map", ["cayley", "exp"])
def test_orthogonal_stays_orthogonal_whatever_the_optimizer_does(map: Any) -> None:
    cell = Orthogonal(D, H, map=map).double()
    optimizer = torch.optim.SGD(cell.parameters(), lr=0.1)
    before = cell.recurrent_matrix()
    for _ in range(3):
        optimizer.zero_grad()
        cell(torch.randn(B, T, D).double())[0].square().sum().backward()
        optimizer.step()
    after = cell.recurrent_matrix()
    assert not torch.allclose(before, after, atol=1e-3)
    torch.testing.assert_close(after @ after.t(), torch.eye(H).double())


@pytest.mark.parametrize("map", ["cayley", "exp"])
def test_orthogonal_starts_as_rotations_of_pairs_by_up_to_a_quarter_turn(map: Any) -> None:
    q = Orthogonal(D, 40, map=map).recurrent_matrix()
    blocks = torch.block_diag(*(q[k : k + 2, k : k + 2] for k in range(0, 40, 2)))
    torch.testing.assert_close(q, blocks)
    cosines = q.diagonal()
    assert cosines.min() >= 0
    assert cosines.min() < 0.3
    assert cosines.max() > 0.95


def test_both_maps_start_alike() -> None:
    torch.manual_seed(5)
    cayley = Orthogonal(D, H, map="cayley").recurrent_matrix()
    torch.manual_seed(5)
    torch.testing.assert_close(cayley.t(), Orthogonal(D, H, map="exp").recurrent_matrix())


def test_orthogonal_computes_its_matrix_once_a_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    cell, calls = Orthogonal(D, H), []
    matrix = cell.recurrent_matrix()
    monkeypatch.setattr(cell, "recurrent_matrix", lambda: calls.append(1) or matrix)
    cell(torch.randn(B, T, D), None, torch.tensor([T, 2, 0]))
    assert len(calls) == 1


@pytest.mark.parametrize("nonlinearity", ["relu", "tanh"])
def test_indrnn_equals_its_equation(nonlinearity: Any) -> None:
    cell = IndRNN(D, H, nonlinearity=nonlinearity)

    def advance(x: Tensor, h: Tensor, t: int) -> tuple[Tensor, Tensor]:
        h = getattr(torch, nonlinearity)(cell.from_input(x) + cell.recurrent_H * h)
        return h, h

    h_BH = torch.randn(B, H)
    check(cell, advance, h_BH, lambda row: h_BH[row])


def test_indrnn_bounds_its_growth_over_t_max_steps() -> None:
    cell = IndRNN(D, H, t_max=100)
    torch.nn.init.constant_(cell.recurrent_H, 3.0)
    for parameter in cell.from_input.parameters():
        torch.nn.init.zeros_(parameter)
    y_BTH, _ = cell(torch.randn(1, 100, D), torch.ones(1, H))
    torch.testing.assert_close(y_BTH[0, -1], torch.full((H,), 2.0), rtol=1e-4, atol=0)


@pytest.mark.parametrize("gated", [False, True])
def test_antisymmetric_equals_its_equations(gated: bool) -> None:
    cell = Antisymmetric(D, H, step_size=0.3, diffusion=0.2, gated=gated)
    upper = torch.zeros(H, H)
    upper[torch.ones(H, H).triu(1).bool()] = cell.skew_P.detach()
    m = upper - upper.t() - 0.2 * torch.eye(H)

    def advance(x: Tensor, h: Tensor, t: int) -> tuple[Tensor, Tensor]:
        a = cell.from_input(x)
        z = torch.sigmoid(a[H:] + m @ h) if gated else 1.0
        h = h + 0.3 * z * torch.tanh(a[:H] + m @ h)
        return h, h

    h_BH = torch.randn(B, H)
    check(cell, advance, h_BH, lambda row: h_BH[row])


def test_cornn_equals_its_equations() -> None:
    cell = CoRNN(D, H, step_size=0.3, stiffness=1.7, damping=0.6, init="uniform")
    w, u = cell.from_state.weight.chunk(2, 1)

    def advance(x: Tensor, state: tuple[Tensor, Tensor], t: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, z = state
        z = z + 0.3 * (torch.tanh(cell.from_input(x) + w @ y + u @ z) - 1.7 * y - 0.6 * z)
        y = y + 0.3 * z
        return y, (y, z)

    state = (torch.randn(B, H), torch.randn(B, H))
    check(cell, advance, state, lambda row: (state[0][row], state[1][row]))


@pytest.mark.parametrize(
    ("stiffness", "damping", "below", "above"),
    [(2.7, 4.7, 0.38, 0.39), (12.0, 0.1, 0.56, 0.58)],
    ids=["damped", "stiff"],
)
def test_cornn_left_alone_comes_to_rest_up_to_the_limit(
    stiffness: float, damping: float, below: float, above: float
) -> None:
    cell = CoRNN(D, H, step_size=below, stiffness=stiffness, damping=damping)
    for parameter in cell.parameters():
        torch.nn.init.zeros_(parameter)
    y_BTH, _ = cell(torch.zeros(1, 400, D), (torch.ones(1, H), torch.ones(1, H)))
    assert y_BTH[0, -1].abs().max() < 1e-3
    with pytest.raises(UserError, match="swing ever wider"):
        CoRNN(D, H, step_size=above, stiffness=stiffness, damping=damping)


def test_irnn_starts_by_keeping_a_positive_state() -> None:
    cell = IRNN(D, H, scale=0.5)
    assert torch.equal(cell.rnn.weight_hh_l0, 0.5 * torch.eye(H))
    assert 0 < cell.rnn.weight_ih_l0.abs().max() < 0.01
    assert not cell.rnn.bias_ih_l0.any()
    h_BH = torch.rand(B, H)
    y_BTH, _ = IRNN(D, H)(torch.zeros(B, T, D), h_BH)
    torch.testing.assert_close(y_BTH[:, -1], h_BH)


def test_a_long_row_beside_short_ones_stays_finite_in_its_gradients() -> None:
    """Nothing grows through the padding of a recurrence that would explode there."""
    for cell in (IndRNN(D, H), Orthogonal(D, H, nonlinearity="relu"), Leaky(D, H, nonlinearity="relu")):
        growing = copy.deepcopy(cell)
        for name, parameter in growing.named_parameters():
            if name in ("recurrent_H", "from_hidden.weight"):
                torch.nn.init.constant_(parameter, 4.0)
        x_BTD = torch.ones(2, 200, D)
        y_BTH, last = growing(x_BTD, None, torch.tensor([2, 1]))
        (y_BTH.sum() + map_state(Tensor.sum, last)).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in growing.parameters()), type(cell)


# -- what is refused ---


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Leaky(D, H, tau_min=9, tau_max=3), r"model\.cell\.tau_max=3: lies below tau_min=9; raise it"),
        (lambda: Clockwork(D, 7), r"model\.cell\.periods=\[1, 2, 4, 8\]: hidden_size=7 does not divide into 4 groups"),
        (lambda: Clockwork(D, 7, periods=()), r"model\.cell\.periods=\[\]"),
        (lambda: CoRNN(D, H, step_size=0.6), r"model\.cell\.step_size=0\.6: .* swing ever wider; keep .* below 4"),
        (lambda: Dilated(D, H, dilations=()), r"model\.cell\.dilations=\[\]: there is no layer; give one"),
    ],
    ids=["tau", "clockwork_sizes", "no_periods", "unstable", "no_dilations"],
)
def test_what_does_not_fit_is_refused_in_one_line(build: Callable[[], Recurrent], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        build()
    assert "\n" not in str(error.value)


def test_one_leaky_unit_has_the_shortest_time_constant() -> None:
    tau_H = Leaky(D, 1, tau_min=2, tau_max=4).time_constants()
    assert math.isclose(tau_H.item(), 2, rel_tol=1e-5)
