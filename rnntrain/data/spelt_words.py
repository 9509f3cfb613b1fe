"""Words with their characters and outward form: what tells words apart that a vocabulary does not hold."""

# U distinct tokens, C characters of the longest, F = 3 + C features

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnntrain.data.base import Codec
from rnntrain.errors import UserError

UNKNOWN = "<unk>"
UNKNOWN_ID = 0  # of words and of characters
CHAR_MIN_COUNT = 2  # characters seen less often are unknown, so that the model meets unknown ones in training
# The columns of a token's features; its characters follow.
WORD, SHAPE, NUM_CHARS, FIRST_CHAR = 0, 1, 2, 3
SHAPES = ("lower", "initial", "upper", "mixed", "digits", "with_digits", "punctuation", "mention", "hashtag", "link")
_LINK = re.compile(r"https?:|www\.|\w+\.(?:com|net|org)\b")
_DIGIT = re.compile(r"\d")


class SpeltWords(Codec):
    """Words and characters of a training split.

    A token becomes one row of whole numbers: its word, its shape, how many characters it has (at most
    `max_word_length`), and those characters, filled up with 0 that the number of characters tells apart.

    Attributes:
        words: the vocabulary, `<unk>` first and then the most frequent first.
        num_once: how many words at the end of the vocabulary occur once in the training split.
        characters: those known, in the order of code points; number 0 is for all others.
        lower: words are looked up in lower case. Characters and shapes are those of the token as it is.
        digits: each digit of a word counts as 0.
    """

    def __init__(
        self,
        words: Sequence[str],
        num_once: int,
        characters: str,
        *,
        lower: bool = False,
        digits: bool = False,
        max_word_length: int = 32,
    ) -> None:
        self.words, self.num_once, self.characters = list(words), num_once, characters
        self.lower, self.digits, self.max_word_length = lower, digits, max_word_length
        self._word_ids = {word: number for number, word in enumerate(self.words)}
        self._char_ids = {char: number for number, char in enumerate(characters, start=1)}

    def encode(self, tokens: Sequence[str]) -> np.ndarray:
        """Return the features of tokens, ``[U, F]``."""
        longest = min(max(map(len, tokens), default=0), self.max_word_length)
        features_UF = np.zeros((len(tokens), FIRST_CHAR + longest), np.int32)
        for row_F, token in zip(features_UF, tokens, strict=True):
            chars = [self._char_ids.get(char, UNKNOWN_ID) for char in token[: self.max_word_length]]
            row_F[WORD] = self._word_ids.get(normalise(token, self.lower, self.digits), UNKNOWN_ID)
            row_F[SHAPE] = SHAPES.index(shape_of(token))
            row_F[NUM_CHARS] = len(chars)
            row_F[FIRST_CHAR : FIRST_CHAR + len(chars)] = chars
        return features_UF

    def state_dict(self) -> dict[str, Any]:
        return {
            "words": self.words,
            "num_once": self.num_once,
            "characters": self.characters,
            "lower": self.lower,
            "digits": self.digits,
            "max_word_length": self.max_word_length,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> SpeltWords:
        check_words(state)
        return cls(**words_of(state))


def words_of(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: state[name] for name in ("words", "num_once", "characters", "lower", "digits", "max_word_length")}


def fitted_words(
    tokens: Mapping[str, int],
    *,
    lower: bool = False,
    digits: bool = False,
    min_count: int = 1,
    max_vocab: int | None = None,
    max_word_length: int = 32,
) -> dict[str, Any]:
    """Return the arguments of `SpeltWords`: the words seen at least `min_count` times, and all characters.

    Args:
        tokens: how often each token of the training split occurs.
        max_vocab: at most so many words, `<unk>` among them, the most frequent first.
    """
    counts: Counter[str] = Counter()
    chars: Counter[str] = Counter()
    for token, count in tokens.items():
        counts[normalise(token, lower, digits)] += count
        for char in token[:max_word_length]:
            chars[char] += count
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kept = [(word, count) for word, count in ranked if count >= min_count and word != UNKNOWN]
    kept = kept[: None if max_vocab is None else max(0, max_vocab - 1)]
    return {
        "words": [UNKNOWN, *(word for word, _ in kept)],
        "num_once": sum(count == 1 for _, count in kept),
        "characters": "".join(sorted(char for char, count in chars.items() if count >= CHAR_MIN_COUNT)),
        "lower": lower,
        "digits": digits,
        "max_word_length": max_word_length,
    }


def trimmed(features: np.ndarray) -> np.ndarray:
    """Return the features of tokens, ``[..., F]``, without the columns that no word of theirs reaches."""
    return features[..., : FIRST_CHAR + int(features[..., NUM_CHARS].max(initial=0))]


def of_one_width(rows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the features of several texts, ``[T, F]`` each, with as many columns as the longest word needs."""
    rows = [trimmed(features_TF) for features_TF in rows]
    width = max(features_TF.shape[1] for features_TF in rows)
    return [np.pad(features_TF, ((0, 0), (0, width - features_TF.shape[1]))) for features_TF in rows]


def normalise(token: str, lower: bool, digits: bool) -> str:
    """Return the word under which a token is looked up."""
    word = token.lower() if lower else token
    return _DIGIT.sub("0", word) if digits else word


def shape_of(token: str) -> str:
    """Return the outward form of a token, one of `SHAPES`; scripts without case are "lower"."""
    if _LINK.match(token):
        return "link"
    if len(token) > 1 and token[0] in "@#":
        return "mention" if token[0] == "@" else "hashtag"
    if _DIGIT.search(token):
        return "with_digits" if any(char.isalpha() for char in token) else "digits"
    if not any(unicodedata.category(char)[0] in "LM" for char in token):
        return "punctuation"
    if token == token.lower():
        return "lower"
    if token == token.upper() and len(token) > 1:
        return "upper"
    return "initial" if token[1:] == token[1:].lower() else "mixed"


def check_words(state: dict[str, Any], what: str = "words") -> None:
    """Refuse a state that no codec gave; it may come from a damaged file.

    Args:
        what: the codec, for messages.

    Raises:
        UserError: names the key.
    """
    kinds = {"num_once": int, "characters": str, "lower": bool, "digits": bool, "max_word_length": int}
    for key, kind in kinds.items():
        if type(state.get(key)) is not kind:
            raise malformed(what, f"`{key}` must be of the type {kind.__name__}")
    check_names(state, "words", what)
    if state["words"][UNKNOWN_ID] != UNKNOWN:
        raise malformed(what, f"`words` must begin with {UNKNOWN}")
    if not 0 <= state["num_once"] < len(state["words"]) or state["max_word_length"] < 1:
        raise malformed(what, "`num_once` or `max_word_length` is out of range")
    if len(set(state["characters"])) != len(state["characters"]):
        raise malformed(what, "`characters` must be distinct")


def check_names(state: dict[str, Any], key: str, what: str) -> None:
    """Refuse what is no list of distinct strings."""
    items = state.get(key)
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise malformed(what, f"`{key}` must be a list of strings")
    if not items or len(set(items)) != len(items):
        raise malformed(what, f"`{key}` must be distinct, and not empty")


def malformed(codec: str, what: str) -> UserError:
    return UserError(f"the {codec} codec's saved state is damaged: {what}; use another checkpoint")
