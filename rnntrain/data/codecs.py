"""Text to numbers and back: what every text codec offers, and the codecs of characters and bytes."""

# V vocabulary

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from rnntrain.data.base import Codec
from rnntrain.errors import UserError

REPLACEMENT = "\ufffd"
LAST_CODE_POINT = 0x10FFFF
NAMED_AT_MOST = 8  # characters or words that a message lists
CHUNK = 1 << 20  # characters that are in hand at once while a long text is encoded


class TextCodec(Codec):
    """A vocabulary, and the rule that cuts text into its entries.

    Attributes:
        unit: what one entry is: "char", "byte", "word" or "bpe".
        vocab_size: number of entries.
        unknown_id: the entry that stands for all text outside the vocabulary; None where nothing is outside.
    """

    unit: ClassVar[str]
    vocab_size: int
    unknown_id: int | None = None

    @property
    @abstractmethod
    def chars_per_token_V(self) -> np.ndarray:
        """Number of characters that each entry stands for; bytes where the unit is the byte.

        Summed over targets it gives the length of the text, so that bits per character are exact.
        """

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """Return the numbers of the entries, in the smallest unsigned type that holds them."""

    @abstractmethod
    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Return the text of the entries."""

    def encode_chunks(self, chunks: Iterable[Any]) -> Iterator[np.ndarray]:
        """Encode a long text piece by piece; joined, the result is that of the whole."""
        return map(self.encode, chunks)

    def check_prompt(self, text: str) -> None:
        """Raise UserError if the text has something that the vocabulary lacks."""

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.min_scalar_type(self.vocab_size - 1)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> TextCodec:
        """Build the codec of `state["unit"]` from what its `state_dict` gave."""
        return text_codec_from_state(state)


class CharCodec(TextCodec):
    """One entry a character (Unicode code point), in the order of code points; the last is for all others."""

    unit = "char"

    def __init__(self, characters: str) -> None:
        self.characters = characters
        self.vocab_size = len(characters) + 1
        self.unknown_id = len(characters)
        self._codes_V = np.append(_code_points(characters), ord(REPLACEMENT)).astype(np.uint32)
        # One place past the last character takes everything beyond it.
        self._table = np.full(int(self._codes_V[:-1].max(initial=0)) + 2, self.unknown_id, self.dtype)
        self._table[self._codes_V[:-1]] = np.arange(self.unknown_id)

    @classmethod
    def fit(cls, chunks: Iterable[str]) -> CharCodec:
        """Take every character that occurs."""
        seen = np.zeros(LAST_CODE_POINT + 1, bool)
        for chunk in chunks:
            seen[_code_points(chunk)] = True
        return cls("".join(map(chr, np.flatnonzero(seen))))

    @property
    def chars_per_token_V(self) -> np.ndarray:
        return np.ones(self.vocab_size, np.int64)

    def encode(self, text: str) -> np.ndarray:
        if len(text) > CHUNK:
            return np.concatenate([self.encode(text[i : i + CHUNK]) for i in range(0, len(text), CHUNK)])
        return self._table.take(_code_points(text), mode="clip")

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return self._codes_V[np.asarray(ids, np.int64)].tobytes().decode("utf-32-le", "surrogatepass")

    def check_prompt(self, text: str) -> None:
        outside = [char for char in dict.fromkeys(text) if char not in self.characters]
        if outside:
            raise UserError(
                f"the prompt has {listed(outside)}, not among the {len(self.characters)} characters of the "
                "training text; leave out what is not there"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"unit": self.unit, "characters": self.characters}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> CharCodec:
        characters = state.get("characters")
        if not isinstance(characters, str) or any(a >= b for a, b in pairwise(characters)):
            raise malformed("`characters` must be a string of distinct characters in ascending order")
        return cls(characters)


class ByteCodec(TextCodec):
    """One entry a byte: 256 of them, so that every file and every text can be read."""

    unit = "byte"
    vocab_size = 256

    @property
    def chars_per_token_V(self) -> np.ndarray:
        return np.ones(self.vocab_size, np.int64)

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)

    def encode_chunks(self, chunks: Iterable[Any]) -> Iterator[np.ndarray]:
        """Take bytes as they come, since a file may hold other things than text."""
        return (np.frombuffer(chunk, np.uint8) for chunk in chunks)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return np.asarray(ids, np.uint8).tobytes().decode("utf-8", "replace")

    def state_dict(self) -> dict[str, Any]:
        return {"unit": self.unit}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> ByteCodec:
        return cls()


def text_codec_from_state(state: dict[str, Any]) -> TextCodec:
    """Build the codec that a `state_dict` describes; it may come from a file, so nothing in it is trusted."""
    unit = state.get("unit") if isinstance(state, dict) else None
    if unit == "char":
        return CharCodec.from_state(state)
    if unit == "byte":
        return ByteCodec.from_state(state)
    # These import the codecs below them only when they are asked for: `bpe` needs an optional package.
    if unit == "word":
        from rnntrain.data.words import WordCodec

        return WordCodec.from_state(state)
    if unit == "bpe":
        from rnntrain.data.bpe import BpeCodec

        return BpeCodec.from_state(state)
    raise malformed(f"`unit` must be char, byte, word or bpe, not {unit!r}")


def malformed(what: str) -> UserError:
    return UserError(f"the text codec's saved state is damaged: {what}; use another checkpoint")


def listed(items: Sequence[str]) -> str:
    """Name some items for a message, escaped so that no control character reaches the terminal."""
    names = ", ".join(ascii(item) if not item.isprintable() else repr(item) for item in items[:NAMED_AT_MOST])
    more = len(items) - NAMED_AT_MOST
    return f"{names} and {more} more" if more > 0 else names


def cut_at_words(chunks: Iterable[str]) -> Iterator[str]:
    """Cut the same text anew, only before white space that follows something else.

    No word and no run of white space is torn there, so codecs that look at a word at a time lose nothing.
    A stretch without such a place is held back until one comes, at most `CHUNK` characters of it.
    """
    rest = ""
    for chunk in chunks:
        text = rest + chunk
        cut = max(text.rfind(" "), text.rfind("\n"))
        cut = len(text[:cut].rstrip()) if cut > 0 else 0
        if cut == 0 and len(text) > CHUNK:
            cut = len(text)
        if cut:
            yield text[:cut]
        rest = text[cut:]
    if rest:
        yield rest


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
