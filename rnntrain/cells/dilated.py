"""Dilated connections through time: a layer whose state comes from d steps ago."""

# B batch, T time, D input, H hidden, d dilation, N = T // d steps of one phase

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, cast

import torch
from torch import Tensor, nn

from rnntrain.cells.base import Recurrent, State, map_state, zero_padding
from rnntrain.cells.gru import GRU
from rnntrain.cells.lstm import LSTM
from rnntrain.cells.rnn import RNN
from rnntrain.errors import UserError
from rnntrain.ranges import PositiveInt

INNER: dict[str, Callable[[int, int], Recurrent]] = {"rnn": RNN, "gru": GRU, "lstm": LSTM}


class Dilated(Recurrent):
    """s_t^(l) = f^(l)(x_t^(l), s_{t-d}^(l)),  d = dilations[l],  x^(l+1) = y^(l)

    Chang et al. 2017, arXiv:1710.02224: layers of one recurrence f, each of which reads its own state
    of d steps ago. A path through time is d times as short, and with dilations 1, 2, 4, … the stack sees every scale.
    Layer norm, dropout and more layers of the same kind belong to the backbone round it.

    The state holds for each layer a tuple of its last d states, the oldest first; all are initial at the start.
    The weights start as those of the inner recurrence.

    Args:
        input_size: width D of the input.
        hidden_size: width H of each layer's output.
        dilations: steps from one state to the next, one number a layer.
        inner: the recurrence f.

    Raises:
        UserError: if there is no layer.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        dilations: tuple[PositiveInt, ...] = (1, 2, 4, 8),
        inner: Literal["rnn", "gru", "lstm"] = "gru",
    ) -> None:
        super().__init__()
        if not dilations:
            raise UserError("model.cell.dilations=[]: there is no layer; give one dilation for each, such as [1, 2, 4]")
        self.input_size, self.output_size = input_size, hidden_size
        widths = [input_size] + [hidden_size] * (len(dilations) - 1)
        self.layers = nn.ModuleList(
            Dilation(INNER[inner](width, hidden_size), dilation)
            for width, dilation in zip(widths, dilations, strict=True)
        )

    def initial_state(self, batch_size: int) -> State:
        return tuple(layer.initial_state(batch_size) for layer in self._layers())

    def forward(self, x_BTD: Tensor, state: State = None, lengths_B: Tensor | None = None) -> tuple[Tensor, State]:
        if state is None:
            state = self.initial_state(x_BTD.shape[0])
        after: list[State] = []
        for layer, before in zip(self._layers(), state, strict=True):
            x_BTD, layer_state = layer(x_BTD, before, lengths_B)
            after.append(layer_state)
        return x_BTD, tuple(after)

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        after: list[State] = []
        for layer, before in zip(self._layers(), state, strict=True):
            x_BD, layer_state = layer.step(x_BD, before)
            after.append(layer_state)
        return x_BD, tuple(after)

    def gate_values(self, x_BD: Tensor, state: State) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for number, (layer, before) in enumerate(zip(self._layers(), state, strict=True)):
            found |= {f"{name}_{number}": gate for name, gate in layer.gate_values(x_BD, before).items()}
            x_BD, _ = layer.step(x_BD, before)
        return found

    def _layers(self) -> Iterator[Recurrent]:
        return (cast(Recurrent, layer) for layer in self.layers)


class Dilation(Recurrent):
    """Any recurrence, reading its state of d steps ago.

    Steps t, t + d, t + 2d, … form a sequence that knows nothing of the others. So the d phases go through the inner
    recurrence side by side, as d times the rows and a d-th of the steps, which is faster than the recurrence itself.
    """

    def __init__(self, inner: Recurrent, dilation: int) -> None:
        super().__init__()
        self.input_size, self.output_size = inner.input_size, inner.output_size
        self.inner, self.dilation = inner, dilation

    def initial_state(self, batch_size: int) -> State:
        return tuple(self.inner.initial_state(batch_size) for _ in range(self.dilation))

    def gate_values(self, x_BD: Tensor, state: State) -> dict[str, Tensor]:
        return self.inner.gate_values(x_BD, state[0])

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        y_BH, newest = self.inner.step(x_BD, state[0])
        return y_BH, (*state[1:], newest)

    def forward(self, x_BTD: Tensor, state: State = None, lengths_B: Tensor | None = None) -> tuple[Tensor, State]:
        if state is None:
            state = self.initial_state(x_BTD.shape[0])
        if lengths_B is not None:
            return self._padded(x_BTD, state, lengths_B)
        whole = x_BTD.shape[1] - x_BTD.shape[1] % self.dilation
        outputs: list[Tensor] = []
        for x, run in ((x_BTD[:, :whole], self._rounds), (x_BTD[:, whole:], self._part_of_a_round)):
            if x.shape[1]:
                y, state = run(x, state)
                outputs.append(y)
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1), state

    def _rounds(self, x_BTD: Tensor, state: State, lengths_dB: Tensor | None = None) -> tuple[Tensor, State]:
        """Run whole rounds of all phases."""
        rows_dBND = x_BTD.unflatten(1, (-1, self.dilation)).permute(2, 0, 1, 3)
        y_rows, last = self.inner(rows_dBND.flatten(0, 1), join(state), lengths_dB)
        y_BTH = y_rows.unflatten(0, (self.dilation, -1)).permute(1, 2, 0, 3).flatten(1, 2)
        return y_BTH, split(last, self.dilation)

    def _part_of_a_round(self, x_BTD: Tensor, state: State) -> tuple[Tensor, State]:
        """Run fewer than d steps, which are one step each of as many phases."""
        count = x_BTD.shape[1]
        y_rows, newest = self.inner.step(x_BTD.transpose(0, 1).flatten(0, 1), join(state[:count]))
        return y_rows.unflatten(0, (count, -1)).transpose(0, 1), (*state[count:], *split(newest, count))

    def _padded(self, x_BTD: Tensor, state: State, lengths_B: Tensor) -> tuple[Tensor, State]:
        batch_size, num_steps, _ = x_BTD.shape
        missing = -num_steps % self.dilation
        x_BTD = nn.functional.pad(zero_padding(x_BTD, lengths_B), (0, 0, 0, missing))
        phase_d1 = torch.arange(self.dilation, device=x_BTD.device)[:, None]
        lengths_dB = (lengths_B + self.dilation - 1 - phase_d1).clamp(min=0) // self.dilation
        y_BTH, phases = self._rounds(x_BTD, state, lengths_dB.flatten())
        # After L steps the phase that is next, and oldest, is L mod d: another one in each row.
        oldest_dB = (phase_d1 + lengths_B) % self.dilation
        row_B = torch.arange(batch_size, device=x_BTD.device)
        ring = map_state(
            lambda part: part.unflatten(0, (self.dilation, -1))[oldest_dB, row_B].flatten(0, 1), join(phases)
        )
        return y_BTH[:, :num_steps], split(ring, self.dilation)


def join(states: tuple[State, ...]) -> State:
    """Lay the rows of several states one below the other."""
    if isinstance(states[0], tuple):
        return tuple(join(parts) for parts in zip(*states, strict=True))
    return torch.cat(states)


def split(state: State, number: int) -> tuple[State, ...]:
    """Undo `join`."""
    if isinstance(state, tuple):
        return tuple(zip(*(split(part, number) for part in state), strict=True))
    return state.chunk(number)
