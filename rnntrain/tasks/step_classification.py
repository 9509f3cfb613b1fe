"""Classification of steps: a class at every step that counts."""

# B batch, T time, C classes, N counted steps

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.batch import Batch
from rnntrain.data.base import Codec, DataSet
from rnntrain.data.numbers.sequences import SequenceData, StepClassesCodec
from rnntrain.metrics import Metrics, Picture, Sum
from rnntrain.models.sequence import evaluating
from rnntrain.tasks.base import Task
from rnntrain.tasks.counted import PerStep, counted_steps, of_each_length
from rnntrain.tasks.inputs import make_input_layer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rnntrain.models.sequence import SequenceModel
    from rnntrain.predicting.predictor import Predictor

SHOWN_STEPS = 40
SHOWN_ROWS = 3
LONG_RUN = 5  # of one class


class StepClassification(Task):
    """Give each counted step its class, by cross-entropy.

    Metrics: `loss` in nats a counted step; `accuracy`, the share of counted steps that are right;
    `sequence_accuracy`, the share of sequences of which every counted step is. Where the data has several test
    lengths, `accuracy_len_64`, `sequence_accuracy_len_64` and the like are of the sequences of one length.

    Args:
        causal: refuse a model that reads in both directions, for which most tests of memory would be none.
    """

    codec_type = StepClassesCodec

    def __init__(self, causal: bool = True) -> None:
        self.causal = causal

    def input_layer(self, codec: Codec, size: int) -> nn.Module:
        assert isinstance(codec, StepClassesCodec)
        return make_input_layer(codec.inputs, size)

    def head(self, codec: Codec, input_size: int) -> nn.Module:
        assert isinstance(codec, StepClassesCodec)
        return PerStep(input_size, codec.num_classes)

    def loss(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        logits_NC, targets_N = _counted(output, batch)
        nats = F.cross_entropy(logits_NC.float(), targets_N, reduction="sum")
        return nats, torch.tensor(float(len(targets_N)), device=nats.device)

    def metrics(self, codec: Codec) -> Metrics:
        assert isinstance(codec, StepClassesCodec)
        return StepMetrics(codec)

    def decode(self, output: Tensor, batch: Batch, codec: Codec) -> list[str]:
        """Return each row's classes at its counted steps."""
        assert isinstance(codec, StepClassesCodec)
        return _named(output.argmax(-1), batch, codec)

    def predictor(self, codec: Codec, model: SequenceModel, reading: Mapping[str, Any] | None = None) -> Predictor:
        assert isinstance(codec, StepClassesCodec)
        from rnntrain.predicting.classes import StepClassPredictor  # only to predict

        return StepClassPredictor(self, codec, model, reading or {})

    def illustrate(self, model: nn.Module, data: DataSet, seed: int) -> dict[str, Any]:
        """Return the first rows of the validation set: what was due, and what the model says."""
        assert isinstance(data.codec, StepClassesCodec)
        batch = next(iter(data.eval_batches("val"))).to(next(model.parameters()).device)
        with evaluating(model):
            output, _ = self.infer(model, batch, None)
        due, said = _named(batch.targets, batch, data.codec), self.decode(output, batch, data.codec)
        pairs = list(zip(due, said, strict=True))[:SHOWN_ROWS]
        return {"predictions": "\n".join(f"due   {a}\nmodel {b}" for a, b in pairs)}

    def baselines(self, data: DataSet, split: str) -> dict[str, dict[str, float]]:
        return data.trivial(split) if isinstance(data, SequenceData) else {}


class StepMetrics(Metrics):
    """Loss and accuracies, of all and of the sequences of each length that is reported apart."""

    def __init__(self, codec: StepClassesCodec) -> None:
        self._codec = codec
        self._loss, self._count = Sum(), Sum()
        self._counts_CC = Sum()
        # Right steps, steps, right sequences, sequences.
        self._all = [Sum() for _ in range(4)]
        self._by_length = {length: [Sum() for _ in range(4)] for length in codec.lengths.values()}

    def update(self, output: Tensor, batch: Batch, loss_sum: Tensor, count: Tensor) -> None:
        self._loss.add(loss_sum)
        self._count.add(count)
        right_BT = output.argmax(-1) == batch.targets
        mask_BT = counted_steps(batch)
        mask_BT = torch.ones_like(right_BT) if mask_BT is None else mask_BT
        self._count_classes(output.argmax(-1)[mask_BT], batch.targets[mask_BT])
        steps_B, right_B = mask_BT.sum(1), (right_BT & mask_BT).sum(1)
        _add(self._all, right_B, steps_B, torch.ones_like(steps_B))
        for steps, length in self._codec.lengths.items():
            _add(self._by_length[length], right_B, steps_B, of_each_length(batch, steps, per_step=False))

    def sums(self) -> list[Sum]:
        return [self._loss, self._count, self._counts_CC, *self._all, *chain(*self._by_length.values())]

    def compute(self) -> dict[str, float]:
        metrics = {"loss": self._loss.value() / self._count.value(), **_accuracies(self._all)}
        for length, sums in self._by_length.items():
            if sums[1].value():
                metrics |= {f"{name}_len_{length}": value for name, value in _accuracies(sums).items()}
        return metrics

    def rows(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        right_BT = output.argmax(-1) == batch.targets
        mask_BT = counted_steps(batch)
        mask_BT = torch.ones_like(right_BT) if mask_BT is None else mask_BT
        nats_BT = F.cross_entropy(output.float().transpose(1, 2), batch.targets, reduction="none")
        steps_B, right_B = mask_BT.sum(1), (right_BT & mask_BT).sum(1)
        some_B = steps_B > 0
        return {
            "nats": (nats_BT * mask_BT).sum(1),
            "steps": steps_B,
            "right": right_B,
            "sequences": some_B.long(),
            "right_sequences": (some_B & (right_B == steps_B)).long(),
        }

    def scores(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        steps, sequences = max(float(sums["steps"]), 1.0), max(float(sums["sequences"]), 1.0)
        return {
            "loss": float(sums["nats"]) / steps,
            "accuracy": float(sums["right"]) / steps,
            "sequence_accuracy": float(sums["right_sequences"]) / sequences,
        }

    def _count_classes(self, said_N: Tensor, due_N: Tensor) -> None:
        classes = self._codec.num_classes
        self._counts_CC.add(torch.bincount(due_N * classes + said_N, minlength=classes**2).view(classes, classes))

    def pictures(self) -> dict[str, Picture]:
        counts_CC = self._counts_CC.array().numpy().astype(np.int64)
        return {"confusion": partial(_confusion_matrix, counts_CC, self._codec.class_names)}


def _confusion_matrix(counts_CC: np.ndarray, names: list[str]) -> Figure:
    from rnntrain.watching.pictures import confusion_matrix  # imports matplotlib

    return confusion_matrix(counts_CC, names)


def _add(sums: list[Sum], right_B: Tensor, steps_B: Tensor, chosen_B: Tensor) -> None:
    # A sequence of which nothing counts is neither right nor wrong.
    chosen_B = chosen_B * (steps_B > 0)
    for part, value_B in zip(sums, (right_B, steps_B, right_B == steps_B, torch.ones_like(steps_B)), strict=True):
        part.add((value_B * chosen_B).sum())


def _accuracies(sums: list[Sum]) -> dict[str, float]:
    right, steps, right_sequences, sequences = (part.value() for part in sums)
    return {"accuracy": right / max(steps, 1.0), "sequence_accuracy": right_sequences / max(sequences, 1.0)}


def _counted(output_BTC: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return logits ``[N, C]`` and targets ``[N]`` of the counted steps."""
    mask_BT = counted_steps(batch)
    if mask_BT is None:
        return output_BTC.flatten(0, 1), batch.targets.flatten()
    return output_BTC[mask_BT], batch.targets[mask_BT]


def _named(classes_BT: Tensor, batch: Batch, codec: StepClassesCodec) -> list[str]:
    mask_BT = counted_steps(batch)
    mask_BT = torch.ones_like(classes_BT, dtype=torch.bool) if mask_BT is None else mask_BT
    rows = [classes_T[mask_T].tolist() for classes_T, mask_T in zip(classes_BT.cpu(), mask_BT.cpu(), strict=True)]
    return [_shortened([codec.class_names[number] for number in row]) for row in rows]


def _shortened(names: list[str]) -> str:
    """Write a long run of one class as its length: in a copying task what matters comes after a hundred blanks."""
    parts: list[str] = []
    for name, run in groupby(names):
        length = len(list(run))
        parts += [name] * length if length < LONG_RUN else [f"{name} ×{length}"]
    return " ".join(parts[:SHOWN_STEPS]) + (" …" if len(parts) > SHOWN_STEPS else "")
