"""What the recurrences share whose gates read the input alone, so that all steps are computed at once."""

# B batch, T time, D input, H output, N state

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from rnntrain.cells.base import Recurrent, State, last_valid, zero_padding
from rnntrain.cells.blocks import run_in_blocks
from rnntrain.cells.scan import scan
from rnntrain.native import gated, library

Candidate: TypeAlias = Literal["linear", "tanh", "positive"]

# The C library gets each tensor beyond some ten MiB from the system anew, and clearing its pages takes several times
# as long as a pass over it. From so many numbers of state on, a sequence is therefore run in blocks of time.
LARGE_SEQUENCE = 2**22
BLOCK = 2**18  # numbers of state in a block, so that all that is made for it stays in the processor's cache


class Scanned(Recurrent):
    """h_t = a_t ⊙ h_{t-1} + b_t, with a_t and b_t functions of x_t; y_t is a function of h_t and x_t.

    A subclass implements `coefficients`, and `readout` where the output is more than h. `forward` calls them once
    for all steps, or block by block for a long sequence on a CPU: nothing but input, states and output then outlives
    a block, and the backward pass computes the gates anew, which still takes less time than fresh memory would.

    Padding needs no masks in the scan: the state is gathered at each row's last valid step. A cell that has a kernel of
    its own in `rnntrain.native.gated` says so in `kernel`.
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
        native = self.run_native(x_BTD, state, lengths_B)
        if native is not None:
            return native
        if lengths_B is not None:
            x_BTD = zero_padding(x_BTD, lengths_B)
        y_BTH, h_BTN = self.run(x_BTD.transpose(0, 1), state)
        if lengths_B is None:
            return y_BTH, h_BTN[:, -1]
        return zero_padding(y_BTH, lengths_B), last_valid(h_BTN, lengths_B, state)

    def kernel(self) -> gated.Kernel | None:
        """Return the compiled time loop of this cell and its weights; None where there is none."""
        return None

    def run_native(self, x_BTD: Tensor, state: State, lengths_B: Tensor | None) -> tuple[Tensor, State] | None:
        """Do what `forward` does by a kernel of our own; None where there is none, or it is not built."""
        if not library.usable(x_BTD, state, *self.parameters()):
            return None
        kernel = self.kernel()
        return None if kernel is None else gated.run(kernel, x_BTD, state, lengths_B)

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        kernel = self.kernel() if library.usable_for_step(x_BD) else None
        native = None if kernel is None else gated.step(kernel, x_BD, state)
        return self._plain_step(x_BD, state) if native is None else native

    def _plain_step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        a_BN, b_BN, *rest = self.coefficients(x_BD)
        h_BN = torch.addcmul(b_BN, a_BN, state.to(b_BN.dtype))
        return self.readout(h_BN, *rest).to(state.dtype.to_real()), h_BN.to(state.dtype)

    def run(self, x_TBD: Tensor, h_BN: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``y_BTH`` and ``h_BTN``, both as precise as the state ``h_BN`` before the first step."""
        if x_TBD.is_cuda or x_TBD.shape[0] * h_BN.numel() < LARGE_SEQUENCE:
            y_TBH, h_TBN = self._run_whole(x_TBD, h_BN)
        else:
            num_steps = max(1, BLOCK // h_BN.numel())
            y_TBH, h_TBN = run_in_blocks(self._run_whole, list(self.parameters()), x_TBD, h_BN, num_steps)
        return y_TBH.transpose(0, 1).to(h_BN.dtype.to_real()), h_TBN.transpose(0, 1).to(h_BN.dtype)

    def _run_whole(self, x_TBD: Tensor, h_BN: Tensor) -> tuple[Tensor, Tensor]:
        a_TBN, b_TBN, *rest = self.coefficients(x_TBD)
        h_TBN = scan(a_TBN, b_TBN, h_BN)
        return self.readout(h_TBN, *rest), h_TBN


class Pooled(Scanned):
    """h_t = σ(f_t) ⊙ h_{t-1} + (1 - σ(f_t)) ⊙ φ(v_t): a scan whose two factors sum to one.

    A subclass implements `gates`.

    Attributes:
        candidate: φ: the identity, tanh, or the positive function of minGRU.
        negate: take σ(-f_t), where f_t is an update gate.
    """

    candidate: Candidate = "linear"
    negate: bool = False

    @abstractmethod
    def gates(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return f and v, ``[..., N]`` in full precision, and whatever else `readout` takes."""

    def coefficients(self, x: Tensor) -> tuple[Tensor, ...]:
        f, v, *rest = self.gates(x)
        # Each share from its own sigmoid: 1 - σ would round away what is left of a gate that is almost open.
        keep, take = torch.sigmoid(f), torch.sigmoid(-f)
        if self.negate:
            keep, take = take, keep
        return keep, take * PHI[self.candidate](v), *rest


def positive(x: Tensor) -> Tensor:
    """Return x + 0.5 where x ≥ 0 and σ(x) below: continuous, increasing and above zero."""
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))


PHI: dict[Candidate, Callable[[Tensor], Tensor]] = {"linear": lambda x: x, "tanh": torch.tanh, "positive": positive}
