"""How the weights of a recurrence start."""

# H hidden, D input, G = number of gates · H

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

Init: TypeAlias = Literal["orthogonal", "uniform"]


def initialize(init: Init, weight_GD: Tensor, weight_GH: Tensor, *biases_G: Tensor) -> None:
    """Fill the weights of one recurrence: input weights, recurrent weights, and any number of biases.

    - ``orthogonal``: each gate's recurrent block is orthogonal, its input block Xavier uniform, its biases 0.
    - ``uniform``: all are U(-1/√H, 1/√H), as PyTorch's own recurrent modules start; to compare with them.
    """
    if init == "orthogonal":
        num_gates = weight_GH.shape[0] // weight_GH.shape[1]
        xavier_(weight_GD, num_gates)
        orthogonal_(weight_GH, num_gates)
        for bias_G in biases_G:
            nn.init.zeros_(bias_G)
    else:
        for weight in (weight_GD, weight_GH, *biases_G):
            uniform_(weight, weight_GH.shape[1])


@torch.no_grad()
def orthogonal_(weight_GH: Tensor, num_gates: int = 1) -> None:
    """Fill each gate's block with an orthogonal matrix (Saxe et al. 2014, arXiv:1312.6120).

    Block by block: in a tall matrix of all gates the columns would be orthogonal as a whole, and each of its
    square blocks would shrink the state by about the square root of the number of gates.
    """
    for block_HH in weight_GH.chunk(num_gates):
        nn.init.orthogonal_(block_HH)


@torch.no_grad()
def xavier_(weight_GD: Tensor, num_gates: int = 1) -> None:
    """Fill each gate's block with U(-a, a), a = √(6 / (D + H)) (Glorot and Bengio 2010, eq. 16)."""
    for block_HD in weight_GD.chunk(num_gates):
        nn.init.xavier_uniform_(block_HD)


@torch.no_grad()
def uniform_(weight: Tensor, hidden_size: int) -> None:
    """Fill with U(-1/√H, 1/√H)."""
    nn.init.uniform_(weight, -(hidden_size**-0.5), hidden_size**-0.5)


@torch.no_grad()
def fill_gate_(bias_G: Tensor, gate: int, num_gates: int, value: float) -> None:
    """Set the bias of one gate, such as the forget gate of an LSTM."""
    bias_G.chunk(num_gates)[gate].fill_(value)
