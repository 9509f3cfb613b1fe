"""How the weights of a recurrence start."""

# H hidden, D input, G = number of gates · H

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from rnntrain.errors import UserError

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
    """Fill each gate's block with U(-a, a), a = √(6 / (D + H)): the normalised start of Glorot and Bengio 2010."""
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


@torch.no_grad()
def start_memory_(
    biases_G: tuple[Tensor, ...],
    forget: int,
    num_gates: int,
    *,
    write: int | None = None,
    forget_bias: float | None = None,
    t_max: int | None = None,
    uniform_gates: bool = False,
) -> None:
    """Set where the forget gate starts, and with it how long each unit remembers at first.

    - `t_max`, chrono initialisation (Tallec and Ollivier 2018, arXiv:1804.11188): ``b ~ log U(1, t_max - 1)``,
      so that the units' time scales spread over up to `t_max` steps.
    - `uniform_gates` (Gu et al. 2020, arXiv:1910.09890): ``b = -log(1/u - 1)``, ``u ~ U(1/H, 1 - 1/H)``,
      so that the gate's activation is uniform and the time scales spread without a length to know.
    - else `forget_bias` for all units, or what is there where it is None.

    The first two set the write gate's bias to -b, so that a unit takes in no more than it lets go.

    Args:
        biases_G: the bias, and a redundant second one, if any, that is set to zero in the gates concerned.
        forget: number of the gate that keeps the state.
        num_gates: number of gates in a bias.
        write: number of the gate that lets the input in; None where the cell has none.

    Raises:
        UserError: if both `t_max` and `uniform_gates` are given.
    """
    bias_G, *redundant = biases_G
    hidden_size = bias_G.shape[0] // num_gates
    if t_max is not None and uniform_gates:
        raise UserError(
            f"model.cell.t_max={t_max} and model.cell.uniform_gates=true: both say where the gates start; leave out one"
        )
    if t_max is not None:
        start_H = bias_G.new_empty(hidden_size).uniform_(1, t_max - 1).log_()
    elif uniform_gates:
        low = min(1 / hidden_size, 0.5)
        start_H = bias_G.new_empty(hidden_size).uniform_(low, 1 - low).logit_()
    elif forget_bias is not None:
        start_H, write = bias_G.new_full((hidden_size,), forget_bias), None
    else:
        return
    bias_G.chunk(num_gates)[forget].copy_(start_H)
    if write is not None:
        bias_G.chunk(num_gates)[write].copy_(-start_H)
    for other_G in redundant:
        for gate in {forget, forget if write is None else write}:
            fill_gate_(other_G, gate, num_gates, 0.0)
