"""Recurrences that scan or pool through the kernels equal their plain path, whole and in blocks of time."""

# B batch, T time, D input, H hidden

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from rnntrain.cells import scanned
from rnntrain.cells.gated_linear import GatedLinear
from rnntrain.cells.lru import LRU
from rnntrain.cells.mingru import MinGRU
from rnntrain.cells.minlstm import MinLSTM
from rnntrain.cells.qrnn import QRNN
from rnntrain.cells.rglru import RGLRU
from rnntrain.cells.scanned import Scanned
from rnntrain.cells.sru import SRU
from rnntrain.native import library, pool

pytestmark = pytest.mark.usefixtures("_native")

CELLS: dict[str, Callable[[int, int], Scanned]] = {
    "mingru": MinGRU,
    "mingru_positive": partial(MinGRU, candidate="positive"),
    "minlstm": MinLSTM,
    "sru": SRU,
    "qrnn": QRNN,
    "gated_linear": GatedLinear,
    "rglru": RGLRU,
    "lru": LRU,
    "lru_real": partial(LRU, eigenvalues="real"),
}
SHAPES = {"small": (3, 7, 4, 5), "one": (1, 1, 1, 1), "odd": (5, 29, 17, 33), "long": (2, 300, 3, 20)}


def results(cell: Scanned, x_BTD: Tensor, lengths_B: Tensor | None) -> list[Tensor]:
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


@pytest.mark.parametrize("in_blocks", [False, True], ids=["whole", "blocks"])
@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CELLS)
def test_native_equals_plain(
    name: str, shape: str, padded: bool, in_blocks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    B, T, D, H = SHAPES[shape]
    cell = CELLS[name](D, H)
    x_BTD = torch.randn(B, T, D, requires_grad=True)
    lengths_B = torch.tensor([(5 * b + T) % (T + 1) for b in range(B)]) if padded else None
    if in_blocks:
        monkeypatch.setattr(scanned, "LARGE_SEQUENCE", 0)
        monkeypatch.setattr(scanned, "BLOCK", 5 * B * H)
    found = results(cell, x_BTD, lengths_B)
    library.choose("plain")
    monkeypatch.undo()
    assert_close(found, results(cell, x_BTD, lengths_B))


@pytest.mark.parametrize("name", CELLS)
def test_the_kernel_is_taken_where_there_is_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    for kernel in ("pool", "scan"):
        original: Any = getattr(pool, kernel)
        monkeypatch.setattr(pool, kernel, lambda *a, o=original, k=kernel: called.append(k) or o(*a))
    CELLS[name](4, 6)(torch.randn(2, 5, 4))
    pooled = name in ("mingru", "mingru_positive", "minlstm", "sru", "qrnn")
    assert called == ["pool" if pooled else "scan"]
