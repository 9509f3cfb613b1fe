"""What the recurrences with a matrix for a memory share: heads, and chunks of time that are run as products."""

# B batch, N heads, T time, L steps of a chunk, K width of a head

from __future__ import annotations

import torch
from torch import Tensor

# A chunk costs L² K for what lies within it and L K² for what lies before: at this length neither dominates.
CHUNK = 64


def check_heads(num_heads: int, hidden_size: int) -> None:
    """Refuse heads of unequal width.

    Raises:
        ValueError: if `num_heads` does not divide `hidden_size`.
    """
    if hidden_size % num_heads:
        raise ValueError(
            f"num_heads={num_heads} does not divide hidden_size={hidden_size}; choose a divisor, such as 1"
        )


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """Return ``[B, N, T, K]`` of ``[B, T, N·K]``."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def join_heads(x_BNTK: Tensor) -> Tensor:
    """Return ``[B, T, N·K]`` of ``[B, N, T, K]``."""
    return x_BNTK.transpose(1, 2).flatten(-2)


def padded_steps(lengths_B: Tensor, num_steps: int) -> Tensor:
    """Return ``[B, 1, T]``, True where a step is padded."""
    return (torch.arange(num_steps, device=lengths_B.device) >= lengths_B[:, None])[:, None]


def log_decays(log_f_BNL: Tensor) -> Tensor:
    """Return ``[B, N, L, L]``: at (t, s) what is left at t of what entered at s, Σ_{s<r≤t} log f_r, and -inf for s > t.

    Each sum is made on its own. The difference of two cumulative sums would lose its digits behind a gate that closed.
    """
    num_steps = log_f_BNL.shape[-1]
    later_LL = torch.ones(num_steps, num_steps, dtype=torch.bool, device=log_f_BNL.device).tril(-1)
    terms_BNLL = log_f_BNL[..., None].expand(*log_f_BNL.shape, num_steps).masked_fill(~later_LL, 0)
    return terms_BNLL.cumsum(-2).masked_fill(later_LL.mT, -torch.inf)
