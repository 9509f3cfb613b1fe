"""The linear scan: against a plain loop, at the edges of its domain, and run in blocks of time."""

# B batch, T time, D input, N state

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rnntrain.cells import scan as scans
from rnntrain.cells import scanned
from rnntrain.cells.gated_linear import GatedLinear
from rnntrain.cells.lru import LRU
from rnntrain.cells.mingru import MinGRU
from rnntrain.cells.qrnn import QRNN
from rnntrain.cells.scan import scan
from rnntrain.cells.scanned import Scanned
from rnntrain.cells.sru import SRU

B, N = 2, 3
LENGTHS_OF_TIME = (1, 2, 3, 47, 48, 49, 50, 97, 200)
SCANNED: dict[str, type[Scanned]] = {"mingru": MinGRU, "sru": SRU, "qrnn": QRNN, "lru": LRU, "gated": GatedLinear}


def plain(a_TBN: Tensor, b_TBN: Tensor, h_BN: Tensor) -> Tensor:
    states = []
    for a_BN, b_BN in zip(a_TBN, b_TBN, strict=True):
        h_BN = a_BN * h_BN + b_BN
        states.append(h_BN)
    return torch.stack(states)


def example(num_steps: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    a_TBN = torch.rand(num_steps, B, N, dtype=dtype) * 2 - 1
    return a_TBN.requires_grad_(), torch.randn_like(a_TBN).requires_grad_(), torch.randn_like(a_TBN[0]).requires_grad_()


@pytest.fixture(params=["pairs", "steps"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in which a scan may run."""
    monkeypatch.setattr(scans, "SMALL_STEP", 10**9 if request.param == "pairs" else 0)
    return str(request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("num_steps", LENGTHS_OF_TIME)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_scan_equals_a_loop_with_gradients(num_steps: int, dtype: torch.dtype) -> None:
    sources = example(num_steps, dtype)
    found, expected = scan(*sources), plain(*sources)
    torch.testing.assert_close(found, expected)
    weight_TBN = torch.randn_like(expected)
    grads = torch.autograd.grad(found, sources, weight_TBN)
    torch.testing.assert_close(grads, torch.autograd.grad(expected, sources, weight_TBN))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("num_steps", [1, 5, 60])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_scan_passes_gradcheck(num_steps: int, dtype: torch.dtype) -> None:
    assert torch.autograd.gradcheck(scan, example(num_steps, dtype), fast_mode=True)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("factor", [0.0, -0.0, 1e-38, 1.0, -1.0, 0.5])
def test_no_factor_breaks_the_scan(factor: float) -> None:
    """Cumulative products of 1e-38 or 0.5 underflow, and a zero or a negative factor has no logarithm."""
    b_TBN = torch.ones(4000, B, N, requires_grad=True)
    a_TBN = torch.full_like(b_TBN, factor).detach().requires_grad_()
    h_TBN = scan(a_TBN, b_TBN, torch.full((B, N), 2.0))
    torch.testing.assert_close(h_TBN, plain(a_TBN, b_TBN, torch.full((B, N), 2.0)))
    grads = torch.autograd.grad(h_TBN.sum(), (a_TBN, b_TBN))
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.usefixtures("way")
def test_a_reset_within_the_sequence_cuts_the_past_exactly() -> None:
    a_TBN, b_TBN, h_BN = (tensor.detach() for tensor in example(100))
    a_TBN[60] = 0
    torch.testing.assert_close(scan(a_TBN, b_TBN, h_BN)[60], b_TBN[60], rtol=0, atol=0)


def test_an_expanded_factor_gets_the_sum_of_its_gradients() -> None:
    a_N = torch.rand(N, dtype=torch.float64, requires_grad=True)
    _, b_TBN, h_BN = example(60)
    (found,) = torch.autograd.grad(scan(a_N.expand_as(b_TBN), b_TBN, h_BN).sum(), a_N)
    (expected,) = torch.autograd.grad(plain(a_N.expand_as(b_TBN), b_TBN, h_BN).sum(), a_N)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_scanned_in_float32(dtype: torch.dtype) -> None:
    """1/1000 a step is lost beside 1 in bfloat16: the sum would stop growing."""
    a_TBN = torch.ones(1000, 1, 1, dtype=dtype)
    h_TBN = scan(a_TBN, torch.full_like(a_TBN, 2**-10), a_TBN.new_zeros(1, 1))
    assert h_TBN.dtype == torch.float32
    assert h_TBN[-1].item() == 1000 * 2**-10


@pytest.mark.parametrize("name", SCANNED)
def test_half_precision_weights_keep_their_type(name: str) -> None:
    cell = SCANNED[name](4, 6).to(torch.bfloat16)
    x_BTD = torch.randn(B, 5, 4, dtype=torch.bfloat16)
    y_BTH, state = cell(x_BTD)
    y_BH, stepped = cell.step(x_BTD[:, 0], state)
    parts = [part for one in (state, stepped) for part in (one if isinstance(one, tuple) else (one,))]
    assert all(tensor.dtype == torch.bfloat16 for tensor in (y_BTH, y_BH, *parts))


@pytest.mark.parametrize("num_steps", [1, 7, 70])
@pytest.mark.parametrize("name", SCANNED)
def test_steps_chunks_and_whole_agree_from_any_state(name: str, num_steps: int) -> None:
    """A known public minGRU drops the initial state from its parallel form but for the first step."""
    cell = SCANNED[name](4, 6).double()
    x_BTD = torch.randn(B, num_steps, 4, dtype=torch.float64)
    state = _random_state(cell)
    whole = cell(x_BTD, state)
    chunks, chunk_state = [], state
    for chunk_BTD in x_BTD.split(3, 1):
        y_BTH, chunk_state = cell(chunk_BTD, chunk_state)
        chunks.append(y_BTH)
    steps, step_state = [], state
    for x_BD in x_BTD.unbind(1):
        y_BH, step_state = cell.step(x_BD, step_state)
        steps.append(y_BH)
    torch.testing.assert_close((torch.cat(chunks, 1), chunk_state), whole)
    torch.testing.assert_close((torch.stack(steps, 1), step_state), whole)
    reached = min(num_steps, 4) - 1
    assert not torch.allclose(cell(x_BTD)[0][:, reached], whole[0][:, reached], atol=1e-6)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("name", SCANNED)
def test_blocks_of_time_change_nothing(
    name: str, frozen: bool, autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = SCANNED[name](4, 6)
    next(cell.parameters()).requires_grad_(not frozen)
    x_BTD = torch.randn(B, 23, 4, requires_grad=not frozen)
    state = _random_state(cell)
    lengths_B = torch.tensor([23, 11])

    def run() -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y_BTH, last = cell(x_BTD, state, lengths_B)
        first_part = last[0] if isinstance(last, tuple) else last
        total = y_BTH.square().sum() + first_part.sin().sum()
        sources = [source for source in (x_BTD, *cell.parameters()) if source.requires_grad]
        return y_BTH, last, torch.autograd.grad(total, sources)

    whole = run()
    monkeypatch.setattr(scanned, "LARGE_SEQUENCE", 0)
    monkeypatch.setattr(scanned, "BLOCK", 5 * B * 6)
    torch.testing.assert_close(run(), whole, **({"rtol": 5e-2, "atol": 5e-2} if autocast else {}))


def test_blocks_of_time_keep_little_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanned, "LARGE_SEQUENCE", 0)
    monkeypatch.setattr(scanned, "BLOCK", 5 * B * 6)
    cell = MinGRU(4, 6)
    x_BTD = torch.randn(B, 50, 4)
    saved: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        cell(x_BTD)
    weights = sum(parameter.numel() for parameter in cell.parameters())
    assert sum(saved) <= x_BTD.numel() + B * 50 * 6 + B * 6 + weights


def _random_state(cell: Scanned) -> Any:
    state = cell.initial_state(B)
    return tuple(torch.randn_like(part) for part in state) if isinstance(state, tuple) else torch.randn_like(state)
