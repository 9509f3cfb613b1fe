"""Dropped recurrent weights round a recurrence of full speed."""

# B batch, T time, D input, H hidden

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from rnntrain.cells.base import Recurrent, State
from rnntrain.cells.gru import GRU
from rnntrain.cells.lstm import LSTM
from rnntrain.cells.rnn import RNN
from rnntrain.ranges import DropoutRate, PositiveInt

INNER: dict[str, Callable[[int, int], Recurrent]] = {"rnn": RNN, "gru": GRU, "lstm": LSTM}


class WeightDrop(Recurrent):
    """The inner recurrence with U' = mask ⊙ U / (1 - rate) in the place of U, in training

    Merity, Keskar and Socher 2018, arXiv:1708.02182: a share of the recurrent weights is dropped, the same
    for all steps of a sequence, which regularises the recurrence and leaves its kernel as fast as it is. Biases stay.

    A sequence is one call of `forward`, so one window of truncated backpropagation; `step` in training draws anew each
    time. The state, the equations and the start are those of the inner recurrence. For weight drop together with
    zoneout, recurrent dropout or layer norm see `RegularizedLSTM` and `RegularizedGRU`.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the state and of the output.
        rate: share of the recurrent weights that is dropped.
        inner: the recurrence.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        rate: DropoutRate = 0.5,
        inner: Literal["rnn", "gru", "lstm"] = "lstm",
    ) -> None:
        super().__init__()
        self.rate = rate
        self.inner = INNER[inner](input_size, hidden_size)
        self.input_size, self.output_size = input_size, self.inner.output_size

    def initial_state(self, batch_size: int) -> State:
        return self.inner.initial_state(batch_size)

    def forward(self, x_BTD: Tensor, state: State = None, lengths_B: Tensor | None = None) -> tuple[Tensor, State]:
        if not (self.training and self.rate):
            return self.inner(x_BTD, state, lengths_B)
        with warnings.catch_warnings():
            # cuDNN would like its weights in one piece; those of one sequence are new.
            warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous")
            return functional_call(self.inner, self.dropped_weights(), (x_BTD, state, lengths_B))

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        if not (self.training and self.rate):
            return self.inner.step(x_BD, state)
        y_B1H, state = self.forward(x_BD[:, None], state)
        return y_B1H[:, 0], state

    def gate_values(self, x_BD: Tensor, state: State) -> dict[str, Tensor]:
        return self.inner.gate_values(x_BD, state)

    def dropped_weights(self) -> dict[str, Tensor]:
        """Return the recurrent matrices of the inner recurrence, by name, with a share of them dropped."""
        return {
            name: F.dropout(weight, self.rate)
            for name, weight in self.inner.named_parameters()
            if name.endswith("weight_hh_l0")
        }
