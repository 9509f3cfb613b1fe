"""The linear recurrent unit in C++: from input to output in one call, and all gradients in one."""

# B batch, T time, D input, H hidden, P = 2H where the eigenvalues are complex, else H

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnntrain.native.library import call


class Weights(NamedTuple):
    """The matrices and vectors of a unit; complex ones hold all real parts before all imaginary ones.

    Attributes:
        to_state_PD: γ B.
        eigenvalues_P: λ.
        from_state_HP: from a state's parts to Re(C s).
        past_HD: D, with its bias.
        past_bias_H: d.
        glu_GH: W_1 above W_2.
        glu_bias_G: b_1 and b_2.
    """

    to_state_PD: Tensor
    eigenvalues_P: Tensor
    from_state_HP: Tensor
    past_HD: Tensor
    past_bias_H: Tensor
    glu_GH: Tensor
    glu_bias_G: Tensor


# So many numbers stay in a core's cache; a step has nine times H of them.
_CACHED, _LONGEST_CHUNK = 65536, 256

_GIVEN = ("lengths", "x", *Weights._fields, "s0")
_GRADIENTS = ("y", "s_last", "x", *Weights._fields, "s0")


class _Lru(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("B", "T", "D", "H", "chunk")] + [
        (name, ctypes.c_void_p) for name in (*_GIVEN, "y", "s_last", "starts")
    ]


class _LruGradients(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in _GRADIENTS]


def run(x_BTD: Tensor, s_BP: Tensor, weights: Weights, lengths_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return ``y_BTH`` and the state after each row's last valid step. Padding is inert.

    Raises:
        RuntimeError: if a shape does not fit the others.
    """
    _check(x_BTD, s_BP, weights, lengths_B)
    result: tuple[Tensor, Tensor] = _Run.apply(lengths_B, x_BTD, *weights, s_BP)
    return result


def _check(x_BTD: Tensor, s_BP: Tensor, weights: Weights, lengths_B: Tensor | None) -> None:
    """Refuse what would make the kernel read beyond its memory."""
    H, P = weights.from_state_HP.shape
    D = weights.past_HD.shape[1]
    if x_BTD.dim() != 3 or x_BTD.shape[2] != D or P not in (H, 2 * H):
        raise RuntimeError(f"input has shape {tuple(x_BTD.shape)}, expected [batch, time, {D}]")
    B = len(x_BTD)
    shapes = ((P, D), (P,), (H, P), (H, D), (H,), (2 * H, H), (2 * H,))
    expected: list[tuple[str, Tensor | None, tuple[int, ...]]] = [
        *((name, x, shape) for name, x, shape in zip(Weights._fields, weights, shapes, strict=True)),
        ("state", s_BP, (B, P)),
        ("lengths", lengths_B, (B,)),
    ]
    for name, tensor, shape in expected:
        if tensor is not None and tuple(tensor.shape) != shape:
            raise RuntimeError(f"{name}: shape {tuple(tensor.shape)}, expected {shape}")


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, lengths_B: Tensor | None, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        lengths_B = None if lengths_B is None else lengths_B.long().contiguous()
        given = [lengths_B, *(x.detach().contiguous() for x in inputs)]
        x_BTD, s_BP, hidden_size = inputs[0], inputs[-1], inputs[3].shape[0]
        y_BTH = s_BP.new_empty(*x_BTD.shape[:2], hidden_size)
        last_BP = torch.empty_like(s_BP, memory_format=torch.contiguous_format)
        num_chunks = -(-x_BTD.shape[1] // _chunk(hidden_size))
        starts = s_BP.new_empty(len(x_BTD), num_chunks, s_BP.shape[1])
        call(f"{_name(given)}_forward", _arguments(given, y_BTH, last_BP, starts))
        ctx.save_for_backward(*given, y_BTH, starts)
        ctx.set_materialize_grads(False)
        return y_BTH, last_BP

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_BTH: Tensor | None, grad_last_BP: Tensor | None) -> tuple[Tensor | None, ...]:
        *given, y_BTH, starts = ctx.saved_tensors
        wanted = [*ctx.needs_input_grad[1:-1], True]  # the last, of the state, the kernel always writes
        made = [torch.empty_like(x) if wants else None for x, wants in zip(given[1:], wanted, strict=True)]
        grads = [None if g is None else g.contiguous() for g in (grad_BTH, grad_last_BP)]
        addresses = (None if g is None else g.data_ptr() for g in (*grads, *made))
        arguments = _arguments(given, y_BTH, None, starts)
        call(f"{_name(given)}_backward", arguments, ctypes.byref(_LruGradients(*addresses)))
        return None, *made


def _name(given: list[Tensor | None]) -> str:
    from_state_HP = given[4]
    assert from_state_HP is not None
    return "lru_real" if from_state_HP.shape[0] == from_state_HP.shape[1] else "lru_complex"


def _arguments(given: list[Tensor | None], y_BTH: Tensor, last_BP: Tensor | None, starts: Tensor) -> Any:
    x_BTD = given[1]
    assert x_BTD is not None
    addresses = (None if x is None else x.data_ptr() for x in (*given, y_BTH, last_BP, starts))
    return ctypes.byref(_Lru(*x_BTD.shape, y_BTH.shape[2], _chunk(y_BTH.shape[2]), *addresses))


def _chunk(hidden_size: int) -> int:
    return min(_LONGEST_CHUNK, max(16, _CACHED // (9 * hidden_size)))
