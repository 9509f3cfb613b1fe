"""The scan, of real and complex numbers, and the gated pool equal their equations, step by step, with gradients."""

# B batch, T time, N state, H hidden

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from rnntrain.native.pool import Candidate, pool, scan

pytestmark = pytest.mark.usefixtures("_native")


@pytest.fixture(autouse=True, params=[1, 3], ids=["1thread", "3threads"])
def _threads(_native: None, request: pytest.FixtureRequest) -> None:
    torch.set_num_threads(request.param)


def grads_of(outputs: list[Tensor], sources: list[Tensor]) -> list[Tensor]:
    torch.manual_seed(3)
    return list(torch.autograd.grad(outputs, sources, [torch.randn(y.shape, dtype=y.dtype) for y in outputs]))


def scan_by_steps(a_TBN: Tensor, b_TBN: Tensor, h_BN: Tensor) -> Tensor:
    outputs = []
    for a_BN, b_BN in zip(a_TBN.unbind(), b_TBN.unbind(), strict=True):
        h_BN = a_BN * h_BN + b_BN
        outputs.append(h_BN)
    return torch.stack(outputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=["real", "complex"])
@pytest.mark.parametrize("shared", [False, True], ids=["each step its own", "one for all steps"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (6, 2, 5), (40, 3, 64), (5, 7, 100)])
def test_scan_equals_the_steps(shape: tuple[int, int, int], shared: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    a = (0.6 * torch.randn(1 if shared else shape[0], *shape[1:], dtype=dtype)).requires_grad_()
    b, h = (torch.randn(size, dtype=dtype, requires_grad=True) for size in (shape, shape[1:]))
    found, expected = (run(a.expand(shape), b, h) for run in (scan, scan_by_steps))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grads_of([found], [a, b, h]), grads_of([expected], [a, b, h]), rtol=1e-5, atol=1e-5)


def test_scan_takes_slices_and_what_is_not_finite() -> None:
    a, b = torch.rand(9, 2, 10)[..., ::2], torch.randn(2, 9, 5).transpose(0, 1)
    b[4, 1, 2] = torch.nan
    found = scan(a, b, torch.ones(2, 5))
    torch.testing.assert_close(found, scan_by_steps(a, b, torch.ones(2, 5)), equal_nan=True)
    assert found[4:, 1, 2].isnan().all()
    assert found.isnan().sum() == 5


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RuntimeError, match="scan of"):
        scan(torch.zeros(3, 2, 5), torch.zeros(3, 2, 5), torch.zeros(2, 4))
    with pytest.raises(RuntimeError, match="pool of"):
        pool(torch.zeros(2, 3, 5), torch.zeros(2, 3, 4), torch.zeros(2, 5))
    with pytest.raises(RuntimeError, match="scan of types"):
        scan(torch.zeros(3, 2, 5), torch.zeros(3, 2, 5).double(), torch.zeros(2, 5))


def pool_by_steps(f: Tensor, v: Tensor, h: Tensor, candidate: Candidate, negate: bool) -> tuple[Tensor, Tensor]:
    outputs = []
    for f_BH, v_BH in zip(f.unbind(1), v.unbind(1), strict=True):
        keep = torch.sigmoid(-f_BH if negate else f_BH)
        fresh = {
            "linear": v_BH,
            "tanh": torch.tanh(v_BH),
            "positive": torch.where(v_BH >= 0, v_BH + 0.5, torch.sigmoid(v_BH)),
        }[candidate]
        h = keep * h + (1 - keep) * fresh
        outputs.append(h)
    return torch.stack(outputs, 1), h


@pytest.mark.parametrize("negate", [False, True])
@pytest.mark.parametrize("candidate", get_args(Candidate))
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 6, 5), (5, 300, 33)])
def test_pool_equals_the_steps(shape: tuple[int, int, int], candidate: Candidate, negate: bool) -> None:
    torch.manual_seed(0)
    B, T, H = shape
    product_BTG = torch.randn(B, T, 2 * H, requires_grad=True)
    h_BH = torch.randn(B, H, requires_grad=True)
    f, v = product_BTG.chunk(2, -1)
    found, expected = (list(run(f, v, h_BH, candidate, negate)) for run in (pool, pool_by_steps))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    sources = [product_BTG, h_BH]
    torch.testing.assert_close(grads_of(found, sources), grads_of(expected, sources), rtol=1e-5, atol=2e-6)


def test_pool_takes_time_first_slices() -> None:
    torch.manual_seed(0)
    product_TBG = torch.randn(7, 3, 12, requires_grad=True)
    f, v, _ = product_TBG.transpose(0, 1).chunk(3, -1)
    h_BH = torch.zeros(3, 4)
    found, expected = (run(f, v, h_BH, "linear", False)[0] for run in (pool, pool_by_steps))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grads_of([found], [product_TBG]), grads_of([expected], [product_TBG]))


def test_almost_closed_gate_lets_in_what_it_should() -> None:
    """σ(-30) is 9e-14, which 1 - σ(30) would round to nothing."""
    f, v, h = torch.full((1, 1, 1), 30.0), torch.full((1, 1, 1), 1e13), torch.zeros(1, 1)
    torch.testing.assert_close(pool(f, v, h)[0], torch.sigmoid(-f) * v)
