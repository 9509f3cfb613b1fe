"""The real-gated linear recurrent unit of Griffin."""

# B batch, T time, D input, H hidden, G = 3H: recurrence gate, input gate and value

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.init import xavier_
from rnntrain.cells.scan import in_full_precision
from rnntrain.cells.scanned import Scanned
from rnntrain.native import gated
from rnntrain.ranges import PositiveInt

# The constant c of the paper: a gate of 1 forgets eight times as fast as the decay alone would.
GATE_POWER = 8.0
# Below this share of new input the square root is as good as zero, and its gradient would not be finite.
SMALLEST_SHARE = 1e-12


class RGLRU(Scanned):
    """r_t = σ(W_r x_t + b_r)
    i_t = σ(W_i x_t + b_i)
    a_t = exp(-c · softplus(Λ) ⊙ r_t),  c = 8
    h_t = a_t ⊙ h_{t-1} + √(1 - a_t²) ⊙ (i_t ⊙ (W_v x_t + b_v))

    De et al. 2024, arXiv:2402.19427, section 2.4. There the unit's input is already as wide as its state; here W_v
    brings it to that width, and all three products read x_t. The convolution and the gated branch that Griffin puts
    round the unit are not part of it.

    The state is ``h_BH`` and starts at zero. Λ starts so that a_t is U(0.9, 0.999) where r_t = 1 (their section 2.4);
    each W starts Xavier uniform and the biases zero. The logarithm of a_t is what is computed, so that 1 - a_t² keeps
    its digits where a_t is close to 1.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the state and of the output.
    """

    def __init__(self, input_size: PositiveInt, hidden_size: PositiveInt) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.from_input = nn.Linear(input_size, 3 * hidden_size)
        xavier_(self.from_input.weight, 3)
        nn.init.zeros_(self.from_input.bias)
        decay_H = -torch.empty(hidden_size).uniform_(0.9, 0.999).log() / GATE_POWER
        self.decay = nn.Parameter(torch.log(torch.expm1(decay_H)))  # the inverse of softplus

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r, i, value = in_full_precision(self.from_input(x)).chunk(3, -1)
        log_a = torch.sigmoid(r) * (-GATE_POWER * F.softplus(in_full_precision(self.decay)))
        share = torch.sqrt(-torch.expm1(2 * log_a).clamp(max=-SMALLEST_SHARE))
        return torch.exp(log_a), share * torch.sigmoid(i) * value

    def gate_values(self, x_BD: Tensor, state: Tensor) -> dict[str, Tensor]:
        r, i, _ = torch.sigmoid(in_full_precision(self.from_input(x_BD))).chunk(3, -1)
        return {"r": r, "i": i, "a": self.coefficients(x_BD)[0]}

    def kernel(self) -> gated.Kernel:
        rate_H = -GATE_POWER * F.softplus(self.decay)
        return gated.Kernel(gated.RGLRU, self.from_input.weight, self.from_input.bias, rate_H)
