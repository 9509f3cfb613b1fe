"""A gated linear recurrence whose eigenvalues may be negative, which is what counting modulo two needs."""

# B batch, T time, D input, H hidden, G = 3H: forget gate, input gate and value

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnntrain.cells.init import fill_gate_, xavier_
from rnntrain.cells.scan import in_full_precision
from rnntrain.cells.scanned import Scanned
from rnntrain.native import gated
from rnntrain.ranges import PositiveInt


class GatedLinear(Scanned):
    """a_t = 2σ(W_a x_t + b_a) - 1        with `negative`, in (-1, 1)
    a_t = σ(W_a x_t + b_a)            without, in (0, 1)
    i_t = σ(W_i x_t + b_i)
    h_t = a_t ⊙ h_{t-1} + i_t ⊙ (W_v x_t + b_v)

    The diagonal recurrence h_t = A(x_t) h_{t-1} + B(x_t) of Grazzi et al. 2024, arXiv:2411.12537. They prove
    that with eigenvalues in [0, 1] alone no such network of finite precision computes parity at every length, however
    deep, and that 2σ - 1 in place of σ is the cure: with a_t = 1 - 2x_t and the value x_t, h_t is the parity.

    The state is ``h_BH`` and starts at zero. Each W starts Xavier uniform, b_a at `forget_bias` (a_t near 0.9),
    the other biases zero.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the state and of the output.
        negative: let the eigenvalues a_t be negative.
        forget_bias: where b_a starts.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        negative: bool = True,
        forget_bias: float = 3.0,
    ) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.negative = negative
        self.from_input = nn.Linear(input_size, 3 * hidden_size)
        xavier_(self.from_input.weight, 3)
        nn.init.zeros_(self.from_input.bias)
        fill_gate_(self.from_input.bias, 0, 3, forget_bias)

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, i, value = in_full_precision(self.from_input(x)).chunk(3, -1)
        # 2σ(k) - 1 without the rounding of its difference
        a = torch.tanh(0.5 * a) if self.negative else torch.sigmoid(a)
        return a, torch.sigmoid(i) * value

    def gate_values(self, x_BD: Tensor, state: Tensor) -> dict[str, Tensor]:
        a, i, _ = torch.sigmoid(in_full_precision(self.from_input(x_BD))).chunk(3, -1)
        return {"a": a, "i": i}  # with `negative`, (a + 1) / 2

    def kernel(self) -> gated.Kernel:
        kind = gated.GATED_LINEAR_NEGATIVE if self.negative else gated.GATED_LINEAR
        return gated.Kernel(kind, self.from_input.weight, self.from_input.bias)
