"""Answers of classifiers: a class and its probability for a whole sequence, or for every step of one."""

# B batch, T time, C classes

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnntrain.batch import Batch
from rnntrain.data.labelled.classes import ClassCodec, SpeltInputs, TextInputs
from rnntrain.data.labelled.tables import as_label
from rnntrain.data.numbers.sequences import StepClassesCodec
from rnntrain.errors import UserError, closest
from rnntrain.predicting.encoding import sound_limits
from rnntrain.predicting.encoding_predictor import EncodingPredictor
from rnntrain.predicting.predictor import PLACES, Example, Record
from rnntrain.tasks.classification import ClassLogits

MOST_PROBABILITIES = 20  # classes whose probabilities a record lists, the likeliest first


class ClassPredictor(EncodingPredictor):
    """`label`, its `probability`, and the `probabilities` of the likeliest classes by name."""

    codec: ClassCodec
    fields = ("label", "probability")

    def target(self, raw: Any, example: Example, where: str = "input") -> np.ndarray:
        return np.array(_number(raw, self.codec.class_names, where), np.int64)

    def no_target(self, example: Example) -> np.ndarray:
        return np.zeros((), np.int64)

    def limits(self) -> list[str]:
        names, inputs = self.codec.class_names, self.codec.inputs
        known = ", ".join(names[:MOST_PROBABILITIES])
        limits = [f"It knows {len(names)} classes ({known}) and gives one of them to everything."]
        if isinstance(inputs, TextInputs):
            longest = f"; what follows the first {inputs.max_length:,} is not read" if inputs.max_length else ""
            limits.append(f"It reads by {inputs.text.unit}, {inputs.vocab_size:,} entries{longest}.")
        if isinstance(inputs, SpeltInputs):
            limits.append(f"It knows {inputs.vocab_size:,} words of its training data; it judges others by their form.")
        return [*limits, *sound_limits(inputs), "Its probabilities have not been calibrated."]

    def said(self, record: Record) -> str:
        return f"{record['label']}\t{record['probability']:.4f}"

    def records(self, output: ClassLogits, batch: Batch, examples: Sequence[Example]) -> list[Record]:
        names = self.codec.class_names
        listed = min(len(names), MOST_PROBABILITIES)
        top = output.logits_BC.float().softmax(-1).topk(listed, -1)
        rows = zip(top.indices.tolist(), _rounded(top.values), strict=True)
        return [
            {
                "label": names[numbers[0]],
                "probability": shares[0],
                "probabilities": {names[n]: p for n, p in zip(numbers, shares, strict=True)},
            }
            for numbers, shares in rows
        ]


class StepClassPredictor(EncodingPredictor):
    """`labels`, one a step, and the `probabilities` of each; also of steps that did not count in training."""

    codec: StepClassesCodec
    fields = ("labels", "probabilities")

    def target(self, raw: Any, example: Example, where: str = "input") -> np.ndarray:
        labels = np.atleast_1d(np.asarray(raw))
        if len(labels) != len(example.inputs):
            raise UserError(f"{where}: {len(labels)} labels for {len(example.inputs)} steps; give each step one")
        return np.array([_number(label, self.codec.class_names, where) for label in labels.tolist()], np.int64)

    def no_target(self, example: Example) -> np.ndarray:
        return np.zeros(len(example.inputs), np.int64)

    def said(self, record: Record) -> str:
        return " ".join(record["labels"])

    def records(self, output: Tensor, batch: Batch, examples: Sequence[Example]) -> list[Record]:
        top = output.float().softmax(-1).max(-1)
        shares_BT, numbers_BT = top.values.cpu(), top.indices.cpu()
        answers = []
        for numbers_T, shares_T, example in zip(numbers_BT, shares_BT, examples, strict=True):
            length = len(example.inputs)
            labels = [self.codec.class_names[number] for number in numbers_T[:length].tolist()]
            answers.append({"labels": labels, "probabilities": _rounded(shares_T[:length])})
        return answers


def _number(label: Any, names: list[str], where: str) -> int:
    """Return the number of a class.

    Raises:
        UserError: the model was not trained with it.
    """
    name = as_label(label.item() if isinstance(label, np.generic) else label)
    if isinstance(label, float) and label.is_integer() and name not in names:
        name = str(int(label))
    if name not in names:
        known = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        near = "" if name is None else closest(name, names)
        raise UserError(f"{where}: the label {name!r} is none that the model was trained with{near}; it knows {known}")
    return names.index(name)


def _rounded(values: Tensor) -> list[Any]:
    """Return numbers as a record shows them, all at once: one by one they would cost as much as writing them."""
    plain: list[Any] = torch.round(values.double(), decimals=PLACES).tolist()
    return plain
