"""Cells through the native kernels equal their plain path: outputs, states and gradients; and keep the contract."""

# B batch, T time, D input, H hidden

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from rnntrain.batch import length_mask
from rnntrain.cells.antisymmetric import Antisymmetric
from rnntrain.cells.base import Recurrent, map_state
from rnntrain.cells.clockwork import Clockwork
from rnntrain.cells.cornn import CoRNN
from rnntrain.cells.coupled_lstm import CoupledLSTM
from rnntrain.cells.gru import GRU
from rnntrain.cells.janet import JANET
from rnntrain.cells.layernorm_gru import LayerNormGRU
from rnntrain.cells.layernorm_lstm import LayerNormLSTM
from rnntrain.cells.leaky import Leaky
from rnntrain.cells.lstm import LSTM
from rnntrain.cells.peephole_lstm import PeepholeLSTM
from rnntrain.cells.projected_lstm import ProjectedLSTM
from rnntrain.cells.regularized_gru import RegularizedGRU
from rnntrain.cells.regularized_lstm import RegularizedLSTM
from rnntrain.cells.rnn import RNN
from rnntrain.cells.skip import Skip
from rnntrain.cells.slstm import SLSTM
from rnntrain.models.backbone import Backbone, Bidirectional
from rnntrain.native import library, recurrence

pytestmark = pytest.mark.usefixtures("_native")

CELLS: dict[str, Callable[[int, int], Recurrent]] = {
    "rnn": RNN,
    "rnn_relu": partial(RNN, nonlinearity="relu"),
    "gru": GRU,
    "gru_reset_before": partial(GRU, reset_after=False),
    "lstm": LSTM,
    "peephole_lstm": PeepholeLSTM,
    "regularized_lstm": lambda D, H: RegularizedLSTM(D, H, zoneout_cell=0.3, zoneout_hidden=0.1).eval(),
    "projected_lstm": lambda D, H: ProjectedLSTM(D, H, projection_size=(H + 1) // 2),
    "projected_lstm_narrow": lambda D, H: ProjectedLSTM(D, H, projection_size=max(1, H // 5)),
    "projected_lstm_square": lambda D, H: ProjectedLSTM(D, H, projection_size=H),
    "antisymmetric": Antisymmetric,
    "antisymmetric_gated": partial(Antisymmetric, step_size=0.4, gated=True),
    "cornn": partial(CoRNN, step_size=0.2),
    "coupled_lstm": CoupledLSTM,
    "janet": JANET,
    "leaky": Leaky,
    "leaky_relu": partial(Leaky, nonlinearity="relu", tau_max=9.0),
    "slstm": SLSTM,
    "slstm_heads": lambda D, H: SLSTM(D, 3 * max(1, H // 3), num_heads=3),
    "skip": partial(Skip, skip=3),
    "skip_long": partial(Skip, skip=11),
    "regularized_gru": lambda D, H: RegularizedGRU(D, H, zoneout=0.3).eval(),
    "layernorm_gru": LayerNormGRU,
    "layernorm_gru_eval": lambda D, H: LayerNormGRU(D, H, zoneout=0.3).eval(),
    "layernorm_lstm": LayerNormLSTM,
    "layernorm_lstm_eval": lambda D, H: LayerNormLSTM(D, H, zoneout_cell=0.7, zoneout_hidden=0.2).eval(),
}
# Its phase has no gradient and is rounded, and units that rest do not see what is not finite.
WITH_CLOCKWORK = [*CELLS, "clockwork"]
# Widths below, at and beside multiples of a vector, one row and one step, and more steps than one chunk holds.
SHAPES = {
    "small": (3, 7, 4, 5),
    "one": (1, 1, 1, 1),
    "vector": (7, 9, 16, 64),
    "odd": (13, 29, 17, 33),
    "wide": (5, 6, 40, 150),
    "long": (6, 120, 3, 120),
}


def build(name: str, D: int, H: int) -> Recurrent:
    torch.manual_seed(0)
    cell = Clockwork(D, 3 * -(-H // 3), periods=(1, 2, 4)) if name == "clockwork" else CELLS[name](D, H)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return cell


def example(cell: Recurrent, B: int, T: int) -> tuple[Tensor, Any]:
    torch.manual_seed(1)
    x_BTD = torch.randn(B, T, cell.input_size, requires_grad=True)
    return x_BTD, map_state(lambda s: torch.rand_like(s).sub_(0.5).requires_grad_(), cell.initial_state(B))


def leaves(state: Any) -> list[Tensor]:
    return [t for part in state for t in leaves(part)] if isinstance(state, tuple) else [state]


def results(cell: Recurrent, x_BTD: Tensor, state: Any, lengths_B: Tensor | None) -> list[Tensor]:
    """Return outputs, last state, and the gradients by input, state and weights."""
    y_BTH, last = cell(x_BTD, state, lengths_B)
    torch.manual_seed(2)
    outputs = [y_BTH, *leaves(last)]
    total = sum((out * torch.randn(out.shape, dtype=torch.float64).to(out.dtype)).sum() for out in outputs)
    sources = [x_BTD, *leaves(state), *cell.parameters()]
    return [*(out.detach() for out in outputs), *torch.autograd.grad(total, sources)]


def reference(cell: Recurrent, x_BTD: Tensor, state: Any, lengths_B: Tensor | None) -> list[Tensor]:
    """Return the same in float64, which only the plain path takes."""
    exact = copy.deepcopy(cell).double()
    state = map_state(lambda s: s.detach().double().requires_grad_(), state)
    found = results(exact, x_BTD.detach().double().requires_grad_(), state, lengths_B)
    return [x.float() for x in found]


def assert_close(actual: list[Tensor], expected: list[Tensor], rounding: list[Tensor] | None = None) -> None:
    """Compare results; `rounding` holds those of another way in float32, which may be as far off and no further."""
    for a, e, r in zip(actual, expected, rounding or expected, strict=True):
        if not e.numel():  # the pairs of a single unit
            continue
        # Sums over many steps round in proportion to their largest terms.
        allowed = 2e-6 * max(1.0, float(e.abs().max())) + 4 * float((r - e).abs().max())
        torch.testing.assert_close(a, e, rtol=1e-5, atol=allowed)


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize(("shape", "threads"), [*((shape, 1) for shape in SHAPES), ("one", 2), ("odd", 2)])
@pytest.mark.parametrize("name", WITH_CLOCKWORK)
def test_native_equals_plain(name: str, shape: str, threads: int, padded: bool) -> None:
    B, T, D, H = SHAPES[shape]
    torch.set_num_threads(threads)
    cell = build(name, D, H)
    x_BTD, state = example(cell, B, T)
    lengths_B = torch.tensor([(5 * b + T) % (T + 1) for b in range(B)]) if padded else None
    assert library.usable(x_BTD, *leaves(state))
    native = results(cell, x_BTD, state, lengths_B)
    library.choose("plain")
    torch.set_num_threads(1)  # what follows has many small operations
    plain = results(cell, x_BTD, state, lengths_B)
    assert_close(native, reference(cell, x_BTD, state, lengths_B), plain)


@pytest.mark.parametrize("name", WITH_CLOCKWORK)
def test_padding_is_inert_even_where_it_is_nan(name: str) -> None:
    cell = build(name, 4, 5)
    x_BTD, state = example(cell, 4, 6)
    lengths_B = torch.tensor([6, 0, 2, 5])
    valid_BT1 = length_mask(lengths_B, 6)[..., None]
    poisoned_BTD = x_BTD.detach().masked_fill(~valid_BT1, torch.nan).requires_grad_()
    found = results(cell, poisoned_BTD, state, lengths_B)
    assert all(x.isfinite().all() for x in found)
    assert not found[0].masked_select(~valid_BT1).any()
    for a, b in zip(found, results(cell, x_BTD, state, lengths_B), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", CELLS)
def test_chunks_equal_the_whole(name: str) -> None:
    cell = build(name, 4, 21)
    x_BTD, state = example(cell, 3, 10)
    with torch.no_grad():
        whole, last = cell(x_BTD, state)
        first, between = cell(x_BTD[:, :3], state)
        second, end = cell(x_BTD[:, 3:], between)
    assert torch.equal(torch.cat([first, second], 1), whole)
    assert all(torch.equal(a, b) for a, b in zip(leaves(end), leaves(last), strict=True))


@pytest.mark.parametrize("name", CELLS)
def test_steps_equal_the_sequence(name: str) -> None:
    cell = build(name, 4, 21)
    x_BTD, state = example(cell, 3, 5)
    whole, _ = cell(x_BTD, state)
    outputs = []
    for x_BD in x_BTD.unbind(1):
        y_BH, state = cell.step(x_BD, state)
        outputs.append(y_BH)
    torch.testing.assert_close(torch.stack(outputs, 1), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 3, 6, recurrence.STEP_ROWS + 1])
@pytest.mark.parametrize("name", WITH_CLOCKWORK)
def test_steps_of_sampling_equal_the_plain_path(name: str, rows: int) -> None:
    for D, H in ((4, 21), (17, 32), (1, 1)):
        cell = build(name, D, H).eval()
        x_BTD, state = example(cell, rows, 3)
        found, expected = (steps(cell, x_BTD, state, path) for path in ("native", "plain"))
        for a, e in zip(found, expected, strict=True):
            torch.testing.assert_close(a, e, rtol=1e-5, atol=3e-6)


def steps(cell: Recurrent, x_BTD: Tensor, state: Any, path: Any) -> list[Tensor]:
    library.choose(path)
    outputs = []
    with torch.no_grad():
        for x_BD in x_BTD.unbind(1):
            y_BH, state = cell.step(x_BD, state)
            outputs.append(y_BH)
    return [*outputs, *leaves(state)]


@pytest.mark.parametrize("name", WITH_CLOCKWORK)
def test_steps_of_sampling_are_kernels_and_rows_do_not_see_each_other(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "gru_reset_before":
        pytest.skip("its two products a step have no kernel of one step")
    called: list[str] = []
    original = recurrence.call
    monkeypatch.setattr(recurrence, "call", lambda kernel, *rest: called.append(kernel) or original(kernel, *rest))
    cell = build(name, 4, 21).eval()
    x_BTD, state = example(cell, 7, 1)
    with torch.no_grad():
        together, _ = cell.step(x_BTD[:, 0], state)
        alone, _ = cell.step(x_BTD[4:5, 0], map_state(lambda s: s[4:5], state))
    assert len(called) == 2
    assert all(kernel.endswith("_step") for kernel in called)
    assert torch.equal(together[4:5], alone)


@torch.no_grad()
def test_steps_of_other_types_and_shapes_take_the_plain_path() -> None:
    cell, x_BD, h_BH = GRU(4, 5), torch.randn(3, 4), torch.randn(3, 5)
    kernel = recurrence.Kernel(recurrence.GRU, *cell.gru.all_weights[0])
    assert recurrence.step(kernel, x_BD, (h_BH,)) is not None
    for x, h in (
        (x_BD.double(), h_BH),
        (x_BD, h_BH.double()),
        (x_BD[:, :3], h_BH),
        (x_BD, h_BH[:, :4]),
        (x_BD, h_BH[:2]),
    ):
        assert recurrence.step(kernel, x, (h,)) is None
    expected = cell.double().step(x_BD.double(), h_BH.double())[0]
    assert expected.dtype == torch.float64
    lstm = recurrence.Kernel(recurrence.LSTM, torch.zeros(20, 4), torch.zeros(20, 5))
    assert recurrence.step(lstm, x_BD, (h_BH, h_BH[:, :4])) is None


def test_steps_with_gradients_take_the_plain_path() -> None:
    cell, x_BD = GRU(4, 5), torch.randn(3, 4, requires_grad=True)
    y_BH, _ = cell.step(x_BD, cell.initial_state(3))
    assert torch.autograd.grad(y_BH.sum(), x_BD)[0].any()


@pytest.mark.parametrize("name", CELLS)
def test_inference_equals_training_to_the_bit(name: str) -> None:
    cell = build(name, 4, 21)
    x_BTD, state = example(cell, 3, 40)
    trained, _ = cell(x_BTD, state)
    with torch.no_grad():
        assert torch.equal(cell(x_BTD, state)[0], trained)
    with torch.inference_mode():
        assert torch.equal(cell(x_BTD, state)[0], trained)


@pytest.mark.parametrize("name", CELLS)
def test_bits_repeat_and_outputs_do_not_depend_on_threads(name: str) -> None:
    cell = build(name, 17, 33)
    x_BTD, state = example(cell, 9, 30)
    once = {}
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        once[threads] = results(cell, x_BTD, state, None)
        assert all(map(torch.equal, once[threads], results(cell, x_BTD, state, None)))
    for a, b in itertools.combinations(once.values(), 2):
        assert torch.equal(a[0], b[0])
        assert_close(a, b)


@pytest.mark.parametrize("name", CELLS)
def test_row_does_not_see_the_rest_of_its_batch(name: str) -> None:
    cell = build(name, 4, 21)
    x_BTD, state = example(cell, 9, 12)
    alone = map_state(lambda s: s[4:5], state)
    assert torch.equal(cell(x_BTD, state)[0][4:5], cell(x_BTD[4:5], alone)[0])


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", CELLS)
def test_what_is_not_finite_is_not_hidden(name: str, value: float) -> None:
    """From a NaN on, all is NaN in the plain path; an infinity saturates or spreads as there."""
    if name == "leaky_relu" and math.isinf(value):
        pytest.skip("torch.lerp makes a NaN of an infinity where the share is above one half")
    cell = build(name, 4, 21)
    x_BTD, state = example(cell, 3, 6)
    with torch.no_grad():
        x_BTD[1, 2, 3] = value
        found, _ = cell(x_BTD, state)
        library.choose("plain")
        expected, _ = cell(x_BTD, state)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("name", CELLS)
def test_gradients_reach_only_what_asks_for_them(name: str) -> None:
    cell = build(name, 4, 5)
    x_BTD, state = example(cell, 3, 6)
    whole = torch.autograd.grad(cell(x_BTD, state)[0].square().sum(), list(cell.parameters()))
    y_BTH, _ = cell(x_BTD.detach(), map_state(Tensor.detach, state))
    assert all(map(torch.equal, whole, torch.autograd.grad(y_BTH.square().sum(), list(cell.parameters()))))
    for parameter in cell.parameters():
        parameter.requires_grad_(False)
    (grad,) = torch.autograd.grad(cell(x_BTD, state)[0].square().sum(), x_BTD)
    assert grad.isfinite().all()
    assert grad.any()


@pytest.mark.parametrize("name", CELLS)
def test_only_the_last_state_can_be_asked_for(name: str) -> None:
    cell = build(name, 4, 5)
    x_BTD, state = example(cell, 3, 6)
    library.choose("plain")
    expected = torch.autograd.grad(leaves(cell(x_BTD, state)[1])[-1].sum(), x_BTD)
    library.choose("native")
    torch.testing.assert_close(torch.autograd.grad(leaves(cell(x_BTD, state)[1])[-1].sum(), x_BTD), expected)


@pytest.mark.parametrize("name", CELLS)
def test_graph_can_be_walked_twice(name: str) -> None:
    cell = build(name, 4, 5)
    x_BTD, state = example(cell, 3, 6)
    total = cell(x_BTD, state)[0].square().sum()
    first = torch.autograd.grad(total, x_BTD, retain_graph=True)
    assert torch.equal(first[0], torch.autograd.grad(total, x_BTD)[0])


@pytest.mark.parametrize("name", ["regularized_lstm", "layernorm_lstm", "regularized_gru", "layernorm_gru"])
@pytest.mark.parametrize("dropped", ["update", "state"])
def test_noise_is_drawn_as_in_the_plain_path(name: str, dropped: str) -> None:
    """A run that changes its path goes on with the same masks."""
    cls: Any = type(build(name, 4, 12))
    zoneout = {"zoneout": 0.3} if "gru" in name else {"zoneout_cell": 0.3, "zoneout_hidden": 0.2}
    cell = cls(4, 12, **zoneout, recurrent_dropout=0.5, dropped=dropped, weight_drop=0.3)
    x_BTD, state = example(cell, 3, 6)
    found = {}
    for path in ("native", "plain"):
        library.choose(path)  # type: ignore[arg-type]
        torch.manual_seed(5)
        found[path] = [*results(cell, x_BTD, state, torch.tensor([6, 0, 4]))]
    assert_close(found["native"], found["plain"])


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_stacks_of_both_directions_equal_plain(name: str) -> None:
    stack = Backbone(4, 12, CELLS[name], num_layers=2, norm=True, bidirectional=True)
    assert isinstance(stack.layers[0], Bidirectional)
    x_BTD, state = example(stack, 4, 6)
    lengths_B = torch.tensor([6, 0, 2, 5])
    found = results(stack, x_BTD, state, lengths_B)
    assert_close(found, reference(stack, x_BTD, state, lengths_B))


@pytest.mark.parametrize("layout", ["transposed", "strided"])
def test_input_and_gradient_may_lie_as_they_like(layout: str) -> None:
    cell = build("gru", 4, 5)
    x_BTD, state = example(cell, 3, 6)
    other = x_BTD.detach().transpose(0, 1).contiguous().transpose(0, 1) if layout == "transposed" else None
    if other is None:
        other = torch.zeros(3, 6, 8)[..., ::2].copy_(x_BTD.detach())
    other.requires_grad_()
    found = torch.autograd.grad(cell(other, state)[0].transpose(0, 1).sum(), other)[0]
    assert torch.equal(found, torch.autograd.grad(cell(x_BTD, state)[0].sum(), x_BTD)[0])


@pytest.mark.slow
def test_places_beyond_two_to_the_31_are_reached() -> None:
    """What is kept for the backward pass has more numbers than an int32 counts; few of them are ever touched."""
    B, H = 17, 64
    T = 2**31 // (B - 1) // (10 * H + 2) + 1
    cell = build("layernorm_lstm", 1, H)
    state = map_state(lambda s: torch.rand_like(s).requires_grad_(), cell.initial_state(B))
    lengths_B = torch.tensor([0] * (B - 1) + [3])
    try:
        x_BTD = torch.zeros(B, T, 1)
        x_BTD[-1, :3] = torch.randn(3, 1)
        y_BTH, last = cell(x_BTD, state, lengths_B)
    except RuntimeError as error:  # it asks for 9 GB of addresses and uses 1
        pytest.skip(f"no memory: {error}")
    alone = map_state(lambda s: s.detach()[-1:].requires_grad_(), state)
    expected, expected_last = cell(x_BTD[-1:, :3], alone)
    assert torch.equal(y_BTH[-1:, :3], expected)
    found = torch.autograd.grad(sum(part[-1].sum() for part in last), [*state, *cell.parameters()])
    wanted = torch.autograd.grad(sum(part.sum() for part in expected_last), [*alone, *cell.parameters()])
    assert torch.equal(found[0][-1:], wanted[0])
    for a, e in zip(found[2:], wanted[2:], strict=True):
        assert torch.equal(a, e)


# -- what the kernels leave to others ---


def test_other_types_take_the_plain_path() -> None:
    x_BTD, _ = example(build("gru", 4, 5), 3, 6)
    assert library.usable(x_BTD)
    assert not library.usable(x_BTD.double())
    assert not library.usable(x_BTD[:0])
    with torch.autocast("cpu", torch.bfloat16):
        assert not library.usable(x_BTD)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda x, h, w: (x[..., :3], h, w),
        lambda x, h, w: (x, h[:2], w),
        lambda x, h, w: (x, h[:, :4].contiguous(), w),
        lambda x, h, w: (x, h, w[:14]),
        lambda x, h, w: (x[0], h, w),
    ],
    ids=["input", "batch", "hidden", "weight", "dimensions"],
)
def test_shapes_that_do_not_fit_are_refused(break_it: Callable[..., Any]) -> None:
    cell = GRU(4, 5)
    weight_ih, weight_hh, *_ = cell.gru.all_weights[0]
    x_BTD, h_BH, weight_hh = break_it(torch.zeros(3, 6, 4), torch.zeros(3, 5), weight_hh)
    with pytest.raises(RuntimeError, match=r"shape"):
        recurrence.recur(recurrence.Kernel(recurrence.GRU, weight_ih, weight_hh), x_BTD, (h_BH,))


def test_lengths_of_another_number_of_rows_are_refused() -> None:
    with pytest.raises(RuntimeError, match="lengths"):
        GRU(4, 5)(torch.zeros(3, 6, 4), None, torch.tensor([1, 2]))


def test_clockwork_that_does_not_know_who_rests_is_refused() -> None:
    kernel = recurrence.Kernel(recurrence.CLOCKWORK, torch.zeros(5, 4), torch.zeros(5, 5))
    with pytest.raises(RuntimeError, match="which units rest"):
        recurrence.recur(kernel, torch.zeros(3, 6, 4), (torch.zeros(3, 5),))
