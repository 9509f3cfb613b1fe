"""Precision, recall and F1 of spans, as `seqeval` computes them in its default mode."""

# K types

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rnntrain.data.tagged.bio import Span, spans_of


class SpanCounts:
    """Counts of true, predicted and right spans by type; a span is right where type, start and stop agree."""

    def __init__(self) -> None:
        self.true: Counter[str] = Counter()
        self.predicted: Counter[str] = Counter()
        self.right: Counter[str] = Counter()

    def add(self, true: Sequence[str], predicted: Sequence[str]) -> None:
        """Take in the tags of one sentence."""
        true_spans, predicted_spans = set(spans_of(true)), set(spans_of(predicted))
        self.true.update(_types(true_spans))
        self.predicted.update(_types(predicted_spans))
        self.right.update(_types(true_spans & predicted_spans))

    def kinds(self) -> tuple[Counter[str], Counter[str], Counter[str]]:
        """Return the counts of true, predicted and right spans."""
        return self.true, self.predicted, self.right

    def metrics(self, types: Sequence[str]) -> dict[str, float]:
        """Return `precision`, `recall` and `f1` over all spans, and `f1/TYPE` for each type."""
        precision, recall, f1 = scores(self.right.total(), self.predicted.total(), self.true.total())
        return {"precision": precision, "recall": recall, "f1": f1} | self.f1_by_type(types)

    def f1_by_type(self, types: Sequence[str]) -> dict[str, float]:
        return {f"f1/{kind}": scores(self.right[kind], self.predicted[kind], self.true[kind])[2] for kind in types}


def scores(right: int, predicted: int, true: int) -> tuple[float, float, float]:
    """Return precision, recall and F1; each is 0 where it has nothing to divide by."""
    precision = right / predicted if predicted else 0.0
    recall = right / true if true else 0.0
    return precision, recall, 2 * right / (predicted + true) if right else 0.0


def _types(spans: Iterable[Span]) -> Iterable[str]:
    return (span.type for span in spans)
