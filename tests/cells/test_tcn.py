"""The temporal convolution network: against its equations, its reach, its size."""

# B batch, T time, D input, H hidden

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rnntrain.cells.tcn import TCN

B, T, D, H = 2, 12, 3, 4


def scrambled(cell: Any) -> Any:
    cell.double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return cell


def convolved(cell: TCN, number: int, inputs: list[Tensor], t: int) -> Tensor:
    """Return filter by filter and tap by tap what a convolution gives at step t, before its relu."""
    convolution: Any = cell.convolutions[number]
    total = convolution.bias.clone()
    _, _, kernel_size = convolution.direction.shape
    for unit, v in enumerate(convolution.direction):
        weight = convolution.length[unit] * v / v.norm()
        for tap in range(kernel_size):
            past = t - tap * convolution.dilation
            if past >= 0:
                total[unit] = total[unit] + weight[:, kernel_size - 1 - tap] @ inputs[past]
    return total


@pytest.mark.parametrize("kernel_size", [1, 2, 3])
@pytest.mark.parametrize("input_size", [D, H])
@torch.no_grad()
def test_tcn_equals_its_equations(input_size: int, kernel_size: int) -> None:
    cell = scrambled(TCN(input_size, H, levels=2, kernel_size=kernel_size))
    x_BTD = torch.randn(B, T, input_size, dtype=torch.float64)
    y_BTH, _ = cell(x_BTD)
    for row in range(B):
        x = list(x_BTD[row])
        for level in range(2):
            a = [convolved(cell, 2 * level, x, t).relu() for t in range(T)]
            c = [convolved(cell, 2 * level + 1, a, t).relu() for t in range(T)]
            past = [cell.past(value) for value in x] if level == 0 else x
            x = [(one + other).relu() for one, other in zip(c, past, strict=True)]
        torch.testing.assert_close(y_BTH[row], torch.stack(x))


@pytest.mark.parametrize(("levels", "kernel_size"), [(1, 2), (2, 3), (3, 2)])
def test_a_step_sees_as_far_as_said(levels: int, kernel_size: int) -> None:
    cell = TCN(D, 32, levels, kernel_size).double()
    num_steps = 20
    x_BTD = torch.randn(1, num_steps, D, dtype=torch.float64, requires_grad=True)
    (grad_BTD,) = torch.autograd.grad(cell(x_BTD)[0][0, -1].sum(), x_BTD)
    reach = 1 + 2 * (kernel_size - 1) * (2**levels - 1)
    assert [bool(grad_TD.any()) for grad_TD in grad_BTD[0]] == [t >= num_steps - reach for t in range(num_steps)]


@pytest.mark.parametrize("input_size", [D, H])
def test_parameters_are_as_many_as_said(input_size: int) -> None:
    k, past = 3, 0 if input_size == H else input_size * H + H
    expected = H * (k * (input_size + H) + 4) + past + 2 * H * (2 * k * H + 4)
    assert sum(parameter.numel() for parameter in TCN(input_size, H, levels=3, kernel_size=k).parameters()) == expected


def test_weight_norm_starts_as_the_weights_drawn() -> None:
    convolution: Any = TCN(D, H).convolutions[0]
    torch.testing.assert_close(convolution.length, convolution.direction.flatten(1).norm(dim=1))


def test_dropout_falls_in_training_alone() -> None:
    cell = TCN(D, H, dropout=0.5)
    x_BTD = torch.randn(B, T, D)
    assert not torch.equal(cell(x_BTD)[0], cell(x_BTD)[0])
    cell.eval()
    torch.testing.assert_close(cell(x_BTD)[0], cell(x_BTD)[0], rtol=0, atol=0)
