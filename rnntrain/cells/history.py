"""The last inputs of a sequence, carried as the state of a convolution over time."""

# B batch, T time, D input, K steps of history

from __future__ import annotations

import torch
from torch import Tensor


def with_history(x_BTD: Tensor, history_BKD: Tensor) -> Tensor:
    """Put the K inputs before a sequence in front of it."""
    return torch.cat([history_BKD.to(x_BTD.dtype), x_BTD], 1)


def last_inputs(extended_BTD: Tensor, history_BKD: Tensor, lengths_B: Tensor | None) -> Tensor:
    """Return the K inputs up to each row's last valid step, of what `with_history` gave, as precise as the history."""
    num_kept = history_BKD.shape[1]
    num_steps = extended_BTD.shape[1] - num_kept
    if lengths_B is None:
        return extended_BTD[:, num_steps:].to(history_BKD.dtype)
    index_BK = lengths_B[:, None] + torch.arange(num_kept, device=lengths_B.device)
    kept_BKD = extended_BTD.gather(1, index_BK[..., None].expand(-1, -1, extended_BTD.shape[2]))
    return kept_BKD.to(history_BKD.dtype)
