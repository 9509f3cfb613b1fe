"""The embedding of tokens, with a dropout of whole entries."""

# B batch, T time, D width, V vocabulary

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TokenEmbedding(nn.Embedding):
    """One vector a vocabulary entry; in training, entries are dropped whole for all of a batch.

    An entry that is dropped is zero wherever it occurs, and the others are scaled by 1 / (1 - dropout): the mask of a
    sequence-wise dropout on one-hot inputs (Gal and Ghahramani 2016, arXiv:1512.05287, section 4.2).

    Args:
        dropout: share of entries dropped.
    """

    def __init__(self, vocab_size: int, size: int, dropout: float = 0.0) -> None:
        super().__init__(vocab_size, size)
        self.dropout = dropout

    def forward(self, tokens: Tensor) -> Tensor:
        if not self.training or not self.dropout:
            return super().forward(tokens)
        kept_V1 = torch.empty(self.num_embeddings, 1, device=self.weight.device).bernoulli_(1 - self.dropout)
        scale = F.embedding(tokens, kept_V1 / (1 - self.dropout))
        return super().forward(tokens) * scale.to(self.weight.dtype)
