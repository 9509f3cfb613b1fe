"""What cells cost, counted in operations and in numbers written, over every cell."""

# B batch, T time, D input, H hidden

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from test_contract import CELLS
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rnntrain.cells.base import Recurrent
from rnntrain.cells.projected import ProjectedCell
from rnntrain.cells.vanilla import Vanilla

B, D, H = 2, 4, 5

PROJECTED = [name for name, build in CELLS.items() if isinstance(build(D, H), ProjectedCell)]


class Cost(TorchDispatchMode):
    """Counts operations by name, and the numbers that they put out."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.names.append(str(func))
        outputs = result if isinstance(result, (list, tuple)) else [result]
        self.elements += sum(out.numel() for out in outputs if isinstance(out, Tensor))
        return result


def cost(cell: Recurrent, num_steps: int, lengths_B: Tensor | None = None) -> Cost:
    """Count a step of training."""
    x_BTD = torch.randn(B, num_steps, D, requires_grad=True)
    weights = [parameter for parameter in cell.parameters() if parameter.requires_grad]
    with Cost() as counted:
        total = cell(x_BTD, None, lengths_B)[0].square().sum()
        torch.autograd.grad(total, [x_BTD, *weights], materialize_grads=True)
    return counted


def growth(cell: Recurrent, padded: bool = False) -> float:
    """Return how much more is written in going from T = 40 to 80 than from 20 to 40: twice where cost is linear."""
    elements = [cost(cell, T, torch.tensor([T, 3]) if padded else None).elements for T in (20, 40, 80)]
    return (elements[2] - elements[1]) / (elements[1] - elements[0])


class Indexing(Vanilla):
    """The loop that everybody writes first."""

    def forward(self, x_BTD: Tensor, state: Any = None, lengths_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h_BH = self.initial_state(x_BTD.shape[0])
        outputs = []
        for t in range(x_BTD.shape[1]):
            _, h_BH = self.step(x_BTD[:, t], h_BH)
            outputs.append(h_BH)
        return torch.stack(outputs, 1), h_BH


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("name", PROJECTED)
def test_cost_grows_linearly_with_time(name: str, padded: bool) -> None:
    """Forward and backward; an index into the sequence in the loop would write all of it once more at every step."""
    assert growth(CELLS[name](D, H), padded) < 2.2


def test_the_count_tells_linear_from_quadratic() -> None:
    assert growth(Vanilla(D, H)) < 2.2
    assert growth(Indexing(D, H)) > 2.5


@pytest.mark.parametrize("name", PROJECTED)
def test_full_lengths_cost_no_masks(name: str) -> None:
    cell = CELLS[name](D, H)
    full, unpadded = (cost(cell, 20, lengths_B).names for lengths_B in (torch.full((B,), 20), None))
    look_at_lengths = ["aten.ge.Scalar", "aten.all.default", "aten._local_scalar_dense.default"]
    assert Counter(full) - Counter(look_at_lengths) == Counter(unpadded)


@pytest.mark.parametrize("name", PROJECTED)
def test_input_is_projected_once_for_all_steps(name: str) -> None:
    cell = CELLS[name](D, H)
    calls: list[tuple[int, ...]] = []
    project = cell.project
    cell.project = lambda x, weights: calls.append(x.shape) or project(x, weights)  # type: ignore[method-assign]
    cell(torch.randn(B, 7, D), None, torch.tensor([7, 2]))
    assert calls == [(7, B, D)]


@pytest.mark.parametrize("name", PROJECTED)
def test_frozen_weights_and_detached_input_need_no_gradient(name: str) -> None:
    """Every part may be cut from the gradient: the input alone, or the weights alone."""
    cell = CELLS[name](D, H)
    x_BTD = torch.randn(B, 7, D)
    cell(x_BTD)[0].sum().backward()
    for parameter in cell.parameters():
        parameter.requires_grad_(False)
    (gradient,) = torch.autograd.grad(cell(x_BTD.requires_grad_())[0].sum(), x_BTD)
    assert gradient.isfinite().all()
    assert gradient.any()
    assert not cell(x_BTD.detach())[0].requires_grad


@pytest.mark.parametrize("name", PROJECTED)
def test_a_second_backward_through_one_graph_gives_the_same(name: str) -> None:
    cell = CELLS[name](D, H)
    total = cell(torch.randn(B, 7, D))[0].square().sum()
    weights = [parameter for parameter in cell.parameters() if parameter.requires_grad]
    first = torch.autograd.grad(total, weights, retain_graph=True, materialize_grads=True)
    second = torch.autograd.grad(total, weights, materialize_grads=True)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
