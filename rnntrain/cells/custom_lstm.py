"""The base of LSTM variants that PyTorch's kernel does not have."""

# B batch, T time, D input, H hidden, P output, G = number of gates · H

from __future__ import annotations

from torch import Tensor, nn

from rnntrain.cells.base import last_valid
from rnntrain.cells.init import Init, orthogonal_, start_memory_, uniform_, xavier_
from rnntrain.cells.lstm_scan import LSTMWeights, frozen, lstm_gates, lstm_scan, lstm_step
from rnntrain.cells.projected import ProjectedCell


class CustomLSTM(ProjectedCell):
    """Holds the weights that the variants share, and runs them; gates in the order o, i, f, g or, coupled, o, f, g.

    The order puts the sigmoids side by side, and so the gates that act on the cell: each is one operation.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        num_gates: int,
        init: Init,
        forget_bias: float | None,
        t_max: int | None,
        uniform_gates: bool,
    ) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, output_size
        self.hidden_size, self.num_gates = hidden_size, num_gates
        self.from_input = nn.Linear(input_size, num_gates * hidden_size)
        self.from_hidden = nn.Linear(output_size, num_gates * hidden_size, bias=False)
        if init == "orthogonal":
            xavier_(self.from_input.weight, num_gates)
            orthogonal_(self.from_hidden.weight, num_gates)
            nn.init.zeros_(self.from_input.bias)
        else:
            for weight in self.parameters():
                uniform_(weight, hidden_size)
        start_memory_(
            (self.from_input.bias,),
            num_gates - 2,
            num_gates,
            write=1 if num_gates == 4 else None,
            forget_bias=forget_bias,
            t_max=t_max,
            uniform_gates=uniform_gates,
        )

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        weight = self.from_hidden.weight
        return weight.new_zeros(batch_size, self.output_size), weight.new_zeros(batch_size, self.hidden_size)

    def prepare(self) -> LSTMWeights:
        return LSTMWeights(self.from_hidden.weight)

    def project(self, x: Tensor, weights: LSTMWeights) -> Tensor:
        return self.from_input(x)

    def advance(
        self, products_BG: Tensor, state: tuple[Tensor, Tensor], weights: LSTMWeights
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return lstm_step(products_BG, state, weights)

    def gate_values(self, x_BD: Tensor, state: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        weights = self.prepare()
        return lstm_gates(self.project(x_BD, weights), state, weights)[0]

    def scan(
        self,
        products_TBG: Tensor,
        state: tuple[Tensor, Tensor],
        weights: LSTMWeights,
        valid_TB: Tensor | None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if valid_TB is None:
            return lstm_scan(products_TBG, state, weights)
        y_TBP, (_, c_BH) = lstm_scan(frozen(products_TBG, valid_TB, self.num_gates), state, weights)
        return y_TBP, (last_valid(y_TBP.transpose(0, 1), valid_TB.sum(0), state[0]), c_BH)
