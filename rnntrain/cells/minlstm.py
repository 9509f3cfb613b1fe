"""The minimal LSTM whose gates do not see the state, so that it trains in parallel over time."""

# B batch, T time, D input, H hidden, G = 3H: forget gate, input gate and candidate

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.init import fill_gate_, xavier_
from rnntrain.cells.scan import in_full_precision
from rnntrain.cells.scanned import Pooled
from rnntrain.native import gated
from rnntrain.ranges import PositiveInt


class MinLSTM(Pooled):
    """f_t = σ(W_f x_t + b_f)
    i_t = σ(W_i x_t + b_i)
    h̃_t = φ(W_h x_t + b_h)
    h_t = f_t / (f_t + i_t) ⊙ h_{t-1} + i_t / (f_t + i_t) ⊙ h̃_t

    Feng et al. 2024, arXiv:2410.01201, with the length-independent scaling of its gates and φ the identity; the
    positive φ of their scan over logarithms, x + 0.5 where x ≥ 0 and σ(x) below, is a choice. The quotients are taken
    as σ(log f_t - log i_t) and its complement, so that two closed gates are no 0 / 0.

    The state is ``h_BH`` and starts at zero. Each W starts Xavier uniform, b_f at `forget_bias`, the other biases
    zero.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the state and of the output.
        candidate: the function φ, the identity or the positive one.
        forget_bias: where b_f starts.
    """

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
        self.from_input = nn.Linear(input_size, 3 * hidden_size)
        xavier_(self.from_input.weight, 3)
        nn.init.zeros_(self.from_input.bias)
        fill_gate_(self.from_input.bias, 0, 3, forget_bias)

    def gates(self, x: Tensor) -> tuple[Tensor, ...]:
        f, i, candidate = in_full_precision(self.from_input(x)).chunk(3, -1)
        return F.logsigmoid(f) - F.logsigmoid(i), candidate

    def gate_values(self, x_BD: Tensor, state: Tensor) -> dict[str, Tensor]:
        f, i, _ = in_full_precision(self.from_input(x_BD)).chunk(3, -1)
        return {"f": torch.sigmoid(f), "i": torch.sigmoid(i)}

    def kernel(self) -> gated.Kernel:
        return gated.Kernel(gated.MINLSTM[self.candidate], self.from_input.weight, self.from_input.bias)
