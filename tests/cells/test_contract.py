"""The four promises of `rnntrain.cells.base.Recurrent`, over every cell and every kind of stack.

A new cell is one line in `CELLS`.
"""

# B batch, T time, D input, H hidden

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rnntrain.batch import length_mask
from rnntrain.cells.base import Recurrent, State, detach, map_state, select_rows
from rnntrain.cells.gru import GRU
from rnntrain.cells.lstm import LSTM
from rnntrain.cells.rnn import RNN
from rnntrain.cells.vanilla import Vanilla
from rnntrain.models.backbone import Backbone

CELLS: dict[str, Callable[[int, int], Recurrent]] = {
    "vanilla": Vanilla,
    "rnn": RNN,
    "rnn_relu": partial(RNN, nonlinearity="relu"),
    "lstm": LSTM,
    "gru": GRU,
    "gru_reset_before": partial(GRU, reset_after=False),
}
STACKS: dict[str, Callable[[int, int], Recurrent]] = {
    "stack": partial(Backbone, cell=LSTM, num_layers=2),
    "stack_of_loops": partial(Backbone, cell=Vanilla, num_layers=2, residual=True, norm=True),
    "stack_residual": lambda D, H: Backbone(D, D, GRU, num_layers=3, residual=True),
    "stack_norm": partial(Backbone, cell=RNN, num_layers=2, norm=True),
    "stack_residual_norm": lambda D, H: Backbone(D, D, LSTM, num_layers=2, residual=True, norm=True),
    "stack_highway": lambda D, H: Backbone(D, D, GRU, num_layers=2, residual="highway"),
    "stack_feed_forward": lambda D, H: Backbone(D, D, LSTM, num_layers=2, residual=True, norm=True, feed_forward=1.5),
    "stack_dense": partial(Backbone, cell=[RNN, LSTM, Vanilla], num_layers=3, dense=True),
    "stack_dropout": lambda D, H: Backbone(D, H, LSTM, num_layers=2, dropout=0.5).eval(),
}
BIDIRECTIONAL: dict[str, Callable[[int, int], Recurrent]] = {
    "bidirectional": partial(Backbone, cell=LSTM, num_layers=2, bidirectional=True),
    "bidirectional_residual_norm": lambda D, H: Backbone(
        D, H, GRU, num_layers=2, residual=True, norm=True, bidirectional=True
    ),
}
STEPWISE = CELLS | STACKS
ALL = STEPWISE | BIDIRECTIONAL

INPUT_SIZE, HIDDEN_SIZE, NUM_STEPS = 4, 5, 6
LENGTHS = (6, 3, 0, 1, 5)
DEVICE = "cuda"
TOLERANCE = {torch.float32: {"rtol": 1e-4, "atol": 1e-5}, torch.float64: {"rtol": 1e-9, "atol": 1e-11}}


def over(names: Sequence[str] | dict[str, Any]) -> pytest.MarkDecorator:
    cases = [
        pytest.param(name, dtype, id=f"{name}-{str(dtype).removeprefix('torch.')}")
        for name in names
        for dtype in (torch.float32, torch.float64)
    ]
    return pytest.mark.parametrize(("name", "dtype"), cases)


def build(name: str, dtype: torch.dtype = torch.float32) -> Recurrent:
    """Build with no weight at a special value such as the zero of a bias."""
    torch.manual_seed(0)
    recurrent = ALL[name](INPUT_SIZE, HIDDEN_SIZE).to(dtype)
    with torch.no_grad():
        for parameter in recurrent.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return recurrent


def example(recurrent: Recurrent, batch_size: int = len(LENGTHS), num_steps: int = NUM_STEPS) -> tuple[Tensor, State]:
    """Return a sequence and a state that require gradients."""
    torch.manual_seed(1)
    dtype = next(recurrent.parameters()).dtype
    x_BTD = torch.randn(batch_size, num_steps, INPUT_SIZE, dtype=dtype, requires_grad=True)
    state = map_state(lambda s: torch.rand_like(s).sub_(0.5).requires_grad_(), recurrent.initial_state(batch_size))
    return x_BTD, state


def tensors(state: State) -> list[Tensor]:
    return [t for part in state for t in tensors(part)] if isinstance(state, tuple) else [state]


def rows(state: State, start: int, stop: int) -> State:
    return map_state(lambda s: s[start:stop], state)


def gradients(y_BTH: Tensor, last: State, x_BTD: Tensor, state: State, recurrent: Recurrent) -> list[Tensor]:
    """Return the gradients of one random weighting of all results by input, initial state and weights."""
    torch.manual_seed(2)
    # Not randn_like, which follows the memory order: it may differ between two equal results.
    total = sum((out * torch.randn(out.shape, dtype=out.dtype)).sum() for out in [y_BTH, *tensors(last)])
    sources = [x_BTD, *tensors(state), *recurrent.parameters()]
    return list(torch.autograd.grad(total, sources, materialize_grads=True))


def run_steps(recurrent: Recurrent, x_BTD: Tensor, state: State) -> tuple[Tensor, State]:
    outputs = []
    for x_BD in x_BTD.unbind(1):
        y_BH, state = recurrent.step(x_BD, state)
        outputs.append(y_BH)
    return torch.stack(outputs, 1), state


def run_rows_alone(recurrent: Recurrent, x_BTD: Tensor, state: State, lengths: Sequence[int]) -> tuple[Tensor, State]:
    """Run each row by itself and cut to its length, so that there is no padding."""
    outputs, states = [], []
    for row, length in enumerate(lengths):
        y_1LH = x_BTD.new_zeros(1, 0, recurrent.output_size)
        row_state = rows(state, row, row + 1)
        if length:
            y_1LH, row_state = recurrent(x_BTD[row : row + 1, :length], row_state)
        outputs.append(F.pad(y_1LH, (0, 0, 0, x_BTD.shape[1] - length)))
        states.append(row_state)
    return torch.cat(outputs), join_rows(states)


def join_rows(states: list[State]) -> State:
    if isinstance(states[0], tuple):
        return tuple(join_rows(list(parts)) for parts in zip(*states, strict=True))
    return torch.cat(states)


def assert_same(actual: tuple[Tensor, State], expected: tuple[Tensor, State], **tolerance: float) -> None:
    torch.testing.assert_close(actual, expected, **(tolerance or TOLERANCE[actual[0].dtype]))


def assert_same_with_gradients(
    actual: tuple[Tensor, State], expected: tuple[Tensor, State], x_BTD: Tensor, state: State, recurrent: Recurrent
) -> None:
    assert_same(actual, expected)
    torch.testing.assert_close(
        gradients(*actual, x_BTD, state, recurrent),
        gradients(*expected, x_BTD, state, recurrent),
        **TOLERANCE[x_BTD.dtype],
    )


# Promise 1


@over(STEPWISE)
def test_sequence_equals_steps(name: str, dtype: torch.dtype) -> None:
    recurrent = build(name, dtype)
    x_BTD, state = example(recurrent)
    whole = recurrent(x_BTD, state)
    assert whole[0].shape == (len(LENGTHS), NUM_STEPS, recurrent.output_size)
    assert_same_with_gradients(whole, run_steps(recurrent, x_BTD, state), x_BTD, state, recurrent)


@over(ALL)
def test_no_state_means_the_initial_state(name: str, dtype: torch.dtype) -> None:
    recurrent = build(name, dtype)
    x_BTD, _ = example(recurrent)
    initial = recurrent.initial_state(len(LENGTHS))
    assert all(s.dtype == dtype and s.shape[0] == len(LENGTHS) for s in tensors(initial))
    assert_same(recurrent(x_BTD), recurrent(x_BTD, initial), rtol=0, atol=0)


# Promise 2


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "padded"])
@over(STEPWISE)
def test_chunks_equal_the_whole(name: str, dtype: torch.dtype, lengths: tuple[int, ...] | None) -> None:
    recurrent = build(name, dtype)
    x_BTD, state = example(recurrent)
    lengths_B = None if lengths is None else torch.tensor(lengths)
    outputs, last, start = [], state, 0
    for size in (2, 1, 3):
        chunk_lengths_B = None if lengths_B is None else (lengths_B - start).clamp(0, size)
        y_BTH, last = recurrent(x_BTD[:, start : start + size], last, chunk_lengths_B)
        outputs.append(y_BTH)
        start += size
    whole = recurrent(x_BTD, state, lengths_B)
    assert_same_with_gradients((torch.cat(outputs, 1), last), whole, x_BTD, state, recurrent)


@over(ALL)
def test_state_can_be_detached_and_reset_by_row(name: str, dtype: torch.dtype) -> None:
    recurrent = build(name, dtype)
    x_BTD, state = example(recurrent)
    _, last = recurrent(x_BTD, state)
    kept = select_rows(torch.tensor([True, False, False, False, True]), recurrent.initial_state(len(LENGTHS)), last)
    y_BTH, _ = recurrent(x_BTD, detach(kept))
    fresh_BTH, _ = recurrent(x_BTD)
    torch.testing.assert_close(y_BTH[[0, 4]], fresh_BTH[[0, 4]], **TOLERANCE[dtype])
    assert not torch.allclose(y_BTH[1:4], fresh_BTH[1:4], atol=1e-3)


# Promise 3


@over(ALL)
def test_padding_is_inert(name: str, dtype: torch.dtype) -> None:
    recurrent = build(name, dtype)
    x_BTD, state = example(recurrent)
    lengths_B = torch.tensor(LENGTHS)
    valid_BT1 = length_mask(lengths_B, NUM_STEPS)[..., None]
    poisoned_BTD = x_BTD.detach().masked_fill(~valid_BT1, torch.nan).requires_grad_()

    actual = recurrent(poisoned_BTD, state, lengths_B)
    expected = run_rows_alone(recurrent, x_BTD, state, LENGTHS)

    assert_same(actual, expected)
    assert not actual[0].masked_select(~valid_BT1).any()
    torch.testing.assert_close(
        gradients(*actual, poisoned_BTD, state, recurrent),
        gradients(*expected, x_BTD, state, recurrent),
        **TOLERANCE[dtype],
    )


@over(ALL)
def test_row_of_length_zero_keeps_its_state_exactly(name: str, dtype: torch.dtype) -> None:
    recurrent = build(name, dtype)
    x_BTD, state = example(recurrent)
    y_BTH, last = recurrent(x_BTD, state, torch.tensor(LENGTHS))
    empty = LENGTHS.index(0)
    assert not y_BTH[empty].any()
    assert_same((y_BTH, rows(last, empty, empty + 1)), (y_BTH, rows(state, empty, empty + 1)), rtol=0, atol=0)


@over(ALL)
def test_lengths_of_zero_only_change_nothing(name: str, dtype: torch.dtype) -> None:
    recurrent = build(name, dtype)
    x_BTD, state = example(recurrent)
    y_BTH, last = recurrent(x_BTD, state, torch.zeros(len(LENGTHS), dtype=torch.long))
    assert_same((y_BTH, last), (torch.zeros_like(y_BTH), state), rtol=0, atol=0)


@over(ALL)
def test_equal_lengths_equal_the_shorter_sequence(name: str, dtype: torch.dtype) -> None:
    recurrent = build(name, dtype)
    x_BTD, state = example(recurrent)
    y_BTH, last = recurrent(x_BTD, state, torch.full((len(LENGTHS),), 3))
    assert not y_BTH[:, 3:].any()
    assert_same((y_BTH[:, :3], last), recurrent(x_BTD[:, :3], state))


@over(ALL)
def test_full_lengths_equal_none(name: str, dtype: torch.dtype) -> None:
    recurrent = build(name, dtype)
    x_BTD, state = example(recurrent)
    full_B = torch.full((len(LENGTHS),), NUM_STEPS)
    assert_same(recurrent(x_BTD, state, full_B), recurrent(x_BTD, state))


@pytest.mark.parametrize("length", [None, 1, 0])
@over(ALL)
def test_one_row_of_one_step(name: str, dtype: torch.dtype, length: int | None) -> None:
    recurrent = build(name, dtype)
    x_BTD, state = example(recurrent, batch_size=1, num_steps=1)
    actual = recurrent(x_BTD, state, None if length is None else torch.tensor([length]))
    if length == 0:
        expected = torch.zeros(1, 1, recurrent.output_size, dtype=dtype), state
    else:
        # The same row in a longer batch: a single row or step takes other paths through the kernels.
        expected = recurrent(x_BTD.expand(3, -1, -1), map_state(lambda s: s.expand(3, -1).contiguous(), state))
        expected = expected[0][:1], rows(expected[1], 0, 1)
    assert_same_with_gradients(actual, expected, x_BTD, state, recurrent)


# Promise 4


@pytest.mark.parametrize("lengths", [None, (3, 1)], ids=["full", "padded"])
@pytest.mark.parametrize("name", ALL)
def test_gradients_pass_gradcheck(name: str, lengths: tuple[int, ...] | None) -> None:
    recurrent = build(name, torch.float64)
    x_BTD, state = example(recurrent, batch_size=2, num_steps=3)
    state_like = recurrent.initial_state(2)
    num_parts = len(tensors(state))

    def run(x_BTD: Tensor, *state_and_weights: Tensor) -> tuple[Tensor, ...]:
        # gradcheck moves the weights in place
        parts = iter(state_and_weights[:num_parts])
        lengths_B = None if lengths is None else torch.tensor(lengths)
        y_BTH, last = recurrent(x_BTD, map_state(lambda _: next(parts), state_like), lengths_B)
        return y_BTH, *tensors(last)

    assert torch.autograd.gradcheck(run, (x_BTD, *tensors(state), *recurrent.parameters()), fast_mode=True)


# What else every recurrence must stand


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "padded"])
@pytest.mark.parametrize("name", ALL)
def test_evaluation_equals_training(name: str, lengths: tuple[int, ...] | None) -> None:
    recurrent = build(name)
    x_BTD, state = example(recurrent)
    lengths_B = None if lengths is None else torch.tensor(lengths)
    trained = recurrent(x_BTD, state, lengths_B)
    recurrent.eval()
    with torch.no_grad():
        assert_same(recurrent(x_BTD, state, lengths_B), trained)
    with torch.inference_mode():
        assert_same(recurrent(x_BTD, state, lengths_B), trained)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "padded"])
@pytest.mark.parametrize("name", ALL)
def test_bfloat16_autocast_is_close_and_carries_its_state(name: str, lengths: tuple[int, ...] | None) -> None:
    recurrent = build(name)
    x_BTD, state = example(recurrent)
    lengths_B = None if lengths is None else torch.tensor(lengths)
    exact_BTH, exact = recurrent(x_BTD, recurrent(x_BTD, state, lengths_B)[1], lengths_B)
    with torch.autocast("cpu", torch.bfloat16):
        y_BTH, last = recurrent(x_BTD, recurrent(x_BTD, state, lengths_B)[1], lengths_B)
    assert_same((y_BTH.float(), map_state(Tensor.float, last)), (exact_BTH, exact), rtol=0.1, atol=0.1)
    found = gradients(y_BTH.float(), last, x_BTD, state, recurrent)
    assert all(gradient.isfinite().all() for gradient in found)
    assert any(gradient.any() for gradient in found)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "padded"])
@over(ALL)
def test_cuda_equals_cpu(name: str, dtype: torch.dtype, lengths: tuple[int, ...] | None) -> None:
    recurrent = build(name, dtype)
    x_BTD, state = example(recurrent)
    lengths_B = None if lengths is None else torch.tensor(lengths)
    expected = recurrent(x_BTD, state, lengths_B)
    twin = copy.deepcopy(recurrent).to(DEVICE)
    on_device = None if lengths_B is None else lengths_B.to(DEVICE)
    y_BTH, last = twin(x_BTD.to(DEVICE), map_state(lambda s: s.to(DEVICE), state), on_device)
    actual = y_BTH.cpu(), map_state(Tensor.cpu, last)
    # cuDNN multiplies float32 in TF32.
    tolerance = {"rtol": 1e-2, "atol": 1e-2} if dtype == torch.float32 else TOLERANCE[dtype]
    assert_same(actual, expected, **tolerance)
    if recurrent.training:  # cuDNN has no backward in evaluation
        found = [gradient.cpu() for gradient in gradients(*actual, x_BTD, state, twin)]
        torch.testing.assert_close(found, gradients(*expected, x_BTD, state, recurrent), **tolerance)


@pytest.mark.parametrize("name", ALL)
def test_deepcopy_is_equal_and_independent(name: str) -> None:
    recurrent = build(name)
    x_BTD, state = example(recurrent)
    before = recurrent(x_BTD, state, torch.tensor(LENGTHS))
    twin = copy.deepcopy(recurrent)
    with torch.no_grad():
        for parameter in recurrent.parameters():
            parameter.zero_()
    assert_same(twin(x_BTD, state, torch.tensor(LENGTHS)), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", ALL)
def test_state_dict_restores_everything(name: str) -> None:
    recurrent = build(name)
    x_BTD, state = example(recurrent)
    other = ALL[name](INPUT_SIZE, HIDDEN_SIZE).train(recurrent.training)
    other.load_state_dict(recurrent.state_dict())
    for lengths_B in (None, torch.tensor(LENGTHS)):
        assert_same(other(x_BTD, state, lengths_B), recurrent(x_BTD, state, lengths_B), rtol=0, atol=0)
    assert set(recurrent.state_dict()) == {key for key, _ in recurrent.named_parameters()}


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "padded"])
@pytest.mark.parametrize("name", CELLS)
def test_wrong_input_width_is_refused(name: str, lengths: tuple[int, ...] | None) -> None:
    recurrent = build(name)
    lengths_B = None if lengths is None else torch.tensor(lengths)
    with pytest.raises(RuntimeError, match=r"size|shape"):
        recurrent(torch.randn(len(LENGTHS), NUM_STEPS, INPUT_SIZE + 1), None, lengths_B)


@pytest.mark.parametrize("name", BIDIRECTIONAL)
def test_bidirectional_refuses_to_step(name: str) -> None:
    recurrent = build(name)
    assert recurrent.bidirectional
    with pytest.raises(NotImplementedError, match=r"set model\.bidirectional=false"):
        recurrent.step(torch.randn(2, INPUT_SIZE), recurrent.initial_state(2))
