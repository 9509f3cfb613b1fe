"""The output layer of taggers: a score for every tag, and for sequences of them where a chain binds them."""

# B batch, T time, H hidden, K tags

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.batch import Batch, length_mask
from rnntrain.models.crf import ChainScores, LinearChain, Rules, negative_log_likelihood, no_chain, viterbi


class TagScores(NamedTuple):
    """Scores of every tag at every step, and what a sequence of tags adds to them.

    Attributes:
        emissions_BTK: logits where there is no chain.
        chain: the scores of a CRF; None where tags are independent.
        rules: which sequences are decoded; None for all.
        train_by_rules: forbidden sequences have no part in the log-partition either.
        bias_K: what is added to the emissions in decoding; None for nothing.
    """

    emissions_BTK: Tensor
    chain: ChainScores | None = None
    rules: Rules | None = None
    train_by_rules: bool = False
    bias_K: Tensor | None = None

    def loss(self, tags_BT: Tensor, lengths_B: Tensor | None) -> Tensor:
        """Return the negative log-likelihood summed over all tokens (sentences, of a CRF), in nats."""
        if self.chain is not None:
            chain = self.chain if self.rules is None or not self.train_by_rules else self.chain.forbid(self.rules)
            return negative_log_likelihood(self.emissions_BTK, tags_BT, lengths_B, chain).sum()
        emissions, tags = self.emissions_BTK, tags_BT
        if lengths_B is not None:
            valid_BT = length_mask(lengths_B, tags_BT.shape[1])
            emissions, tags = emissions[valid_BT], tags_BT[valid_BT]
        exact = torch.promote_types(emissions.dtype, torch.float32)
        return F.cross_entropy(emissions.reshape(-1, emissions.shape[-1]).to(exact), tags.flatten(), reduction="sum")

    def losses(self, tags_BT: Tensor, lengths_B: Tensor | None) -> Tensor:
        """Return what each row adds to `loss`."""
        if lengths_B is None:
            lengths_B = torch.full(tags_BT.shape[:1], tags_BT.shape[1], device=tags_BT.device)
        rows = enumerate(lengths_B.tolist())
        # A sentence by itself: how it is scored is for `loss` to say.
        alone = (self._replace(emissions_BTK=self.emissions_BTK[row : row + 1, :length]) for row, length in rows)
        losses = [
            scores.loss(tags_BT[row : row + 1, : scores.emissions_BTK.shape[1]], None)
            for row, scores in enumerate(alone)
        ]
        return torch.stack(losses)

    def best(self, lengths_B: Tensor | None) -> Tensor:
        """Return the best allowed sequence of each row: ``tags_BT``."""
        emissions_BTK = self.emissions_BTK if self.bias_K is None else self.emissions_BTK + self.bias_K
        if self.chain is None and self.rules is None:
            return emissions_BTK.argmax(-1)
        chain = self.chain or no_chain(emissions_BTK)
        return viterbi(emissions_BTK, lengths_B, chain if self.rules is None else chain.forbid(self.rules))


class TagHead(nn.Module):
    """A linear layer to one score a tag, and a linear-chain CRF over them where there is one.

    Weights start uniform in ±1/√H, the bias and the chain at zero, so that a new model's loss is about log K a token.
    """

    start_K: Tensor | None
    end_K: Tensor | None
    pairs_KK: Tensor | None
    bias_K: Tensor | None

    def __init__(
        self,
        input_size: int,
        num_tags: int,
        *,
        crf: bool,
        rules: Rules | None = None,
        train_by_rules: bool = False,
        bias_K: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, num_tags)
        nn.init.uniform_(self.linear.weight, -(input_size**-0.5), input_size**-0.5)
        nn.init.zeros_(self.linear.bias)
        self.chain = LinearChain(num_tags) if crf else None
        self.train_by_rules = train_by_rules
        for name, allowed in zip(Rules._fields, rules or [None] * 3, strict=True):
            self.register_buffer(name, allowed, persistent=False)
        self.register_buffer("bias_K", bias_K, persistent=False)

    def forward(self, y_BTH: Tensor, batch: Batch | None = None) -> TagScores:
        rules = None
        if self.start_K is not None and self.end_K is not None and self.pairs_KK is not None:
            rules = Rules(self.start_K, self.end_K, self.pairs_KK)
        chain = None if self.chain is None else self.chain()
        return TagScores(self.linear(y_BTH), chain, rules, self.train_by_rules, self.bias_K)
