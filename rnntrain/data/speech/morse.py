"""Morse code to be read by ear: endless, made as it is needed, without a recording."""

# S samples, B utterances of a batch

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from rnntrain.data.base import Codec
from rnntrain.data.shakespeare import HELD_OUT, read_plays
from rnntrain.data.speech.features import Extractor, FeatureSettings
from rnntrain.data.speech.frontend import Frontend, Normalization
from rnntrain.data.speech.morse_code import CODE, Signal, receive
from rnntrain.data.speech.spec_augment import SpecAugment
from rnntrain.data.speech.transcripts import TranscriptCodec
from rnntrain.data.speech.utterances import Utterance, Utterances, check_length
from rnntrain.errors import UserError
from rnntrain.ranges import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

SYMBOLS = tuple(sorted([*CODE, " "]))
LONGEST_WORD = 6  # letters of a random word
LEAST_SECONDS, MOST_SECONDS = 0.1, 0.5  # of noise before and after a text
EVAL_SEED = 19441  # of val and test, which are the same in every run
SPLIT_NUMBERS = {"val": 0, "test": 1}
NORMALIZED_ON = 100  # utterances of the training kind, from which mean and deviation are taken
LM_TEXTS = 2000  # of the training source, from which n-grams are counted
MOST_AHEAD = 100  # characters of a play within which a space comes


class Morse(Utterances):
    """Texts in Morse code under noise, for `task=ctc`; every utterance is a function of (seed, epoch, batch).

    Speed, pitch, signal-to-noise ratio, fading and length are drawn evenly for each utterance. Val and test
    are drawn like the training data, but for their noise: all of them have `eval_snr_db`. The ratio is that of the
    tone's power while it sounds to the noise's power in the full band, 0 to half the sample rate.

    Args:
        source: "random" characters in words of 1 to 6, which no knowledge of a language helps to read, or pieces
            of the "plays" of Shakespeare that come with the package (val and test have plays of their own).
        batch_size: utterances in a batch.
        epoch_batches: batches in what counts as an epoch.
        eval_size: utterances of val, and of test.
        ramp_epochs: epochs until training draws from the whole of all ranges. It begins with the shortest texts, the
            middle speed and pitch and the least noise, without fading or jitter, and widens with the square of
            the epoch. CTC first finds that blanks are the safest guess; where all varies at once, it takes long to
            find more.
        min_chars, max_chars: length of a text.
        min_wpm, max_wpm: speed in words of five letters (PARIS) a minute.
        min_pitch_hz, max_pitch_hz: of the tone.
        min_snr_db, max_snr_db: of training utterances.
        eval_snr_db: of val and test.
        fading: largest share of the amplitude that fading may take, once in 1 to 10 seconds.
        jitter: largest deviation of marks and gaps from their lengths (of the logarithm).
        sample_rate: in Hz.
        window_ms, hop_ms, num_mels, low_hz, high_hz, stack: see `rnntrain.data.speech.features.FeatureSettings`.
        normalize: features to mean 0 and deviation 1 over a sample of "train"; over each "utterance", which makes the
            bands without the tone as loud as its own; or "none".
        lm_order: symbols of the n-grams that are counted, in texts of the training source, for the beam search.
    """

    generated = True

    def __init__(
        self,
        source: Literal["random", "plays"] = "random",
        batch_size: PositiveInt = 16,
        epoch_batches: PositiveInt = 100,
        eval_size: PositiveInt = 300,
        ramp_epochs: NonNegativeInt = 0,
        min_chars: PositiveInt = 4,
        max_chars: PositiveInt = 12,
        min_wpm: PositiveFloat = 15.0,
        max_wpm: PositiveFloat = 30.0,
        min_pitch_hz: PositiveFloat = 400.0,
        max_pitch_hz: PositiveFloat = 900.0,
        min_snr_db: float = -3.0,
        max_snr_db: float = 12.0,
        eval_snr_db: float = 0.0,
        fading: Fraction = 0.5,
        jitter: NonNegativeFloat = 0.1,
        sample_rate: PositiveInt = 4000,
        window_ms: PositiveFloat = 33.0,
        hop_ms: PositiveFloat = 10.0,
        num_mels: PositiveInt = 16,
        low_hz: NonNegativeFloat = 300.0,
        high_hz: PositiveFloat | None = 1000.0,
        stack: PositiveInt = 3,
        normalize: Normalization = "train",
        lm_order: NonNegativeInt = 0,
    ) -> None:
        ranges = {
            "chars": (min_chars, max_chars),
            "wpm": (min_wpm, max_wpm),
            "pitch_hz": (min_pitch_hz, max_pitch_hz),
            "snr_db": (min_snr_db, max_snr_db),
        }
        for name, (low, high) in ranges.items():
            if low > high:
                raise UserError(f"data.min_{name}={low:g} is more than data.max_{name}={high:g}; lower it")
        if max_pitch_hz >= sample_rate / 2:
            raise UserError(f"data.max_pitch_hz={max_pitch_hz:g}: must lie below half of data.sample_rate")
        self.source, self.batch_size, self.epoch_batches, self.eval_size = source, batch_size, epoch_batches, eval_size
        self.ramp_epochs = ramp_epochs
        self.min_chars, self.max_chars = min_chars, max_chars
        self.wpm, self.pitch_hz, self.snr_db = ranges["wpm"], ranges["pitch_hz"], ranges["snr_db"]
        self.eval_snr_db, self.fading, self.jitter = eval_snr_db, fading, jitter
        self.settings = FeatureSettings(
            sample_rate, "log_mel", window_ms, hop_ms, num_mels, low_hz=low_hz, high_hz=high_hz, stack=stack
        )
        self.augment = SpecAugment()
        self.normalize: Normalization = normalize
        self.lm_order = lm_order

    def load(self, codec: Codec | None = None) -> None:
        if codec is not None and not (isinstance(codec, TranscriptCodec) and codec.symbols == SYMBOLS):
            raise UserError(f"the model reads no Morse code ({type(codec).__name__}); give it the data of its kind")
        self._plays = _plays() if self.source == "plays" else {}
        self.codec = codec or TranscriptCodec(Frontend.fit(self.settings, self.normalize, self._raw()), "char", SYMBOLS)
        self.frame_features = self.codec.frontend.settings.frame_features
        if codec is None and self.lm_order:
            rng = np.random.default_rng(EVAL_SEED)
            self.codec.fit_language_model(
                (self._text("train", self.max_chars, rng) for _ in range(LM_TEXTS)), self.lm_order
            )
        self.splits = ("train", "val", "test")
        self._held = {
            split: self._utterances(split, np.random.default_rng([EVAL_SEED, number]), self.eval_size)
            for split, number in SPLIT_NUMBERS.items()
        }

    def _epoch(self, seed: int, epoch: int) -> tuple[int, Callable[[int], Sequence[Utterance]]]:
        reach = min(1.0, epoch / self.ramp_epochs) ** 2 if self.ramp_epochs else 1.0

        def utterances_of(number: int) -> list[Utterance]:
            return self._utterances("train", np.random.default_rng([seed, epoch, number]), self.batch_size, reach)

        return self.epoch_batches, utterances_of

    def _utterances(self, split: str, rng: np.random.Generator, number: int, reach: float = 1.0) -> list[Utterance]:
        return [self._utterance(split, index, rng, reach) for index in range(number)]

    def _raw(self) -> Iterator[np.ndarray]:
        """Yield features of training utterances, before normalisation."""
        rng, extract = np.random.default_rng(EVAL_SEED), Extractor(self.settings)
        for _ in range(NORMALIZED_ON):
            yield extract(receive(*self._message("train", rng), self.settings.sample_rate, rng))

    def _message(self, split: str, rng: np.random.Generator, reach: float = 1.0) -> tuple[str, Signal]:
        """Draw a text and how it is sent; `reach` is the share of the ranges that is used."""
        longest = self.min_chars + round(reach * (self.max_chars - self.min_chars))
        text = self._text(split, int(rng.integers(self.min_chars, longest + 1)), rng)
        least_db, most_db = self.snr_db
        signal = Signal(
            words_per_minute=_about_middle(self.wpm, reach, rng),
            pitch_hz=_about_middle(self.pitch_hz, reach, rng),
            snr_db=rng.uniform(most_db + reach * (least_db - most_db), most_db)
            if split == "train"
            else self.eval_snr_db,
            fading=rng.uniform(0, reach * self.fading),
            fading_hz=rng.uniform(0.1, 1.0),
            jitter=rng.uniform(0, reach * self.jitter),
            lead_seconds=rng.uniform(LEAST_SECONDS, MOST_SECONDS),
            tail_seconds=rng.uniform(LEAST_SECONDS, MOST_SECONDS),
        )
        return text, signal

    def _utterance(self, split: str, index: int, rng: np.random.Generator, reach: float) -> Utterance:
        text, signal = self._message(split, rng, reach)
        assert isinstance(self.codec, TranscriptCodec)
        samples_S = receive(text, signal, self.codec.frontend.settings.sample_rate, rng)
        where = f"{split} {index}"
        utterance = Utterance(where, self.codec.frontend(samples_S), self.codec.encode(text, where), text)
        check_length(utterance, self.codec.frontend.settings.stack)
        return utterance

    def _text(self, split: str, size: int, rng: np.random.Generator) -> str:
        if self.source == "plays":
            text = self._plays[split]
            start = text.index(" ", int(rng.integers(len(text) - size - MOST_AHEAD))) + 1
            return text[start : start + size].strip()
        return _random_text(size, rng)

    def examples(self, split: str, number: int) -> list[str]:
        if split != "train":
            return super().examples(split, number)
        first = self._utterances("train", np.random.default_rng([0, 0, 0]), number)
        return [f"{each.name}: {each.text}" for each in first]

    def sounds(self, split: str, number: int) -> dict[str, tuple[np.ndarray, int]]:
        rng, rate = np.random.default_rng([EVAL_SEED, SPLIT_NUMBERS[split]]), self.settings.sample_rate
        found = {}
        for _ in range(number):
            text, signal = self._message(split, rng)
            found[text] = receive(text, signal, rate, rng), rate
        return found

    def fingerprint(self) -> dict[str, Any]:
        texts = "\n".join(each.text for its in self._held.values() for each in its)
        return {
            "generator": "morse",
            "sha256": hashlib.sha256(texts.encode()).hexdigest(),
            "splits": {split: len(its) for split, its in self._held.items()},
        }

    def describe(self) -> str:
        assert isinstance(self.codec, TranscriptCodec)
        settings = self.codec.frontend.settings
        source = "random characters" if self.source == "random" else "pieces of plays"
        return (
            f"Morse code of {source}, endless; val and test {self.eval_size:,} each at {self.eval_snr_db:g} dB; "
            f"{settings.num_mels} log-mel energies every {settings.hop_ms:g} ms, {settings.stack} frames a step"
        )


def _about_middle(bounds: tuple[float, float], reach: float, rng: np.random.Generator) -> float:
    """Draw evenly from the middle share `reach` of a range."""
    middle, half = (bounds[0] + bounds[1]) / 2, reach * (bounds[1] - bounds[0]) / 2
    return rng.uniform(middle - half, middle + half)


def _random_text(size: int, rng: np.random.Generator) -> str:
    """Return `size` characters, all but the spaces evenly drawn, in words of 1 to `LONGEST_WORD`."""
    letters = [SYMBOLS[i] for i in rng.integers(1, len(SYMBOLS), size)]  # the space is symbol 0
    place = int(rng.integers(1, LONGEST_WORD + 1))
    while place < size - 1:
        letters[place] = " "
        place += 1 + int(rng.integers(1, LONGEST_WORD + 1))
    return "".join(letters)


def _plays() -> dict[str, str]:
    """Return the plays of each split as Morse code has them: lower case, what it lacks left out."""
    texts: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    split_of = {title: split for split, titles in HELD_OUT.items() for title in titles}
    foreign = re.compile(f"[^{re.escape(''.join(CODE))}]+")
    for title, play in read_plays().items():
        text = foreign.sub(" ", play.decode("utf-8").lower().replace("'", ""))
        texts[split_of.get(title, "train")].append(" ".join(word for word in text.split() if word.strip(".,?/=")))
    return {split: " ".join(its) for split, its in texts.items()}
