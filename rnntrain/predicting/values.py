"""Answers of regression: numbers on the scale on which they were measured."""

# B batch, T time, K targets

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from rnntrain.batch import Batch
from rnntrain.data.numbers.sequences import NumbersCodec
from rnntrain.errors import UserError
from rnntrain.predicting.encoding import as_numbers
from rnntrain.predicting.encoding_predictor import EncodingPredictor
from rnntrain.predicting.predictor import Example, Record

DIGITS = 7  # that a record shows: more than float32 knows


class NumbersPredictor(EncodingPredictor):
    """`value`: a number, a list of K of them where there are several targets; of steps, `values`, one such a step."""

    codec: NumbersCodec
    fields = ("value", "values")

    def target(self, raw: Any, example: Example, where: str = "input") -> np.ndarray:
        values = as_numbers(raw, where)
        shape = (len(example.inputs), self.codec.num_targets) if self.codec.per_step else (self.codec.num_targets,)
        if values.size != np.prod(shape):
            raise UserError(f"{where}: {values.size} target numbers, and the model gives {int(np.prod(shape))}")
        return self.codec.targets.encode(values.reshape(shape))

    def no_target(self, example: Example) -> np.ndarray:
        width = self.codec.num_targets
        return np.zeros((len(example.inputs), width) if self.codec.per_step else width, np.float32)

    def said(self, record: Record) -> str:
        steps = record["values"] if self.codec.per_step else [record["value"]]
        return " ".join(" ".join(map(str, step)) if isinstance(step, list) else str(step) for step in steps)

    def records(self, output: Tensor, batch: Batch, examples: Sequence[Example]) -> list[Record]:
        targets = self.codec.targets
        values = output.double().cpu().numpy() * targets.scale_D + targets.mean_D
        if not self.codec.per_step:
            return [{"value": _plain(row_K)} for row_K in values]
        return [
            {"values": [_plain(step_K) for step_K in row_TK[: len(example.inputs)]]}
            for row_TK, example in zip(values, examples, strict=True)
        ]


def _plain(values_K: np.ndarray) -> float | list[float]:
    numbers = [float(f"{value:.{DIGITS}g}") for value in values_K]
    return numbers[0] if len(numbers) == 1 else numbers
