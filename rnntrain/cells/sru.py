"""The simple recurrent unit: gates from the input, and a highway past the recurrence."""

# B batch, T time, D input, H hidden, G = 3H or 4H: candidate, forget gate, reset gate; the highway where D and H differ

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.init import fill_gate_, xavier_
from rnntrain.cells.scan import in_full_precision
from rnntrain.cells.scanned import Pooled
from rnntrain.native import gated
from rnntrain.ranges import PositiveInt


class SRU(Pooled):
    """f_t = σ(W_f x_t + b_f)
    r_t = σ(W_r x_t + b_r)
    c_t = f_t ⊙ c_{t-1} + (1 - f_t) ⊙ (W_c x_t)
    h_t = r_t ⊙ c_t + (1 - r_t) ⊙ α x_t

    Lei et al. 2018, arXiv:1709.02755, without the vectors by which its last version lets the gates see
    c_{t-1}: without them, as in its earlier versions, the recurrence is linear and all gates are computed at once.
    The highway is α W_x x_t where the input is not as wide as the output.

    The state is ``c_BH`` and starts at zero. The scale α = √3 keeps the variance of the highway (in their
    initialisation √(1 + 2 exp(b_r)), for b_r = 0). Each W starts Xavier uniform, b_f at `forget_bias`, b_r zero.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the state and of the output.
        forget_bias: where b_f starts.
    """

    HIGHWAY_SCALE = math.sqrt(3)

    def __init__(self, input_size: PositiveInt, hidden_size: PositiveInt, forget_bias: float = 1.0) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        num_blocks = 3 if input_size == hidden_size else 4
        self.from_input = nn.Linear(input_size, num_blocks * hidden_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(2 * hidden_size))
        xavier_(self.from_input.weight, num_blocks)
        fill_gate_(self.bias, 0, 2, forget_bias)

    def gates(self, x: Tensor) -> tuple[Tensor, ...]:
        candidate, f, r, *highway = in_full_precision(self.from_input(x)).split(self.output_size, -1)
        bias_f, bias_r = in_full_precision(self.bias).chunk(2)
        return f + bias_f, candidate, r + bias_r, highway[0] if highway else in_full_precision(x)

    def readout(self, h: Tensor, *rest: Tensor) -> Tensor:
        r, highway = rest
        return torch.lerp(self.HIGHWAY_SCALE * highway, h, torch.sigmoid(r))

    def gate_values(self, x_BD: Tensor, state: Tensor) -> dict[str, Tensor]:
        f, _, r, _ = self.gates(x_BD)
        return {"f": torch.sigmoid(f), "r": torch.sigmoid(r)}

    def kernel(self) -> gated.Kernel:
        H, num_blocks = self.output_size, len(self.from_input.weight) // self.output_size
        bias_G = F.pad(self.bias, (H, (num_blocks - 3) * H))
        return gated.Kernel(gated.SRU if num_blocks == 3 else gated.SRU_PROJECTED, self.from_input.weight, bias_G)
