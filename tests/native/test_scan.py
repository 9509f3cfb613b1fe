"""The scan of real and complex numbers equals its equation, step by step, with gradients."""

# B batch, T time, N state

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rnntrain.native.scan import scan

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
    with pytest.raises(RuntimeError, match="scan of types"):
        scan(torch.zeros(3, 2, 5), torch.zeros(3, 2, 5).double(), torch.zeros(2, 5))
