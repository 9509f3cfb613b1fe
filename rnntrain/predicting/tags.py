"""Answers of taggers: a tag for every token, and the spans that the tags mark."""

# B batch, T tokens, F features of a token

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnntrain.batch import Batch
from rnntrain.data.spelt_words import of_one_width
from rnntrain.data.tagged.bio import spans_of, tokens_with_spans
from rnntrain.data.tagged.tag_codec import TagCodec
from rnntrain.errors import UserError, closest
from rnntrain.models.sequence import SequenceModel
from rnntrain.models.tag_head import TagScores
from rnntrain.predicting.encoding import as_text
from rnntrain.predicting.predictor import Example, Predictor, Record
from rnntrain.tasks.base import Task
from rnntrain.tasks.tagging_metrics import valid_rows

MOST_NAMED = 40
# In running text: links, mentions, hashtags and words, with what belongs in them, are one token; other signs are each.
_TOKEN = re.compile(r"https?://\S+|www\.\S+|[@#]\w+|\w+(?:[.'’-]\w+)*|[^\w\s]")


class TagPredictor(Predictor):
    """`tokens`, their `tags`, and `spans` where tags mark any: type, first token, the token after the last, and text.

    A raw input is a list of tokens, or running text, which is cut into tokens first: at white space, and between words
    and punctuation. Where the training data was cut otherwise, give tokens.
    """

    kind = "tokens"
    codec: TagCodec
    fields = ("tokens", "tags")

    def __init__(self, task: Task, codec: TagCodec, model: SequenceModel, reading: Mapping[str, Any]) -> None:
        super().__init__(task, codec, model)

    def example(self, raw: Any, where: str = "input") -> Example:
        tokens = tokens_of(as_text(raw, where)) if isinstance(raw, str) else raw
        if not isinstance(tokens, list | tuple) or not all(isinstance(token, str) and token for token in tokens):
            raise UserError(f"{where}: expected tokens, a list of texts that are not empty, or one text")
        tokens = [as_text(token, where) for token in tokens]
        return Example(self.codec.encode(tokens).astype(np.int64), detail=tokens)

    def target(self, raw: Any, example: Example, where: str = "input") -> np.ndarray:
        if len(raw) != len(example.inputs):
            raise UserError(f"{where}: {len(raw)} tags for {len(example.inputs)} tokens; give each token one")
        numbers = [self.codec.tag_id(tag) for tag in raw]
        if None in numbers:
            tag = raw[numbers.index(None)]
            raise UserError(
                f"{where}: the tag {tag} is none that the model was trained with{closest(tag, self.codec.tags)}; it "
                f"knows {', '.join(self.codec.tags[:12])}"
            )
        return np.array(numbers, np.int64)

    def no_target(self, example: Example) -> np.ndarray:
        return np.zeros(len(example.inputs), np.int64)

    def batch(self, examples: Sequence[Example]) -> Batch:
        widened = of_one_width([each.inputs for each in examples])
        return super().batch([each._replace(inputs=its) for each, its in zip(examples, widened, strict=True)])

    def limits(self) -> list[str]:
        kinds = self.codec.types if self.codec.marks_spans else self.codec.tags
        what = "types of spans" if self.codec.marks_spans else "tags"
        return [
            f"It knows {len(kinds)} {what}: {', '.join(kinds[:MOST_NAMED])}.",
            f"Its vocabulary is {len(self.codec.words):,} words of its training data; it judges others by their form.",
            "It reads tokens; running text is cut at white space and punctuation, perhaps unlike its training data.",
        ]

    def lines(self, record: Record) -> list[str]:
        return [tokens_with_spans(record["tokens"], record["tags"])]

    def records(self, output: TagScores, batch: Batch, examples: Sequence[Example]) -> list[Record]:
        [*rows] = valid_rows(batch.lengths_B, output.best(batch.lengths_B))
        answers = []
        for [numbers], example in zip(rows, examples, strict=True):
            tokens = example.detail or []
            tags = [self.codec.tags[number] for number in numbers[: len(example.inputs)]]
            record: Record = {"tokens": tokens, "tags": tags}
            if self.codec.marks_spans:
                record["spans"] = [
                    {"type": kind, "start": start, "end": stop, "text": " ".join(tokens[start:stop])}
                    for kind, start, stop in spans_of(tags)
                ]
            answers.append(record)
        return answers


def tokens_of(text: str) -> list[str]:
    """Return the tokens of running text."""
    return _TOKEN.findall(text)
