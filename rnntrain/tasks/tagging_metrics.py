"""What a tagger's predictions come to: nats, accuracy, F1 of spans, and which types are taken for which."""

# B batch, T time (or types of spans), K tags, C classes of the confusion matrix

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rnntrain.batch import Batch
from rnntrain.data.tagged.bio import OUTSIDE, split_tag
from rnntrain.data.tagged.tag_codec import TagCodec
from rnntrain.metrics import Metrics, Picture, Sum, Table
from rnntrain.models.tag_head import TagScores
from rnntrain.tasks.spans import SpanCounts, scores

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

    def counts(self) -> tuple[Tensor, Tensor]:
        """Return all of it as counts that can be added up: of pairs of tags ``[K, K]``, of spans ``[types, 3]``."""
        places, spans = {tag: place for place, tag in enumerate(self.codec.tags)}, self.spans
        pairs_KK = torch.zeros(len(places), len(places), dtype=torch.int64)
        for (true, predicted), count in self.pairs.items():
            pairs_KK[places[true], places[predicted]] = count
        return pairs_KK, torch.tensor([[each[name] for each in spans.kinds()] for name in self.codec.types])

    @classmethod
    def of(cls, codec: TagCodec, pairs_KK: Tensor, spans_T3: Tensor) -> Results:
        """Return the results whose counts these are."""
        results, tags = cls(codec), codec.tags
        for place in pairs_KK.nonzero().tolist():
            results.pairs[tags[place[0]], tags[place[1]]] = int(pairs_KK[tuple(place)])
        for number, name in enumerate(codec.types):
            for counts, count in zip(results.spans.kinds(), spans_T3[number].tolist(), strict=True):
                counts[name] = int(count)
        return results

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
        self._pairs_KK, self._spans_T3 = Sum(), Sum()

    def update(self, output: TagScores, batch: Batch, loss_sum: Tensor, count: Tensor) -> None:
        self._nats.add(loss_sum)
        self._tokens.add(count)
        self._seen.append((batch.targets, output.best(batch.lengths_B), batch.lengths_B))

    def sums(self) -> list[Sum]:
        self._count_seen()
        return [self._nats, self._tokens, self._pairs_KK, self._spans_T3]

    def compute(self) -> dict[str, float]:
        return {"loss": self._nats.value() / max(self._tokens.value(), 1.0)} | self.results().metrics()

    def rows(self, output: TagScores, batch: Batch) -> dict[str, Tensor]:
        tags, types = self._codec.tags, self._codec.types
        counts = []
        for true, predicted in valid_rows(batch.lengths_B, batch.targets, output.best(batch.lengths_B)):
            its = Results(self._codec)
            its.add([tags[tag] for tag in true], [tags[tag] for tag in predicted])
            right = sum(a == b for a, b in zip(true, predicted, strict=True))
            spans = its.spans
            counts.append(
                [len(true), right, *(part[t] for part in (spans.true, spans.predicted, spans.right) for t in types)]
            )
        counts_BX = torch.tensor(counts)
        parts = counts_BX[:, 2:].unflatten(1, (3, len(types))) if types else counts_BX.new_zeros(len(counts), 3, 0)
        named = dict(zip(("true", "predicted", "right_spans"), parts.unbind(1), strict=True))
        nats_B = output.losses(batch.targets, batch.lengths_B)
        return {"nats": nats_B, "tokens": counts_BX[:, 0], "right": counts_BX[:, 1], **named}

    def scores(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        tokens = max(float(sums["tokens"]), 1.0)
        values = {"loss": float(sums["nats"]) / tokens, "accuracy": float(sums["right"]) / tokens}
        return values | (self._spans(sums).metrics(self._codec.types) if self._codec.marks_spans else {})

    def tables(self, sums: Mapping[str, np.ndarray]) -> dict[str, Table]:
        if not self._codec.marks_spans:
            return {}
        spans, table = self._spans(sums), {}
        for kind in self._codec.types:
            values = scores(spans.right[kind], spans.predicted[kind], spans.true[kind])
            table[kind] = dict(zip(("precision", "recall", "f1"), values, strict=True)) | {"support": spans.true[kind]}
        return {"by type": table}

    def _spans(self, sums: Mapping[str, np.ndarray]) -> SpanCounts:
        spans = SpanCounts()
        for counter, name in ((spans.true, "true"), (spans.predicted, "predicted"), (spans.right, "right_spans")):
            counter.update({kind: int(count) for kind, count in zip(self._codec.types, sums[name], strict=True)})
        return spans

    def pictures(self) -> dict[str, Picture]:
        def confusion() -> Figure:
            from rnntrain.watching.pictures import confusion_matrix

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
        self._count_seen()
        return Results.of(self._codec, self._pairs_KK.array(), self._spans_T3.array())

    def _count_seen(self) -> None:
        seen, tags = Results(self._codec), self._codec.tags
        for true_BT, predicted_BT, lengths_B in self._seen:
            for true, predicted in valid_rows(lengths_B, true_BT, predicted_BT):
                seen.add([tags[tag] for tag in true], [tags[tag] for tag in predicted])
        self._seen.clear()
        for total, counts in zip((self._pairs_KK, self._spans_T3), seen.counts(), strict=True):
            total.add(counts)


def valid_rows(lengths_B: Tensor | None, *values_BT: Tensor) -> Iterator[list[list[int]]]:
    """Yield, for each row, the valid part of it in every one of the tensors."""
    columns = [each.tolist() for each in values_BT]
    lengths = [values_BT[0].shape[1]] * len(columns[0]) if lengths_B is None else lengths_B.tolist()
    for number, length in enumerate(lengths):
        yield [rows[number][:length] for rows in columns]
