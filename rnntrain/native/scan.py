"""The linear recurrence h_t = a_t ⊙ h_{t-1} + b_t, with its time loop in C++."""

# B batch, T time, N state

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from rnntrain.native.library import call


class _ScanArguments(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("T", "N", "a_step")] + [
        (name, ctypes.c_void_p) for name in ("a", "b", "h0", "h")
    ]


class _ScanGradients(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("h", "a", "b", "h0")]


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
