"""Tagging: one tag a token, for named entities, parts of speech and their like."""

# B batch, T time, K tags, C classes of the confusion matrix, U places that count

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.batch import Batch, length_mask
from rnntrain.data.base import Codec, DataSet
from rnntrain.data.bio import OUTSIDE, has_ends, may_follow, split_tag, tokens_with_spans
from rnntrain.data.columns import Columns
from rnntrain.data.tag_codec import WORD, TagCodec, normalise
from rnntrain.data.vectors import read_vectors
from rnntrain.errors import UserError
from rnntrain.metrics import Metrics, Picture, Sum
from rnntrain.models.crf import ChainScores, LinearChain, Rules, negative_log_likelihood, no_chain, viterbi
from rnntrain.models.word_input import CharFeatures, WordInput
from rnntrain.ranges import DropoutRate, NonNegativeInt, PositiveInt
from rnntrain.tasks.base import Task
from rnntrain.tasks.spans import SpanCounts


class TagScores(NamedTuple):
    """Scores of every tag at every step, and what a sequence of tags adds to them.

    Attributes:
        emissions_BTK: logits where there is no chain.
        chain: the scores of a CRF; None where tags are independent.
        rules: which sequences are decoded; None for all.
        train_by_rules: forbidden sequences have no part in the log-partition either.
    """

    emissions_BTK: Tensor
    chain: ChainScores | None
    rules: Rules | None
    train_by_rules: bool

    def loss(self, tags_BT: Tensor, lengths_B: Tensor | None) -> Tensor:
        """Return the negative log-likelihood summed over all tokens (sentences, of a CRF), in nats."""
        if self.chain is not None:
            chain = self.chain if self.rules is None or not self.train_by_rules else self.chain.forbid(self.rules)
            return negative_log_likelihood(self.emissions_BTK, tags_BT, lengths_B, chain).sum()
        emissions, tags = self.emissions_BTK, tags_BT
        if lengths_B is not None:
            valid_BT = length_mask(lengths_B, tags_BT.shape[1])
            emissions, tags = emissions[valid_BT], tags_BT[valid_BT]
        exact = torch.promote_types(emissions.dtype, torch.float32)
        return F.cross_entropy(emissions.reshape(-1, emissions.shape[-1]).to(exact), tags.flatten(), reduction="sum")

    def best(self, lengths_B: Tensor | None) -> Tensor:
        """Return the best allowed sequence of each row: ``tags_BT``."""
        if self.chain is None and self.rules is None:
            return self.emissions_BTK.argmax(-1)
        chain = self.chain or no_chain(self.emissions_BTK)
        return viterbi(self.emissions_BTK, lengths_B, chain if self.rules is None else chain.forbid(self.rules))


class TagHead(nn.Module):
    """A linear layer to one score a tag, and a linear-chain CRF over them where there is one.

    Weights start uniform in ±1/√H, the bias and the chain at zero, so that a new model's loss is about log K a token.
    """

    start_K: Tensor | None
    end_K: Tensor | None
    pairs_KK: Tensor | None

    def __init__(
        self, input_size: int, num_tags: int, *, crf: bool, rules: Rules | None = None, train_by_rules: bool = False
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, num_tags)
        nn.init.uniform_(self.linear.weight, -(input_size**-0.5), input_size**-0.5)
        nn.init.zeros_(self.linear.bias)
        self.chain = LinearChain(num_tags) if crf else None
        self.train_by_rules = train_by_rules
        for name, allowed in zip(Rules._fields, rules or [None] * 3, strict=True):
            self.register_buffer(name, allowed, persistent=False)

    def forward(self, y_BTH: Tensor, batch: Batch | None = None) -> TagScores:
        rules = None
        if self.start_K is not None and self.end_K is not None and self.pairs_KK is not None:
            rules = Rules(self.start_K, self.end_K, self.pairs_KK)
        chain = None if self.chain is None else self.chain()
        return TagScores(self.linear(y_BTH), chain, rules, self.train_by_rules)


class Tagging(Task):
    """Give each token its tag.

    Args:
        crf: score whole sequences of tags by a linear-chain conditional random field, not each tag alone.
        rules: where tags mark spans (BIO, BIOES), keep I- from following anything but its own kind: in `decoding`,
            also in `training` (of a CRF), or not at all (`none`).
        char_features: spelling by a small convolution, an LSTM from both ends of the word, or none.
        char_size: width of the spelling's features, part of `model.embedding_size`.
        shape: embed a word's outward form too: case, digits, a link, a hashtag.
        once_dropout: rate at which words seen once become `<unk>` in training, so that it is learnt.
        word_dropout: rate at which any word does.
        vectors: a text file of word vectors (GloVe, word2vec) that the word embedding starts from.
        num_examples: sentences that are shown with their tags at each evaluation.

    Metrics: `loss`, nats per token (of a CRF, those of whole sentences over the number of their tokens); `accuracy`
    of tokens; where tags mark spans, `precision`, `recall` and `f1` over all spans and `f1/TYPE` for each type, as
    seqeval's default mode has them. Watched is `f1` where there are spans, else `accuracy`.
    """

    codec_type = TagCodec
    monitor = "f1"
    larger_is_better = True

    def __init__(
        self,
        crf: bool = False,
        rules: Literal["none", "decoding", "training"] = "decoding",
        char_features: CharFeatures = "cnn",
        char_size: PositiveInt = 50,
        shape: bool = True,
        once_dropout: DropoutRate = 0.5,
        word_dropout: DropoutRate = 0.0,
        vectors: str | None = None,
        num_examples: NonNegativeInt = 5,
    ) -> None:
        if rules == "training" and not crf:
            raise UserError("task.rules=training: only a CRF is trained by rules; set task.crf=true or rules=decoding")
        self.crf, self.rules = crf, rules
        self.char_features, self.char_size, self.shape = char_features, char_size, shape
        self.once_dropout, self.word_dropout = once_dropout, word_dropout
        self.vectors, self.num_examples = vectors, num_examples

    def input_layer(self, codec: Codec, size: int) -> nn.Module:
        assert isinstance(codec, TagCodec)
        layer = WordInput(
            codec,
            size,
            char_features=self.char_features,
            char_size=self.char_size,
            shape=self.shape,
            once_dropout=self.once_dropout,
            word_dropout=self.word_dropout,
        )
        if self.vectors is not None and codec.fitted_here:
            _start_from_vectors(layer.word, codec, self.vectors, size)
        return layer

    def head(self, codec: Codec, input_size: int) -> nn.Module:
        assert isinstance(codec, TagCodec)
        # Only now is it known whether tags mark spans.
        self.monitor = "f1" if codec.marks_spans else "accuracy"
        rules = rules_of(codec) if self.rules != "none" and codec.valid else None
        return TagHead(input_size, len(codec.tags), crf=self.crf, rules=rules, train_by_rules=self.rules == "training")

    def loss(self, output: TagScores, batch: Batch) -> tuple[Tensor, Tensor]:
        tags_BT, lengths_B = batch.targets, batch.lengths_B
        count = torch.tensor(float(tags_BT.numel())) if lengths_B is None else lengths_B.sum().float()
        return output.loss(tags_BT, lengths_B), count

    def metrics(self, codec: Codec) -> Metrics:
        assert isinstance(codec, TagCodec)
        return TaggingMetrics(codec)

    def decode(self, output: TagScores, batch: Batch, codec: Codec) -> list[str]:
        """Return each sentence with its spans (or tags); words outside the vocabulary are `<unk>`."""
        assert isinstance(codec, TagCodec)
        words_BT = batch.inputs[..., WORD].cpu()
        rows = zip(_rows(words_BT, batch.lengths_B), _rows(output.best(batch.lengths_B), batch.lengths_B), strict=True)
        return [
            tokens_with_spans([codec.words[word] for word in words], [codec.tags[tag] for tag in tags])
            for words, tags in rows
        ]

    def illustrate(self, model: nn.Module, data: DataSet, seed: int) -> dict[str, str | Picture]:
        """Return the first sentences for validation that have a span (or any, of tags that mark none), as predicted.

        Where the prediction is wrong, the truth stands below it. The tokens are those of the file.
        """
        if not isinstance(data, Columns) or not self.num_examples:
            return {}
        sentences = enumerate(data.sentences("val"))
        chosen = [n for n, (_, tags) in sentences if not data.codec.marks_spans or set(tags) != {OUTSIDE}]
        lines: list[str] = []
        for number in islice(chosen, self.num_examples):
            tokens, true = data.sentence("val", number)
            predicted = [data.codec.tags[tag] for tag in self._predict(model, data.batch("val", [number]))]
            lines.append(tokens_with_spans(tokens, predicted))
            if predicted != true:
                lines.append(f"  true: {tokens_with_spans(tokens, true)}")
        return {"predictions": "\n".join(lines)} if lines else {}

    def baselines(self, data: DataSet, split: str) -> dict[str, dict[str, float]]:
        """Return what the most frequent tag of each word reaches; words unseen get the most frequent of all."""
        if not isinstance(data, Columns):
            return {}
        usual, otherwise = most_frequent_tags(data)
        results = Results(data.codec)
        for tokens, true in data.sentences(split):
            predicted = [usual.get(_form(token, data.codec), otherwise) for token in tokens]
            results.add(true, predicted)
        return {"most frequent tag": results.metrics()}

    @torch.no_grad()
    def _predict(self, model: nn.Module, batch: Batch) -> list[int]:
        training = model.training
        model.eval()
        try:
            batch = batch.to(next(model.parameters()).device)
            output, _ = self.infer(model, batch, None)
        finally:
            model.train(training)
        tags: list[int] = output.best(batch.lengths_B)[0].tolist()
        return tags


def rules_of(codec: TagCodec) -> Rules:
    """Return which of a codec's tags may stand where."""
    tags, ends = codec.tags, has_ends(codec.tags)
    return Rules(
        torch.tensor([may_follow(None, tag, ends) for tag in tags]),
        torch.tensor([may_follow(tag, None, ends) for tag in tags]),
        torch.tensor([[may_follow(before, after, ends) for after in tags] for before in tags]),
    )


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
        def confusion() -> Any:
            from rnntrain.pictures import confusion_matrix

            return confusion_matrix(*self.results().confusion())

        def by_type() -> Any:
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
                for true, predicted in zip(_rows(true_BT, lengths_B), _rows(predicted_BT, lengths_B), strict=True):
                    self._results.add([tags[tag] for tag in true], [tags[tag] for tag in predicted])
        return self._results


def most_frequent_tags(data: Columns) -> tuple[dict[str, str], str]:
    """Return the most frequent tag of each word of the training split, and that of all tokens."""
    by_word: dict[str, Counter[str]] = {}
    for tokens, tags in data.sentences("train"):
        for token, tag in zip(tokens, tags, strict=True):
            by_word.setdefault(_form(token, data.codec), Counter())[tag] += 1
    total = sum(by_word.values(), Counter[str]())
    return {word: _most_frequent(counts) for word, counts in by_word.items()}, _most_frequent(total)


def _most_frequent(counts: Counter[str]) -> str:
    return min(counts, key=lambda tag: (-counts[tag], tag))


def _form(token: str, codec: TagCodec) -> str:
    return normalise(token, codec.lower, codec.digits)


def _rows(values_BT: Tensor, lengths_B: Tensor | None) -> Iterable[list[int]]:
    """Return the valid part of each row."""
    rows = values_BT.tolist()
    lengths = [len(row) for row in rows] if lengths_B is None else lengths_B.tolist()
    return [row[:length] for row, length in zip(rows, lengths, strict=True)]


@torch.no_grad()
def _start_from_vectors(embedding: nn.Embedding, codec: TagCodec, path: str, size: int) -> None:
    """Copy the vectors of a file into the rows of the words that it has, and say how many these are."""
    word_ids = {word: number for number, word in enumerate(codec.words)}
    found = read_vectors(path, word_ids, "task.vectors")
    width = len(next(iter(found.values())))
    if width != embedding.embedding_dim:
        raise UserError(
            f"task.vectors={path}: has vectors of {width} numbers, and the model embeds words in "
            f"{embedding.embedding_dim}; set model.embedding_size={size - embedding.embedding_dim + width}"
        )
    for number, vector_D in found.items():
        embedding.weight[number] = torch.from_numpy(vector_D)
    print(f"rnntrain: task.vectors: found {len(found):,} of {len(word_ids):,} words", file=sys.stderr, flush=True)
