"""The clockwork network: groups of units that move at different clock rates."""

# B batch, T time, D input, H hidden, M groups (the paper's modules)

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.init import Init, initialize
from rnntrain.cells.projected import ProjectedCell
from rnntrain.cells.simple_scan import simple_scan
from rnntrain.errors import UserError
from rnntrain.native import library, recurrence
from rnntrain.ranges import PositiveInt


class Clockwork(ProjectedCell):
    """h_t = tanh(W_xh x_t + b + W_hh h_{t-1})  in groups whose period divides t
    h_t = h_{t-1}                            in all others

    Koutník et al. 2014, arXiv:1402.3511. Time counts from 0, so that every group moves at the first step.
    A group reads only from groups that are as slow or slower: the other blocks of W_hh are held at zero.

    The state is the tuple ``(h_BH, phase_BM)``, both zero at the start: the steps since each group last moved are
    part of it, so that a sequence may be cut anywhere and rows of a batch may stand at different times. W_hh starts
    orthogonal before its blocks are cut out, W_xh Xavier uniform and b zero, or all of them U(-1/√H, 1/√H) with
    ``init="uniform"``. The work of a step is that of all groups: at these sizes, leaving out those that stand still
    saves less than it costs.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the state and of the output.
        periods: steps from one move of a group to its next; all groups are of one size.
        init: how the weights start.

    Raises:
        UserError: if the units do not divide into so many groups.
    """

    period_M: Tensor
    mask_HH: Tensor

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        periods: tuple[PositiveInt, ...] = (1, 2, 4, 8),
        init: Init = "orthogonal",
    ) -> None:
        super().__init__()
        if not periods or hidden_size % len(periods):
            raise UserError(
                f"model.cell.periods={list(periods)}: hidden_size={hidden_size} does not divide into {len(periods)} "
                f"groups; make one a multiple of the other"
            )
        self.input_size, self.output_size = input_size, hidden_size
        self.from_input = nn.Linear(input_size, hidden_size)
        self.from_hidden = nn.Linear(hidden_size, hidden_size, bias=False)
        initialize(init, self.from_input.weight, self.from_hidden.weight, self.from_input.bias)
        self.register_buffer("period_M", torch.tensor([float(period) for period in periods]), persistent=False)
        period_H = self.period_M.repeat_interleave(hidden_size // len(periods))
        self.register_buffer("mask_HH", (period_H >= period_H[:, None]).float(), persistent=False)
        with torch.no_grad():
            self.from_hidden.weight *= self.mask_HH

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        weight = self.from_hidden.weight
        return weight.new_zeros(batch_size, self.output_size), weight.new_zeros(batch_size, len(self.period_M))

    def prepare(self) -> Tensor:
        return self.from_hidden.weight * self.mask_HH

    def project(self, x: Tensor, weights: Tensor) -> Tensor:
        return self.from_input(x)

    def kernel(self) -> recurrence.Kernel:
        return recurrence.Kernel(recurrence.CLOCKWORK, self.from_input.weight, self.prepare(), self.from_input.bias)

    def run_native(
        self, x_BTD: Tensor, state: tuple[Tensor, Tensor], lengths_B: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]] | None:
        h_BH, phase_BM = state
        if not library.usable(x_BTD, h_BH, phase_BM, *self.parameters()):
            return None
        rests = self._rests(phase_BM, x_BTD.shape[1])
        y_BTH, last_BH = recurrence.recur(self.kernel(), x_BTD, (h_BH,), lengths_B, rests)
        steps_B1 = x_BTD.shape[1] if lengths_B is None else lengths_B[:, None]
        return y_BTH, (last_BH, self._wrap(phase_BM + steps_B1))

    def step_native(self, x_BD: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]] | None:
        h_BH, phase_BM = state
        found = recurrence.step(self.kernel(), x_BD, (h_BH,), self._rests(phase_BM, 1))
        return None if found is None else (found[0], (found[0], self._wrap(phase_BM + 1)))

    def _rests(self, phase_BM: Tensor, num_steps: int) -> recurrence.Noise:
        """Return which units rest, as the kernel reads it."""
        return recurrence.Noise(zone_hidden_TBH=1 - self._moves_of_steps(phase_BM, num_steps))

    def advance(
        self, products_BG: Tensor, state: tuple[Tensor, Tensor], weights: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        h_BH, phase_BM = state
        moves_BH = self._moves(phase_BM)
        h_BH = torch.where(moves_BH > 0, torch.tanh(products_BG + F.linear(h_BH, weights)), h_BH)
        return h_BH, (h_BH, self._wrap(phase_BM + 1))

    def scan(
        self, products_TBG: Tensor, state: tuple[Tensor, Tensor], weights: Tensor, valid_TB: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        h_BH, phase_BM = state
        moves_TBH = self._moves_of_steps(phase_BM, len(products_TBG))
        steps_B1: Tensor | int = len(products_TBG)
        if valid_TB is not None:
            moves_TBH = moves_TBH * valid_TB[..., None]
            steps_B1 = valid_TB.sum(0)[:, None]
        y_TBH = simple_scan(products_TBG, h_BH, weights, "tanh", gain_TBH=moves_TBH)
        return y_TBH, (y_TBH[-1], self._wrap(phase_BM + steps_B1))

    def _moves_of_steps(self, phase_BM: Tensor, num_steps: int) -> Tensor:
        time_T = torch.arange(num_steps, device=phase_BM.device, dtype=phase_BM.dtype)
        return self._moves(phase_BM.detach() + time_T[:, None, None])

    def _moves(self, phase: Tensor) -> Tensor:
        """Return 1 for the units that move at these phases of their groups, 0 for the others."""
        moves = torch.remainder(phase.detach().round(), self.period_M) == 0
        return moves.to(self.from_hidden.weight.dtype).repeat_interleave(self.output_size // len(self.period_M), -1)

    def _wrap(self, phase: Tensor) -> Tensor:
        """Return the phase within one period, so that it stays small, and exact, however long the sequence."""
        return phase - self.period_M * torch.floor(phase.detach().round() / self.period_M)
