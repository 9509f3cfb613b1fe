"""Recurrences without a product, with their time loop in C++: the linear scan and the gated pool."""

# B batch, T time, N state, H hidden

from __future__ import annotations

import ctypes
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from rnntrain.native.library import call

Candidate: TypeAlias = Literal["linear", "tanh", "positive"]
_CANDIDATES: tuple[Candidate, ...] = ("linear", "tanh", "positive")


class _ScanArguments(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("T", "N", "a_step")] + [
        (name, ctypes.c_void_p) for name in ("a", "b", "h0", "h")
    ]


class _ScanGradients(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("h", "a", "b", "h0")]


class _PoolArguments(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("B", "T", "H", "f_row", "f_step", "v_row", "v_step", "candidate")),
        ("f_sign", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("f", "v", "h0", "y")),
    ]


class _PoolGradients(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("y", "h_last")),
        *((name, ctypes.c_int64) for name in ("row", "step")),
        *((name, ctypes.c_void_p) for name in ("f", "v", "h0")),
    ]


def scan(a_TBN: Tensor, b_TBN: Tensor, h_BN: Tensor) -> Tensor:
    """Return every ``h_TBN`` of h_t = a_t ⊙ h_{t-1} + b_t, from the state ``h_BN`` before the first step.

    All three are of one type, float32 or complex64. `a_TBN` may be expanded over time; its gradient is then summed
    over time at once, and neither is ever as large as b.

    Raises:
        RuntimeError: if a shape or a type does not fit the others.
    """
    if a_TBN.shape != b_TBN.shape or b_TBN.shape[1:] != h_BN.shape:
        raise RuntimeError(f"scan of shapes {tuple(a_TBN.shape)}, {tuple(b_TBN.shape)} and {tuple(h_BN.shape)}")
    types = {x.dtype for x in (a_TBN, b_TBN, h_BN)}
    if types != {torch.float32} and types != {torch.complex64}:
        raise RuntimeError(f"scan of types {a_TBN.dtype}, {b_TBN.dtype} and {h_BN.dtype}")
    if a_TBN.stride(0) == 0:
        a_TBN = a_TBN[:1]
    h_TBN: Tensor = _Scan.apply(a_TBN, b_TBN, h_BN)
    return h_TBN


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a_TBN: Tensor, b_TBN: Tensor, h_BN: Tensor) -> Tensor:
        a, b, h0 = (x.detach().resolve_conj().contiguous() for x in (a_TBN, b_TBN, h_BN))
        h_TBN = torch.empty_like(b)
        call(_scan_name(b, "forward"), _scan_arguments(a, b, h0, h_TBN))
        ctx.save_for_backward(a, b, h0, h_TBN)
        return h_TBN

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_TBN: Tensor) -> tuple[Tensor | None, ...]:
        a, b, h0, h_TBN = ctx.saved_tensors
        grad_TBN = grad_TBN.resolve_conj().contiguous()
        grad_a = torch.empty_like(a) if ctx.needs_input_grad[0] else None
        grad_b, grad_h0 = torch.empty_like(b), torch.empty_like(h0)
        addresses = (None if x is None else x.data_ptr() for x in (grad_TBN, grad_a, grad_b, grad_h0))
        call(_scan_name(b, "backward"), _scan_arguments(a, b, h0, h_TBN), ctypes.byref(_ScanGradients(*addresses)))
        return grad_a, grad_b, grad_h0


def _scan_name(b: Tensor, direction: str) -> str:
    return f"{'complex_' if b.is_complex() else ''}scan_{direction}"


def _scan_arguments(a: Tensor, b: Tensor, h0: Tensor, h: Tensor) -> Any:
    step = h0.numel() * (2 if h0.is_complex() else 1)
    a_step = step if len(a) == len(b) else 0
    return ctypes.byref(_ScanArguments(len(b), step, a_step, *(x.data_ptr() for x in (a, b, h0, h))))


def pool(
    f_BTH: Tensor, v_BTH: Tensor, h_BH: Tensor, candidate: Candidate = "linear", negate: bool = False
) -> tuple[Tensor, Tensor]:
    """Return ``y_BTH`` and the last state of h_t = σ(f_t) ⊙ h_{t-1} + (1 - σ(f_t)) ⊙ φ(v_t).

    Reads the pre-activations where they are, so that slices of one product need no copy.

    Args:
        f_BTH: the forget gate before its sigmoid.
        v_BTH: the candidate before φ.
        candidate: φ: the identity, tanh, or "positive", x + 0.5 where x ≥ 0 and σ(x) below.
        negate: take σ(-f_t), as where f_t is the update gate's.

    Raises:
        RuntimeError: if a shape does not fit the others.
    """
    if f_BTH.shape != v_BTH.shape or (f_BTH.shape[0], f_BTH.shape[2]) != h_BH.shape:
        raise RuntimeError(f"pool of {tuple(f_BTH.shape)}, {tuple(v_BTH.shape)} and {tuple(h_BH.shape)}")
    result: tuple[Tensor, Tensor] = _Pool.apply(f_BTH, v_BTH, h_BH, candidate, negate)
    return result


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, f_BTH: Tensor, v_BTH: Tensor, h_BH: Tensor, candidate: Candidate, negate: bool
    ) -> tuple[Tensor, Tensor]:
        f, v = (x.detach() if x.stride(-1) == 1 else x.detach().contiguous() for x in (f_BTH, v_BTH))
        h0 = h_BH.detach().contiguous()
        y_BTH = h0.new_empty(f.shape)
        ctx.candidate, ctx.negate = candidate, negate
        call("pool_forward", _pool_arguments(f, v, h0, y_BTH, candidate, negate))
        ctx.save_for_backward(f, v, h0, y_BTH)
        ctx.set_materialize_grads(False)
        return y_BTH, y_BTH[:, -1].clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_BTH: Tensor | None, grad_last_BH: Tensor | None) -> tuple[Tensor | None, ...]:
        f, v, h0, y_BTH = ctx.saved_tensors
        # Side by side, as the product lies that both are usually slices of.
        grad_f, grad_v = f.new_empty(*f.shape[:2], 2 * f.shape[2]).chunk(2, -1)
        grad_h0 = torch.empty_like(h0)
        y_and_last = [None if g is None else g.contiguous() for g in (grad_BTH, grad_last_BH)]
        gradients = _PoolGradients(
            *(None if g is None else g.data_ptr() for g in y_and_last),
            *grad_f.stride()[:2],
            *(g.data_ptr() for g in (grad_f, grad_v, grad_h0)),
        )
        arguments = _pool_arguments(f, v, h0, y_BTH, ctx.candidate, ctx.negate)
        call("pool_backward", arguments, ctypes.byref(gradients))
        return grad_f, grad_v, grad_h0, None, None


def _pool_arguments(f: Tensor, v: Tensor, h0: Tensor, y: Tensor, candidate: Candidate, negate: bool) -> Any:
    return ctypes.byref(
        _PoolArguments(
            *f.shape,
            *f.stride()[:2],
            *v.stride()[:2],
            _CANDIDATES.index(candidate),
            -1.0 if negate else 1.0,
            *(x.data_ptr() for x in (f, v, h0, y)),
        )
    )
