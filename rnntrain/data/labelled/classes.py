"""The codec of sequence classification: the classes, and what turns an input into what a model reads."""

# N sequences, T time, D features, C classes

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias, TypeGuard

import numpy as np

from rnntrain.data.base import Codec
from rnntrain.data.codecs import TextCodec, text_codec_from_state
from rnntrain.data.speech.frontend import Frontend
from rnntrain.data.spelt_words import SpeltWords
from rnntrain.errors import UserError

# A run of letters, digits and underscores, or one sign.
_WORD = re.compile(r"\w+|[^\w\s]")


class TextInputs(Codec):
    """Text as the numbers of its entries: what is done to the text first, and the vocabulary.

    Args:
        text: the vocabulary.
        lowercase: upper and lower case are the same.
        split_punctuation: words and signs are apart (`Free!` is `Free !`); for words alone.
        max_length: entries beyond so many are cut off; None for no limit.
    """

    def __init__(
        self, text: TextCodec, lowercase: bool = False, split_punctuation: bool = False, max_length: int | None = None
    ) -> None:
        self.text = text
        self.lowercase, self.split_punctuation, self.max_length = lowercase, split_punctuation, max_length

    @property
    def vocab_size(self) -> int:
        return self.text.vocab_size

    def encode(self, text: str) -> np.ndarray:
        """Return ``ids_T`` of one text."""
        prepared = prepare(text, self.lowercase, self.split_punctuation)
        return self.text.encode(prepared)[: self.max_length]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return self.text.decode(ids)

    def state_dict(self) -> dict[str, Any]:
        return {
            "kind": "text",
            "text": self.text.state_dict(),
            "lowercase": self.lowercase,
            "split_punctuation": self.split_punctuation,
            "max_length": self.max_length,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> TextInputs:
        flags = [state.get(name) for name in ("lowercase", "split_punctuation")]
        longest = state.get("max_length")
        if not all(isinstance(flag, bool) for flag in flags) or not (longest is None or _is_count(longest, 1)):
            raise damaged(
                "`lowercase`, `split_punctuation` and `max_length` must be true or false, and a number or null"
            )
        return cls(text_codec_from_state(state.get("text", {})), bool(flags[0]), bool(flags[1]), longest)


class SpeltInputs(Codec):
    """Text as words with their characters and outward form, which the vocabulary leaves as they are.

    Args:
        words: the vocabulary and the characters.
        split_punctuation: words and signs are apart.
        max_length: words beyond so many are cut off; None for no limit.
    """

    def __init__(self, words: SpeltWords, split_punctuation: bool = True, max_length: int | None = None) -> None:
        self.words = words
        self.split_punctuation, self.max_length = split_punctuation, max_length

    @property
    def vocab_size(self) -> int:
        return len(self.words.words)

    def tokens(self, text: str) -> list[str]:
        """Return the words of a text that are read."""
        return tokens_of(text, self.split_punctuation)[: self.max_length]

    def encode(self, text: str) -> np.ndarray:
        """Return the features of one text's words, ``[T, F]``; see `SpeltWords`."""
        return self.words.encode(self.tokens(text))

    def state_dict(self) -> dict[str, Any]:
        return {
            "kind": "spelt",
            "words": self.words.state_dict(),
            "split_punctuation": self.split_punctuation,
            "max_length": self.max_length,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> SpeltInputs:
        split, longest, words = state.get("split_punctuation"), state.get("max_length"), state.get("words")
        if not isinstance(split, bool) or not (longest is None or _is_count(longest, 1)) or not isinstance(words, dict):
            raise damaged("`split_punctuation` must be true or false, `max_length` a number or null, beside `words`")
        return cls(SpeltWords.from_state(words), split, longest)


def tokens_of(text: str, split_punctuation: bool) -> list[str]:
    """Return the words of a text."""
    return prepare(text, False, split_punctuation).split()


def prepare(text: str, lowercase: bool, split_punctuation: bool) -> str:
    """Return the text as its vocabulary is fitted on it and applied to it."""
    text = text.lower() if lowercase else text
    return " ".join(_WORD.findall(text)) if split_punctuation else text


class FeatureInputs(Codec):
    """Numbers of every time step, standardised by mean and standard deviation of the training split.

    Args:
        mean_D: is taken off.
        scale_D: divides what is left.
    """

    def __init__(self, mean_D: Sequence[float] | np.ndarray, scale_D: Sequence[float] | np.ndarray) -> None:
        self.mean_D, self.scale_D = np.asarray(mean_D, np.float64), np.asarray(scale_D, np.float64)

    @classmethod
    def fit(cls, rows: Iterable[np.ndarray], standardize: bool = True) -> FeatureInputs:
        """Take mean and deviation over all steps of all rows ``x_TD``; a feature that is constant keeps its scale."""
        steps_SD = np.concatenate([np.asarray(row, np.float64) for row in rows])
        if not standardize:
            return cls(np.zeros(steps_SD.shape[1]), np.ones(steps_SD.shape[1]))
        scale_D = steps_SD.std(0)
        return cls(steps_SD.mean(0), np.where(scale_D > 0, scale_D, 1.0))

    @property
    def num_features(self) -> int:
        return len(self.mean_D)

    def encode(self, x_TD: np.ndarray) -> np.ndarray:
        """Return the steps of one sequence, standardised, in float32."""
        return ((x_TD - self.mean_D) / self.scale_D).astype(np.float32)

    def state_dict(self) -> dict[str, Any]:
        return {"kind": "features", "mean": self.mean_D.tolist(), "scale": self.scale_D.tolist()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> FeatureInputs:
        mean, scale = state.get("mean"), state.get("scale")
        if not _are_numbers(mean) or not _are_numbers(scale) or len(mean) != len(scale) or min(scale, default=0) <= 0:
            raise damaged("`mean` and `scale` must be lists of as many finite numbers, scales above 0")
        return cls(mean, scale)


Inputs: TypeAlias = TextInputs | SpeltInputs | FeatureInputs | Frontend


class ClassCodec(Codec):
    """Inputs to numbers, and classes by name in the order of their numbers.

    Args:
        inputs: turns a text, the numbers of a sequence, or a waveform into what the model reads.
        class_names: at least two.
        class_counts: how many sequences of each the training split has, for class weights and the simplest baseline.
    """

    def __init__(self, inputs: Inputs, class_names: Sequence[str], class_counts: Sequence[int]) -> None:
        self.inputs = inputs
        self.class_names, self.class_counts = list(class_names), list(class_counts)
        self._numbers = {name: number for number, name in enumerate(self.class_names)}

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def number(self, name: str) -> int | None:
        """Return the number of a class; None where there is no such class."""
        return self._numbers.get(name)

    def state_dict(self) -> dict[str, Any]:
        return {
            "inputs": self.inputs.state_dict(),
            "class_names": self.class_names,
            "class_counts": self.class_counts,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> ClassCodec:
        names, counts, inputs = state.get("class_names"), state.get("class_counts"), state.get("inputs")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < 2:
            raise damaged("`class_names` must be a list of two names or more")
        if not isinstance(counts, list) or not all(_is_count(count, 0) for count in counts) or not sum(counts):
            raise damaged("`class_counts` must be whole numbers with a sum above 0")
        if len(set(names)) != len(names) or len(counts) != len(names) or not isinstance(inputs, dict):
            raise damaged("`class_names` must be distinct, with one count each, beside `inputs`")
        kind = inputs.get("kind")
        if kind == "text":
            return cls(TextInputs.from_state(inputs), names, counts)
        if kind == "spelt":
            return cls(SpeltInputs.from_state(inputs), names, counts)
        if kind == "features":
            return cls(FeatureInputs.from_state(inputs), names, counts)
        if kind == "audio":
            return cls(Frontend.from_state(inputs), names, counts)
        raise damaged(f"`inputs` must be of the kind text, spelt, features or audio, not {kind!r}")


def damaged(what: str) -> UserError:
    return UserError(f"the class codec's saved state is damaged: {what}; use another checkpoint")


def _is_count(value: Any, least: int) -> bool:
    return type(value) is int and value >= least


def _are_numbers(values: Any) -> TypeGuard[list[float]]:
    return isinstance(values, list) and all(type(v) in (int, float) and math.isfinite(v) for v in values)
