"""The codec of tagged sentences: words, their characters and outward form, and the tags."""

# U distinct tokens, C characters of the longest, F = 3 + C features

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rnntrain.data.base import Codec
from rnntrain.data.tagged.bio import first_violation, has_ends, marks_spans, span_types
from rnntrain.errors import UserError

UNKNOWN = "<unk>"
UNKNOWN_ID = 0  # of words and of characters
CHAR_MIN_COUNT = 2  # characters seen less often are unknown, so that the model meets unknown ones in training
# The columns of a token's features; its characters follow.
WORD, SHAPE, NUM_CHARS, FIRST_CHAR = 0, 1, 2, 3
SHAPES = ("lower", "initial", "upper", "mixed", "digits", "with_digits", "punctuation", "mention", "hashtag", "link")
_LINK = re.compile(r"https?:|www\.|\w+\.(?:com|net|org)\b")
_DIGIT = re.compile(r"\d")


class TagCodec(Codec):
    """Words, characters and tags of a training split.

    A token becomes one row of whole numbers: its word, its shape, how many characters it has (at most
    `max_word_length`), and those characters, filled up with 0 that the number of characters tells apart.

    Attributes:
        words: the vocabulary, `<unk>` first and then the most frequent first.
        num_once: how many words at the end of the vocabulary occur once in the training split.
        characters: those known, in the order of code points; number 0 is for all others.
        tags: in alphabetic order.
        lower: words are looked up in lower case. Characters and shapes are those of the token as it is.
        digits: each digit of a word counts as 0.
        valid: True where the tags mark spans, and no training sentence breaks the rules of its scheme.
        fitted_here: False where it came from a checkpoint, whose weights take the place of any vectors.
    """

    def __init__(
        self,
        words: Sequence[str],
        num_once: int,
        characters: str,
        tags: Sequence[str],
        *,
        lower: bool,
        digits: bool,
        max_word_length: int,
        valid: bool,
    ) -> None:
        self.words, self.num_once = list(words), num_once
        self.characters, self.tags = characters, list(tags)
        self.lower, self.digits, self.max_word_length = lower, digits, max_word_length
        self.valid = valid
        self.fitted_here = True
        self._word_ids = {word: number for number, word in enumerate(self.words)}
        self._char_ids = {char: number for number, char in enumerate(characters, start=1)}
        self._tag_ids = {tag: number for number, tag in enumerate(self.tags)}

    @classmethod
    def fit(
        cls,
        sentences: Iterable[tuple[Sequence[str], Sequence[str]]],
        *,
        lower: bool = False,
        digits: bool = False,
        min_count: int = 1,
        max_vocab: int | None = None,
        max_word_length: int = 32,
    ) -> TagCodec:
        """Take the words seen at least `min_count` times, and all characters and tags, of tokens with their tags."""
        sentences = list(sentences)
        tokens = Counter(token for its, _ in sentences for token in its)
        counts: Counter[str] = Counter()
        chars: Counter[str] = Counter()
        for token, count in tokens.items():
            counts[normalise(token, lower, digits)] += count
            for char in token[:max_word_length]:
                chars[char] += count
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        kept = [(word, count) for word, count in ranked if count >= min_count and word != UNKNOWN]
        kept = kept[: None if max_vocab is None else max(0, max_vocab - 1)]
        tags = sorted({tag for _, its in sentences for tag in its})
        ends = has_ends(tags)
        return cls(
            [UNKNOWN, *(word for word, _ in kept)],
            sum(count == 1 for _, count in kept),
            "".join(sorted(char for char, count in chars.items() if count >= CHAR_MIN_COUNT)),
            tags,
            lower=lower,
            digits=digits,
            max_word_length=max_word_length,
            valid=marks_spans(tags) and all(first_violation(its, ends) is None for _, its in sentences),
        )

    @property
    def marks_spans(self) -> bool:
        """True where the tags mark spans (BIO or BIOES) rather than parts of speech, say."""
        return marks_spans(self.tags)

    @property
    def types(self) -> list[str]:
        """The types of spans; empty where tags mark none."""
        return span_types(self.tags) if self.marks_spans else []

    def tag_id(self, tag: str) -> int | None:
        """Return the number of a tag, or None if the training split has none such."""
        return self._tag_ids.get(tag)

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
            "tags": self.tags,
            "lower": self.lower,
            "digits": self.digits,
            "max_word_length": self.max_word_length,
            "valid": self.valid,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> TagCodec:
        _check_state(state)
        codec = cls(
            state["words"],
            state["num_once"],
            state["characters"],
            state["tags"],
            lower=state["lower"],
            digits=state["digits"],
            max_word_length=state["max_word_length"],
            valid=state["valid"],
        )
        codec.fitted_here = False
        return codec


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


def _check_state(state: dict[str, Any]) -> None:
    """Refuse a state that no codec gave; it may come from a damaged file."""
    kinds = {"num_once": int, "characters": str, "lower": bool, "digits": bool, "max_word_length": int, "valid": bool}
    for key, kind in kinds.items():
        if type(state.get(key)) is not kind:
            raise _malformed(f"`{key}` must be of the type {kind.__name__}")
    for key in ("words", "tags"):
        items = state.get(key)
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise _malformed(f"`{key}` must be a list of strings")
        if not items or len(set(items)) != len(items):
            raise _malformed(f"`{key}` must be distinct, and not empty")
    if state["words"][UNKNOWN_ID] != UNKNOWN:
        raise _malformed(f"`words` must begin with {UNKNOWN}")
    if not 0 <= state["num_once"] < len(state["words"]) or state["max_word_length"] < 1:
        raise _malformed("`num_once` or `max_word_length` is out of range")
    if len(set(state["characters"])) != len(state["characters"]):
        raise _malformed("`characters` must be distinct")


def _malformed(what: str) -> UserError:
    return UserError(f"the tagging codec's saved state is damaged: {what}; use another checkpoint")
