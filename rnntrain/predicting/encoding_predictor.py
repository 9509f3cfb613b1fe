"""Predictors whose raw input is encoded by one encoder, the same for answers of every family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnntrain.models.sequence import SequenceModel
from rnntrain.predicting.encoding import encoder_of
from rnntrain.predicting.predictor import Example, Predictor
from rnntrain.tasks.base import Task


class EncodingPredictor(Predictor):
    """Encodes by what the codec says of the inputs; its kind is that of the encoder."""

    def __init__(self, task: Task, codec: Any, model: SequenceModel, reading: Mapping[str, Any]) -> None:
        super().__init__(task, codec, model)
        self._encode = encoder_of(codec.inputs, reading)
        self.kind = self._encode.kind

    def example(self, raw: Any, where: str = "input") -> Example:
        return Example(self._encode(raw, where).inputs)
