"""Tagging: one tag a token, for named entities, parts of speech and their like."""

# B batch, T time, D width of vectors, K tags

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from rnntrain.batch import Batch
from rnntrain.data.base import Codec, DataSet
from rnntrain.data.spelt_words import WORD, normalise
from rnntrain.data.tagged.bio import OUTSIDE, has_ends, may_follow, tokens_with_spans
from rnntrain.data.tagged.columns import Columns
from rnntrain.data.tagged.tag_codec import TagCodec
from rnntrain.data.tagged.vectors import read_vectors
from rnntrain.errors import UserError
from rnntrain.metrics import Metrics, Picture
from rnntrain.models.crf import Rules
from rnntrain.models.sequence import SequenceModel, evaluating
from rnntrain.models.tag_head import TagHead, TagScores
from rnntrain.models.word_input import CharFeatures, WordInput
from rnntrain.ranges import DropoutRate, NonNegativeFloat, NonNegativeInt, PositiveInt
from rnntrain.tasks.base import Task
from rnntrain.tasks.tagging_metrics import Results, TaggingMetrics, valid_rows

if TYPE_CHECKING:
    from rnntrain.predicting.predictor import Predictor


class Tagging(Task):
    """Give each token its tag.

    Args:
        crf: score whole sequences of tags by a linear-chain conditional random field, not each tag alone.
        rules: where tags mark spans (BIO, BIOES), keep I- from following anything but its own kind: in `decoding`,
            also in `training` (of a CRF), or not at all (`none`).
        span_bias: added to the score of every tag but O in decoding, where tags mark spans: more of them are found,
            and more in vain. Names of new kinds of text are missed more often than made up, so F1 may gain much;
            choose it on validation.
        char_features: spelling by a small convolution, an LSTM from both ends of the word, the mean vector of its
            n-grams, added to the word's, or none.
        char_size: width of the features of convolution or LSTM, part of `model.embedding_size`.
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
        span_bias: NonNegativeFloat = 0.0,
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
        self.crf, self.rules, self.span_bias = crf, rules, span_bias
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
        bias_K = None
        if codec.marks_spans and self.span_bias:
            bias_K = torch.tensor([0.0 if tag == OUTSIDE else self.span_bias for tag in codec.tags])
        return TagHead(
            input_size,
            len(codec.tags),
            crf=self.crf,
            rules=rules_of(codec) if self.rules != "none" and codec.valid else None,
            train_by_rules=self.rules == "training",
            bias_K=bias_K,
        )

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
        tags_BT = output.best(batch.lengths_B)
        return [
            tokens_with_spans([codec.words[word] for word in words], [codec.tags[tag] for tag in tags])
            for words, tags in valid_rows(batch.lengths_B, batch.inputs[..., WORD], tags_BT)
        ]

    def predictor(self, codec: Codec, model: SequenceModel, reading: Mapping[str, Any] | None = None) -> Predictor:
        assert isinstance(codec, TagCodec)
        from rnntrain.predicting.tags import TagPredictor  # only to predict

        return TagPredictor(self, codec, model, reading or {})

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

    def embeddings(self, model: nn.Module, codec: Codec) -> dict[str, tuple[list[str], Tensor]]:
        assert isinstance(model, SequenceModel)
        assert isinstance(codec, TagCodec)
        assert isinstance(model.input, WordInput)
        return {"words": (codec.words, model.input.word.weight)}

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

    def _predict(self, model: nn.Module, batch: Batch) -> list[int]:
        with evaluating(model):
            batch = batch.to(next(model.parameters()).device)
            output, _ = self.infer(model, batch, None)
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
