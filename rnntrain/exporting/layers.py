"""Every recurrence as a loop that a graph can hold: a loop over time whose number of steps is known when it runs.

A trace of a Python loop has as many copies of the step as the example had steps. Here one step is traced, and the
graph's own loop (`scan` of torch, `Scan` of ONNX) runs it. Any cell goes through `Loop`, by the contract that a
sequence equals its steps; the others take out of the loop what does not depend on the state, or need none.
"""

# B batch, T time, D input, H hidden, G products of a step

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan

from rnntrain.cells.base import Recurrent, State, map_state, zero_padding
from rnntrain.cells.projected import ProjectedCell


def tensors_of(state: State) -> list[Tensor]:
    """Return the tensors of a state in order, whatever its nesting."""
    if isinstance(state, tuple):
        return [tensor for part in state for tensor in tensors_of(part)]
    return [state]


def like(pattern: State, tensors: Iterator[Any]) -> State:
    """Nest tensors as `pattern` is nested; the inverse of `tensors_of`."""
    if isinstance(pattern, tuple):
        parts = (like(part, tensors) for part in pattern)
        return type(pattern)(*parts) if hasattr(pattern, "_fields") else tuple(parts)
    return next(tensors)


class Exported(Recurrent):
    """What takes the place of a recurrence in a graph; keeps its weights and its state."""

    def __init__(self, cell: Recurrent) -> None:
        super().__init__()
        self.cell = cell
        self.input_size, self.output_size = cell.input_size, cell.output_size
        self.bidirectional = cell.bidirectional

    def initial_state(self, batch_size: int) -> State:
        # Parts of a state may be one tensor, which a loop must not be given twice, and copies are optimised away: each
        # part is that of a state of its own.
        state = self.cell.initial_state(batch_size)
        parts = (tensors_of(self.cell.initial_state(batch_size))[place] for place in range(len(tensors_of(state))))
        return like(state, parts)

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        return self.cell.step(x_BD, state)

    def forward(self, x_BTD: Tensor, state: State = None, lengths_B: Tensor | None = None) -> tuple[Tensor, State]:
        if state is None:
            state = self.initial_state(x_BTD.shape[0])
        if lengths_B is None:
            lengths_B = torch.full(x_BTD.shape[:1], x_BTD.shape[1], dtype=torch.int64)
        y_BTH, state = self.run(zero_padding(x_BTD, lengths_B), state, lengths_B)
        return zero_padding(y_BTH, lengths_B), state

    @abstractmethod
    def run(self, x_BTD: Tensor, state: State, lengths_B: Tensor) -> tuple[Tensor, State]:
        """Run over a sequence whose padding is zero; padded outputs may be anything finite."""


class Loop(Exported):
    """Any recurrence: its step in a loop, the state standing still where a row has ended."""

    def run(self, x_BTD: Tensor, state: State, lengths_B: Tensor) -> tuple[Tensor, State]:
        return self._loop(self.prepared(x_BTD.transpose(0, 1)), state, lengths_B)

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        return self.advance(self.prepared(x_BD), state)

    def prepared(self, x: Tensor) -> Tensor:
        """Return what `advance` reads, for one step or for all at once."""
        return x

    def advance(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Run one step."""
        return self.cell.step(x, state)

    def _loop(self, x_TBG: Tensor, state: State, lengths_B: Tensor) -> tuple[Tensor, State]:
        valid_TB = torch.arange(x_TBG.shape[0])[:, None] < lengths_B

        def one_step(before: list[Tensor], now: tuple[Tensor, Tensor]) -> tuple[list[Tensor], Tensor]:
            x_BG, valid_B = now
            y_BH, after = self.advance(x_BG, like(state, iter(before)))
            pairs = zip(tensors_of(after), before, strict=True)
            kept = [torch.where(valid_B.view(-1, *[1] * (old.dim() - 1)), new, old) for new, old in pairs]
            return kept, y_BH.clone()  # the output may be the state itself, and a loop gives nothing twice

        last, y_TBH = scan(one_step, tensors_of(state), (x_TBG, valid_TB))
        return y_TBH.transpose(0, 1), like(state, iter(last))


class ProjectedLoop(Loop):
    """A `ProjectedCell`: input products before the loop; weights in the form of the steps are constants."""

    cell: ProjectedCell

    def __init__(self, cell: ProjectedCell) -> None:
        super().__init__(cell)
        self._form: Any = cell.prepare()
        for number, part in enumerate(self._form if isinstance(self._form, tuple) else (self._form,)):
            self.register_buffer(f"weight_{number}", part)

    def prepared(self, x: Tensor) -> Tensor:
        return self.cell.project(x, self._weights())

    def advance(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self.cell.advance(x, state, self._weights())

    def _weights(self) -> Any:
        if not isinstance(self._form, tuple):
            return self.weight_0
        parts = [getattr(self, f"weight_{number}") for number in range(len(self._form))]
        return type(self._form)(*parts) if hasattr(self._form, "_fields") else tuple(parts)


class PreciseLoop(Loop):
    """A recurrence in float64 within a model in float32, and with a state in float32.

    For the mLSTM, which divides by a sum that may all but cancel: after a thousand steps in float32 its output is off
    by 1e-3, where the layer itself, which goes by chunks, is off by 1e-4.
    """

    def __init__(self, cell: Recurrent) -> None:
        super().__init__(copy.deepcopy(cell).double())

    def initial_state(self, batch_size: int) -> State:
        return map_state(Tensor.float, super().initial_state(batch_size))

    def run(self, x_BTD: Tensor, state: State, lengths_B: Tensor) -> tuple[Tensor, State]:
        y_BTH, state = super().run(x_BTD.double(), map_state(Tensor.double, state), lengths_B)
        return y_BTH.float(), map_state(Tensor.float, state)

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        y_BH, state = super().step(x_BD.double(), map_state(Tensor.double, state))
        return y_BH.float(), map_state(Tensor.float, state)
