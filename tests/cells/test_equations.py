"""Each cell computes the network that its docstring states."""

# B batch, T time, D input, H hidden

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from rnntrain.cells.gru import GRU
from rnntrain.cells.lstm import LSTM
from rnntrain.cells.rnn import RNN
from rnntrain.cells.vanilla import Vanilla

B, T, D, H = 3, 5, 4, 6


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_rnn_equals_torch_rnn(nonlinearity: Any) -> None:
    cell = RNN(D, H, nonlinearity, init="uniform")
    reference = nn.RNN(D, H, nonlinearity=nonlinearity, batch_first=True)
    reference.load_state_dict(cell.rnn.state_dict())
    x_BTD, h_BH = torch.randn(B, T, D), torch.randn(B, H)
    y_BTH, last_BH = cell(x_BTD, h_BH)
    expected_BTH, expected_1BH = reference(x_BTD, h_BH[None])
    torch.testing.assert_close((y_BTH, last_BH), (expected_BTH, expected_1BH[0]))


def test_lstm_equals_torch_lstm() -> None:
    cell = LSTM(D, H, init="uniform", forget_bias=None)
    reference = nn.LSTM(D, H, batch_first=True)
    reference.load_state_dict(cell.lstm.state_dict())
    x_BTD, h_BH, c_BH = torch.randn(B, T, D), torch.randn(B, H), torch.randn(B, H)
    y_BTH, state = cell(x_BTD, (h_BH, c_BH))
    expected_BTH, (h_1BH, c_1BH) = reference(x_BTD, (h_BH[None], c_BH[None]))
    torch.testing.assert_close((y_BTH, state), (expected_BTH, (h_1BH[0], c_1BH[0])))


def test_padded_lstm_equals_a_packed_sequence() -> None:
    cell = LSTM(D, H, init="uniform")
    reference = nn.LSTM(D, H, batch_first=True)
    reference.load_state_dict(cell.lstm.state_dict())
    x_BTD, lengths_B = torch.randn(B, T, D), torch.tensor([2, 5, 1])
    y_BTH, state = cell(x_BTD, None, lengths_B)
    packed = nn.utils.rnn.pack_padded_sequence(x_BTD, lengths_B, batch_first=True, enforce_sorted=False)
    packed_y, (h_1BH, c_1BH) = reference(packed)
    expected_BTH = nn.utils.rnn.pad_packed_sequence(packed_y, batch_first=True)[0]
    torch.testing.assert_close((y_BTH, state), (expected_BTH, (h_1BH[0], c_1BH[0])))


class Operations(TorchDispatchMode):
    """Writes down which kernels run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this build of torch lacks oneDNN")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("lengths", [None, (2, 5, 1)], ids=["full", "padded"])
def test_lstm_stays_on_the_fast_kernel(precision: str, lengths: tuple[int, ...] | None) -> None:
    if precision == "bfloat16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor lacks bfloat16")
    cell = LSTM(D, H)
    lengths_B = None if lengths is None else torch.tensor(lengths)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"), Operations() as operations:
        y_BTH, (_, c_BH) = cell(torch.randn(B, T, D), None, lengths_B)
        (y_BTH.sum() + c_BH.sum()).backward()
    assert operations.names.count("aten.mkldnn_rnn_layer.default") == 1
    assert operations.names.count("aten.mkldnn_rnn_layer_backward.default") == 1


def test_full_lengths_cost_the_lstm_no_copy() -> None:
    with Operations() as operations:
        LSTM(D, H)(torch.randn(B, T, D), None, torch.full((B,), T))
    assert not [name for name in operations.names if "cat" in name or "masked_fill" in name]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_lstm_carries_its_cell_bit_for_bit_through_padding(dtype: torch.dtype) -> None:
    cell = LSTM(D, H).to(dtype)
    x_BTD, h_BH, c_BH = torch.randn(2, 200, D), 5 * torch.randn(2, H), 100 * torch.randn(2, H)
    c_BH[:, 0] = torch.tensor([0.0, 1e-30])
    x_BTD, h_BH, c_BH = x_BTD.to(dtype), h_BH.to(dtype), c_BH.to(dtype).requires_grad_()
    weight = cell.lstm.weight_ih_l0
    _, (last_h_BH, last_c_BH) = cell(x_BTD, (h_BH, c_BH), torch.zeros(2, dtype=torch.long))
    gradient_BH, weight_gradient = torch.autograd.grad(last_c_BH.sum(), [c_BH, weight])
    assert torch.equal(last_h_BH, h_BH)
    assert torch.equal(last_c_BH, c_BH)
    assert torch.equal(gradient_BH, torch.ones_like(c_BH))
    assert not weight_gradient.any()


def test_gru_equals_torch_gru() -> None:
    cell = GRU(D, H, init="uniform")
    reference = nn.GRU(D, H, batch_first=True)
    reference.load_state_dict(cell.gru.state_dict())
    x_BTD, h_BH = torch.randn(B, T, D), torch.randn(B, H)
    y_BTH, last_BH = cell(x_BTD, h_BH)
    expected_BTH, expected_1BH = reference(x_BTD, h_BH[None])
    torch.testing.assert_close((y_BTH, last_BH), (expected_BTH, expected_1BH[0]))


def test_gru_reset_before_equals_the_equations_of_cho() -> None:
    cell = GRU(D, H, reset_after=False, init="uniform")
    w_r, w_z, w_n = cell.gru.weight_ih_l0.chunk(3)
    u_r, u_z, u_n = cell.gru.weight_hh_l0.chunk(3)
    b_r, b_z, b_n = (cell.gru.bias_ih_l0 + cell.gru.bias_hh_l0).chunk(3)

    def advance(x: Tensor, h: Tensor) -> Tensor:
        r = torch.sigmoid(w_r @ x + u_r @ h + b_r)
        z = torch.sigmoid(w_z @ x + u_z @ h + b_z)
        n = torch.tanh(w_n @ x + u_n @ (r * h) + b_n)
        return z * h + (1 - z) * n

    x_BTD, h_BH = torch.randn(B, T, D), torch.randn(B, H)
    y_BTH, _ = cell(x_BTD, h_BH)
    for row in range(B):
        h = h_BH[row]
        for t in range(T):
            h = advance(x_BTD[row, t], h)
            torch.testing.assert_close(y_BTH[row, t], h)


def test_gru_forms_differ() -> None:
    after, before = GRU(D, H, init="uniform"), GRU(D, H, reset_after=False, init="uniform")
    before.load_state_dict(after.state_dict())
    x_BTD = torch.randn(B, T, D)
    assert not torch.allclose(after(x_BTD)[0], before(x_BTD)[0], atol=1e-3)


def test_vanilla_equals_rnn() -> None:
    cell, fast = Vanilla(D, H, init="uniform"), RNN(D, H)
    with torch.no_grad():
        fast.rnn.weight_ih_l0.copy_(cell.from_input.weight)
        fast.rnn.weight_hh_l0.copy_(cell.from_hidden.weight)
        fast.rnn.bias_ih_l0.copy_(cell.from_input.bias)
    x_BTD, h_BH = torch.randn(B, T, D), torch.randn(B, H)
    torch.testing.assert_close(cell(x_BTD, h_BH), fast(x_BTD, h_BH))
