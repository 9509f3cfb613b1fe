"""LSTM with zoneout, recurrent dropout and dropped recurrent weights."""

# B batch, T time, D input, H hidden, G = 4H: output, input, forget gate and candidate

from __future__ import annotations

import torch
from torch import Tensor

from rnntrain.cells.base import last_valid
from rnntrain.cells.init import Init, start_memory_
from rnntrain.cells.lstm_scan import frozen
from rnntrain.cells.noise import Dropped
from rnntrain.cells.noisy import NoisyCell
from rnntrain.cells.noisy_lstm_scan import NoisyWeights, noisy_lstm_scan, noisy_lstm_step, noisy_lstm_sums
from rnntrain.native import recurrence
from rnntrain.ranges import DropoutRate, MemorySpan, PositiveInt


class RegularizedLSTM(NoisyCell):
    """i_t, f_t, o_t = σ(W x_t + U (d ⊙ h_{t-1}) + b), each gate with its own
    g_t = m ⊙ tanh(W_g x_t + U_g (d ⊙ h_{t-1}) + b_g)
    c'_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t
    c_t = z^c_t ⊙ c_{t-1} + (1 - z^c_t) ⊙ c'_t
    h_t = z^h_t ⊙ h_{t-1} + (1 - z^h_t) ⊙ o_t ⊙ tanh(c'_t)

    The equations of `LSTM` with noise in training:

    - zoneout (Krueger et al. 2017, arXiv:1606.01305): z is drawn anew for each unit and step, 1 with the
      rate's probability; in evaluation z is the rate itself;
    - recurrent dropout with one mask a sequence, scaled by 1 / (1 - rate), either m on the update (Semeniuta et al.
      2016, arXiv:1603.05118), which never touches the memory, or d on the state where the gates read it (Gal
      and Ghahramani 2016, arXiv:1512.05287);
    - weight drop (Merity et al. 2018, arXiv:1708.02182): entries of U are dropped, the same for all steps.

    A sequence is one call of `forward`, so one window of truncated backpropagation; `step` in training draws anew each
    time. Masks come from torch's generator, so that a resumed run draws as one that never stopped.

    The state is the tuple ``(h_BH, c_BH)`` and starts at zero. Each U starts orthogonal, each W Xavier uniform and the
    biases zero, or all of them U(-1/√H, 1/√H) with ``init="uniform"``; then b_f is set. Gates stand in the order o, i,
    f, g.

    Args:
        input_size: width D of the input.
        hidden_size: width H of each part of the state and of the output.
        zoneout_cell: rate at which units of the cell keep their last value.
        zoneout_hidden: rate at which units of the output keep their last value.
        recurrent_dropout: share dropped by the mask of a sequence.
        dropped: what that mask falls on.
        weight_drop: share of U that is dropped.
        init: how the weights start.
        forget_bias: where b_f starts; None leaves it as `init` has it.
        t_max: chrono initialisation for memories of up to so many steps, in place of `forget_bias`
            (`rnntrain.cells.init.start_memory_`).
        uniform_gates: uniform gate initialisation, in place of `forget_bias`.

    Raises:
        UserError: if both `t_max` and `uniform_gates` are given.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        zoneout_cell: DropoutRate = 0.0,
        zoneout_hidden: DropoutRate = 0.0,
        recurrent_dropout: DropoutRate = 0.0,
        dropped: Dropped = "update",
        weight_drop: DropoutRate = 0.0,
        init: Init = "orthogonal",
        forget_bias: float | None = 1.0,
        t_max: MemorySpan | None = None,
        uniform_gates: bool = False,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            4,
            init,
            zoneout_hidden=zoneout_hidden,
            zoneout_cell=zoneout_cell,
            recurrent_dropout=recurrent_dropout,
            dropped=dropped,
            weight_drop=weight_drop,
        )
        bias_G = self.from_input.bias
        start_memory_((bias_G,), 2, 4, write=1, forget_bias=forget_bias, t_max=t_max, uniform_gates=uniform_gates)
        self.add_norms(hidden_size)

    def add_norms(self, hidden_size: int) -> None:
        """Build the norms of `LayerNormLSTM`, which takes the same arguments; here there are none."""

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        h_BH = self.from_hidden.weight.new_zeros(batch_size, self.output_size)
        return h_BH, h_BH.clone()

    def prepare(self) -> NoisyWeights:
        return NoisyWeights(self.dropped_weights())

    def advance(
        self, products_BG: Tensor, state: tuple[Tensor, Tensor], weights: NoisyWeights
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return noisy_lstm_step(products_BG, state, weights, self.noise(1, state[0]))

    def gate_values(self, x_BD: Tensor, state: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        weights = self.prepare()
        o, i, f, _ = noisy_lstm_sums(self.project(x_BD, weights), state[0], weights)
        return {"i": torch.sigmoid(i), "f": torch.sigmoid(f), "o": torch.sigmoid(o)}

    def scan(
        self,
        products_TBG: Tensor,
        state: tuple[Tensor, Tensor],
        weights: NoisyWeights,
        valid_TB: Tensor | None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        noise = self.noise(len(products_TBG), state[0])
        if valid_TB is None:
            return noisy_lstm_scan(products_TBG, state, weights, noise)
        y_TBH, (_, c_BH) = noisy_lstm_scan(frozen(products_TBG, valid_TB, 4), state, weights, noise)
        return y_TBH, (last_valid(y_TBH.transpose(0, 1), valid_TB.sum(0), state[0]), c_BH)

    def kernel(self) -> recurrence.Kernel:
        linear = self.from_input
        return recurrence.Kernel(recurrence.NOISY_LSTM, linear.weight, self.prepare().hidden_GH, linear.bias)
