"""Layer norm, zoneout, recurrent dropout and weight drop: their equations, their noise, and its gradients."""

# B batch, T time, D input, H hidden

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.base import Recurrent
from rnntrain.cells.gru import GRU
from rnntrain.cells.layernorm_gru import LayerNormGRU
from rnntrain.cells.layernorm_lstm import LayerNormLSTM
from rnntrain.cells.lstm import LSTM
from rnntrain.cells.noise import Noise
from rnntrain.cells.regularized_gru import RegularizedGRU
from rnntrain.cells.regularized_lstm import RegularizedLSTM
from rnntrain.cells.weight_drop import INNER, WeightDrop

B, T, D, H = 3, 5, 4, 6

LSTMS = {"regularized_lstm": RegularizedLSTM, "layernorm_lstm": LayerNormLSTM}
GRUS = {"regularized_gru": RegularizedGRU, "layernorm_gru": LayerNormGRU}
NOISY: dict[str, Callable[..., Recurrent]] = {
    f"{name}-{dropped}": partial(build, recurrent_dropout=0.4, weight_drop=0.3, dropped=dropped, **zoneout)
    for builds, zoneout in ((LSTMS, {"zoneout_cell": 0.5, "zoneout_hidden": 0.3}), (GRUS, {"zoneout": 0.4}))
    for name, build in builds.items()
    for dropped in ("update", "state")
}
over_noisy = pytest.mark.parametrize("name", NOISY)


def moved(cell: Recurrent) -> Any:
    """Return the cell with no weight at a special value such as the one of a gain."""
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return cell


def random_state(cell: Recurrent) -> Any:
    state = cell.initial_state(B)
    return tuple(torch.randn_like(s) for s in state) if isinstance(state, tuple) else torch.randn_like(state)


# -- equations, with noise ---


def norm(x: Tensor, gain: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    return gain * (x - x.mean()) / torch.sqrt(x.var(correction=0) + 1e-5) + bias


def lstm_by_hand(cell: Any, weight_GH: Tensor, x_TD: Tensor, h: Tensor, c: Tensor, noise: Noise, row: int) -> Tensor:
    """Run one row through the equations of Ba et al. and Krueger et al."""
    outputs = []
    for t, x in enumerate(x_TD):
        read = h if noise.state_BH is None else h * noise.state_BH[row]
        from_x, from_h = cell.from_input.weight @ x, weight_GH @ read
        if isinstance(cell, LayerNormLSTM):
            from_x, from_h = norm(from_x, cell.input_gain_G), norm(from_h, cell.hidden_gain_G)
        o, i, f, g = (from_x + from_h + cell.from_input.bias).chunk(4)
        g = torch.tanh(g)
        if noise.update_BH is not None:
            g = g * noise.update_BH[row]
        new = torch.sigmoid(f) * c + torch.sigmoid(i) * g
        shown = norm(new, cell.cell_norm.weight, cell.cell_norm.bias) if isinstance(cell, LayerNormLSTM) else new
        out = torch.sigmoid(o) * torch.tanh(shown)
        z_c = 0.0 if noise.zone_cell_TBH is None else noise.zone_cell_TBH[t, row]
        z_h = 0.0 if noise.zone_hidden_TBH is None else noise.zone_hidden_TBH[t, row]
        c, h = z_c * c + (1 - z_c) * new, z_h * h + (1 - z_h) * out
        outputs.append(h)
    return torch.stack(outputs)


def gru_by_hand(cell: Any, weight_GH: Tensor, x_TD: Tensor, h: Tensor, noise: Noise, row: int) -> Tensor:
    outputs = []
    for t, x in enumerate(x_TD):
        read = h if noise.state_BH is None else h * noise.state_BH[row]
        (rz_x, n_x), (rz_h, n_h) = (
            (w @ v).split([2 * H, H]) for w, v in ((cell.from_input.weight, x), (weight_GH, read))
        )
        if isinstance(cell, LayerNormGRU):
            gains = [gain.split([2 * H, H]) for gain in (cell.input_gain_G, cell.hidden_gain_G)]
            rz_x, n_x, rz_h, n_h = (
                norm(v, a) for v, a in zip((rz_x, n_x, rz_h, n_h), gains[0] + gains[1], strict=True)
            )
        b_rz, b_n = cell.from_input.bias.split([2 * H, H])
        r, z = torch.sigmoid(rz_x + rz_h + b_rz).chunk(2)
        n = torch.tanh(n_x + b_n + r * (n_h + cell.reset_bias_H))
        if noise.update_BH is not None:
            n = n * noise.update_BH[row]
        z_h = 0.0 if noise.zone_hidden_TBH is None else noise.zone_hidden_TBH[t, row]
        h = z_h * h + (1 - z_h) * ((1 - z) * n + z * h)
        outputs.append(h)
    return torch.stack(outputs)


def by_hand(cell: Any, x_BTD: Tensor, state: Any, seed: int) -> Tensor:
    """Run the equations under the noise that the cell draws from `seed`, in its order."""
    torch.manual_seed(seed)
    weight_GH = cell.prepare().hidden_GH
    noise = cell.noise(T, x_BTD.new_empty(B, H))
    rows = []
    for row in range(B):
        if isinstance(cell, RegularizedLSTM):
            rows.append(lstm_by_hand(cell, weight_GH, x_BTD[row], state[0][row], state[1][row], noise, row))
        else:
            rows.append(gru_by_hand(cell, weight_GH, x_BTD[row], state[row], noise, row))
    return torch.stack(rows)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@over_noisy
def test_equations_and_gradients_under_noise(name: str, training: bool) -> None:
    """The pass with a gradient by hand agrees with autograd over the plain equations, noise and all."""
    cell = moved(NOISY[name](D, H)).double().train(training)
    x_BTD, state = torch.randn(B, T, D).double(), random_state(cell)
    torch.manual_seed(7)
    results = cell(x_BTD, state)[0], by_hand(cell, x_BTD, state, seed=7)
    torch.testing.assert_close(*results)
    weights_BTH = torch.randn(B, T, H).double()
    found, expected = (
        torch.autograd.grad((y * weights_BTH).sum(), list(cell.parameters()), materialize_grads=True) for y in results
    )
    torch.testing.assert_close(found, expected)


@over_noisy
def test_gradients_under_noise_pass_gradcheck_also_where_rows_are_padded(name: str) -> None:
    cell = moved(NOISY[name](D, H)).double()
    x_BTD = torch.randn(B, T, D).double().requires_grad_()

    def run(x_BTD: Tensor, *weights: Tensor) -> Tensor:
        torch.manual_seed(3)
        return cell(x_BTD, None, torch.tensor([5, 0, 2]))[0]

    assert torch.autograd.gradcheck(run, (x_BTD, *cell.parameters()), fast_mode=True)


# -- the noise ---


@over_noisy
def test_noise_follows_the_seed_and_stops_in_evaluation(name: str) -> None:
    cell, x_BTD = NOISY[name](D, H), torch.randn(B, T, D)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(cell(x_BTD)[0])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.allclose(drawn[0], drawn[2], atol=1e-3)
    cell.eval()
    before = torch.get_rng_state()
    torch.testing.assert_close(cell(x_BTD)[0], cell(x_BTD)[0], rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dropped", ["update", "state"])
@pytest.mark.parametrize("build", [RegularizedLSTM, RegularizedGRU])
def test_recurrent_dropout_has_one_mask_a_sequence_and_row(build: Callable[..., Any], dropped: str) -> None:
    cell = build(D, 500, recurrent_dropout=0.25, dropped=dropped)
    noise = cell.noise(T, torch.empty(B, 500))
    mask_BH = noise.update_BH if dropped == "update" else noise.state_BH
    assert mask_BH.shape == (B, 500)  # no time: every step has the same
    assert mask_BH.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert abs(mask_BH.mean() - 1) < 0.1
    assert not torch.equal(mask_BH[0], mask_BH[1])


@pytest.mark.parametrize(
    ("build", "rates", "names"),
    [
        (RegularizedLSTM, {"zoneout_cell": 0.3, "zoneout_hidden": 0.1}, ["zone_cell_TBH", "zone_hidden_TBH"]),
        (RegularizedGRU, {"zoneout": 0.3}, ["zone_hidden_TBH"]),
    ],
)
def test_zoneout_is_drawn_anew_at_each_step_and_expected_in_evaluation(
    build: Callable[..., Any], rates: dict[str, float], names: list[str]
) -> None:
    cell = build(D, 500, **rates)
    for name, rate in zip(names, rates.values(), strict=True):
        drawn_TBH = getattr(cell.train().noise(T, torch.empty(B, 500)), name)
        assert set(drawn_TBH.unique().tolist()) == {0.0, 1.0}
        assert abs(drawn_TBH.mean() - rate) < 0.03
        assert not torch.equal(drawn_TBH[0], drawn_TBH[1])
        expected_TBH = getattr(cell.eval().noise(T, torch.empty(B, 500)), name)
        torch.testing.assert_close(expected_TBH, torch.full((T, B, 500), rate))


def test_zoneout_in_evaluation_is_the_mean_of_one_step_in_training() -> None:
    cell = RegularizedLSTM(D, H, zoneout_cell=0.4, zoneout_hidden=0.2)
    x_BTD, state = torch.randn(1, 1, D), (torch.randn(1, H), torch.randn(1, H))
    many = (x_BTD.expand(20_000, -1, -1), tuple(s.expand(20_000, -1) for s in state))
    with torch.no_grad():
        y_BTH, (_, c_BH) = cell(*many)
        cell.eval()
        expected_BTH, (_, expected_c_BH) = cell(x_BTD, state)
    torch.testing.assert_close(y_BTH.mean(0, keepdim=True), expected_BTH, atol=0.03, rtol=0)
    torch.testing.assert_close(c_BH.mean(0, keepdim=True), expected_c_BH, atol=0.03, rtol=0)


@pytest.mark.parametrize("build", [RegularizedLSTM, RegularizedGRU])
def test_weight_drop_falls_on_recurrent_weights_once_a_sequence(build: Callable[..., Any]) -> None:
    cell = build(D, 50, weight_drop=0.4)
    dropped_GH = cell.prepare().hidden_GH
    kept_GH = dropped_GH != 0
    assert abs(kept_GH.float().mean() - 0.6) < 0.03
    torch.testing.assert_close(dropped_GH[kept_GH], cell.from_hidden.weight[kept_GH] / 0.6)
    assert torch.equal(cell.eval().prepare().hidden_GH, cell.from_hidden.weight)


@pytest.mark.parametrize("inner", INNER)
def test_weight_drop_wrapper_drops_recurrent_weights_alone_and_puts_them_back(inner: Any) -> None:
    cell = WeightDrop(D, 50, rate=0.4, inner=inner)
    x_BTD = torch.randn(B, T, D)
    (name,) = cell.dropped_weights()
    weights = {key: value.clone() for key, value in cell.inner.state_dict().items()}
    torch.manual_seed(5)
    y_BTH, _ = cell(x_BTD, None, torch.tensor([5, 2, 0]))
    torch.manual_seed(5)
    dropped_GH = cell.dropped_weights()[name]
    assert all(torch.equal(value, weights[key]) for key, value in cell.inner.state_dict().items())
    kept_GH = dropped_GH != 0
    assert abs(kept_GH.float().mean() - 0.6) < 0.05
    torch.testing.assert_close(dropped_GH[kept_GH], weights[name][kept_GH] / 0.6)
    with torch.no_grad():
        cell.inner.get_parameter(name).copy_(dropped_GH)
    expected_BTH, _ = cell.eval()(x_BTD, None, torch.tensor([5, 2, 0]))
    torch.testing.assert_close(y_BTH, expected_BTH)


@pytest.mark.parametrize("inner", INNER)
def test_weight_drop_wrapper_trains_what_it_kept(inner: Any) -> None:
    cell = WeightDrop(D, H, rate=0.4, inner=inner)
    x_BTD = torch.randn(B, T, D)
    (name,) = cell.dropped_weights()
    torch.manual_seed(5)
    cell(x_BTD)[0].square().sum().backward()
    torch.manual_seed(5)
    dropped_GH = cell.dropped_weights()[name]
    assert torch.equal(cell.inner.get_parameter(name).grad != 0, dropped_GH != 0)
    y_BH, _ = cell.step(x_BTD[:, 0], cell.initial_state(B))
    assert y_BH.shape == (B, H)


# -- without noise ---


def test_regularized_lstm_without_rates_is_the_lstm() -> None:
    cell, reference = RegularizedLSTM(D, H, init="uniform"), LSTM(D, H)
    order = [1, 2, 3, 0]  # torch has i, f, g, o
    with torch.no_grad():
        for name, ours in (
            ("weight_ih_l0", cell.from_input.weight),
            ("weight_hh_l0", cell.from_hidden.weight),
            ("bias_ih_l0", cell.from_input.bias),
        ):
            getattr(reference.lstm, name).copy_(torch.cat([ours.chunk(4)[gate] for gate in order]))
        reference.lstm.bias_hh_l0.zero_()
    x_BTD, state = torch.randn(B, T, D), (torch.randn(B, H), torch.randn(B, H))
    lengths_B = torch.tensor([5, 2, 0])
    torch.testing.assert_close(cell(x_BTD, state, lengths_B), reference(x_BTD, state, lengths_B))


def test_regularized_gru_without_rates_is_the_gru() -> None:
    cell, reference = RegularizedGRU(D, H, init="uniform"), GRU(D, H)
    with torch.no_grad():
        reference.gru.weight_ih_l0.copy_(cell.from_input.weight)
        reference.gru.weight_hh_l0.copy_(cell.from_hidden.weight)
        reference.gru.bias_ih_l0.copy_(cell.from_input.bias)
        reference.gru.bias_hh_l0.copy_(F.pad(cell.reset_bias_H, (2 * H, 0)))
    x_BTD, h_BH, lengths_B = torch.randn(B, T, D), torch.randn(B, H), torch.tensor([5, 2, 0])
    torch.testing.assert_close(cell(x_BTD, h_BH, lengths_B), reference(x_BTD, h_BH, lengths_B))


@pytest.mark.parametrize("build", [LayerNormLSTM, LayerNormGRU])
def test_layer_norm_makes_the_scale_of_the_weights_of_no_matter(build: Callable[..., Any]) -> None:
    cell, x_BTD = build(D, H), torch.randn(B, T, D)
    before = cell(x_BTD)[0]
    with torch.no_grad():
        cell.from_input.weight *= 10
        cell.from_hidden.weight *= 10
    torch.testing.assert_close(cell(x_BTD)[0], before, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("build", [LayerNormLSTM, LayerNormGRU])
def test_gains_start_at_one(build: Callable[..., Any]) -> None:
    cell = build(D, H)
    assert torch.equal(cell.input_gain_G, torch.ones_like(cell.input_gain_G))
    assert torch.equal(cell.hidden_gain_G, torch.ones_like(cell.hidden_gain_G))


@pytest.mark.parametrize("build", [RegularizedLSTM, LayerNormLSTM, RegularizedGRU, LayerNormGRU])
def test_chrono_starts_the_gate_that_keeps(build: Callable[..., Any]) -> None:
    cell = build(D, 300, t_max=51)
    gate = 2 if isinstance(cell, RegularizedLSTM) else 1
    assert 47 < cell.from_input.bias.split(300)[gate].exp().max() <= 50


def test_options_of_a_norm_are_those_of_its_base() -> None:
    """A config is checked against the constructor, so that it must name every option."""
    import inspect

    for norm_cell, base in ((LayerNormLSTM, RegularizedLSTM), (LayerNormGRU, RegularizedGRU)):
        assert inspect.signature(norm_cell) == inspect.signature(base)
        assert isinstance(norm_cell(D, H), nn.Module)
