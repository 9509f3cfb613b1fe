"""What a tagger's predictions come to: nats, accuracy, F1 of spans, and which types are taken for which."""

# B batch, T time, C classes of the confusion matrix

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from rnntrain.batch import Batch
from rnntrain.data.tagged.bio import OUTSIDE, split_tag
from rnntrain.data.tagged.tag_codec import TagCodec
from rnntrain.metrics import Metrics, Picture, Sum
from rnntrain.models.tag_head import TagScores
from rnntrain.tasks.spans import SpanCounts

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Results:
    """Tags predicted so far, sentence by sentence, beside the true ones."""

    def __init__(self, codec: TagCodec) -> None:
        self.codec = codec
        self.spans = SpanCounts()
        self.pairs: Counter[tuple[str, str]] = Counter()

    def add(self, true: Sequence[str], predicted: Sequence[str]) -> None:
        self.pairs.update(zip(true, predicted, strict=True))
        if self.codec.marks_spans:
            self.spans.add(true, predicted)

    def metrics(self) -> dict[str, float]:
        right = sum(count for (true, predicted), count in self.pairs.items() if true == predicted)
        accuracy = {"accuracy": right / max(self.pairs.total(), 1)}
        return accuracy | (self.spans.metrics(self.codec.types) if self.codec.marks_spans else {})

    def confusion(self) -> tuple[np.ndarray, list[str]]:
        """Return how many tokens of each class (a row) were taken for each other: types of spans, or tags."""
        names = [OUTSIDE, *self.codec.types] if self.codec.marks_spans else self.codec.tags
        places = {name: place for place, name in enumerate(names)}
        counts_CC = np.zeros((len(names), len(names)), np.int64)
        for (true, predicted), count in self.pairs.items():
            counts_CC[places[self._class(true)], places[self._class(predicted)]] += count
        return counts_CC, names

    def _class(self, tag: str) -> str:
        return (split_tag(tag)[1] or OUTSIDE) if self.codec.marks_spans else tag


class TaggingMetrics(Metrics):
    """Nats per token, accuracy of tokens and F1 of spans."""

    def __init__(self, codec: TagCodec) -> None:
        self._codec = codec
        self._nats, self._tokens = Sum(), Sum()
        # Tags stay on their device until they are asked for: each copy would make it wait.
        self._seen: list[tuple[Tensor, Tensor, Tensor | None]] = []
        self._results: Results | None = None

    def update(self, output: TagScores, batch: Batch, loss_sum: Tensor, count: Tensor) -> None:
        self._nats.add(loss_sum)
        self._tokens.add(count)
        self._seen.append((batch.targets, output.best(batch.lengths_B), batch.lengths_B))
        self._results = None

    def compute(self) -> dict[str, float]:
        return {"loss": self._nats.value() / max(self._tokens.value(), 1.0)} | self.results().metrics()

    def pictures(self) -> dict[str, Picture]:
        def confusion() -> Figure:
            from rnntrain.pictures import confusion_matrix

            return confusion_matrix(*self.results().confusion())

        def by_type() -> Figure:
            from rnntrain.tasks.tagging_pictures import f1_bars

            spans = self.results().spans
            f1 = {name.removeprefix("f1/"): value for name, value in spans.f1_by_type(self._codec.types).items()}
            return f1_bars(f1, spans.true)

        confused: dict[str, Picture] = {"confusion": confusion}
        return confused | ({"f1 by type": by_type} if self._codec.marks_spans else {})

    def results(self) -> Results:
        """Return all that was seen, as tags by name."""
        if self._results is None:
            self._results = Results(self._codec)
            tags = self._codec.tags
            for true_BT, predicted_BT, lengths_B in self._seen:
                for true, predicted in valid_rows(lengths_B, true_BT, predicted_BT):
                    self._results.add([tags[tag] for tag in true], [tags[tag] for tag in predicted])
        return self._results


def valid_rows(lengths_B: Tensor | None, *values_BT: Tensor) -> Iterator[list[list[int]]]:
    """Yield, for each row, the valid part of it in every one of the tensors."""
    columns = [each.tolist() for each in values_BT]
    lengths = [values_BT[0].shape[1]] * len(columns[0]) if lengths_B is None else lengths_B.tolist()
    for number, length in enumerate(lengths):
        yield [rows[number][:length] for rows in columns]
