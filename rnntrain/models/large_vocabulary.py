"""Two other output layers over a vocabulary: a cheaper one, the adaptive softmax, and a richer one, a mixture."""

# B batch, T time, H hidden, V vocabulary, M mixtures, N = B·T rows, C rows of one chunk

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rnntrain.batch import Batch
from rnntrain.errors import UserError
from rnntrain.models.vocabulary import CHUNK_BYTES, share_embedding, valid_rows


class AdaptiveLogits(NamedTuple):
    """Log-probabilities that have not been computed yet, of `AdaptiveHead`."""

    hidden: Tensor
    softmax: nn.AdaptiveLogSoftmaxWithLoss

    def compute(self) -> Tensor:
        """Return ``log_probs_BTV`` (or ``log_probs_BV`` of a single step), which serve as logits."""
        rows_NV = self.softmax.log_prob(self.hidden.flatten(0, -2))
        return rows_NV.view(*self.hidden.shape[:-1], -1)

    def cross_entropy(self, targets_BT: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the summed negative log-likelihood of the targets in nats, and how many there are."""
        hidden_NH, targets_N, count = valid_rows(self.hidden, targets_BT, lengths_B)
        if not len(targets_N):
            return hidden_NH.sum().float(), count
        return -self.softmax(hidden_NH, targets_N).output.float().sum(), count


class AdaptiveHead(nn.Module):
    """An output layer in which rare words share the work (Grave et al. 2017, arXiv:1609.04309).

    The first `cutoffs[0]` entries have logits of their own; each later stretch between two cutoffs is one cluster,
    read through a projection that is four times narrower from cluster to cluster, or less where H is small. Only the
    clusters that a batch's targets need are computed. Entries must be sorted by frequency, as those of
    `data.unit=word` are.

    Args:
        cutoffs: numbers of entries at which clusters begin, in ascending order, all below the vocabulary's size.
    """

    def __init__(self, input_size: int, vocab_size: int, cutoffs: list[int]) -> None:
        super().__init__()
        if not cutoffs or any(a >= b for a, b in pairwise([0, *cutoffs, vocab_size])):
            raise UserError(
                f"task.cutoffs={cutoffs}: must ascend and lie below the {vocab_size} entries of the vocabulary; "
                f"try task.cutoffs=[{max(1, vocab_size // 20)},{max(2, vocab_size // 4)}]"
            )
        narrower = min(4.0, 0.999 * input_size ** (1 / len(cutoffs)))  # no cluster is left without width
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(input_size, vocab_size, cutoffs, narrower, head_bias=True)

    def forward(self, hidden: Tensor, batch: Batch | None = None) -> AdaptiveLogits:
        return AdaptiveLogits(hidden, self.softmax)


class MixtureLogits(NamedTuple):
    """Log-probabilities that have not been computed yet, of `MixtureHead`: ``log Σ_m π_m softmax(W h_m + b)``."""

    log_prior: Tensor  # [..., M]
    hidden: Tensor  # [..., M, H]
    weight_VH: Tensor
    bias_V: Tensor

    def compute(self) -> Tensor:
        """Return ``log_probs_BTV`` (or ``log_probs_BV`` of a single step), which serve as logits."""
        log_probs = F.linear(self.hidden, self.weight_VH, self.bias_V).float().log_softmax(-1)
        return torch.logsumexp(self.log_prior.float()[..., None] + log_probs, -2)

    def cross_entropy(self, targets_BT: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the summed negative log-likelihood of the targets in nats, and how many there are.

        Logits are computed a chunk of rows at a time, and once more in the backward pass, so that they are never held
        all at once.
        """
        hidden_NMH, targets_N, count = valid_rows(self.hidden, targets_BT, lengths_B, inner=2)
        log_prior_NM, _, _ = valid_rows(self.log_prior, targets_BT, lengths_B)
        mixtures = hidden_NMH.shape[1]
        rows = max(1, CHUNK_BYTES // (self.weight_VH.shape[0] * mixtures * 4))
        log_probs = [
            checkpoint(_target_log_probs, hidden_CMH, self.weight_VH, self.bias_V, targets_C, use_reentrant=False)
            for hidden_CMH, targets_C in zip(hidden_NMH.split(rows), targets_N.split(rows), strict=True)
        ]
        return -torch.logsumexp(log_prior_NM.float() + torch.cat(log_probs), -1).sum(), count


class MixtureHead(nn.Module):
    """A mixture of softmaxes (Yang et al. 2018, arXiv:1711.03953, section 2.4); no product's rank limits it.

    π = softmax(W_π h), h_m = tanh(W_m h), p = Σ_m π_m softmax(W h_m + b). W starts uniform in ±1/√H and b at zero, so
    that a new model's loss is about log V.

    Args:
        num_mixtures: number of softmaxes M; the cost grows with it.
    """

    def __init__(self, input_size: int, vocab_size: int, num_mixtures: int) -> None:
        super().__init__()
        self.num_mixtures = num_mixtures
        self.prior = nn.Linear(input_size, num_mixtures, bias=False)
        self.latent = nn.Linear(input_size, num_mixtures * input_size)
        self.weight = nn.Parameter(torch.empty(vocab_size, input_size).uniform_(-(input_size**-0.5), input_size**-0.5))
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, hidden: Tensor, batch: Batch | None = None) -> MixtureLogits:
        latent = torch.tanh(self.latent(hidden)).unflatten(-1, (self.num_mixtures, -1))
        return MixtureLogits(self.prior(hidden).log_softmax(-1), latent, self.weight, self.bias)

    def tie(self, embedding: nn.Module) -> None:
        """Share the weights of the input embedding.

        Raises:
            UserError: if the widths differ.
        """
        self.weight = share_embedding(embedding, self.weight)


def _target_log_probs(hidden_CMH: Tensor, weight_VH: Tensor, bias_V: Tensor, targets_C: Tensor) -> Tensor:
    logits = F.linear(hidden_CMH.flatten(0, 1), weight_VH, bias_V).float()
    targets = targets_C.repeat_interleave(hidden_CMH.shape[1])
    return -F.cross_entropy(logits, targets, reduction="none").view(hidden_CMH.shape[:2])
