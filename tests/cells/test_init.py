"""How weights start."""

# D input, H hidden

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rnntrain.cells.base import Recurrent
from rnntrain.cells.gru import GRU
from rnntrain.cells.lstm import LSTM
from rnntrain.cells.rnn import RNN
from rnntrain.cells.vanilla import Vanilla
from rnntrain.errors import UserError

D, H = 24, 40
CELLS = {"rnn": RNN, "lstm": LSTM, "gru": GRU, "vanilla": Vanilla}
WRAPPED = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}

over_cells = pytest.mark.parametrize("build", CELLS.values(), ids=CELLS)


def named(cell: Recurrent, shape_end: int, dims: int) -> list[Tensor]:
    return [p for p in cell.parameters() if p.dim() == dims and p.shape[-1] == shape_end]


@over_cells
def test_recurrent_weights_start_orthogonal_gate_by_gate(build: Callable[[int, int], Recurrent]) -> None:
    (weight,) = named(build(D, H), H, dims=2)
    for block_HH in weight.split(H):
        torch.testing.assert_close(block_HH @ block_HH.T, torch.eye(H), atol=1e-5, rtol=0)


@over_cells
def test_gates_start_different(build: Callable[[int, int], Recurrent]) -> None:
    for weight in build(D, H).parameters():
        blocks = weight.split(H)
        if weight.dim() == 2:
            assert all(not torch.equal(blocks[0], other) for other in blocks[1:])


@over_cells
def test_input_weights_start_xavier_gate_by_gate(build: Callable[[int, int], Recurrent]) -> None:
    (weight,) = named(build(D, H), D, dims=2)
    limit = (6 / (D + H)) ** 0.5
    for block_HD in weight.split(H):
        assert 0.95 * limit < block_HD.abs().max() <= limit
        assert abs(block_HD.std() - limit / 3**0.5) < 0.05 * limit


@pytest.mark.parametrize("build", [RNN, GRU, Vanilla], ids=["rnn", "gru", "vanilla"])
def test_biases_start_at_zero(build: Callable[[int, int], Recurrent]) -> None:
    assert not any(p.any() for p in build(D, H).parameters() if p.dim() == 1)


@pytest.mark.parametrize("init", ["orthogonal", "uniform"])
@pytest.mark.parametrize("forget_bias", [1.0, -2.5])
def test_lstm_forget_bias_starts_as_asked(init: str, forget_bias: float) -> None:
    lstm = LSTM(D, H, init=init, forget_bias=forget_bias).lstm
    i, f, g, o = (lstm.bias_ih_l0 + lstm.bias_hh_l0).chunk(4)
    torch.testing.assert_close(f, torch.full((H,), forget_bias))
    for other in (i, g, o):
        assert other.any() == (init == "uniform")


def test_lstm_forget_bias_is_one_by_default_and_none_leaves_it() -> None:
    torch.testing.assert_close(LSTM(D, H).lstm.bias_ih_l0[H : 2 * H], torch.ones(H))
    assert not LSTM(D, H, forget_bias=None).lstm.bias_ih_l0.any()


@over_cells
def test_uniform_start_has_the_bounds_of_torch(build: Callable[..., Recurrent]) -> None:
    for weight in build(D, H, init="uniform", **({"forget_bias": None} if build is LSTM else {})).parameters():
        assert weight.abs().max() <= H**-0.5
        assert abs(weight.std() - (H * 3) ** -0.5) < 0.25 * (H * 3) ** -0.5


@pytest.mark.parametrize("name", WRAPPED)
def test_start_depends_on_the_seed_alone(name: str) -> None:
    def weights() -> list[Tensor]:
        torch.manual_seed(3)
        return list(CELLS[name](D, H).parameters())

    assert all(torch.equal(a, b) for a, b in zip(weights(), weights(), strict=True))


@pytest.mark.parametrize("name", WRAPPED)
def test_sizes_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="hidden_size must be greater than zero"):
        CELLS[name](D, 0)


# -- how long memories start ---


def forget_bias_of(cell: Recurrent) -> tuple[Tensor, Tensor | None]:
    """Return the bias that keeps the state, and that of the gate which lets the input in."""
    if isinstance(cell, GRU):
        return (cell.gru.bias_ih_l0 + cell.gru.bias_hh_l0).chunk(3)[1], None
    i, f, _, _ = (cell.lstm.bias_ih_l0 + cell.lstm.bias_hh_l0).chunk(4)
    return f, i


@pytest.mark.parametrize("init", ["orthogonal", "uniform"])
@pytest.mark.parametrize("build", [LSTM, GRU])
def test_chrono_spreads_time_scales_up_to_t_max(build: Callable[..., Recurrent], init: str) -> None:
    forget, write = forget_bias_of(build(D, 300, init=init, t_max=101))
    scales = forget.exp()
    assert 1 <= scales.min() < 5
    assert 96 < scales.max() <= 100
    assert abs(scales.mean() - 50.5) < 6
    assert write is None or torch.equal(write, -forget)


@pytest.mark.parametrize("build", [LSTM, GRU])
def test_uniform_gates_start_uniform(build: Callable[..., Recurrent]) -> None:
    forget, write = forget_bias_of(build(D, 300, uniform_gates=True))
    activation = torch.sigmoid(forget)
    assert 1 / 300 <= activation.min() < 0.03
    assert 0.97 < activation.max() <= 1 - 1 / 300
    assert abs(activation.mean() - 0.5) < 0.06
    assert abs(activation.std() - 12**-0.5) < 0.02
    assert write is None or torch.equal(write, -forget)


@pytest.mark.parametrize("build", [LSTM, GRU])
def test_uniform_gates_of_one_unit_are_finite(build: Callable[..., Recurrent]) -> None:
    assert all(p.isfinite().all() for p in build(D, 1, uniform_gates=True).parameters())


@pytest.mark.parametrize("build", [LSTM, GRU])
def test_two_starts_of_the_gates_are_refused(build: Callable[..., Recurrent]) -> None:
    with pytest.raises(UserError, match=r"model\.cell\.t_max=9 and model\.cell\.uniform_gates=true: .* leave out one"):
        build(D, H, t_max=9, uniform_gates=True)
