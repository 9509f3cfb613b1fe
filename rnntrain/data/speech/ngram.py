"""An n-gram model of symbols, by Witten-Bell smoothing: what a beam search may ask which transcript is likelier."""

# V symbols; the end of a transcript is one more, numbered V

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from rnntrain.errors import UserError


class NGram:
    """Probability of each symbol after the `order` - 1 before it.

    p(w | h) = (c(h w) + n(h) · p(w | h')) / (c(h) + n(h)), where c counts, n(h) is the number of distinct symbols
    seen after h, and h' is h without its first symbol (Witten and Bell 1991, interpolated). Below the empty history
    stands 1 / (V + 1) for each symbol and the end of the transcript; no symbol is impossible. A history never
    seen leaves the word to h'.

    Args:
        num_symbols: V.
        counts: how often each symbol followed each history, from the empty one to `order` - 1 symbols.
    """

    def __init__(self, num_symbols: int, order: int, counts: dict[tuple[int, ...], dict[int, int]]) -> None:
        self.num_symbols, self.order, self.counts = num_symbols, order, counts
        self._totals = {history: sum(after.values()) for history, after in counts.items()}
        self._known: dict[tuple[int, ...], float] = {}

    @property
    def end(self) -> int:
        """The number of the end of a transcript."""
        return self.num_symbols

    @classmethod
    def fit(cls, transcripts: Iterable[Sequence[int]], num_symbols: int, order: int) -> NGram:
        """Count symbols numbered 0 to V - 1; transcripts start from an empty history."""
        counts: dict[tuple[int, ...], dict[int, int]] = defaultdict(lambda: defaultdict(int))
        for transcript in transcripts:
            whole = (*(int(symbol) for symbol in transcript), num_symbols)
            for place, symbol in enumerate(whole):
                for length in range(min(order - 1, place) + 1):
                    counts[whole[place - length : place]][symbol] += 1
        return cls(num_symbols, order, {history: dict(after) for history, after in counts.items()})

    def log_prob(self, history: tuple[int, ...], symbol: int) -> float:
        """Return ln p(symbol | history); only the last `order` - 1 symbols of the history are read."""
        history = history[max(len(history) - self.order + 1, 0) :]
        key = (*history, symbol)
        if key not in self._known:
            self._known[key] = math.log(self._prob(history, symbol))
        return self._known[key]

    def _prob(self, history: tuple[int, ...], symbol: int) -> float:
        shorter = self._prob(history[1:], symbol) if history else 1.0 / (self.num_symbols + 1)
        after = self.counts.get(history)
        if after is None:
            return shorter
        return (after.get(symbol, 0) + len(after) * shorter) / (self._totals[history] + len(after))

    def state_dict(self) -> dict[str, Any]:
        """Return the order and the counts: of each history its symbols, then pairs of a symbol and its count."""
        counts = [[list(history), [list(pair) for pair in after.items()]] for history, after in self.counts.items()]
        return {"order": self.order, "counts": counts}

    @classmethod
    def from_state(cls, state: Any, num_symbols: int) -> NGram:
        """Build it from what `state_dict` gave.

        Raises:
            UserError: if it does not describe counts of V symbols.
        """
        try:
            order = state["order"]
            counts = {tuple(history): dict(after) for history, after in state["counts"]}
            if not _is_sound(order, counts, num_symbols):
                raise ValueError("numbers out of their range")
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"the speech codec's saved state is damaged: `language_model` must hold counts of symbols ({error}); "
                "use another checkpoint"
            ) from error
        return cls(num_symbols, order, counts)


def _is_sound(order: Any, counts: dict[tuple[Any, ...], dict[Any, Any]], num_symbols: int) -> bool:
    return (
        type(order) is int
        and order >= 1
        and all(
            len(history) < order
            and all(type(s) is int and 0 <= s < num_symbols for s in history)
            and all(type(s) is int and 0 <= s <= num_symbols for s in after)
            and all(type(count) is int and count > 0 for count in after.values())
            for history, after in counts.items()
        )
    )
