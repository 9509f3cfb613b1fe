"""Speech recognition: a transcript for a sequence of features, without knowing which step says what."""

# B batch, T steps, D features, V outputs: the blank and the symbols, S symbols of a target

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.batch import Batch
from rnntrain.data.base import Codec, DataSet
from rnntrain.data.speech.transcripts import TranscriptCodec
from rnntrain.edit_distance import edit_distance
from rnntrain.errors import UserError
from rnntrain.metrics import Metrics, Picture, Sum
from rnntrain.models.sequence import SequenceModel, evaluating
from rnntrain.ranges import NonNegativeFloat, NonNegativeInt
from rnntrain.tasks.base import Task
from rnntrain.tasks.ctc_decoding import BeamSearch, BestPath, LanguageWeights, beam_search, best_path

if TYPE_CHECKING:
    from rnntrain.predicting.predictor import Predictor

Decoder = Any


class CTC(Task):
    """Connectionist temporal classification (Graves et al. 2006): the loss sums over all alignments of the target.

    The loss is counted in target symbols: its mean is nats per symbol of the transcripts, so that long utterances
    weigh more than short ones, as their symbols do. A target longer than its steps is refused when data is
    read, so no infinite loss is hidden. The loss is computed in float32 whatever the precision.

    Args:
        beam_size: prefixes kept by the beam search, which then decides the metrics named `beam_…` and the texts shown;
            0 for the best path alone. The search is slow: about as slow as the beam is wide.
        lm_weight: weight of the n-gram model's logarithmic probability; needs `data.lm_order`.
        insertion_bonus: added for each symbol of a transcript in the beam search.
        examples: pairs of reference and hypothesis shown at each evaluation.

    Metrics: `loss`; `cer` and `wer`, edits against the reference over its characters (spaces count) and its words,
    summed over the split before dividing; `ser`, the share of utterances with any error.
    """

    codec_type = TranscriptCodec
    monitor = "cer"

    def __init__(
        self,
        beam_size: NonNegativeInt = 0,
        lm_weight: NonNegativeFloat = 0.0,
        insertion_bonus: float = 0.0,
        examples: NonNegativeInt = 5,
    ) -> None:
        if not beam_size and (lm_weight or insertion_bonus):
            raise UserError("task.lm_weight and task.insertion_bonus are the beam search's; set task.beam_size=16 too")
        self.beam_size, self.lm_weight, self.insertion_bonus = beam_size, lm_weight, insertion_bonus
        self.examples = examples

    def input_layer(self, codec: Codec, size: int) -> nn.Module:
        assert isinstance(codec, TranscriptCodec)
        return nn.Sequential(nn.Linear(codec.num_features, size), nn.LayerNorm(size))

    def head(self, codec: Codec, input_size: int) -> nn.Module:
        assert isinstance(codec, TranscriptCodec)
        if self.lm_weight and codec.language_model is None:
            raise UserError(f"task.lm_weight={self.lm_weight:g}: there is no language model; set data.lm_order=3")
        return SymbolHead(input_size, codec.num_outputs)

    def loss(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        assert batch.target_lengths_B is not None
        log_probs_TBV = output.float().log_softmax(-1).transpose(0, 1)
        lengths_B = lengths_of(batch)
        loss_sum = F.ctc_loss(
            log_probs_TBV,
            batch.targets,
            lengths_B,
            batch.target_lengths_B,
            blank=TranscriptCodec.blank,
            reduction="sum",
        )
        return loss_sum, batch.target_lengths_B.sum()

    def metrics(self, codec: Codec) -> Metrics:
        assert isinstance(codec, TranscriptCodec)
        return CTCMetrics(codec, self.decoders(codec))

    def decode(self, output: Tensor, batch: Batch, codec: Codec) -> list[str]:
        """Return each row's transcript, by the beam search where the task has one."""
        assert isinstance(codec, TranscriptCodec)
        decoder = list(self.decoders(codec).values())[-1]
        return [codec.decode(decoder(log_probs_TV)) for log_probs_TV in rows_of(output, batch)]

    def predictor(self, codec: Codec, model: SequenceModel, reading: Mapping[str, Any] | None = None) -> Predictor:
        assert isinstance(codec, TranscriptCodec)
        from rnntrain.predicting.transcripts import TranscriptPredictor  # only to predict

        return TranscriptPredictor(self, codec, model, reading or {})

    def embeddings(self, model: nn.Module, codec: Codec) -> dict[str, tuple[list[str], Tensor]]:
        assert isinstance(model, SequenceModel)
        assert isinstance(codec, TranscriptCodec)
        assert isinstance(model.head, SymbolHead)
        return {"symbols": (["(blank)", *codec.symbols], model.head.linear.weight)}

    def illustrate(self, model: nn.Module, data: DataSet, seed: int) -> dict[str, str | Picture]:
        """Show references and hypotheses of the first validation batch, and one utterance with its alignment."""
        if not self.examples:
            return {}
        codec = data.codec
        assert isinstance(model, SequenceModel)
        assert isinstance(codec, TranscriptCodec)
        batch = next(iter(data.eval_batches("val")))
        output = _infer(model, batch)
        pairs = zip(references(batch, codec), self.decode(output, batch, codec), strict=True)
        lines = [f"{'=' if said == heard else '≠'} {said}  →  {heard}" for said, heard in list(pairs)[: self.examples]]
        said = references(batch, codec)
        longest = max(range(len(said)), key=lambda row: len(said[row]))
        log_probs_TV = rows_of(output, batch)[longest]
        x_TD = batch.inputs[longest, : len(log_probs_TV)].numpy()
        title = said[longest]

        def draw() -> Any:
            from rnntrain.tasks.ctc_pictures import alignment

            return alignment(x_TD, log_probs_TV, codec, title)

        return {"transcripts": "\n".join(lines), "alignment": draw}

    def decoders(self, codec: TranscriptCodec) -> dict[str, Decoder]:
        """Return the ways to decode, by the prefix of their metrics' names."""
        ways: dict[str, Decoder] = {"": best_path}
        if self.beam_size:
            language = LanguageWeights(codec.language_model, self.lm_weight, self.insertion_bonus)
            ways["beam_"] = lambda log_probs_TV: beam_search(log_probs_TV, self.beam_size, language)
        return ways

    def stepwise(self, codec: TranscriptCodec) -> BestPath | BeamSearch:
        """Return the decoder that `decode` uses, to be given one piece of an utterance after the other."""
        if not self.beam_size:
            return BestPath()
        language = LanguageWeights(codec.language_model, self.lm_weight, self.insertion_bonus)
        return BeamSearch(self.beam_size, language)


class SymbolHead(nn.Module):
    """A linear layer to the blank and the symbols, which starts out knowing nothing."""

    def __init__(self, input_size: int, num_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, num_outputs)
        nn.init.zeros_(self.linear.bias)

    def forward(self, y: Tensor, batch: Batch | None = None) -> Tensor:
        """Return logits of the last dimension of `y`."""
        logits: Tensor = self.linear(y)
        return logits


class CTCMetrics(Metrics):
    """Nats per symbol, and errors over characters, words and utterances for each way to decode."""

    def __init__(self, codec: TranscriptCodec, decoders: dict[str, Decoder]) -> None:
        self._codec, self._decoders = codec, decoders
        self._nats, self._symbols = Sum(), Sum()
        self._sizes = Sum()  # characters, words, utterances
        self._errors = {way: Sum() for way in decoders}

    def update(self, output: Tensor, batch: Batch, loss_sum: Tensor, count: Tensor) -> None:
        self._nats.add(loss_sum)
        self._symbols.add(count)
        for log_probs_TV, reference in zip(rows_of(output, batch), references(batch, self._codec), strict=True):
            self._sizes.add(torch.tensor([len(reference), len(reference.split()), 1]))
            for way, decoder in self._decoders.items():
                hypothesis = self._codec.decode(decoder(log_probs_TV))
                self._errors[way].add(torch.tensor(_errors(reference, hypothesis)))

    def sums(self) -> list[Sum]:
        return [self._nats, self._symbols, self._sizes, *self._errors.values()]

    def rows(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        assert batch.target_lengths_B is not None
        log_probs_TBV = output.float().log_softmax(-1).transpose(0, 1)
        blank = TranscriptCodec.blank
        lengths_B = lengths_of(batch)
        nats_B = F.ctc_loss(log_probs_TBV, batch.targets, lengths_B, batch.target_lengths_B, blank, reduction="none")
        rows = {"nats": nats_B, "symbols": batch.target_lengths_B}
        texts = references(batch, self._codec)
        rows["sizes"] = torch.tensor([[len(text), len(text.split()), 1] for text in texts])
        said = rows_of(output, batch)
        for way, decoder in self._decoders.items():
            heard = [self._codec.decode(decoder(log_probs_TV)) for log_probs_TV in said]
            rows[f"{way}errors"] = torch.tensor(list(map(_errors, texts, heard)))
        return rows

    def scores(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        values = {"loss": float(sums["nats"]) / max(float(sums["symbols"]), 1.0)}
        for way in self._decoders:
            shares = sums[f"{way}errors"] / np.maximum(sums["sizes"], 1)
            values |= {way + name: float(share) for name, share in zip(("cer", "wer", "ser"), shares, strict=True)}
        return values

    def compute(self) -> dict[str, float]:
        values = {"loss": self._nats.value() / max(self._symbols.value(), 1.0)}
        for way, errors in self._errors.items():
            shares = errors.array() / self._sizes.array().clamp(min=1)
            values |= {way + name: share for name, share in zip(("cer", "wer", "ser"), shares.tolist(), strict=True)}
        return values


def _errors(reference: str, hypothesis: str) -> tuple[int, int, int]:
    """Return edits of characters and of words, and whether there are any."""
    words = edit_distance(reference.split(), hypothesis.split())
    return edit_distance(reference, hypothesis), words, int(reference != hypothesis)


def lengths_of(batch: Batch) -> Tensor:
    """Return the number of steps of each row."""
    if batch.lengths_B is not None:
        return batch.lengths_B
    rows, steps = batch.inputs.shape[:2]
    return torch.full((rows,), steps, dtype=torch.int64, device=batch.inputs.device)


def rows_of(output: Tensor, batch: Batch) -> list[np.ndarray]:
    """Return the logarithmic probabilities ``log_probs_TV`` of each row, its padding cut off."""
    log_probs_BTV = output.detach().float().log_softmax(-1).cpu().numpy()
    return [row[:length] for row, length in zip(log_probs_BTV, lengths_of(batch).tolist(), strict=True)]


def references(batch: Batch, codec: TranscriptCodec) -> list[str]:
    """Return the transcripts of a batch."""
    assert batch.target_lengths_B is not None
    rows = zip(batch.targets.tolist(), batch.target_lengths_B.tolist(), strict=True)
    return [codec.decode(row[:length]) for row, length in rows]


def _infer(model: SequenceModel, batch: Batch) -> Tensor:
    """Return the output of a model in its evaluating state, and leave it in the one it was in."""
    with evaluating(model):
        output: Tensor = model(batch.to(next(model.parameters()).device))[0]
    return output
