"""Music: predict which keys sound at the next time step."""

# B batch, T time, K keys, N valid steps

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.batch import Batch, length_mask
from rnntrain.data.base import Codec, DataSet
from rnntrain.data.numbers.pianoroll import PianoRoll, PianoRollCodec
from rnntrain.metrics import Metrics, Picture, Sum
from rnntrain.tasks.base import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rnntrain.models.sequence import SequenceModel
    from rnntrain.predicting.predictor import Predictor

SOUNDS = 0.5  # the probability from which a key is taken to sound


class Music(Task):
    """Give each key its probability of sounding next, independently of the others, from all chords before.

    Metrics: `loss`, the negative log-likelihood in nats a time step, summed over the keys and averaged over all
    predicted steps of the split, as in Boulanger-Lewandowski et al. 2012 (arXiv:1206.6392) and Bai et al. 2018
    (arXiv:1803.01271); `frame_accuracy` = TP / (TP + FP + FN) of the keys that are given a probability above ½ (Bay et
    al. 2009, "Evaluation of multiple-F0 estimation and tracking systems").
    """

    codec_type = PianoRollCodec
    causal = True

    def input_layer(self, codec: Codec, size: int) -> nn.Module:
        assert isinstance(codec, PianoRollCodec)
        return nn.Linear(codec.num_keys, size)

    def head(self, codec: Codec, input_size: int) -> nn.Module:
        assert isinstance(codec, PianoRollCodec)
        return KeysHead(input_size, codec)

    def loss(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        logits_NK, targets_NK = _valid(output, batch), _valid(batch.targets, batch)
        nats = F.binary_cross_entropy_with_logits(logits_NK.float(), targets_NK, reduction="sum")
        count = torch.tensor(float(len(targets_NK))) if batch.lengths_B is None else batch.lengths_B.sum().float()
        return nats, count

    def metrics(self, codec: Codec) -> Metrics:
        return MusicMetrics()

    def decode(self, output: Tensor, batch: Batch, codec: Codec) -> list[str]:
        """Return the keys that are likelier to sound than not, chord after chord."""
        assert isinstance(codec, PianoRollCodec)
        on_BTK = (output > 0).cpu().numpy()
        steps = output.shape[1]
        lengths = [steps] * len(on_BTK) if batch.lengths_B is None else batch.lengths_B.tolist()
        return [" | ".join(map(codec.chord, on_TK[:length])) for on_TK, length in zip(on_BTK, lengths, strict=True)]

    def predictor(self, codec: Codec, model: SequenceModel, reading: Mapping[str, Any] | None = None) -> Predictor:
        assert isinstance(codec, PianoRollCodec)
        from rnntrain.predicting.music import RollPredictor  # only to predict

        return RollPredictor(self, codec, model, reading or {})

    def baselines(self, data: DataSet, split: str) -> dict[str, dict[str, float]]:
        if not isinstance(data, PianoRoll):
            return {}
        assert isinstance(data.codec, PianoRollCodec)
        pieces = data.pieces(split)
        frequency = -_log_likelihood(pieces, np.broadcast_to(data.codec.frequency_K, (2, data.num_keys)))
        last_chord = -_log_likelihood(pieces, _after_K(data.pieces("train")))
        return {"key frequency": {"loss": frequency}, "last chord": {"loss": last_chord}}


class KeysHead(nn.Module):
    """A linear layer to one logit a key.

    Initialisation: weights zero, and the bias such that each key starts with its frequency in the training split.
    """

    def __init__(self, input_size: int, codec: PianoRollCodec) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, codec.num_keys)
        frequency_K = torch.from_numpy(codec.frequency_K)
        with torch.no_grad():
            self.linear.weight.zero_()
            self.linear.bias.copy_(torch.logit(frequency_K))

    def forward(self, y_BTH: Tensor, batch: Batch | None = None) -> Tensor:
        return self.linear(y_BTH)


class MusicMetrics(Metrics):
    """Nats a step, frame accuracy, and a look at one piece of the pass."""

    def __init__(self) -> None:
        self._nats, self._steps = Sum(), Sum()
        self._hits, self._either = Sum(), Sum()
        # Targets, logits and length of the longest piece of the first batch.
        self._first: tuple[Tensor, Tensor, Tensor | None] | None = None

    def update(self, output: Tensor, batch: Batch, loss_sum: Tensor, count: Tensor) -> None:
        said_NK, true_NK = _valid(output, batch) > 0, _valid(batch.targets, batch) > 0
        self._nats.add(loss_sum)
        self._steps.add(count)
        self._hits.add((said_NK & true_NK).sum())
        self._either.add((said_NK | true_NK).sum())
        if self._first is None:
            length = None if batch.lengths_B is None else batch.lengths_B[-1]
            self._first = batch.targets[-1], output[-1].float(), length

    def sums(self) -> list[Sum]:
        return [self._nats, self._steps, self._hits, self._either]

    def compute(self) -> dict[str, float]:
        return {
            "loss": self._nats.value() / self._steps.value(),
            "frame_accuracy": self._hits.value() / max(self._either.value(), 1.0),
        }

    def rows(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        steps = output.shape[1]
        lengths_B = batch.lengths_B
        if lengths_B is None:
            lengths_B = torch.full((len(output),), steps, device=output.device)
        valid_BT1 = length_mask(lengths_B, steps)[..., None]
        said_BTK, true_BTK = (output > 0) & valid_BT1, (batch.targets > 0) & valid_BT1
        nats_BTK = F.binary_cross_entropy_with_logits(output.float(), batch.targets, reduction="none")
        return {
            "nats": (nats_BTK * valid_BT1).sum((1, 2)),
            "steps": lengths_B,
            "hits": (said_BTK & true_BTK).sum((1, 2)),
            "either": (said_BTK | true_BTK).sum((1, 2)),
        }

    def scores(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        return {
            "loss": float(sums["nats"]) / max(float(sums["steps"]), 1.0),
            "frame_accuracy": float(sums["hits"]) / max(float(sums["either"]), 1.0),
        }

    def pictures(self) -> dict[str, Picture]:
        if self._first is None:
            return {}
        targets_TK, logits_TK, length = self._first
        stop = None if length is None else int(length)
        true_TK, probability_TK = targets_TK[:stop].cpu().numpy(), logits_TK[:stop].sigmoid().cpu().numpy()
        return {"piano_roll": partial(draw_piano_roll, true_TK, probability_TK)}


def _valid(part_BTK: Tensor, batch: Batch) -> Tensor:
    """Return the valid steps of all rows, ``[N, K]``."""
    if batch.lengths_B is None:
        return part_BTK.flatten(0, 1)
    return part_BTK[length_mask(batch.lengths_B, part_BTK.shape[1])]


def _after_K(pieces: list[np.ndarray]) -> np.ndarray:
    """Return ``[2, K]``: how probably each key sounds after a chord in which it is silent, and one in which it sounds.

    Shares of the given pieces, by the rule of succession.
    """
    before, after = (np.concatenate(parts) for parts in zip(*((p[:-1], p[1:]) for p in pieces), strict=True))
    shares = [((after * (before == was)).sum(0) + 1.0) / ((before == was).sum(0) + 2.0) for was in (0, 1)]
    return np.stack(shares)


def _log_likelihood(pieces: list[np.ndarray], probability_2K: np.ndarray) -> float:
    """Return the mean log-likelihood of a chord in nats, given the state of each key in the chord before."""
    log_on_2K, log_off_2K = np.log(probability_2K), np.log1p(-probability_2K)
    total, steps = 0.0, 0
    for piece in pieces:
        before, after = piece[:-1].astype(np.intp), piece[1:]
        keys_K = np.arange(piece.shape[1])
        total += float(np.where(after, log_on_2K[before, keys_K], log_off_2K[before, keys_K]).sum())
        steps += len(after)
    return total / max(steps, 1)


def draw_piano_roll(true_TK: np.ndarray, probability_TK: np.ndarray) -> Figure:
    """Draw what was played above the probabilities that it was given, over the keys that sound at all."""
    from rnntrain.watching.pictures import new_figure

    used = np.flatnonzero(true_TK.any(0) | (probability_TK > SOUNDS).any(0))
    low, high = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, true_TK.shape[1])
    figure = new_figure(8.0, 5.0)
    upper, lower = figure.subplots(2, 1, sharex=True, sharey=True)
    for axes, roll_TK, title in ((upper, true_TK, "played"), (lower, probability_TK, "predicted")):
        image = axes.imshow(
            roll_TK.T, origin="lower", aspect="auto", cmap="Greys", vmin=0.0, vmax=1.0, interpolation="nearest"
        )
        axes.set_ylim(low - 0.5, high - 0.5)
        axes.grid(False)
        axes.set_ylabel(f"{title}: key")
    lower.set_xlabel("time step")
    figure.colorbar(image, ax=[upper, lower], label="probability")
    return figure
