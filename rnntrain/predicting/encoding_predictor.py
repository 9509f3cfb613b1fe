"""Predictors whose raw input is encoded by one encoder, the same for answers of every family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rnntrain.batch import Batch
from rnntrain.data.labelled.classes import SpeltInputs
from rnntrain.data.spelt_words import of_one_width
from rnntrain.models.sequence import SequenceModel
from rnntrain.predicting.encoding import encoder_of
from rnntrain.predicting.predictor import Example, Predictor
from rnntrain.tasks.base import Task


class EncodingPredictor(Predictor):
    """Encodes by what the codec says of the inputs; its kind is that of the encoder."""

    codec: Any

    def __init__(self, task: Task, codec: Any, model: SequenceModel, reading: Mapping[str, Any]) -> None:
        super().__init__(task, codec, model)
        self._encode = encoder_of(codec.inputs, reading)
        self.kind = self._encode.kind

    def example(self, raw: Any, where: str = "input") -> Example:
        return Example(self._encode(raw, where).inputs)

    def batch(self, examples: Sequence[Example]) -> Batch:
        if isinstance(self.codec.inputs, SpeltInputs):
            widened = of_one_width([each.inputs for each in examples])
            examples = [each._replace(inputs=its) for each, its in zip(examples, widened, strict=True)]
        return super().batch(examples)
