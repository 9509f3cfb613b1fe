"""The base of cells whose input products are taken for all time steps at once."""

# B batch, T time, D input, H hidden, G = number of gates · H

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from rnntrain.cells.base import Cell, State, known_to_be_full, select_rows, zero_padding
from rnntrain.native import library, recurrence


class ProjectedCell(Cell):
    """A recurrence in two parts: what depends on the input alone, and what depends on the state.

    Implement `initial_state`, `project` and `advance`; `step` and `forward` follow. `forward` projects the whole
    sequence in one product and prepares the weights once; a cell that knows a faster way through the time steps
    than calling `advance` for each of them overrides `scan`.
    """

    def prepare(self) -> Any:
        """Return the weights in the form that the steps use: work that is done once a sequence."""

    @abstractmethod
    def project(self, x: Tensor, weights: Any) -> Tensor:
        """Return what one step needs of its input, for inputs of any leading dimensions."""

    @abstractmethod
    def advance(self, products_BG: Tensor, state: State, weights: Any) -> tuple[Tensor, State]:
        """Run one step from its projected input: return ``y_BH`` and the next state."""

    def kernel(self) -> recurrence.Kernel | None:
        """Return the compiled time loop of this cell and its weights, in the form of one sequence; None without one."""
        return None

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        native = self.step_native(x_BD, state) if library.usable_for_step(x_BD) else None
        if native is not None:
            return native
        weights = self.prepare()
        return self.advance(self.project(x_BD, weights), state, weights)

    def forward(self, x_BTD: Tensor, state: State = None, lengths_B: Tensor | None = None) -> tuple[Tensor, State]:
        if state is None:
            state = self.initial_state(x_BTD.shape[0])
        native = self.run_native(x_BTD, state, lengths_B)
        if native is not None:
            return native
        if lengths_B is None or known_to_be_full(lengths_B, x_BTD.shape[1]):
            y_TBH, state = self._run(x_BTD, state, None)
            return y_TBH.transpose(0, 1), state
        valid_TB = torch.arange(x_BTD.shape[1], device=x_BTD.device)[:, None] < lengths_B
        y_TBH, state = self._run(zero_padding(x_BTD, lengths_B), state, valid_TB)
        return zero_padding(y_TBH.transpose(0, 1), lengths_B), state

    def run_native(self, x_BTD: Tensor, state: State, lengths_B: Tensor | None) -> tuple[Tensor, State] | None:
        """Do what `forward` does by a kernel of our own; None where there is none, or it is not built."""
        parts = state if isinstance(state, tuple) else (state,)
        if not library.usable(x_BTD, *parts, *self.parameters()):
            return None
        kernel = self.kernel()
        if kernel is None:
            return None
        y_BTH, *last = recurrence.recur(kernel, x_BTD, parts, lengths_B)
        return y_BTH, tuple(last) if isinstance(state, tuple) else last[0]

    def step_native(self, x_BD: Tensor, state: State) -> tuple[Tensor, State] | None:
        """Do what `step` does, without gradients, by a kernel of our own; None where there is none."""
        kernel = self.kernel()
        if kernel is None:
            return None
        parts = state if isinstance(state, tuple) else (state,)
        last = recurrence.step(kernel, x_BD, parts)
        return None if last is None else (last[0], last if isinstance(state, tuple) else last[0])

    def _run(self, x_BTD: Tensor, state: State, valid_TB: Tensor | None) -> tuple[Tensor, State]:
        weights = self.prepare()
        # Time first, so that each step reads and writes one block of memory.
        return self.scan(self.project(x_BTD.transpose(0, 1), weights), state, weights, valid_TB)

    def scan(self, products_TBG: Tensor, state: State, weights: Any, valid_TB: Tensor | None) -> tuple[Tensor, State]:
        """Return ``y_TBH`` and the state after each row's last valid step; every step is valid where the mask is None.

        What stands in padded outputs does not matter, but it is finite.
        """
        outputs: list[Tensor] = []
        valid_steps = [None] * len(products_TBG) if valid_TB is None else valid_TB.unbind()
        # unbind once: an index in the loop would allocate a gradient of the whole sequence at every step.
        for products_BG, valid_B in zip(products_TBG.unbind(), valid_steps, strict=True):
            y_BH, new_state = self.advance(products_BG, state, weights)
            state = new_state if valid_B is None else select_rows(valid_B, new_state, state)
            outputs.append(y_BH)
        return torch.stack(outputs), state
