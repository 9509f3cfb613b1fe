"""What turns a raw input into what a model reads: one class for each kind of input."""

# T time, D features, S samples

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnntrain.data.labelled.classes import FeatureInputs, SpeltInputs, TextInputs
from rnntrain.data.memory.pixel_digits import reading_order
from rnntrain.data.numbers.sequences import SymbolInputs
from rnntrain.data.speech.frontend import Frontend
from rnntrain.data.speech.sound import Stereo, at_rate, decode_sound, read_sound
from rnntrain.errors import UserError
from rnntrain.predicting.predictor import Kind

SENT_RATIO = 10  # bytes of samples that one byte may stand for in a recording that is not a file
NAMED_AT_MOST = 40  # characters of an input that a message quotes


class Encoded(NamedTuple):
    """What a model reads, and how long the input lasts where that is known."""

    inputs: np.ndarray
    seconds: float | None = None


class Encoder(ABC):
    """Encodes the raw inputs of one kind."""

    kind: Kind

    @abstractmethod
    def __call__(self, raw: Any, where: str) -> Encoded:
        """Return a raw input as a model reads it.

        Raises:
            UserError: names `where` it came from.
        """


class TextEncoder(Encoder):
    """Texts, by the vocabulary of a run; of spelt words, each a row of features."""

    kind: Kind = "text"

    def __init__(self, inputs: TextInputs | SpeltInputs) -> None:
        self.inputs = inputs

    def __call__(self, raw: Any, where: str) -> Encoded:
        return Encoded(self.inputs.encode(as_text(raw, where)).astype(np.int64))


class SoundEncoder(Encoder):
    """Recordings: a path, the bytes of a WAV, FLAC or Ogg file, or samples at the model's own rate."""

    kind: Kind = "sound"

    def __init__(self, frontend: Frontend, resample: bool = False, stereo: Stereo = "refuse") -> None:
        self.frontend, self.resample, self.stereo = frontend, resample, stereo

    def __call__(self, raw: Any, where: str) -> Encoded:
        rate = self.frontend.settings.sample_rate
        samples_S = self.samples(raw, where)
        x_TD = self.frontend(samples_S)
        if not len(x_TD):
            raise UserError(
                f"{where}: {len(samples_S) / rate:.3f} seconds are too short for one step of "
                f"{self.frontend.settings.stack} frames; give a longer recording"
            )
        return Encoded(x_TD, len(samples_S) / rate)

    def samples(self, raw: Any, where: str) -> np.ndarray:
        """Return the waveform at the model's rate."""
        rate = self.frontend.settings.sample_rate
        if isinstance(raw, np.ndarray):
            if raw.ndim != 1 or not np.isfinite(raw).all():
                raise UserError(f"{where}: expected finite samples of one channel at {rate} Hz, in [-1, 1]")
            return raw.astype(np.float32)
        if isinstance(raw, bytes | bytearray):
            return at_rate(decode_sound(bytes(raw), where, self.stereo, SENT_RATIO), rate, where, self.resample)
        if isinstance(raw, str | Path):
            return at_rate(read_sound(Path(raw), where, self.stereo), rate, where, self.resample)
        raise UserError(f"{where}: expected a sound file or its samples, not {type(raw).__name__}")


class NumbersEncoder(Encoder):
    """Numbers of every time step, standardised as in training.

    Args:
        order_T: the step of the input that each step of the model reads; None for their own order.
    """

    kind: Kind = "numbers"

    def __init__(self, inputs: FeatureInputs, order_T: np.ndarray | None = None) -> None:
        self.inputs, self.order_T = inputs, order_T

    def __call__(self, raw: Any, where: str) -> Encoded:
        x_TD = as_numbers(raw, where)
        width = self.inputs.num_features
        if x_TD.ndim == 1 and width == 1:
            x_TD = x_TD[:, None]
        if x_TD.ndim != 2 or x_TD.shape[1] != width:
            raise UserError(
                f"{where}: has the shape {list(x_TD.shape)}, and the model reads [steps, {width}]; "
                f"give {width} numbers a step"
            )
        if not len(x_TD):
            raise UserError(f"{where}: has no step; give one or more")
        if self.order_T is not None:
            if len(x_TD) != len(self.order_T):
                raise UserError(f"{where}: has {len(x_TD)} steps, and the model reads {len(self.order_T)} out of order")
            x_TD = x_TD[self.order_T]
        return Encoded(self.inputs.encode(x_TD))


class SymbolEncoder(Encoder):
    """Whole numbers from 0, one a step; as text they stand between spaces."""

    kind: Kind = "symbols"

    def __init__(self, inputs: SymbolInputs) -> None:
        self.inputs = inputs

    def __call__(self, raw: Any, where: str) -> Encoded:
        if isinstance(raw, str):
            raw = raw.replace(",", " ").split()
        numbers = as_numbers(raw, where)
        most = self.inputs.vocab_size
        if numbers.ndim != 1 or not len(numbers):
            raise UserError(f"{where}: expected whole numbers from 0 to {most - 1}, one a step")
        wrong = (numbers != np.floor(numbers)) | (numbers < 0) | (numbers >= most)
        if wrong.any():
            place = int(wrong.argmax())
            raise UserError(
                f"{where}: step {place + 1} is {numbers[place]:g}; the model reads whole numbers below {most}"
            )
        return Encoded(numbers.astype(np.int64))


def encoder_of(inputs: Any, reading: Mapping[str, Any]) -> Encoder:
    """Return the encoder that fits the inputs of a codec.

    Args:
        reading: how the run read its own files; `resample` and `stereo` are taken from it for sound, and `permuted`
            for images whose pixels are read in disorder.
    """
    if isinstance(inputs, TextInputs | SpeltInputs):
        return TextEncoder(inputs)
    if isinstance(inputs, Frontend):
        return SoundEncoder(inputs, bool(reading.get("resample", False)), reading.get("stereo", "refuse"))
    if isinstance(inputs, SymbolInputs):
        return SymbolEncoder(inputs)
    assert isinstance(inputs, FeatureInputs)
    order_T = reading_order(True, reading.get("permutation_seed", 0)) if reading.get("permuted") else None
    return NumbersEncoder(inputs, order_T)


def sound_limits(inputs: Any) -> list[str]:
    """Return what a model of sound cannot hear, in sentences; none of other models."""
    if not isinstance(inputs, Frontend):
        return []
    rate = inputs.settings.sample_rate
    return [f"It hears recordings of {rate:,} samples a second, of one channel, and nothing above {rate // 2:,} Hz."]


def as_text(raw: Any, where: str) -> str:
    """Return a raw input that must be text; halves of surrogate pairs, which JSON may hold, are replaced."""
    if not isinstance(raw, str):
        raise UserError(f"{where}: expected text, not {type(raw).__name__}")
    return raw.encode("utf-8", "replace").decode("utf-8")


def as_numbers(raw: Any, where: str) -> np.ndarray:
    """Return a raw input that must be finite numbers, in a regular shape."""
    try:
        numbers = np.asarray(raw, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        shown = str(raw)[:NAMED_AT_MOST]
        raise UserError(f"{where}: expected numbers, the same count in every step, not {shown!r}") from error
    if not np.isfinite(numbers).all():
        place = np.argwhere(~np.isfinite(numbers))[0].tolist()
        raise UserError(f"{where}: the number at {place} is not finite; fill it, or leave the sequence out")
    return numbers
