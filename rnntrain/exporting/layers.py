"""Every recurrence as a loop that a graph can hold: a loop over time whose number of steps is known when it runs.

A trace of a Python loop has as many copies of the step as the example had steps. Here one step is traced, and the
graph's own loop (`scan` of torch, `Scan` of ONNX) runs it. Any cell goes through `Loop`, by the contract that a
sequence equals its steps; the others take out of the loop what does not depend on the state, or need none.
"""

# B batch, T time, C context, S = C + T steps with those before the sequence, D input, H hidden, G products of a step,
# N state, K width of a head

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan

from rnntrain.cells.base import Recurrent, State, last_valid, zero_padding
from rnntrain.cells.history import last_inputs, with_history
from rnntrain.cells.lru import LRU
from rnntrain.cells.projected import ProjectedCell
from rnntrain.cells.qrnn import QRNN
from rnntrain.cells.scanned import Scanned
from rnntrain.cells.tcn import TCN
from rnntrain.cells.transformer import Cache, Transformer, rotate
from rnntrain.cells.weight_drop import WeightDrop
from rnntrain.models.backbone import Backbone, Bidirectional

Pair: TypeAlias = tuple[Tensor, Tensor]


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
        return self.cell.initial_state(batch_size)

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        return self.cell.step(x_BD, state)

    def forward(self, x_BTD: Tensor, state: State = None, lengths_B: Tensor | None = None) -> tuple[Tensor, State]:
        if state is None:
            # Copies, as parts of a state may be one tensor, which a loop must not be given twice.
            state = self.initial_state(x_BTD.shape[0])
            state = like(state, iter([part.clone() for part in tensors_of(state)]))
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

    def prepared(self, x_TBD: Tensor) -> Tensor:
        """Return what `advance` reads, for all steps at once."""
        return x_TBD

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

    def prepared(self, x_TBD: Tensor) -> Tensor:
        return self.cell.project(x_TBD, self._weights())

    def advance(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self.cell.advance(x, state, self._weights())

    def _weights(self) -> Any:
        if not isinstance(self._form, tuple):
            return self.weight_0
        parts = [getattr(self, f"weight_{number}") for number in range(len(self._form))]
        return type(self._form)(*parts) if hasattr(self._form, "_fields") else tuple(parts)


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


class Convolved(Exported):
    """A temporal convolution network, which needs no loop."""

    def run(self, x_BTD: Tensor, state: State, lengths_B: Tensor) -> tuple[Tensor, State]:
        return self.cell(x_BTD, state, lengths_B)


class Attention(Exported):
    """A Transformer layer, which needs no loop: all queries against all keys, under a mask of those in reach.

    Time and memory grow with T (T + C), where the layer itself goes block by block; the number of blocks would be
    fixed by the trace.
    """

    cell: Transformer

    def run(self, x_BTD: Tensor, state: Cache, lengths_B: Tensor) -> tuple[Tensor, Cache]:
        cell = self.cell
        u_BTH = cell.from_input(x_BTD)
        q_BTH, k_BTH, v_BTH = cell.to_qkv(cell.attention_norm(u_BTH)).chunk(3, -1)
        k_BCH, v_BCH, valid_BC = state
        valid_BT = (torch.arange(x_BTD.shape[1]) < lengths_B[:, None]).to(valid_BC.dtype)
        k_BSH, v_BSH = with_history(k_BTH, k_BCH), with_history(v_BTH, v_BCH)
        valid_BS = torch.cat([valid_BC, valid_BT], 1)
        s_BTH = u_BTH + cell.from_heads(self._attend(q_BTH, k_BSH, v_BSH, valid_BS > 0))
        y_BTH = s_BTH + cell.narrow(F.gelu(cell.widen(cell.feedforward_norm(s_BTH))))
        valid_BC1 = last_inputs(valid_BS[..., None], valid_BC[..., None], lengths_B)
        return y_BTH, (last_inputs(k_BSH, k_BCH, lengths_B), last_inputs(v_BSH, v_BCH, lengths_B), valid_BC1[..., 0])

    def _attend(self, q_BTH: Tensor, k_BSH: Tensor, v_BSH: Tensor, valid_BS: Tensor) -> Tensor:
        context = self.cell.context
        reach = context if self.cell.causal else 2 * context
        places_S = torch.arange(k_BSH.shape[1])
        places_T = places_S[context:]  # query t stands C places into the keys
        distance_TS = places_S - places_T[:, None] + context
        seen_BTS = ((distance_TS >= 0) & (distance_TS <= reach) & valid_BS[:, None]) | (distance_TS == context)
        q, k, v = (x.unflatten(-1, (self.cell.num_heads, -1)).transpose(1, 2) for x in (q_BTH, k_BSH, v_BSH))
        q, k = rotate(q, places_T), rotate(k, places_S)
        scores_BNTS = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
        weights_BNTS = scores_BNTS.masked_fill(~seen_BTS[:, None], -torch.inf).softmax(-1)
        return (weights_BNTS @ v).transpose(1, 2).flatten(2)


def exportable(layer: Recurrent) -> Recurrent:
    """Return what takes the place of one recurrence in a graph."""
    if isinstance(layer, LRU) and layer.eigenvalues == "complex":
        return ComplexLoop(layer)
    if isinstance(layer, QRNN):
        return QRNNLoop(layer)
    # A subclass with a step of its own is taken at its step's word.
    if isinstance(layer, ProjectedCell) and type(layer).step is ProjectedCell.step:
        return ProjectedLoop(layer)
    if isinstance(layer, LRU) or (isinstance(layer, Scanned) and type(layer).step is Scanned.step):
        return LinearLoop(layer)
    if isinstance(layer, TCN):
        return Convolved(layer)
    return Attention(layer) if isinstance(layer, Transformer) else Loop(layer)


def make_exportable(module: nn.Module, kernel: Callable[[Recurrent], Recurrent | None] = lambda _: None) -> None:
    """Put an exportable layer in the place of every recurrence within a module, which is changed.

    Args:
        kernel: gives what a format has of its own for a recurrence, or None.
    """
    for name, child in list(module.named_children()):
        if isinstance(child, WeightDrop):  # drops nothing once it is trained
            child = child.inner
        if isinstance(child, Recurrent) and not isinstance(child, Backbone | Bidirectional):
            setattr(module, name, kernel(child) or exportable(child))
        else:
            make_exportable(child, kernel)
