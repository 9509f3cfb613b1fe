"""Linear recurrences, h_t = a_t ⊙ h_{t-1} + b_t, with nothing else in the loop."""

# B batch, T time, D input, W steps of a window, H output, P = 2H real and imaginary parts in turn, N state

from __future__ import annotations

from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._higher_order_ops.scan import scan

from rnntrain.cells.base import State, last_valid
from rnntrain.cells.history import last_inputs, with_history
from rnntrain.cells.lru import LRU
from rnntrain.cells.qrnn import QRNN
from rnntrain.cells.scanned import Scanned
from rnntrain.exporting.layers import Exported

Pair: TypeAlias = tuple[Tensor, Tensor]


class LinearLoop(Exported):
    """A `Scanned` cell: h_t = a_t ⊙ h_{t-1} + b_t alone is in the loop, its factors and the output are not."""

    cell: Scanned

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        a_BN, b_BN, *rest = self.cell.coefficients(x_BD)
        h_BN = a_BN * state + b_BN
        return self.cell.readout(h_BN, *rest), h_BN

    def run(self, x_BTD: Tensor, state: State, lengths_B: Tensor) -> tuple[Tensor, State]:
        a_TBN, b_TBN, *rest = self.cell.coefficients(x_BTD.transpose(0, 1))
        h_TBN = linear_scan(a_TBN, b_TBN, state)
        y_TBH = self.cell.readout(h_TBN, *rest)
        return y_TBH.transpose(0, 1), last_valid(h_TBN.transpose(0, 1), lengths_B, state)


def linear_scan(a_TBN: Tensor, b_TBN: Tensor, h_BN: Tensor) -> Tensor:
    """Return every state of h_t = a_t ⊙ h_{t-1} + b_t."""

    def one_step(h_BN: Tensor, now: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        a_BN, b_BN = now
        h_BN = a_BN * h_BN + b_BN
        return h_BN, h_BN.clone()

    _, h_TBN = scan(one_step, h_BN, (a_TBN, b_TBN))
    return h_TBN


class QRNNLoop(LinearLoop):
    """The QRNN, whose factors read a window of inputs."""

    cell: QRNN

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        c_BH, history_BWD = state
        extended_BWD = with_history(x_BD[:, None], history_BWD)
        y_BH, c_BH = super().step(extended_BWD.flatten(1), c_BH)
        return y_BH, (c_BH, extended_BWD[:, 1:])

    def run(self, x_BTD: Tensor, state: State, lengths_B: Tensor) -> tuple[Tensor, State]:
        c_BH, history_BWD = state
        extended_BTD = with_history(x_BTD, history_BWD)
        windows = [extended_BTD[:, w : w + x_BTD.shape[1]] for w in range(self.cell.window)]
        y_BTH, c_BH = super().run(torch.cat(windows, -1), c_BH, lengths_B)
        return y_BTH, (c_BH, last_inputs(extended_BTD, history_BWD, lengths_B))


class ComplexLoop(Exported):
    """The LRU with complex eigenvalues, in real numbers, as no complex ones exist in ONNX."""

    cell: LRU

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        b_re, b_im = self._inputs(x_BD).unbind(-1)
        re, im = self._turn(state, (b_re, b_im))
        return self._readout(re, im, x_BD), (re, im)

    def run(self, x_BTD: Tensor, state: State, lengths_B: Tensor) -> tuple[Tensor, State]:
        x_TBD = x_BTD.transpose(0, 1)

        def one_step(before: Pair, now: Pair) -> tuple[Pair, Pair]:
            re, im = self._turn(before, now)
            return (re, im), (re.clone(), im.clone())

        _, (re_TBH, im_TBH) = scan(one_step, state, tuple(self._inputs(x_TBD).unbind(-1)))
        y_TBH = self._readout(re_TBH, im_TBH, x_TBD)
        parts = zip((re_TBH, im_TBH), state, strict=True)
        re_BH, im_BH = (last_valid(h_TBH.transpose(0, 1), lengths_B, h_BH) for h_TBH, h_BH in parts)
        return y_TBH.transpose(0, 1), (re_BH, im_BH)

    def _inputs(self, x: Tensor) -> Tensor:
        """Return what is added to the state, ``[..., H, 2]``."""
        scale_P1 = torch.exp(self.cell.log_scale).repeat_interleave(2)[:, None]
        return F.linear(x, scale_P1 * self.cell.to_state).unflatten(-1, (self.output_size, 2))

    def _turn(self, state: Pair, b: Pair) -> Pair:
        radius_H, angle_H = torch.exp(-torch.exp(self.cell.log_decay)), torch.exp(self.cell.log_phase)
        real_H, imaginary_H = radius_H * torch.cos(angle_H), radius_H * torch.sin(angle_H)
        re, im = state
        return real_H * re - imaginary_H * im + b[0], real_H * im + imaginary_H * re + b[1]

    def _readout(self, re: Tensor, im: Tensor, x: Tensor) -> Tensor:
        # Re and Im in turn, as the columns of C stand.
        return self.cell.readout(torch.stack([re, im], -1).flatten(-2), x)
