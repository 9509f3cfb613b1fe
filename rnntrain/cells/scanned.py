"""What the recurrences share whose gates read the input alone, so that all steps are computed at once."""

# B batch, T time, D input, H output, N state

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from rnntrain.cells.base import Recurrent, State, last_valid, zero_padding
from rnntrain.cells.blocks import run_in_blocks
from rnntrain.cells.scan import scan

# The C library gets each tensor beyond some ten MiB from the system anew, and clearing its pages takes several times
# as long as a pass over it. From so many numbers of state on, a sequence is therefore run in blocks of time.
LARGE_SEQUENCE = 2**22
BLOCK = 2**17  # numbers of state in a block, so that all that is made for it stays in the processor's cache


class Scanned(Recurrent):
    """h_t = a_t ⊙ h_{t-1} + b_t, with a_t and b_t functions of x_t; y_t is a function of h_t and x_t.

    A subclass implements `coefficients`, and `readout` where the output is more than h. `forward` calls them once
    for all steps, or block by block for a long sequence on a CPU: nothing but input, states and output then outlives
    a block, and the backward pass computes the gates anew, which still takes less than half the time.

    Padding needs no masks in the scan: the state is gathered at each row's last valid step.
    """

    @abstractmethod
    def coefficients(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return a and b for inputs ``[..., D]``, in full precision, and whatever else `readout` takes."""

    def readout(self, h: Tensor, *rest: Tensor) -> Tensor:
        """Return the output for states ``[..., N]``."""
        return h

    def initial_state(self, batch_size: int) -> State:
        return next(self.parameters()).new_zeros(batch_size, self.output_size)

    def forward(self, x_BTD: Tensor, state: State = None, lengths_B: Tensor | None = None) -> tuple[Tensor, State]:
        if state is None:
            state = self.initial_state(x_BTD.shape[0])
        if lengths_B is not None:
            x_BTD = zero_padding(x_BTD, lengths_B)
        y_BTH, h_BTN = self.run(x_BTD.transpose(0, 1), state)
        if lengths_B is None:
            return y_BTH, h_BTN[:, -1]
        return zero_padding(y_BTH, lengths_B), last_valid(h_BTN, lengths_B, state)

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        a_BN, b_BN, *rest = self.coefficients(x_BD)
        h_BN = torch.addcmul(b_BN, a_BN, state.to(b_BN.dtype))
        return self.readout(h_BN, *rest).to(state.dtype.to_real()), h_BN.to(state.dtype)

    def run(self, x_TBD: Tensor, h_BN: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``y_BTH`` and ``h_BTN``, both as precise as the state ``h_BN`` before the first step."""
        if x_TBD.is_cuda or x_TBD.shape[0] * h_BN.numel() < LARGE_SEQUENCE:
            a_TBN, b_TBN, *rest = self.coefficients(x_TBD)
            h_TBN = scan(a_TBN, b_TBN, h_BN)
            y_TBH = self.readout(h_TBN, *rest)
        else:
            num_steps = max(1, BLOCK // h_BN.numel())
            y_TBH, h_TBN = run_in_blocks(
                self.coefficients, self.readout, list(self.parameters()), x_TBD, h_BN, num_steps
            )
        return y_TBH.transpose(0, 1).to(h_BN.dtype.to_real()), h_TBN.transpose(0, 1).to(h_BN.dtype)
