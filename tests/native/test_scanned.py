"""Recurrences whose gates read the input alone equal their plain path through the kernels, whole and in blocks."""

# B batch, T time, D input, H hidden

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from rnntrain.batch import length_mask
from rnntrain.cells import scanned
from rnntrain.cells.base import Recurrent
from rnntrain.cells.gated_linear import GatedLinear
from rnntrain.cells.indrnn import IndRNN
from rnntrain.cells.lru import LRU
from rnntrain.cells.mingru import MinGRU
from rnntrain.cells.minlstm import MinLSTM
from rnntrain.cells.qrnn import QRNN
from rnntrain.cells.rglru import RGLRU
from rnntrain.cells.scanned import Scanned
from rnntrain.cells.sru import SRU
from rnntrain.native import gated, library, lru
from rnntrain.native import scan as native_scan

pytestmark = pytest.mark.usefixtures("_native")

CELLS: dict[str, Callable[[int, int], Recurrent]] = {
    "mingru": MinGRU,
    "mingru_positive": partial(MinGRU, candidate="positive"),
    "minlstm": MinLSTM,
    "minlstm_positive": partial(MinLSTM, candidate="positive"),
    "sru": SRU,
    "sru_equal_widths": lambda D, _: SRU(D, D),
    "qrnn": QRNN,
    "qrnn_wide_window": partial(QRNN, window=4),
    "gated_linear": GatedLinear,
    "gated_linear_positive": partial(GatedLinear, negative=False),
    "rglru": RGLRU,
    "lru": LRU,
    "lru_real": partial(LRU, eigenvalues="real"),
    "indrnn": IndRNN,
    "indrnn_bounded": partial(IndRNN, nonlinearity="tanh", t_max=6),
}
SHAPES = {
    "small": (3, 7, 4, 5),
    "one": (1, 1, 1, 1),
    "odd": (5, 29, 17, 33),
    "long": (2, 300, 3, 20),
    "wide": (3, 9, 40, 150),
}


def results(cell: Recurrent, x_BTD: Tensor, lengths_B: Tensor | None) -> list[Tensor]:
    torch.manual_seed(2)
    state = cell.initial_state(len(x_BTD))
    parts = state if isinstance(state, tuple) else (state,)
    given = [torch.randn_like(part).requires_grad_() for part in parts]
    y_BTH, last = cell(x_BTD, tuple(given) if isinstance(state, tuple) else given[0], lengths_B)
    outputs = [y_BTH, *(last if isinstance(last, tuple) else (last,))]
    total = sum((out * torch.randn(out.shape)).sum() for out in outputs)
    grads = torch.autograd.grad(total, [x_BTD, *given, *cell.parameters()])
    return [*(out.detach() for out in outputs), *grads]


def assert_close(actual: list[Tensor], expected: list[Tensor]) -> None:
    for a, e in zip(actual, expected, strict=True):
        # Sums over many steps round in proportion to their largest terms.
        largest = float(e.abs().max()) if e.numel() else 1.0
        torch.testing.assert_close(a, e, rtol=1e-4, atol=1e-5 * max(1.0, largest))


def build(name: str, D: int, H: int) -> Recurrent:
    torch.manual_seed(0)
    cell = CELLS[name](D, H)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return cell


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize(("shape", "threads"), [*((shape, 1) for shape in SHAPES), ("one", 2), ("odd", 2)])
@pytest.mark.parametrize("name", CELLS)
def test_native_equals_plain(name: str, shape: str, threads: int, padded: bool) -> None:
    B, T, D, H = SHAPES[shape]
    torch.set_num_threads(threads)
    cell = build(name, D, H)
    x_BTD = torch.randn(B, T, D, requires_grad=True)
    lengths_B = torch.tensor([(5 * b + T) % (T + 1) for b in range(B)]) if padded else None
    found = results(cell, x_BTD, lengths_B)
    library.choose("plain")
    torch.set_num_threads(1)
    assert_close(found, results(cell, x_BTD, lengths_B))


@pytest.mark.parametrize("name", [name for name in CELLS if not name.startswith("lru")])
def test_steps_of_sampling_are_kernels_and_equal_the_plain_path(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    original = gated.call
    monkeypatch.setattr(gated, "call", lambda kernel, *rest: called.append(kernel) or original(kernel, *rest))
    for D, H in ((4, 21), (17, 32), (1, 1)):
        cell, x_BTD, found = build(name, D, H), torch.randn(7, 3, D), {}
        for path in ("native", "plain"):
            library.choose(path)  # type: ignore[arg-type]
            state, outputs = cell.initial_state(7), []
            with torch.no_grad():
                for x_BD in x_BTD.unbind(1):
                    y_BH, state = cell.step(x_BD, state)
                    outputs.append(y_BH)
            found[path] = [*outputs, *(state if isinstance(state, tuple) else (state,))]
        assert_close(found["native"], found["plain"])
    assert len(called) == 9
    assert all(kernel.endswith("_step") for kernel in called)


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("name", ["lru", "mingru"])
def test_blocks_equal_the_whole(name: str, padded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    B, T, D, H = SHAPES["odd"]
    cell = build(name, D, H)
    x_BTD = torch.randn(B, T, D, requires_grad=True)
    lengths_B = torch.tensor([(5 * b + T) % (T + 1) for b in range(B)]) if padded else None
    library.choose("plain")
    whole = results(cell, x_BTD, lengths_B)
    monkeypatch.setattr(scanned, "LARGE_SEQUENCE", 0)
    monkeypatch.setattr(scanned, "BLOCK", 5 * B * H)
    assert_close(results(cell, x_BTD, lengths_B), whole)


@pytest.mark.parametrize("name", CELLS)
def test_the_kernel_is_taken_where_there_is_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    for module in (gated, lru):
        original: Any = module.run
        monkeypatch.setattr(module, "run", lambda *a, o=original, **kw: called.append("run") or o(*a, **kw))
    CELLS[name](4, 6)(torch.randn(2, 5, 4))
    assert called == ["run"]


@pytest.mark.parametrize("name", CELLS)
def test_padding_is_inert_even_where_it_is_nan(name: str) -> None:
    cell = build(name, 4, 5)
    x_BTD, lengths_B = torch.randn(4, 6, 4, requires_grad=True), torch.tensor([6, 0, 2, 5])
    valid_BT1 = length_mask(lengths_B, 6)[..., None]
    poisoned_BTD = x_BTD.detach().masked_fill(~valid_BT1, torch.nan).requires_grad_()
    found = results(cell, poisoned_BTD, lengths_B)
    assert not found[0].masked_select(~valid_BT1).any()
    # Where a row is shorter than the window, inputs from before the sequence are carried on, and they are not padding.
    assert all(map(torch.equal, found, results(cell, x_BTD, lengths_B)))


@pytest.mark.parametrize("name", CELLS)
def test_what_is_not_finite_is_not_hidden(name: str) -> None:
    cell = build(name, 4, 5)
    for value in (torch.nan, torch.inf, -torch.inf):
        x_BTD = torch.randn(3, 6, 4)
        x_BTD[1, 2, 3] = value
        with torch.no_grad():
            library.choose("native")
            found, _ = cell(x_BTD)
            library.choose("plain")
            expected, _ = cell(x_BTD)
        assert torch.equal(found.isfinite(), expected.isfinite())


@pytest.mark.parametrize("name", CELLS)
def test_bits_repeat_and_outputs_do_not_depend_on_threads_or_batch(name: str) -> None:
    cell = build(name, 17, 33)
    x_BTD = torch.randn(9, 30, 17, requires_grad=True)
    outputs = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        first = results(cell, x_BTD, None)
        assert all(map(torch.equal, first, results(cell, x_BTD, None)))
        outputs.append(first[0])
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
    assert torch.equal(cell(x_BTD)[0][4:5], cell(x_BTD[4:5])[0])


@pytest.mark.parametrize("name", CELLS)
def test_gradients_reach_only_what_asks_for_them(name: str) -> None:
    cell = build(name, 4, 5)
    x_BTD = torch.randn(3, 6, 4, requires_grad=True)
    weights = list(cell.parameters())
    whole = torch.autograd.grad(cell(x_BTD)[0].square().sum(), weights)
    alone = torch.autograd.grad(cell(x_BTD.detach())[0].square().sum(), weights)
    for a, b in zip(alone, whole, strict=True):
        torch.testing.assert_close(a, b)
    for weight in weights:
        weight.requires_grad_(False)
    (grad,) = torch.autograd.grad(cell(x_BTD)[0].square().sum(), x_BTD)
    assert grad.isfinite().all()
    assert grad.any()


def test_almost_closed_gate_lets_in_what_it_should() -> None:
    """σ(-30) is 9e-14, which 1 - σ(30) would round to nothing."""
    weight, bias = torch.tensor([[0.0], [1.0]]), torch.tensor([-30.0, 0.0])
    kernel = gated.Kernel(gated.MINGRU["linear"], weight, bias)
    y_BTH, _ = gated.run(kernel, torch.full((1, 1, 1), 1e13), torch.zeros(1, 1))
    torch.testing.assert_close(y_BTH[0, 0, 0], torch.sigmoid(torch.tensor(-30.0)) * 1e13)


@pytest.mark.parametrize(("f", "i"), [(-100.0, -90.0), (-1e4, -1e4), (90.0, -100.0), (-3.0, 200.0)])
def test_minlstm_of_closed_gates_is_their_quotient(f: float, i: float) -> None:
    cell, x_BTD = MinLSTM(1, 1), torch.zeros(1, 1, 1)
    with torch.no_grad():
        cell.from_input.bias.copy_(torch.tensor([f, i, 2.0]))
        found, _ = cell(x_BTD, torch.ones(1, 1))
        library.choose("plain")
        torch.testing.assert_close(found, cell(x_BTD, torch.ones(1, 1))[0])


def test_shapes_that_do_not_fit_are_refused() -> None:
    x_BTD, h_BH, weight, bias = torch.zeros(3, 6, 4), torch.zeros(3, 5), torch.zeros(10, 4), torch.zeros(10)
    kernel = gated.Kernel(gated.MINGRU["linear"], weight, bias)
    for x, h, weights in (
        (x_BTD[..., :3], h_BH, kernel),
        (x_BTD, h_BH[:2], kernel),
        (x_BTD, h_BH, kernel._replace(weight_GE=weight[:8])),
        (x_BTD, h_BH, kernel._replace(bias_G=bias[:8])),
        (x_BTD[0], h_BH, kernel),
    ):
        with pytest.raises(RuntimeError, match="shape"):
            gated.run(weights, x, h)
    with pytest.raises(RuntimeError, match="lengths"):
        gated.run(kernel, x_BTD, h_BH, lengths_B=torch.tensor([1]))
    with pytest.raises(RuntimeError, match="needs its options"):
        gated.run(gated.Kernel(gated.RGLRU, torch.zeros(15, 4)), x_BTD, h_BH)


@pytest.mark.parametrize("change", ["x", "state", "to_state_PD", "eigenvalues_P", "glu_GH", "lengths"])
def test_unit_of_other_shapes_is_refused(change: str) -> None:
    cell, x_BTD, s_BP = LRU(4, 5), torch.zeros(3, 6, 4), torch.zeros(3, 10)
    weights, lengths_B = cell._native_weights(), torch.tensor([1] if change == "lengths" else [1, 2, 3])
    if change in weights._fields:
        weights = weights._replace(**{change: getattr(weights, change)[:-1]})
    x_BTD = x_BTD[..., :3] if change == "x" else x_BTD
    with pytest.raises(RuntimeError, match=r"shape"):
        lru.run(x_BTD, s_BP[:2] if change == "state" else s_BP, weights, lengths_B)


class Plain(Scanned):
    """A cell of one's own: h_t = σ(w) ⊙ h_{t-1} + x_t."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.input_size = self.output_size = size
        self.weight = torch.nn.Parameter(torch.randn(size))

    def coefficients(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.sigmoid(self.weight).expand_as(x), x


def test_cell_without_a_kernel_of_its_own_is_scanned_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    original = native_scan.scan
    monkeypatch.setattr(native_scan, "scan", lambda *a: called.append("scan") or original(*a))
    cell, x_BTD = Plain(5), torch.randn(3, 7, 5, requires_grad=True)
    found = results(cell, x_BTD, torch.tensor([7, 0, 3]))
    assert called == ["scan"]
    library.choose("plain")
    assert_close(found, results(cell, x_BTD, torch.tensor([7, 0, 3])))
