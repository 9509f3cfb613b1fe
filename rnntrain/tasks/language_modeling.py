"""Language modelling: predict the next character, byte, word or piece."""

# B batch, T time, V vocabulary

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from rnntrain.batch import Batch, length_mask
from rnntrain.cells.base import State, detach
from rnntrain.data.base import Codec, DataSet
from rnntrain.data.codecs import TextCodec
from rnntrain.errors import UserError
from rnntrain.metrics import Metrics, Picture, Sum
from rnntrain.models.embedding import TokenEmbedding
from rnntrain.models.sequence import SequenceModel
from rnntrain.models.vocabulary import VocabularyHead, VocabularyLogits
from rnntrain.ranges import DropoutRate, NonNegativeInt, PositiveInt
from rnntrain.sample import SamplingOptions, sample_text
from rnntrain.tasks.base import Carry, Task, carry_nothing

if TYPE_CHECKING:
    from rnntrain.predicting.predictor import Predictor


class LanguageModeling(Task):
    """Predict each token from those before it, by truncated backpropagation through time.

    Args:
        carry: pass the hidden state of one window to the next (Mikolov et al. 2010); needs `data.contiguous=true`.
            Gradients never cross a window.
        sample_length: tokens of the text sample written at each evaluation; 0 for none.
        embedding_dropout: share of the vocabulary whose embeddings are dropped whole in a batch (Gal and Ghahramani
            2016, arXiv:1512.05287).
        output: the output layer: one product with the vocabulary ("full"), the adaptive softmax, which is cheaper
            for many words, or a mixture of softmaxes, which says more for its cost.
        cutoffs: of the adaptive softmax: numbers of entries at which its clusters begin.
        num_mixtures: softmaxes of the mixture.

    Metrics: `loss` in nats per token; `bits_per_char` (`bits_per_byte`), total nats over the characters that the
    targets stand for, a word with the space after it; `perplexity` = exp(loss). The final evaluation gives both
    `loss_cold`, every window from a zero state, and `loss_carried`, the state carried over the whole split; papers
    differ in which they report.
    """

    codec_type = TextCodec
    causal = True
    generates = True

    def __init__(
        self,
        carry: bool = True,
        sample_length: NonNegativeInt = 200,
        embedding_dropout: DropoutRate = 0.0,
        output: Literal["full", "adaptive", "mixture"] = "full",
        cutoffs: list[PositiveInt] | None = None,
        num_mixtures: PositiveInt = 4,
    ) -> None:
        if (cutoffs is None) == (output == "adaptive"):
            fix = "set task.cutoffs, such as [2000,10000]" if cutoffs is None else "leave task.cutoffs out"
            raise UserError(f"task.output={output}: only the adaptive softmax has cutoffs; {fix}")
        self.carries = carry
        self.sample_length = sample_length
        self.embedding_dropout = embedding_dropout
        self.output, self.cutoffs, self.num_mixtures = output, cutoffs, num_mixtures

    def input_layer(self, codec: Codec, size: int) -> nn.Module:
        assert isinstance(codec, TextCodec)
        return TokenEmbedding(codec.vocab_size, size, self.embedding_dropout)

    def head(self, codec: Codec, input_size: int) -> nn.Module:
        assert isinstance(codec, TextCodec)
        if self.output == "full":
            return VocabularyHead(input_size, codec.vocab_size)
        # Imported where it is asked for: it brings what training by itself does without.
        from rnntrain.models.large_vocabulary import AdaptiveHead, MixtureHead

        if self.output == "mixture":
            return MixtureHead(input_size, codec.vocab_size, self.num_mixtures)
        return AdaptiveHead(input_size, codec.vocab_size, self.cutoffs or [])

    def loss(self, output: VocabularyLogits, batch: Batch) -> tuple[Tensor, Tensor]:
        return output.cross_entropy(batch.targets, batch.lengths_B)

    def metrics(self, codec: Codec) -> Metrics:
        assert isinstance(codec, TextCodec)
        return LanguageMetrics(codec)

    def carry(self, state: State) -> State:
        return detach(state) if self.carries else None

    def evaluations(self) -> dict[str, Carry]:
        ways: dict[str, Carry] = {"carried": detach, "cold": carry_nothing}
        return ways if self.carries else dict(reversed(ways.items()))

    def decode(self, output: VocabularyLogits, batch: Batch, codec: Codec) -> list[str]:
        """Return the likeliest next token at every step."""
        assert isinstance(codec, TextCodec)
        rows = output.compute().argmax(-1).tolist()
        lengths = [len(row) for row in rows] if batch.lengths_B is None else batch.lengths_B.tolist()
        return [codec.decode(row[:length]) for row, length in zip(rows, lengths, strict=True)]

    def predictor(self, codec: Codec, model: SequenceModel, reading: Mapping[str, Any] | None = None) -> Predictor:
        assert isinstance(codec, TextCodec)
        from rnntrain.predicting.language import TextScorer  # only to predict

        return TextScorer(self, codec, model, reading or {})

    def embeddings(self, model: nn.Module, codec: Codec) -> dict[str, tuple[list[str], Tensor]]:
        assert isinstance(model, SequenceModel)
        assert isinstance(codec, TextCodec)
        assert isinstance(model.input, TokenEmbedding)
        return {"tokens": ([codec.decode([token]) for token in range(codec.vocab_size)], model.input.weight)}

    def illustrate(self, model: nn.Module, data: DataSet, seed: int) -> dict[str, str | Picture]:
        assert isinstance(model, SequenceModel)
        assert isinstance(data.codec, TextCodec)
        if not self.sample_length:
            return {}
        return {"sample": sample_text(model, data.codec, options=SamplingOptions(length=self.sample_length, seed=seed))}


def nats_of_rows(output: Any, batch: Batch) -> Tensor:
    """Return the negative log-likelihood of each row's targets, ``nats_B`` in float64."""
    # Each kind of output has its own way to the loss of what it holds, so each row becomes an output of its own.
    by_row = [name for name in ("hidden", "log_prior") if name in output._fields]
    nats = []
    for row in range(batch.batch_size):
        its = slice(row, row + 1)
        alone = output._replace(**{name: getattr(output, name)[its] for name in by_row})
        lengths_B = None if batch.lengths_B is None else batch.lengths_B[its]
        nats.append(alone.cross_entropy(batch.targets[its], lengths_B)[0])
    return torch.stack(nats).to(torch.float64)


class LanguageMetrics(Metrics):
    """Nats per token, bits per character and perplexity."""

    def __init__(self, codec: TextCodec) -> None:
        self._chars_V = torch.from_numpy(codec.chars_per_token_V).to(torch.float64)
        self._name = "bits_per_byte" if codec.unit == "byte" else "bits_per_char"
        self._nats, self._tokens, self._chars = Sum(), Sum(), Sum()

    def update(self, output: Any, batch: Batch, loss_sum: Tensor, count: Tensor) -> None:
        targets = batch.targets
        if batch.lengths_B is not None:
            targets = targets[length_mask(batch.lengths_B, targets.shape[1])]
        self._chars_V = self._chars_V.to(targets.device)
        self._nats.add(loss_sum)
        self._tokens.add(count)
        self._chars.add(self._chars_V[targets].sum())

    def sums(self) -> list[Sum]:
        return [self._nats, self._tokens, self._chars]

    def compute(self) -> dict[str, float]:
        return self._values(self._nats.value(), self._tokens.value(), self._chars.value())

    def rows(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        chars_BT = self._chars_V.to(batch.targets.device)[batch.targets]
        lengths_B = batch.lengths_B
        if lengths_B is None:
            lengths_B = torch.full((batch.batch_size,), batch.targets.shape[1], device=batch.targets.device)
        else:
            chars_BT = chars_BT * length_mask(lengths_B, chars_BT.shape[1])
        return {"nats": nats_of_rows(output, batch), "tokens": lengths_B, "chars": chars_BT.sum(1)}

    def scores(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        return self._values(*(float(sums[name]) for name in ("nats", "tokens", "chars")))

    def _values(self, nats: float, tokens: float, chars: float) -> dict[str, float]:
        loss = nats / max(tokens, 1.0)
        return {
            "loss": loss,
            self._name: nats / max(chars, 1.0) / math.log(2),
            # exp(709) is the largest that a float holds, and a diverged model may well be beyond it
            "perplexity": math.exp(min(loss, 700.0)),
        }
