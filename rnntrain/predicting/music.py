"""Answers of models of music: which keys are likely to sound next, and how probable the piece was."""

# B batch, T time, K keys

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rnntrain.batch import Batch
from rnntrain.data.numbers.pianoroll import LOWEST_PITCH, PianoRollCodec
from rnntrain.errors import UserError
from rnntrain.models.sequence import SequenceModel
from rnntrain.predicting.predictor import Example, Predictor, Record, rounded
from rnntrain.tasks.base import Task

MOST_KEYS = 10  # that a record lists


class RollPredictor(Predictor):
    """`next`: the likeliest keys of the chord after the last, each with note, MIDI pitch and probability; `steps` of
    the piece, and `nats_per_step` of its chords after the first, null where there is no second.

    A raw input is a piece ``[T, K]`` of zeros and ones, or a list of chords, each a list of MIDI pitches.
    """

    kind = "roll"
    codec: PianoRollCodec
    fields = ("steps", "nats_per_step", "next")

    def __init__(self, task: Task, codec: PianoRollCodec, model: SequenceModel, reading: Mapping[str, Any]) -> None:
        super().__init__(task, codec, model)

    def example(self, raw: Any, where: str = "input") -> Example:
        return Example(self.roll(raw, where).astype(np.float32))

    def labelled(self, raw: Any, truth: Any, where: str = "input") -> Example:
        roll_TK = self.roll(raw, where).astype(np.float32)
        if len(roll_TK) < 2:
            raise UserError(f"{where}: one chord; a second is needed, so that there is one to foretell")
        return Example(roll_TK[:-1], target=roll_TK[1:])

    def target(self, raw: Any, example: Example, where: str = "input") -> np.ndarray:
        raise AssertionError("a piece is its own target")

    def no_target(self, example: Example) -> np.ndarray:
        return np.zeros_like(example.inputs)

    def roll(self, raw: Any, where: str) -> np.ndarray:
        """Return a piece as zeros and ones ``[T, K]``."""
        keys = self.codec.num_keys
        if isinstance(raw, np.ndarray) or _is_table(raw, keys):
            roll_TK = np.asarray(raw)
            if roll_TK.ndim != 2 or roll_TK.shape[1] != keys or not np.isin(roll_TK, (0, 1)).all():
                raise UserError(f"{where}: expected zeros and ones of the shape [steps, {keys}]")
        else:
            roll_TK = self._from_pitches(raw, where)
        if not len(roll_TK):
            raise UserError(f"{where}: has no chord; give one or more")
        return roll_TK

    def _from_pitches(self, raw: Any, where: str) -> np.ndarray:
        if not isinstance(raw, list | tuple):
            raise UserError(f"{where}: expected chords, each a list of MIDI pitches")
        roll_TK = np.zeros((len(raw), self.codec.num_keys), np.uint8)
        for step, chord in enumerate(raw):
            for pitch in chord if isinstance(chord, list | tuple) else [chord]:
                key = pitch - LOWEST_PITCH if type(pitch) is int else -1
                if not 0 <= key < self.codec.num_keys:
                    raise UserError(
                        f"{where}: chord {step + 1} has {pitch!r}; the model's pitches are the whole numbers from "
                        f"{LOWEST_PITCH} to {LOWEST_PITCH + self.codec.num_keys - 1}"
                    )
                roll_TK[step, key] = 1
        return roll_TK

    def said(self, record: Record) -> str:
        return " ".join(f"{key['note']} ({key['probability']:.2f})" for key in record["next"])

    def records(self, output: Tensor, batch: Batch, examples: Sequence[Example]) -> list[Record]:
        answers = []
        for logits_TK, example in zip(output.float().cpu(), examples, strict=True):
            steps = len(example.inputs)
            roll_TK = torch.from_numpy(example.inputs)
            nats = F.binary_cross_entropy_with_logits(logits_TK[: steps - 1], roll_TK[1:], reduction="sum")
            shares_K = logits_TK[steps - 1].sigmoid()
            top = shares_K.topk(min(MOST_KEYS, len(shares_K)))
            answers.append(
                {
                    "steps": steps,
                    "nats_per_step": rounded(float(nats) / (steps - 1)) if steps > 1 else None,
                    "next": [
                        self._key(key, p) for key, p in zip(top.indices.tolist(), top.values.tolist(), strict=True)
                    ],
                }
            )
        return answers

    def _key(self, key: int, probability: float) -> Record:
        on_K = np.arange(self.codec.num_keys) == key
        return {"note": self.codec.chord(on_K), "pitch": key + LOWEST_PITCH, "probability": rounded(probability)}


def _is_table(raw: Any, keys: int) -> bool:
    """Say whether lists are a piece of zeros and ones rather than chords of pitches."""
    rows = isinstance(raw, list) and bool(raw) and all(isinstance(row, list) and len(row) == keys for row in raw)
    return rows and {value for row in raw for value in row if isinstance(value, int | float)} <= {0, 1}
