"""The quasi-recurrent network: convolutions over time, and a pooling that is all its recurrence."""

# B batch, T time, D input, W window, H hidden, G = 3H: candidate, forget and output gate

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnntrain.cells.base import last_valid, zero_padding
from rnntrain.cells.history import last_inputs, with_history
from rnntrain.cells.init import fill_gate_, xavier_
from rnntrain.cells.scan import in_full_precision
from rnntrain.cells.scanned import Pooled
from rnntrain.native import gated, library
from rnntrain.ranges import PositiveInt


class QRNN(Pooled):
    """z_t = tanh(W_z [x_{t-w+1}, …, x_t] + b_z)
    f_t = σ(W_f [x_{t-w+1}, …, x_t] + b_f)
    o_t = σ(W_o [x_{t-w+1}, …, x_t] + b_o)
    c_t = f_t ⊙ c_{t-1} + (1 - f_t) ⊙ z_t
    h_t = o_t ⊙ c_t

    Bradbury et al. 2017, arXiv:1611.01576, with fo-pooling.

    The state is the tuple ``(c_BH, x_BWD)`` of the pool and the last w - 1 inputs, and starts at zero. Each W starts
    Xavier uniform, b_f at `forget_bias`, the other biases zero.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the state and of the output.
        window: inputs w that the gates see, the present one included.
        forget_bias: where b_f starts.
    """

    candidate = "tanh"

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        window: PositiveInt = 2,
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.window = window
        self.from_input = nn.Linear(window * input_size, 3 * hidden_size)
        xavier_(self.from_input.weight, 3)
        nn.init.zeros_(self.from_input.bias)
        fill_gate_(self.from_input.bias, 1, 3, forget_bias)

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        c_BH = self.from_input.weight.new_zeros(batch_size, self.output_size)
        return c_BH, c_BH.new_zeros(batch_size, self.window - 1, self.input_size)

    def forward(
        self, x_BTD: Tensor, state: tuple[Tensor, ...] | None = None, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        c_BH, history_BWD = self.initial_state(x_BTD.shape[0]) if state is None else state
        if library.usable(x_BTD, c_BH, *self.parameters()):
            extended_BTD = with_history(x_BTD, history_BWD)
            y_BTH, last_BH = gated.run(self.kernel(), extended_BTD, c_BH, lengths_B, self.window)
            return y_BTH, (last_BH, last_inputs(extended_BTD, history_BWD, lengths_B))
        if lengths_B is not None:
            x_BTD = zero_padding(x_BTD, lengths_B)
        extended_BTD = with_history(x_BTD, history_BWD)
        windows_BTD = torch.cat([extended_BTD[:, w : w + x_BTD.shape[1]] for w in range(self.window)], -1)
        y_BTH, c_BTH = self.run(windows_BTD.transpose(0, 1), c_BH)
        history_BWD = last_inputs(extended_BTD, history_BWD, lengths_B)
        if lengths_B is None:
            return y_BTH, (c_BTH[:, -1], history_BWD)
        return zero_padding(y_BTH, lengths_B), (last_valid(c_BTH, lengths_B, c_BH), history_BWD)

    def kernel(self) -> gated.Kernel:
        return gated.Kernel(gated.QRNN, self.from_input.weight, self.from_input.bias)

    def step(self, x_BD: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        c_BH, history_BWD = state
        extended_BWD = with_history(x_BD[:, None], history_BWD)
        windows_BE = extended_BWD.flatten(1)
        native = gated.step(self.kernel(), windows_BE, c_BH, self.window) if library.usable_for_step(x_BD) else None
        y_BH, c_BH = self._plain_step(windows_BE, c_BH) if native is None else native
        return y_BH, (c_BH, extended_BWD[:, 1:].to(history_BWD.dtype))

    def gate_values(self, x_BD: Tensor, state: tuple[Tensor, ...]) -> dict[str, Tensor]:
        f, _, o = self.gates(with_history(x_BD[:, None], state[1]).flatten(1))
        return {"f": torch.sigmoid(f), "o": torch.sigmoid(o)}

    def gates(self, x: Tensor) -> tuple[Tensor, ...]:
        z, f, o = in_full_precision(self.from_input(x)).chunk(3, -1)
        return f, z, o

    def readout(self, h: Tensor, *rest: Tensor) -> Tensor:
        (o,) = rest
        return torch.sigmoid(o) * h
