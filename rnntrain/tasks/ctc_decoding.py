"""From the probabilities of CTC to symbols: the best path, or the best transcript by a beam over prefixes."""

# T steps, V outputs: the blank, numbered 0, and symbols from 1

from __future__ import annotations

import math
from itertools import groupby
from typing import NamedTuple

import numpy as np

from rnntrain.data.speech.ngram import NGram

BLANK = 0
NEVER = -math.inf
# A symbol less likely than this at a step begins no prefix there: what it might add lies below any difference
# between transcripts that matters, and most symbols are that unlikely at most steps.
NEGLIGIBLE = math.log(1e-5)


class LanguageWeights(NamedTuple):
    """A language model beside the acoustic one, as in Hannun et al. 2014.

    The score of a transcript y is ln p_ctc(y) + weight · ln p_lm(y) + bonus · |y|.

    Attributes:
        model: over symbols numbered from 0.
        weight: of its logarithmic probability.
        bonus: for each symbol, against the language model's liking of short transcripts.
    """

    model: NGram | None = None
    weight: float = 0.0
    bonus: float = 0.0

    def of_next(self, prefix: tuple[int, ...], symbol: int) -> float:
        return self._log_prob(prefix, symbol - 1) + self.bonus

    def of_end(self, prefix: tuple[int, ...]) -> float:
        return 0.0 if self.model is None else self._log_prob(prefix, self.model.end)

    def _log_prob(self, prefix: tuple[int, ...], number: int) -> float:
        if self.model is None or not self.weight:
            return 0.0
        history = tuple(symbol - 1 for symbol in prefix[-self.model.order :])
        return self.weight * self.model.log_prob(history, number)


class Mass(NamedTuple):
    """ln p of all alignments of a prefix, by whether they end in a blank, and the prefix's language score."""

    blank: float
    symbol: float
    language: float

    @property
    def total(self) -> float:
        return _add(self.blank, self.symbol)

    @property
    def score(self) -> float:
        return self.total + self.language


def best_path(log_probs_TV: np.ndarray) -> list[int]:
    """Return the symbols of the likeliest alignment: repeats merged, then blanks taken out (Graves et al. 2006)."""
    return [int(symbol) for symbol, _ in groupby(log_probs_TV.argmax(-1)) if symbol != BLANK]


def beam_search(
    log_probs_TV: np.ndarray,
    beam_size: int,
    language: LanguageWeights | None = None,
    negligible: float = NEGLIGIBLE,
) -> list[int]:
    """Return the symbols of the best transcript found by a beam over prefixes.

    Each prefix sums over all its alignments (Graves 2012, ch. 7; Hannun et al. 2014, arXiv:1408.2873, algorithm 1).
    With a beam as wide as there are prefixes, and nothing negligible, the result is the best of all.

    Args:
        log_probs_TV: normalised logarithmic probabilities.
        beam_size: prefixes kept after each step.
        negligible: symbols of a lower logarithmic probability extend no prefix at that step.
    """
    search = BeamSearch(beam_size, language, negligible)
    search.push(log_probs_TV)
    return search.best()


class BestPath:
    """The best path, step by step: what is settled never changes."""

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._last = BLANK

    def push(self, log_probs_TV: np.ndarray) -> None:
        """Take in more steps."""
        for symbol in log_probs_TV.argmax(-1).tolist():
            if symbol not in (BLANK, self._last):
                self._ids.append(symbol)
            self._last = symbol

    def settled(self) -> list[int]:
        """Return the symbols that whatever follows will not change."""
        return self._ids

    def best(self) -> list[int]:
        """Return the symbols of the whole, if nothing follows."""
        return self._ids


class BeamSearch:
    """`beam_search`, step by step."""

    def __init__(self, beam_size: int, language: LanguageWeights | None = None, negligible: float = NEGLIGIBLE) -> None:
        self._size, self._language, self._negligible = beam_size, language or LanguageWeights(), negligible
        self._beam: dict[tuple[int, ...], Mass] = {(): Mass(0.0, NEVER, 0.0)}

    def push(self, log_probs_TV: np.ndarray) -> None:
        """Take in more steps."""
        for log_probs_V in log_probs_TV:
            places = np.flatnonzero(log_probs_V > self._negligible)
            likely = [(int(v), float(log_probs_V[v])) for v in places if v != BLANK]
            grown = _grow(self._beam, float(log_probs_V[BLANK]), log_probs_V, likely, self._language)
            self._beam = dict(sorted(grown.items(), key=lambda item: (-item[1].score, item[0]))[: self._size])

    def settled(self) -> list[int]:
        """Return what all prefixes begin with: every longer one grows from one of them."""
        low, high = min(self._beam), max(self._beam)
        same = next((place for place, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
        return list(low[:same])

    def best(self) -> list[int]:
        """Return the symbols of the best transcript, if nothing follows."""
        scored = ((mass.score + self._language.of_end(prefix), prefix) for prefix, mass in self._beam.items())
        return list(max(scored)[1])


def _grow(
    beam: dict[tuple[int, ...], Mass],
    blank: float,
    log_probs_V: np.ndarray,
    likely: list[tuple[int, float]],
    language: LanguageWeights,
) -> dict[tuple[int, ...], Mass]:
    """Return the prefixes after one more step."""
    grown: dict[tuple[int, ...], Mass] = {}

    def add(prefix: tuple[int, ...], more: Mass) -> None:
        had = grown.get(prefix)
        if had is not None:
            more = Mass(_add(had.blank, more.blank), _add(had.symbol, more.symbol), had.language)
        grown[prefix] = more

    for prefix, mass in beam.items():
        last = prefix[-1] if prefix else BLANK
        stays = mass.symbol + float(log_probs_V[last]) if prefix else NEVER
        add(prefix, Mass(mass.total + blank, stays, mass.language))
        for symbol, log_prob in likely:
            # The symbol a second time is new only after a blank.
            before = mass.blank if symbol == last else mass.total
            if before > NEVER:
                longer = (*prefix, symbol)
                known = beam.get(longer) or grown.get(longer)
                score = mass.language + language.of_next(prefix, symbol) if known is None else known.language
                add(longer, Mass(NEVER, before + log_prob, score))
    return grown


def _add(a: float, b: float) -> float:
    """Return ln(e^a + e^b)."""
    high, low = (a, b) if a > b else (b, a)
    return high if low == NEVER else high + math.log1p(math.exp(low - high))


def spans(log_probs_TV: np.ndarray) -> list[tuple[int, int, int]]:
    """Return symbol, first step and step after the last of each run of the best path."""
    found, place = [], 0
    for symbol, run in groupby(log_probs_TV.argmax(-1)):
        length = sum(1 for _ in run)
        if symbol != BLANK:
            found.append((int(symbol), place, place + length))
        place += length
    return found
