"""What each option of the stack means.

The four promises are checked over stacks as over cells, in tests/cells/test_contract.py.
"""

# B batch, T time, D input, H hidden

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.base import Cell
from rnntrain.cells.gru import GRU
from rnntrain.cells.lstm import LSTM
from rnntrain.cells.rnn import RNN
from rnntrain.errors import UserError
from rnntrain.models.backbone import Backbone

B, T, D, H = 3, 7, 4, 6
LENGTHS_B = torch.tensor([4, 7, 1])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class Probe(Cell):
    """Adds one to its input and remembers it; half as wide as asked for, like a cell with a projection."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size // 2
        self.seen: list[Tensor] = []

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, 1)

    def step(self, x_BD: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append(x_BD)
        return x_BD[:, : self.output_size] + 1, state


def copy_weights(stack: Backbone, reference: nn.LSTM) -> None:
    suffixes = ["", "_reverse"] if stack.bidirectional else [""]
    for depth, layer in enumerate(stack.layers):
        cells = [layer.ahead, layer.back] if stack.bidirectional else [layer]
        for cell, suffix in zip(cells, suffixes, strict=True):
            for name, parameter in cell.lstm.named_parameters():
                getattr(reference, f"{name.removesuffix('_l0')}_l{depth}{suffix}").data.copy_(parameter)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["unidirectional", "bidirectional"])
def test_stack_equals_torch_lstm(bidirectional: bool) -> None:
    stack = Backbone(D, H, LSTM, num_layers=3, bidirectional=bidirectional)
    reference = nn.LSTM(D, H, num_layers=3, batch_first=True, bidirectional=bidirectional)
    copy_weights(stack, reference)
    x_BTD = torch.randn(B, T, D)
    torch.testing.assert_close(stack(x_BTD)[0], reference(x_BTD)[0])


@pytest.mark.parametrize("bidirectional", [False, True], ids=["unidirectional", "bidirectional"])
def test_padded_stack_equals_packed_sequences(bidirectional: bool) -> None:
    stack = Backbone(D, H, LSTM, num_layers=2, bidirectional=bidirectional)
    reference = nn.LSTM(D, H, num_layers=2, batch_first=True, bidirectional=bidirectional)
    copy_weights(stack, reference)
    x_BTD = torch.randn(B, T, D)
    packed = nn.utils.rnn.pack_padded_sequence(x_BTD, LENGTHS_B, batch_first=True, enforce_sorted=False)
    packed_y, (h_LBH, c_LBH) = reference(packed)
    y_BTH, state = stack(x_BTD, None, LENGTHS_B)
    torch.testing.assert_close(y_BTH, nn.utils.rnn.pad_packed_sequence(packed_y, batch_first=True)[0])
    pairs = [pair for layer in state for pair in layer] if bidirectional else state
    torch.testing.assert_close(torch.stack([h for h, _ in pairs]), h_LBH)
    torch.testing.assert_close(torch.stack([c for _, c in pairs]), c_LBH)


def test_layers_share_no_weights() -> None:
    stack = Backbone(H, H, partial(LSTM, forget_bias=2.0), num_layers=3)
    first, second, _ = stack.layers
    assert len(list(stack.parameters())) == 12
    assert not torch.equal(first.lstm.weight_hh_l0, second.lstm.weight_hh_l0)
    assert first.lstm.bias_ih_l0[H] == second.lstm.bias_ih_l0[H] == 2.0


def test_state_has_one_entry_a_layer() -> None:
    _, state = Backbone(D, H, GRU, num_layers=3)(torch.randn(B, T, D))
    assert [part.shape for part in state] == [(B, H)] * 3
    _, state = Backbone(D, H, GRU, num_layers=2, bidirectional=True)(torch.randn(B, T, D))
    assert [[part.shape for part in layer] for layer in state] == [[(B, H)] * 2] * 2


@pytest.mark.parametrize(("option", "width"), [("residual", 4), ("norm", 4), ("bidirectional", 8)])
def test_widths_follow_the_cells_output_size(option: str, width: int) -> None:
    stack = Backbone(width, 8, Probe, num_layers=3, **{option: True})
    assert [layer.input_size for layer in stack.layers] == [width] * 3
    assert stack(torch.randn(B, T, width))[0].shape == (B, T, stack.output_size) == (B, T, width)


def test_residual_adds_each_layers_input() -> None:
    stack = Backbone(H, H, RNN, num_layers=2, residual=True)
    first, second = stack.layers
    x_BTH = torch.randn(B, T, H)
    y_BTH = x_BTH + first(x_BTH)[0]
    y_BTH = y_BTH + second(y_BTH)[0]
    torch.testing.assert_close(stack(x_BTH)[0], y_BTH)


def test_residual_skips_a_first_layer_that_changes_the_width() -> None:
    stack = Backbone(D, H, RNN, num_layers=2, residual=True)
    first, second = stack.layers
    x_BTD = torch.randn(B, T, D)
    y_BTH = first(x_BTD)[0]
    torch.testing.assert_close(stack(x_BTD)[0], y_BTH + second(y_BTH)[0])


def test_residual_without_effect_is_refused() -> None:
    with pytest.raises(UserError, match=r"takes 4 to 12; set model\.embedding_size=12"):
        Backbone(D, H, RNN, residual=True, bidirectional=True)


def test_norm_with_residual_leaves_the_stream_untouched() -> None:
    stack = Backbone(H, H, RNN, num_layers=2, residual=True, norm=True)
    first, second = stack.layers
    x_BTH = torch.randn(B, T, H)
    stream_BTH = x_BTH + first(x_BTH)[0]
    stream_BTH = stream_BTH + second(F.layer_norm(stream_BTH, (H,)))[0]
    torch.testing.assert_close(stack(x_BTH)[0], F.layer_norm(stream_BTH, (H,)))


def test_norm_alone_follows_each_layer() -> None:
    stack = Backbone(D, H, RNN, num_layers=2, norm=True)
    first, second = stack.layers
    x_BTD = torch.randn(B, T, D)
    y_BTH = second(F.layer_norm(first(x_BTD)[0], (H,)))[0]
    torch.testing.assert_close(stack(x_BTD)[0], F.layer_norm(y_BTH, (H,)))


@pytest.mark.parametrize("stepwise", [False, True], ids=["sequence", "step"])
def test_dropout_falls_between_layers_alone(stepwise: bool) -> None:
    stack = Backbone(50, 100, Probe, num_layers=3, dropout=0.5)
    y, _ = stack.step(torch.ones(B, 50), stack.initial_state(B)) if stepwise else stack(torch.ones(B, T, 50))
    first, second, third = (torch.cat(layer.seen) for layer in stack.layers)
    assert (first == 1).all()
    assert set(second.unique().tolist()) == {0.0, 4.0}
    assert abs((second == 0).float().mean() - 0.5) < 0.15
    assert set(third.unique().tolist()) == {0.0, 2.0, 10.0}
    assert set(y.unique().tolist()) == {1.0, 3.0, 11.0}


def test_dropout_is_off_in_evaluation() -> None:
    stack = Backbone(50, 100, Probe, num_layers=3, dropout=0.5).eval()
    assert (stack(torch.ones(B, T, 50))[0] == 4).all()


def test_dropout_keeps_padding_inert_in_training() -> None:
    stack = Backbone(H, H, LSTM, num_layers=3, dropout=0.5, residual=True, norm=True)
    x_BTH = torch.randn(B, T, H)
    x_BTH[0, 4:] = torch.nan
    x_BTH[2, 1:] = torch.nan
    y_BTH, state = stack(x_BTH, None, LENGTHS_B)
    assert not y_BTH[0, 4:].any()
    assert not y_BTH[2, 1:].any()
    (y_BTH.sum() + sum(c.sum() for _, c in state)).backward()
    assert all(parameter.grad.isfinite().all() for parameter in stack.parameters())


def test_each_direction_reads_the_whole_row_and_no_more() -> None:
    stack = Backbone(D, H, RNN, bidirectional=True)
    x_BTD = torch.randn(B, T, D, requires_grad=True)
    y_BTH, _ = stack(x_BTD, None, LENGTHS_B)
    seen_by_ahead, seen_by_back = (
        torch.autograd.grad(part.sum(), x_BTD, retain_graph=True)[0].abs().sum(-1) > 0 for part in y_BTH[0, 2].split(H)
    )
    assert seen_by_ahead[0].tolist() == [True, True, True, False, False, False, False]
    assert seen_by_back[0].tolist() == [False, False, True, True, False, False, False]
    assert not seen_by_ahead[1:].any()
    assert not seen_by_back[1:].any()


def test_highway_weighs_a_layer_against_its_input() -> None:
    stack = Backbone(H, H, RNN, num_layers=1, residual="highway")
    x_BTH = torch.randn(B, T, H)
    share = torch.sigmoid(torch.tensor(-1.0))
    torch.testing.assert_close(stack(x_BTH)[0], share * stack.layers[0](x_BTH)[0] + (1 - share) * x_BTH)
    with torch.no_grad():
        stack.carries[0].bias.fill_(-100)
    torch.testing.assert_close(stack(x_BTH)[0], x_BTH)


def test_feed_forward_part_starts_as_nothing_and_then_adds_its_own() -> None:
    stack = Backbone(H, H, RNN, residual=True, feed_forward=2.0)
    x_BTH = torch.randn(B, T, H)
    stream_BTH = x_BTH + stack.layers[0](x_BTH)[0]
    torch.testing.assert_close(stack(x_BTH)[0], stream_BTH)
    part = stack.feed_forwards[0]
    nn.init.normal_(part.outer.weight)
    added_BTH = part.outer(F.gelu(part.inner(F.layer_norm(stream_BTH, (H,)))))
    torch.testing.assert_close(stack(x_BTH)[0], stream_BTH + added_BTH)


def test_feed_forward_part_needs_a_stream() -> None:
    with pytest.raises(
        UserError, match=r"model\.feed_forward=2: is added to a stream, which needs model\.residual=true"
    ):
        Backbone(H, H, RNN, feed_forward=2.0)


def test_dense_stack_shows_every_layer() -> None:
    stack = Backbone(D, H, RNN, num_layers=3, dense=True)
    x_BTD = torch.randn(B, T, D)
    first_BTH = stack.layers[0](x_BTD)[0]
    second_BTH = stack.layers[1](first_BTH)[0]
    third_BTH = stack.layers[2](second_BTH)[0]
    assert stack.output_size == 3 * H
    torch.testing.assert_close(stack(x_BTD)[0], torch.cat([first_BTH, second_BTH, third_BTH], -1))


def test_cells_may_differ_from_layer_to_layer() -> None:
    stack = Backbone(D, H, [LSTM, GRU], num_layers=2)
    assert [type(layer) for layer in stack.layers] == [LSTM, GRU]
    with pytest.raises(UserError, match=r"model\.num_layers=3: there are 2 cells, one a layer; set it to 2"):
        Backbone(D, H, [LSTM, GRU], num_layers=3)


def test_gradients_reach_the_first_of_many_layers_through_the_stream() -> None:
    """What a plain stack of sixteen shallow layers loses, the stream keeps."""
    norms = {}
    for residual in (False, True):
        torch.manual_seed(0)
        stack = Backbone(H, H, RNN, num_layers=16, residual=residual, norm=residual)
        with torch.no_grad():
            for layer in stack.layers:
                layer.rnn.weight_ih_l0.mul_(0.3)
        x_BTH = torch.randn(B, T, H, requires_grad=True)
        stack(x_BTH)[0].square().sum().backward()
        norms[residual] = float(x_BTH.grad.norm())
    assert norms[True] > 1000 * norms[False]
