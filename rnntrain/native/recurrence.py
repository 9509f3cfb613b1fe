"""Recurrences with their time loop in C++: one call for all steps, and one for all gradients."""

# B batch, T time, D input, H hidden, P output and h (= H without a projection), C = cells · H, G = gates · H
# E kept a step beside the gates, O further weights, Q numbers that the product with h gives (= G unless `recurrent`)

from __future__ import annotations

import ctypes
import struct
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnntrain.native.library import call, pointers


class Kind(NamedTuple):
    """What the C++ side calls a cell, and the sizes of its weights and of what it keeps, in units of H.

    Attributes:
        constant: further numbers kept a step.
        cells: what the state has beside h, side by side in one tensor.
        recurrent: how many gates the product with h gives, where not all of them.
        reads_cell: whether c has weights too, which stand below those of h.
        skips: whether what the state has beside h are the last outputs, of which the oldest is read with weights that
            stand below those of h.
        projected: whether the output is a projection of what the cell gives.
    """

    name: str
    gates: int
    extra: int = 0
    constant: int = 0
    options: int = 0
    cells: int = 0
    keeps_gates: bool = True
    recurrent: int | None = None
    reads_cell: bool = False
    skips: bool = False
    projected: bool = False


RNN_TANH = Kind("rnn_tanh", 1, keeps_gates=False)
RNN_RELU = Kind("rnn_relu", 1, keeps_gates=False)
GRU = Kind("gru", 3, extra=1)
GRU_RESET_BEFORE = Kind("gru_reset_before", 3)
LSTM = Kind("lstm", 4, extra=1, cells=1)
# Gates in the order o, i, f, g. Options of the first: from c to o, i, f. Of the last: the gain of the norm of the
# state's product (4H), gain and bias of the cell's (H each), gain of that of the input's product and bias (4H each).
PEEPHOLE_LSTM = Kind("peephole_lstm", 4, extra=1, options=3, cells=1)
NOISY_LSTM = Kind("noisy_lstm", 4, extra=2, cells=1)
LAYER_NORM_LSTM = Kind("layer_norm_lstm", 4, extra=10, constant=2, options=14, cells=1)
NOISY_GRU = Kind("noisy_gru", 3, extra=1)
# Options: what r scales beside the product (H), gains of the norms of the state's product and of the input's, and bias.
LAYER_NORM_GRU = Kind("layer_norm_gru", 3, extra=7, constant=4, options=10)
COUPLED_LSTM = Kind("coupled_lstm", 3, extra=1, cells=1)  # o, f, g
JANET = Kind("janet", 2, extra=1, options=1)  # β, not learnt
LEAKY = {"tanh": Kind("leaky_tanh", 1, options=1), "relu": Kind("leaky_relu", 1, options=1)}
CLOCKWORK = Kind("clockwork", 1)  # zone_hidden_TBH is 1 where a unit rests, 0 where it moves, and must be given
SLSTM = Kind("slstm", 4, extra=3, cells=3)  # c, n, m
PROJECTED_LSTM = Kind("projected_lstm", 4, extra=2, cells=1, projected=True)  # o, i, f, g
# Options: ε, not learnt. Gates: the change, and z.
ANTISYMMETRIC = Kind("antisymmetric", 1, options=1)
ANTISYMMETRIC_GATED = Kind("antisymmetric_gated", 2, options=1, recurrent=1)
SKIP = Kind("skip", 1, cells=1, keeps_gates=False, skips=True)
CORNN = Kind("cornn", 1, extra=1, options=3, cells=1, reads_cell=True)  # options: Δt, Δt γ, 1 - Δt ε, not learnt


class Kernel(NamedTuple):
    """A cell's time loop with the weights that it runs on.

    Attributes:
        weight_QP: from h, and below it from what else the kind reads.
        bias_x_G: added to the input's share.
        bias_h_Q: added to the product with the state.
        options_O: the cell's own further weights, in the order of its kernel.
        projection_PH: of the kinds that have one.
    """

    kind: Kind
    weight_GD: Tensor
    weight_QP: Tensor
    bias_x_G: Tensor | None = None
    bias_h_Q: Tensor | None = None
    options_O: Tensor | None = None
    projection_PH: Tensor | None = None

    def weights(self) -> tuple[Tensor | None, ...]:
        """Return the weights in the order of the C++ side."""
        return self.weight_GD, self.bias_x_G, self.weight_QP, self.bias_h_Q, self.projection_PH, self.options_O


class Noise(NamedTuple):
    """What is drawn for one sequence; None where there is none of its kind.

    Attributes:
        update_BH: factors of the candidate, g or n.
        zone_cell_TBH: the share of the last cell that each unit keeps.
        zone_hidden_TBH: the share of the last output that each unit keeps.
    """

    update_BH: Tensor | None = None
    zone_cell_TBH: Tensor | None = None
    zone_hidden_TBH: Tensor | None = None


NO_NOISE = Noise()
_NOISE = ("update", "zone_c", "zone_h")
_WEIGHTS = ("weight_x", "bias_x", "weight_h", "bias_h", "projection", "options")
_POINTERS = ("lengths", "x", *_WEIGHTS, *_NOISE, "h0", "c0")
_OUTPUTS = ("y", "h_last", "c_last", "gates", "extra")
_GRADIENTS = ("y", "h_last", "c_last", "x", *_WEIGHTS, "h0", "c0")


class _Sequence(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in (*"BTDHP", "skip")] + [
        (name, ctypes.c_void_p) for name in (*_POINTERS, *_OUTPUTS)
    ]


# The same, packed: a step is over before a structure has been filled in.
_STEP = struct.Struct(f"@6q{len(_POINTERS) + len(_OUTPUTS)}P")
# With more rows, packed weights and several threads are faster.
STEP_ROWS = 16


class _Gradients(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in _GRADIENTS]


def recur(
    kernel: Kernel,
    x_BTD: Tensor,
    state: tuple[Tensor, ...],
    lengths_B: Tensor | None = None,
    noise: Noise = NO_NOISE,
) -> tuple[Tensor, ...]:
    """Return ``y_BTP`` and each part of the state after each row's last valid step.

    Padding is inert: the kernels neither read the input there nor give it a gradient, and write zeros.

    Args:
        state: ``(h_BP,)`` or ``(h_BP, c_BC)``, with C = cells · H, or skip · H of a kind that skips: the oldest first.
        noise: of the kinds that are named for it or for layer norm; has no gradient.

    Raises:
        RuntimeError: if a shape does not fit the others.
    """
    h_BP, c_BC = state if kernel.kind.cells else (*state, None)
    _check(kernel, x_BTD, state, lengths_B, noise)
    keep = torch.is_grad_enabled()
    result: tuple[Tensor, ...] = _Recurrence.apply(
        kernel.kind, keep, lengths_B, x_BTD, *kernel.weights(), *noise, h_BP, c_BC
    )
    return result


def step(kernel: Kernel, x_BD: Tensor, state: tuple[Tensor, ...], noise: Noise = NO_NOISE) -> tuple[Tensor, ...] | None:
    """Return ``y_BP`` and the further parts of the state after one step, without gradients: that of sampling.

    None where the kernels cannot take what they are given, or would not be faster, with many rows at once.

    Args:
        state: as for `recur`; of a kind that skips, the last output and that of skip steps ago.
    """
    kind, (B, D), h_BP = kernel.kind, x_BD.shape, state[0].contiguous()
    H, P = len(kernel.weight_GD) // kind.gates, h_BP.shape[1]
    c_BC = state[1].contiguous() if kind.cells else None
    x_BD = x_BD.contiguous()
    addresses = pointers(x_BD, *kernel.weights(), *noise, h_BP, c_BC)
    fits = kernel.weight_GD.shape[1] == D and kernel.weight_QP.shape[1] == P and len(h_BP) == B
    if c_BC is not None:
        fits = fits and c_BC.shape == (B, kind.cells * H)
    if addresses is None or not fits or B > STEP_ROWS:
        return None
    y_BP = torch.empty_like(h_BP)
    new_c_BC = None if c_BC is None or kind.skips else torch.empty_like(c_BC)
    new_c = 0 if new_c_BC is None else new_c_BC.data_ptr()
    sequence = _STEP.pack(B, 1, D, H, P, 1, 0, *addresses, y_BP.data_ptr(), 0, new_c, 0, 0)
    call(f"{kind.name}_step", sequence)
    return (y_BP,) if new_c_BC is None else (y_BP, new_c_BC)


def _check(kernel: Kernel, x_BTD: Tensor, state: tuple[Tensor, ...], lengths_B: Tensor | None, noise: Noise) -> None:
    """Refuse what would make a kernel read beyond its memory."""
    kind, weight_GD, weight_QP, bias_x_G, bias_h_Q, options_O, projection_PH = kernel
    G, D = weight_GD.shape
    H = G // kind.gates
    P = H if projection_PH is None else len(projection_PH)
    Q = (kind.recurrent or kind.gates) * H
    if x_BTD.dim() != 3 or x_BTD.shape[2] != D:
        raise RuntimeError(f"input has shape {tuple(x_BTD.shape)}, expected [batch, time, {D}]")
    B, T, _ = x_BTD.shape
    expected: list[tuple[str, Tensor | None, tuple[int, ...]]] = [
        ("input weights", weight_GD, (kind.gates * H, D)),
        ("recurrent weights", weight_QP, ((2 if kind.reads_cell or kind.skips else 1) * Q, P)),
        ("input bias", bias_x_G, (G,)),
        ("recurrent bias", bias_h_Q, (Q,)),
        ("projection", projection_PH, (P, H)),
        ("options", options_O, (kind.options * H,)),
        ("lengths", lengths_B, (B,)),
        ("update noise", noise.update_BH, (B, H)),
        ("cell zoneout", noise.zone_cell_TBH, (T, B, H)),
        ("hidden zoneout", noise.zone_hidden_TBH, (T, B, H)),
        *(("state", part, (B, width)) for part, width in zip(state, (P, _cells(kind, state[-1], H) * H), strict=False)),
    ]
    for name, tensor, shape in expected:
        if tensor is not None and tuple(tensor.shape) != shape:
            raise RuntimeError(f"{name}: shape {tuple(tensor.shape)}, expected {shape}")
    if kind.options and options_O is None:
        raise RuntimeError(f"{kind.name} needs its options")
    if kind.projected != (projection_PH is not None):
        raise RuntimeError(f"{kind.name} {'needs its' if kind.projected else 'has no'} projection")
    if kind is CLOCKWORK and noise.zone_hidden_TBH is None:
        raise RuntimeError(f"{kind.name} needs to know which units rest")


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kind: Kind, keep: bool, lengths_B: Tensor | None, *inputs: Tensor | None) -> Any:
        tensors = [None if x is None else x.detach().contiguous() for x in inputs]
        lengths_B = None if lengths_B is None else lengths_B.long().contiguous()
        given: dict[str, Tensor | None] = dict(zip(_POINTERS, (lengths_B, *tensors), strict=True))
        x_BTD, h_BP = given["x"], given["h0"]
        assert x_BTD is not None
        assert h_BP is not None
        (B, T, _), P, H = x_BTD.shape, h_BP.shape[1], _hidden_size(kind, given)
        made: dict[str, Tensor | None] = dict.fromkeys(_OUTPUTS)
        made["y"] = h_BP.new_empty(B, T, P)
        made["h_last"] = torch.empty_like(h_BP)
        if kind.cells:
            made["c_last"] = torch.empty_like(given["c0"])  # type: ignore[arg-type]
        if keep and kind.keeps_gates:
            made["gates"] = h_BP.new_empty(B, T, kind.gates * H)
        if keep and kind.extra:
            made["extra"] = h_BP.new_empty(B, T, kind.extra * H + kind.constant)
        call(f"{kind.name}_forward", _sequence(kind, given | made))
        if keep:
            kept = given | {name: made[name] for name in ("y", "gates", "extra")}
            ctx.kind, ctx.names = kind, list(kept)
            ctx.save_for_backward(*kept.values())
        ctx.set_materialize_grads(False)
        return tuple(made[name] for name in ("y", "h_last", "c_last") if made[name] is not None)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        kept: dict[str, Tensor | None] = dict(zip(ctx.names, ctx.saved_tensors, strict=True))
        found: dict[str, Tensor | None] = dict.fromkeys(_GRADIENTS)
        for name, grad in zip(_OUTPUTS, grads, strict=False):
            found[name] = None if grad is None else grad.contiguous()
        wanted = dict(zip(_POINTERS, ctx.needs_input_grad[2:], strict=True))
        for name in _POINTERS[1:]:
            like = kept[name]
            if name in _GRADIENTS and like is not None and (wanted[name] or name in ("h0", "c0", "weight_h")):
                found[name] = torch.empty_like(like)
        call(f"{ctx.kind.name}_backward", _sequence(ctx.kind, kept), ctypes.byref(_Gradients(**_addresses(found))))
        return None, None, None, *(found.get(name) if wanted[name] else None for name in _POINTERS[1:])


def _cells(kind: Kind, c_BC: Tensor | None, H: int) -> int:
    """Return how many blocks of H numbers the state has beside h."""
    return max(1, c_BC.shape[1] // H) if kind.skips and c_BC is not None else kind.cells


def _hidden_size(kind: Kind, tensors: dict[str, Tensor | None]) -> int:
    weight_GD = tensors["weight_x"]
    assert weight_GD is not None
    return len(weight_GD) // kind.gates


def _sequence(kind: Kind, tensors: dict[str, Tensor | None]) -> Any:
    x_BTD, h_BP = tensors["x"], tensors["h0"]
    assert x_BTD is not None
    assert h_BP is not None
    H = _hidden_size(kind, tensors)
    sizes = *x_BTD.shape, H, h_BP.shape[1], _cells(kind, tensors["c0"], H)
    return ctypes.byref(_Sequence(*sizes, **_addresses(tensors)))


def _addresses(tensors: dict[str, Tensor | None]) -> dict[str, int | None]:
    return {name: None if x is None else x.data_ptr() for name, x in tensors.items()}
