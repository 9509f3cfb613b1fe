"""The gated recurrent unit, in PyTorch's form and in that of Cho et al. 2014."""

# B batch, T time, D input, H hidden, G = 3H: reset, update and new gate

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.base import Recurrent, last_valid, weights_of, zero_padding
from rnntrain.cells.init import Init, initialize, start_memory_
from rnntrain.native import library, recurrence
from rnntrain.ranges import MemorySpan, PositiveInt


class GRU(Recurrent):
    """r_t = σ(W_r x_t + U_r h_{t-1} + b_r)
    z_t = σ(W_z x_t + U_z h_{t-1} + b_z)
    n_t = tanh(W_n x_t + b_n + r_t ⊙ (U_n h_{t-1} + c_n))    with reset_after
    n_t = tanh(W_n x_t + b_n + U_n (r_t ⊙ h_{t-1}))          without
    h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}

    Cho et al. 2014, arXiv:1406.1078v3, reset the state before the product. Resetting after it, as
    in the first version of that paper, lets one product serve all gates; PyTorch and cuDNN have this form alone,
    so it is the fast one (`torch.nn.GRU`), and the other is a loop in Python, linear in time. On a processor both
    run through our own kernels where these are built.

    Both forms keep their weights in one `torch.nn.GRU`, gates in the order r, z, n, so that a checkpoint names
    them alike. It has two biases a gate, of which the second is redundant but for c_n.

    The state is ``h_BH`` and starts at zero. Each U starts orthogonal, each W Xavier uniform and the biases zero,
    or all of them U(-1/√H, 1/√H), PyTorch's own, with ``init="uniform"``.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the state and of the output.
        reset_after: apply the reset gate after the product with U_n.
        init: how the weights start.
        t_max: chrono initialisation of b_z for memories of up to so many steps (`rnntrain.cells.init.start_memory_`).
        uniform_gates: uniform gate initialisation of b_z.

    Raises:
        UserError: if both `t_max` and `uniform_gates` are given.
        ValueError: if a size is below 1.
        RuntimeError: from `forward` or `step`, if the input is not `input_size` wide.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        reset_after: bool = True,
        init: Init = "orthogonal",
        t_max: MemorySpan | None = None,
        uniform_gates: bool = False,
    ) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.reset_after = reset_after
        self.gru = nn.GRU(input_size, hidden_size, batch_first=True)
        initialize(init, *self.gru.all_weights[0])
        _, _, bias_ih, bias_hh = self.gru.all_weights[0]
        start_memory_((bias_ih, bias_hh), 1, 3, t_max=t_max, uniform_gates=uniform_gates)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.gru.all_weights[0][0].new_zeros(batch_size, self.output_size)

    def forward(
        self, x_BTD: Tensor, state: Tensor | None = None, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if state is None:
            state = self.initial_state(x_BTD.shape[0])
        if library.usable(x_BTD, state, *self.gru.all_weights[0]):
            y_BTH, last_BH = recurrence.recur(self._kernel(), x_BTD, (state,), lengths_B)
            return y_BTH, last_BH
        if lengths_B is not None:
            x_BTD = zero_padding(x_BTD, lengths_B)
        if self.reset_after:
            y_BTH, last_1BH = self.gru(x_BTD, state[None])
            last_BH = last_1BH[0]
        else:
            y_BTH, last_BH = self._reset_before(x_BTD, state)
        if lengths_B is None:
            return y_BTH, last_BH
        return zero_padding(y_BTH, lengths_B), last_valid(y_BTH, lengths_B, state)

    def _kernel(self) -> recurrence.Kernel:
        weight_ih, weight_hh, bias_ih, bias_hh = weights_of(self.gru)
        if self.reset_after:
            return recurrence.Kernel(recurrence.GRU, weight_ih, weight_hh, bias_ih, bias_hh)
        return recurrence.Kernel(recurrence.GRU_RESET_BEFORE, weight_ih, weight_hh, bias_ih + bias_hh)

    def step(self, x_BD: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        if self.reset_after and library.usable_for_step(x_BD):
            found = recurrence.step(self._kernel(), x_BD, (state,))
            if found is not None:
                return found[0], found[0]
        if not self.reset_after:
            _, h_BH = self._reset_before(x_BD[:, None], state)
            return h_BH, h_BH
        weight_ih, weight_hh, bias_ih, bias_hh = self.gru.all_weights[0]
        sizes = [2 * self.output_size, self.output_size]
        rz_x, n_x = F.linear(x_BD, weight_ih, bias_ih).split(sizes, -1)
        rz_h, n_h = F.linear(state, weight_hh, bias_hh).split(sizes, -1)
        # For one row, the number of operations is what a step costs.
        r, z = torch.sigmoid(rz_x + rz_h).chunk(2, -1)
        n = torch.tanh(torch.addcmul(n_x, r, n_h))
        h_BH = n + z * (state - n)
        return h_BH, h_BH

    def gate_values(self, x_BD: Tensor, state: Tensor) -> dict[str, Tensor]:
        weight_ih, weight_hh, bias_ih, bias_hh = self.gru.all_weights[0]
        products_BG = F.linear(x_BD, weight_ih, bias_ih) + F.linear(state, weight_hh, bias_hh)
        r, z, _ = products_BG.chunk(3, -1)  # the same in both forms
        return {"r": torch.sigmoid(r), "z": torch.sigmoid(z)}

    def _reset_before(self, x_BTD: Tensor, h_BH: Tensor) -> tuple[Tensor, Tensor]:
        weight_ih, weight_hh, bias_ih, bias_hh = self.gru.all_weights[0]
        # What does not depend on the state is done for all steps at once. Weights are split, and the sequence
        # unbound, outside the loop: each slice in it would allocate a gradient of the whole at every step.
        x_BTG = F.linear(x_BTD, weight_ih, bias_ih + bias_hh)
        sizes = [2 * self.output_size, self.output_size]
        u_rz, u_n = weight_hh.split(sizes)
        x_BTrz, x_BTn = x_BTG.split(sizes, -1)
        outputs: list[Tensor] = []
        for x_rz, x_n in zip(x_BTrz.unbind(1), x_BTn.unbind(1), strict=True):
            r, z = torch.sigmoid(x_rz + F.linear(h_BH, u_rz)).chunk(2, -1)
            n = torch.tanh(x_n + F.linear(r * h_BH, u_n))
            h_BH = (1 - z) * n + z * h_BH
            outputs.append(h_BH)
        return torch.stack(outputs, 1), h_BH
