"""Recurrences whose gates read the input alone, in C++: from input to output in one call, and all gradients in one."""

# B batch, T time, D input, W window, H hidden, G = gates · H, E = W · D, O further weights

from __future__ import annotations

import ctypes
import struct
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnntrain.native.library import call, pointers


class Kind(NamedTuple):
    """What the C++ side calls a cell, and the sizes of its weights, in units of H.

    Attributes:
        own_state: whether the output is another than the state.
    """

    name: str
    gates: int
    options: int = 0
    own_state: bool = False


MINGRU = {"linear": Kind("mingru", 2), "positive": Kind("mingru_positive", 2)}
MINLSTM = {"linear": Kind("minlstm", 3), "positive": Kind("minlstm_positive", 3)}
SRU = Kind("sru", 3, own_state=True)
SRU_PROJECTED = Kind("sru_projected", 4, own_state=True)
QRNN = Kind("qrnn", 3, own_state=True)
GATED_LINEAR = Kind("gated_linear", 3)
GATED_LINEAR_NEGATIVE = Kind("gated_linear_negative", 3)
RGLRU = Kind("rglru", 3, options=1)
INDRNN = {"tanh": Kind("indrnn_tanh", 1, options=1), "relu": Kind("indrnn_relu", 1, options=1)}


class Kernel(NamedTuple):
    """A cell's loop from input to output with the weights that it runs on.

    Attributes:
        weight_GE: of all gates, by the inputs of a window, the oldest first.
        options_O: the cell's own further weights.
    """

    kind: Kind
    weight_GE: Tensor
    bias_G: Tensor | None = None
    options_O: Tensor | None = None


_GIVEN = ("lengths", "x", "weight", "bias", "options", "h0")
_GRADIENTS = ("y", "h_last", "x", "weight", "bias", "options", "h0")


class _Gated(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("B", "T", "D", "H", "window")] + [
        (name, ctypes.c_void_p) for name in (*_GIVEN, "y", "h", "h_last")
    ]


_STEP = struct.Struct(f"@5q{len(_GIVEN) + 3}P")  # the same, packed
STEP_ROWS = 16  # with more rows, packed weights and several threads are faster


class _GatedGradients(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in _GRADIENTS]


def run(
    kernel: Kernel, x_BTD: Tensor, h_BH: Tensor, lengths_B: Tensor | None = None, window: int = 1
) -> tuple[Tensor, Tensor]:
    """Return ``y_BTH`` and the state after each row's last valid step.

    Step t reads the inputs t … t + window - 1, so that ``x_BTD`` has window - 1 more of them than there are steps; the
    first ones come from before the sequence. Padding is inert: it is neither read nor given a gradient, and outputs
    are zero there. Nothing but input, states and outputs is kept for the backward pass.

    Raises:
        RuntimeError: if a shape does not fit the others.
    """
    kind, *weights = kernel
    _check(kernel, x_BTD, h_BH, lengths_B, window)
    result: tuple[Tensor, Tensor] = _Run.apply(kind, window, lengths_B, x_BTD, *weights, h_BH)
    return result


def step(kernel: Kernel, x_BE: Tensor, h_BH: Tensor, window: int = 1) -> tuple[Tensor, Tensor] | None:
    """Return ``y_BH`` and the state after one step, without gradients: that of sampling.

    None where the kernels cannot take what they are given, or would not be faster, with many rows at once.

    Args:
        x_BE: the inputs of a window, the oldest first.
    """
    kind, (B, E), H = kernel.kind, x_BE.shape, h_BH.shape[1]
    _, *weights = kernel
    x_BE, h_BH = x_BE.contiguous(), h_BH.contiguous()
    addresses = pointers(x_BE, *weights, h_BH)
    if addresses is None or B > STEP_ROWS or kernel.weight_GE.shape != (kind.gates * H, E) or len(h_BH) != B:
        return None
    y_BH = torch.empty_like(h_BH)
    new_h_BH = torch.empty_like(h_BH) if kind.own_state else y_BH
    sequence = _STEP.pack(B, 1, E // window, H, window, 0, *addresses, y_BH.data_ptr(), new_h_BH.data_ptr(), 0)
    call(f"{kind.name}_step", sequence)
    return y_BH, new_h_BH


def _check(kernel: Kernel, x_BTD: Tensor, h_BH: Tensor, lengths_B: Tensor | None, window: int) -> None:
    """Refuse what would make a kernel read beyond its memory."""
    kind, weight_GE, bias_G, options_O = kernel
    if x_BTD.dim() != 3 or x_BTD.shape[1] < window or h_BH.dim() != 2:
        raise RuntimeError(f"input of shape {tuple(x_BTD.shape)} and state of shape {tuple(h_BH.shape)} do not fit")
    B, _, D = x_BTD.shape
    H = h_BH.shape[1]
    expected: list[tuple[str, Tensor | None, tuple[int, ...]]] = [
        ("state", h_BH, (B, H)),
        ("weights", weight_GE, (kind.gates * H, window * D)),
        ("bias", bias_G, (kind.gates * H,)),
        ("options", options_O, (kind.options * H,)),
        ("lengths", lengths_B, (B,)),
    ]
    for name, tensor, shape in expected:
        if tensor is not None and tuple(tensor.shape) != shape:
            raise RuntimeError(f"{name}: shape {tuple(tensor.shape)}, expected {shape}; the input is {D} wide")
    if kind.options and options_O is None:
        raise RuntimeError(f"{kind.name} needs its options")


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, kind: Kind, window: int, lengths_B: Tensor | None, *inputs: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        lengths_B = None if lengths_B is None else lengths_B.long().contiguous()
        given = [lengths_B, *(None if x is None else x.detach().contiguous() for x in inputs)]
        x_BTD, h_BH = given[1], given[-1]
        assert x_BTD is not None
        assert h_BH is not None
        y_BTH = h_BH.new_empty(len(x_BTD), x_BTD.shape[1] - window + 1, h_BH.shape[1])
        h_BTH = torch.empty_like(y_BTH) if kind.own_state else y_BTH
        last_BH = torch.empty_like(h_BH)
        call(f"{kind.name}_forward", _arguments(given, y_BTH, h_BTH, last_BH, window))
        ctx.kind, ctx.window = kind, window
        ctx.save_for_backward(*given, y_BTH, h_BTH)
        ctx.set_materialize_grads(False)
        return y_BTH, last_BH

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_BTH: Tensor | None, grad_last_BH: Tensor | None) -> tuple[Tensor | None, ...]:
        *given, y_BTH, h_BTH = ctx.saved_tensors
        wanted = [False, *ctx.needs_input_grad[3:]]
        wanted[-1] = True  # the kernel works in its place
        made = [
            torch.empty_like(x) if wants and x is not None else None for x, wants in zip(given, wanted, strict=True)
        ]
        grads = [None if g is None else g.contiguous() for g in (grad_BTH, grad_last_BH)]
        addresses = (None if g is None else g.data_ptr() for g in (*grads, *made[1:]))
        arguments = _arguments(given, y_BTH, h_BTH, None, ctx.window)
        call(f"{ctx.kind.name}_backward", arguments, ctypes.byref(_GatedGradients(*addresses)))
        return None, None, None, *made[1:]


def _arguments(given: list[Tensor | None], y_BTH: Tensor, h_BTH: Tensor, last_BH: Tensor | None, window: int) -> Any:
    x_BTD = given[1]
    assert x_BTD is not None
    addresses = (None if x is None else x.data_ptr() for x in (*given, y_BTH, h_BTH, last_BH))
    return ctypes.byref(_Gated(*y_BTH.shape[:2], x_BTD.shape[2], y_BTH.shape[2], window, *addresses))
