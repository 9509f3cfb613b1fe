"""Skip connections through time: a second look at the state of s steps ago."""

# B batch, T time, D input, H hidden, s skip

from __future__ import annotations

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.init import Init, initialize
from rnntrain.cells.projected import ProjectedCell
from rnntrain.cells.simple_scan import simple_scan
from rnntrain.native import library, recurrence
from rnntrain.ranges import PositiveInt, Range


class Skip(ProjectedCell):
    """h_t = tanh(W_xh x_t + b + U h_{t-1} + V h_{t-s})

    Lin et al. 1996, "Learning long-term dependencies in NARX recurrent neural networks"; Zhang et al. 2016,
    arXiv:1602.08210, who call s the recurrent skip coefficient: a gradient takes s steps in one.

    The state is the tuple of the last s states, the oldest first, and starts at zero. [U V] starts as an orthogonal
    matrix each, over √2, W_xh Xavier uniform and b zero, or all of them U(-1/√H, 1/√H) with ``init="uniform"``.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the state and of the output.
        skip: s, the steps that the second connection spans.
        init: how the weights start.
    """

    recurrent_names = ("from_last", "from_skipped")

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        skip: Annotated[int, Range(2)] = 8,
        init: Init = "orthogonal",
    ) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.skip = skip
        self.from_input = nn.Linear(input_size, hidden_size)
        self.from_last = nn.Linear(hidden_size, hidden_size, bias=False)
        self.from_skipped = nn.Linear(hidden_size, hidden_size, bias=False)
        for recurrent in (self.from_last, self.from_skipped):
            initialize(init, self.from_input.weight, recurrent.weight, self.from_input.bias)
            if init == "orthogonal":
                with torch.no_grad():
                    recurrent.weight *= 0.5**0.5

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        h_BH = self.from_last.weight.new_zeros(batch_size, self.output_size)
        return (h_BH,) * self.skip

    def project(self, x: Tensor, weights: Any) -> Tensor:
        return self.from_input(x)

    def kernel(self) -> recurrence.Kernel:
        return recurrence.Kernel(
            recurrence.SKIP,
            self.from_input.weight,
            torch.cat([self.from_last.weight, self.from_skipped.weight]),
            self.from_input.bias,
        )

    def run_native(
        self, x_BTD: Tensor, state: tuple[Tensor, ...], lengths_B: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]] | None:
        if not library.usable(x_BTD, *state, *self.parameters()):
            return None
        y_BTH, _, last_BC = recurrence.recur(self.kernel(), x_BTD, (state[-1], torch.cat(state, 1)), lengths_B)
        return y_BTH, last_BC.unflatten(1, (self.skip, -1)).unbind(1)

    def step_native(self, x_BD: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]] | None:
        found = recurrence.step(self.kernel(), x_BD, (state[-1], state[0]))
        return None if found is None else (found[0], (*state[1:], found[0]))

    def advance(
        self, products_BG: Tensor, state: tuple[Tensor, ...], weights: Any
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        h_BH = torch.tanh(products_BG + self.from_last(state[-1]) + self.from_skipped(state[0]))
        return h_BH, (*state[1:], h_BH)

    def scan(
        self, products_TBG: Tensor, state: tuple[Tensor, ...], weights: Any, valid_TB: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        # What s steps read through the skip is known before the first of them: one product serves them all.
        blocks_sBH = [torch.stack(state)]
        last_BH = state[-1]
        for products_sBG in products_TBG.split(self.skip):
            skipped_sBH = blocks_sBH[-1][: len(products_sBG)]
            products_sBG = products_sBG + F.linear(skipped_sBH, self.from_skipped.weight)
            block_sBH = simple_scan(products_sBG, last_BH, self.from_last.weight, "tanh")
            blocks_sBH.append(block_sBH)
            last_BH = block_sBH[-1]
        history = torch.cat(blocks_sBH)
        lengths_B = None if valid_TB is None else valid_TB.sum(0)
        return history[self.skip :], self._last_states(history, lengths_B)

    def _last_states(self, history: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, ...]:
        """Return the s states up to each row's last valid step; those before the sequence stand first in history."""
        if lengths_B is None:
            return history[-self.skip :].unbind()
        index_sB = lengths_B + torch.arange(self.skip, device=lengths_B.device)[:, None]
        return history.gather(0, index_sB[..., None].expand(-1, -1, history.shape[-1])).unbind()
