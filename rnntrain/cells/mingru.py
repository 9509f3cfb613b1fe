"""The minimal gated unit whose gate does not see the state: a GRU that trains in parallel over time."""

# B batch, T time, D input, H hidden, G = 2H: update gate and candidate

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from rnntrain.cells.init import fill_gate_, xavier_
from rnntrain.cells.scan import in_full_precision
from rnntrain.cells.scanned import Pooled
from rnntrain.native import gated
from rnntrain.ranges import PositiveInt


class MinGRU(Pooled):
    """z_t = σ(W_z x_t + b_z)
    h̃_t = φ(W_h x_t + b_h)
    h_t = (1 - z_t) ⊙ h_{t-1} + z_t ⊙ h̃_t

    Feng et al. 2024, arXiv:2410.01201, with φ the identity. Their scan over logarithms needs a
    positive candidate, φ(x) = x + 0.5 where x ≥ 0 and σ(x) below; here that is a choice.

    The state is ``h_BH`` and starts at zero. Each W starts Xavier uniform, b_h zero and b_z at `-forget_bias`,
    so that h outlives the first steps.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the state and of the output.
        candidate: the function φ, the identity or the positive one.
        forget_bias: where -b_z starts.
    """

    negate = True

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        candidate: Literal["linear", "positive"] = "linear",
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.candidate: Literal["linear", "positive"] = candidate
        self.from_input = nn.Linear(input_size, 2 * hidden_size)
        xavier_(self.from_input.weight, 2)
        nn.init.zeros_(self.from_input.bias)
        fill_gate_(self.from_input.bias, 0, 2, -forget_bias)

    def gates(self, x: Tensor) -> tuple[Tensor, ...]:
        return in_full_precision(self.from_input(x)).chunk(2, -1)

    def gate_values(self, x_BD: Tensor, state: Tensor) -> dict[str, Tensor]:
        z, _ = self.gates(x_BD)
        return {"z": torch.sigmoid(z)}

    def kernel(self) -> gated.Kernel:
        return gated.Kernel(gated.MINGRU[self.candidate], self.from_input.weight, self.from_input.bias)
