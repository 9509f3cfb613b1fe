"""The linear-chain conditional random field: scores of whole tag sequences, their log-partition, the best of them."""

# B batch, T time, K tags

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rnntrain.batch import length_mask

# Far below any score, yet finite: a forbidden sequence has a loss of thousands and no NaN in its gradient.
FORBIDDEN = -1e4


class Rules(NamedTuple):
    """Which tags may begin a sequence, end it, and follow each other: `pairs_KK[before, after]` is True where so."""

    start_K: Tensor
    end_K: Tensor
    pairs_KK: Tensor


class ChainScores(NamedTuple):
    """What a chain gives for beginning, for ending, and for each pair of tags that follow each other."""

    start_K: Tensor
    end_K: Tensor
    pairs_KK: Tensor

    def forbid(self, rules: Rules) -> ChainScores:
        """Return the scores with `FORBIDDEN` in place of what the rules do not allow."""
        return ChainScores(
            *(scores.masked_fill(~allowed, FORBIDDEN) for scores, allowed in zip(self, rules, strict=True))
        )


class LinearChain(nn.Module):
    """The learnt scores of a linear-chain CRF (Lafferty et al. 2001; over a recurrent network, Huang et al. 2015,
    arXiv:1508.01991):

    s(y) = start[y_1] + Σ_t e_t[y_t] + Σ_{t>1} pairs[y_{t-1}, y_t] + end[y_T],    p(y) = exp(s(y) - log Z)

    All scores start at zero, so that a new chain leaves the tags independent of each other.
    """

    def __init__(self, num_tags: int) -> None:
        super().__init__()
        self.start_K = nn.Parameter(torch.zeros(num_tags))
        self.end_K = nn.Parameter(torch.zeros(num_tags))
        self.pairs_KK = nn.Parameter(torch.zeros(num_tags, num_tags))

    def forward(self) -> ChainScores:
        return ChainScores(self.start_K, self.end_K, self.pairs_KK)


def no_chain(emissions_BTK: Tensor) -> ChainScores:
    """Return the scores of a chain that prefers nothing, so that its sequences are those of independent tags."""
    zeros_K = emissions_BTK.new_zeros(emissions_BTK.shape[-1])
    return ChainScores(zeros_K, zeros_K, zeros_K[:, None].expand(-1, len(zeros_K)))


def negative_log_likelihood(
    emissions_BTK: Tensor, tags_BT: Tensor, lengths_B: Tensor | None, scores: ChainScores
) -> Tensor:
    """Return log Z - s(y) of each row, in nats per sentence: ``loss_B``. A row of length 0 has a loss of 0.

    Computed in float32 at least, whatever precision the emissions come in.
    """
    emissions_BTK, scores = _exact(emissions_BTK, scores)
    return log_partition(emissions_BTK, lengths_B, scores) - sequence_score(emissions_BTK, tags_BT, lengths_B, scores)


def log_partition(emissions_BTK: Tensor, lengths_B: Tensor | None, scores: ChainScores) -> Tensor:
    """Return log Σ_y exp s(y) over all tag sequences of each row: ``log_z_B``."""
    # unbind once: indexing e[:, t] in the loop would allocate a gradient of all emissions at every step
    first_BK, *others = emissions_BTK.unbind(1)
    alpha_BK = scores.start_K + first_BK
    for t, e_BK in enumerate(others, start=1):
        # Σ_i exp(α_i + pairs_ij), as a stable logsumexp over the tag before
        after_BK = torch.logsumexp(alpha_BK[:, :, None] + scores.pairs_KK, 1) + e_BK
        alpha_BK = after_BK if lengths_B is None else torch.where((t < lengths_B)[:, None], after_BK, alpha_BK)
    log_z_B = torch.logsumexp(alpha_BK + scores.end_K, 1)
    return log_z_B if lengths_B is None else log_z_B.masked_fill(lengths_B == 0, 0)


def sequence_score(emissions_BTK: Tensor, tags_BT: Tensor, lengths_B: Tensor | None, scores: ChainScores) -> Tensor:
    """Return s(y) of the given tags of each row: ``score_B``."""
    batch_size, num_steps, _ = emissions_BTK.shape
    if lengths_B is None:
        lengths_B = torch.full((batch_size,), num_steps, device=emissions_BTK.device)
    valid_BT = length_mask(lengths_B, num_steps)
    tags_BT = tags_BT.masked_fill(~valid_BT, 0)
    emitted_BT = emissions_BTK.gather(2, tags_BT[..., None]).squeeze(2)
    passed_BT = scores.pairs_KK[tags_BT[:, :-1], tags_BT[:, 1:]]
    last_B = tags_BT.gather(1, (lengths_B - 1).clamp(min=0)[:, None]).squeeze(1)
    score_B = (
        emitted_BT.masked_fill(~valid_BT, 0).sum(1)
        + passed_BT.masked_fill(~valid_BT[:, 1:], 0).sum(1)
        + scores.start_K[tags_BT[:, 0]]
        + scores.end_K[last_B]
    )
    return score_B.masked_fill(lengths_B == 0, 0)


@torch.no_grad()
def viterbi(emissions_BTK: Tensor, lengths_B: Tensor | None, scores: ChainScores) -> Tensor:
    """Return the sequence of the highest score of each row, ``tags_BT``, with 0 in padded places.

    Waits for no device; of sequences with one score the lower tag wins, from the end on.
    """
    emissions_BTK, scores = _exact(emissions_BTK, scores)
    batch_size, num_steps, num_tags = emissions_BTK.shape
    if lengths_B is None:
        lengths_B = torch.full((batch_size,), num_steps, device=emissions_BTK.device)
    stay_K = torch.arange(num_tags, device=emissions_BTK.device)
    best_BK = scores.start_K + emissions_BTK[:, 0]
    came_from: list[Tensor] = []
    for t in range(1, num_steps):
        after_BK, before_BK = (best_BK[:, :, None] + scores.pairs_KK).max(1)
        goes_on_B1 = (t < lengths_B)[:, None]
        best_BK = torch.where(goes_on_B1, after_BK + emissions_BTK[:, t], best_BK)
        # beyond a row's end the way back stays where it is, so all rows can be traced from the last step
        came_from.append(torch.where(goes_on_B1, before_BK, stay_K))
    tag_B = (best_BK + scores.end_K).argmax(1)
    path = [tag_B]
    for before_BK in reversed(came_from):
        tag_B = before_BK.gather(1, tag_B[:, None]).squeeze(1)
        path.append(tag_B)
    return torch.stack(path[::-1], 1).masked_fill(~length_mask(lengths_B, num_steps), 0)


def _exact(emissions_BTK: Tensor, scores: ChainScores) -> tuple[Tensor, ChainScores]:
    dtype = torch.promote_types(emissions_BTK.dtype, torch.float32)
    return emissions_BTK.to(dtype), ChainScores(*(part.to(dtype) for part in scores))
