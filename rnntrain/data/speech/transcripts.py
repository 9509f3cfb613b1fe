"""The codec of speech and its transcript: features in, symbols out."""

# V symbols, S symbols of a transcript

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from rnntrain.data.base import Codec
from rnntrain.data.codecs import listed
from rnntrain.data.speech.frontend import Frontend, damaged
from rnntrain.data.speech.ngram import NGram
from rnntrain.errors import UserError

SymbolUnit = Literal["char", "word"]


class TranscriptCodec(Codec):
    """The front end, and the symbols that transcripts are made of.

    Number 0 is CTC's blank, and symbols are numbered from 1. White space is one space, and none at the ends.

    Args:
        frontend: from a waveform to features.
        unit: what a symbol is: a character, a space among them, or a word between spaces.
        symbols: distinct, in ascending order.
        language_model: of symbols numbered from 0, for the beam search.
    """

    blank = 0

    def __init__(
        self, frontend: Frontend, unit: SymbolUnit, symbols: Sequence[str], language_model: NGram | None = None
    ) -> None:
        self.frontend, self.unit, self.symbols, self.language_model = frontend, unit, tuple(symbols), language_model
        self._ids = {symbol: number for number, symbol in enumerate(self.symbols, start=1)}

    @classmethod
    def fit(
        cls, frontend: Frontend, unit: SymbolUnit, transcripts: Iterable[str], lm_order: int = 0
    ) -> TranscriptCodec:
        """Take every symbol that occurs; count n-grams of `lm_order` symbols, or none for 0."""
        cut = [symbols_of(text, unit) for text in transcripts]
        codec = cls(frontend, unit, sorted({symbol for symbols in cut for symbol in symbols}))
        if lm_order:
            codec.fit_language_model(("".join(s) if unit == "char" else " ".join(s) for s in cut), lm_order)
        return codec

    def fit_language_model(self, texts: Iterable[str], order: int) -> None:
        """Count the n-grams of texts; symbols that the codec does not have break a text in two."""
        pieces: list[list[int]] = []
        for text in texts:
            piece: list[int] = []
            for symbol in symbols_of(text, self.unit):
                if symbol in self._ids:
                    piece.append(self._ids[symbol] - 1)
                elif piece:
                    pieces, piece = [*pieces, piece], []
            pieces.append(piece)
        self.language_model = NGram.fit((piece for piece in pieces if piece), len(self.symbols), order)

    @property
    def num_features(self) -> int:
        """Width D of the model's input."""
        return self.frontend.num_features

    @property
    def num_outputs(self) -> int:
        """Number of symbols and the blank."""
        return len(self.symbols) + 1

    def encode(self, text: str, where: str) -> np.ndarray:
        """Return the numbers ``target_S`` of a transcript.

        Raises:
            UserError: names `where` the transcript stands, if it is empty or has a symbol that no training one has.
        """
        symbols = symbols_of(text, self.unit)
        if not symbols:
            raise UserError(f"{where}: the transcript is empty; give its text, or leave the recording out")
        outside = [symbol for symbol in dict.fromkeys(symbols) if symbol not in self._ids]
        if outside:
            raise UserError(
                f"{where}: {listed(outside)} in the transcript, not among the {len(self.symbols)} symbols of the "
                "training transcripts; correct it, or move the recording into the training split"
            )
        return np.array([self._ids[symbol] for symbol in symbols], np.int64)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return ("" if self.unit == "char" else " ").join(self.symbols[int(number) - 1] for number in ids)

    def state_dict(self) -> dict[str, Any]:
        return {
            "inputs": self.frontend.state_dict(),
            "unit": self.unit,
            "symbols": list(self.symbols),
            "language_model": None if self.language_model is None else self.language_model.state_dict(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> TranscriptCodec:
        frontend = Frontend.from_state(state.get("inputs"))
        unit, symbols = state.get("unit"), state.get("symbols")
        if unit not in ("char", "word"):
            raise damaged(f"`unit` must be char or word, not {unit!r}")
        if not isinstance(symbols, list) or not symbols or not all(isinstance(s, str) and s for s in symbols):
            raise damaged("`symbols` must be a list of texts")
        if any(a >= b for a, b in pairwise(symbols)) or (unit == "char" and max(map(len, symbols)) > 1):
            raise damaged("`symbols` must be distinct and in ascending order")
        model = state.get("language_model")
        return cls(frontend, unit, symbols, None if model is None else NGram.from_state(model, len(symbols)))


def symbols_of(text: str, unit: SymbolUnit) -> list[str]:
    """Cut a transcript into its symbols."""
    words = text.split()
    return list(" ".join(words)) if unit == "char" else words


def frames_needed(target_S: np.ndarray) -> int:
    """Return the fewest steps in which CTC can write a target: one a symbol, and a blank between two alike."""
    return len(target_S) + int((target_S[1:] == target_S[:-1]).sum())
