"""One vector for a whole sequence: its last step, its mean, its largest values, or what attention picks."""

# B batch, T time, H hidden, O output

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from rnntrain.batch import Batch, length_mask
from rnntrain.cells.base import last_valid, zero_padding

PoolingKind: TypeAlias = Literal["last", "mean", "max", "attention"]


class Pooling(nn.Module):
    """Make ``y_BH`` of ``y_BTH``; padded steps count for nothing, and a row without a step gives zeros.

    - ``last``: the output at the last valid step; of features that read from the end, the output at the first. Each
      is the output once the whole row has been read.
    - ``mean``: Σ_t y_t / length.
    - ``max``: the largest value of each feature over time.
    - ``attention``: Σ_t a_t y_t with a = softmax over t of v·tanh(W y_t + b), as in Yang et al. 2016 (hierarchical
      attention networks). v starts at zero, so that it starts as the mean.

    Args:
        size: width H.
        kind: which of these.

    Attributes:
        backward_H: True for the features that read from the end; None where none does. Set by the model that owns the
            pooling.
    """

    backward_H: Tensor | None

    def __init__(self, size: int, kind: PoolingKind = "last") -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("backward_H", None, persistent=False)
        if kind == "attention":
            self.hidden = nn.Linear(size, size)
            self.score = nn.Linear(size, 1, bias=False)
            nn.init.zeros_(self.score.weight)

    def forward(self, y_BTH: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        if lengths_B is None:
            lengths_B = torch.full(y_BTH.shape[:1], y_BTH.shape[1], device=y_BTH.device)
        y_BTH = zero_padding(y_BTH, lengths_B)
        if self.kind == "last":
            return self._last(y_BTH, lengths_B)
        if self.kind == "mean":
            return y_BTH.sum(1) / lengths_B.clamp(min=1)[:, None]
        valid_BT = length_mask(lengths_B, y_BTH.shape[1])
        if self.kind == "max":
            largest_BH = y_BTH.masked_fill(~valid_BT[..., None], -torch.inf).amax(1)
            return torch.where((lengths_B > 0)[:, None], largest_BH, 0.0)
        score_BT = self.score(torch.tanh(self.hidden(y_BTH))).squeeze(-1)
        # A row without a step has finite, if meaningless, weights: softmax over nothing would be NaN.
        lowest = torch.finfo(score_BT.dtype).min
        weight_BT = score_BT.masked_fill(~valid_BT, lowest).softmax(1)
        return torch.einsum("bt,bth->bh", weight_BT, y_BTH)

    def _last(self, y_BTH: Tensor, lengths_B: Tensor) -> Tensor:
        last_BH = last_valid(y_BTH, lengths_B, y_BTH.new_zeros(()))
        return last_BH if self.backward_H is None else torch.where(self.backward_H, y_BTH[:, 0], last_BH)


class PooledLinear(nn.Module):
    """A head that gives one output a sequence: pooling, then a linear layer.

    Initialisation: weights uniform in ±0.2/√H, the bias zero, so that the loss of a new classifier is about log of its
    number of classes, even where they are few.

    Args:
        input_size: width H.
        output_size: width O.
        pooling: how a sequence becomes one vector.
    """

    def __init__(self, input_size: int, output_size: int, pooling: PoolingKind = "last") -> None:
        super().__init__()
        self.pooling = Pooling(input_size, pooling)
        self.linear = nn.Linear(input_size, output_size)
        nn.init.uniform_(self.linear.weight, -0.2 * input_size**-0.5, 0.2 * input_size**-0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, y_BTH: Tensor, batch: Batch) -> Tensor:
        """Return ``output_BO``."""
        output_BO: Tensor = self.linear(self.pooling(y_BTH, batch.lengths_B))
        return output_BO
