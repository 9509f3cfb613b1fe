"""The codec of tagged sentences: words with their characters and outward form, and the tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rnntrain.data.spelt_words import SpeltWords, check_names, check_words, fitted_words, malformed, words_of
from rnntrain.data.tagged.bio import first_violation, has_ends, marks_spans, span_types


class TagCodec(SpeltWords):
    """Words, characters and tags of a training split.

    Attributes:
        tags: in alphabetic order.
        valid: True where the tags mark spans, and no training sentence breaks the rules of its scheme.
        fitted_here: False where it came from a checkpoint, whose weights take the place of any vectors.
    """

    def __init__(
        self,
        words: Sequence[str],
        num_once: int,
        characters: str,
        tags: Sequence[str],
        *,
        lower: bool,
        digits: bool,
        max_word_length: int,
        valid: bool,
    ) -> None:
        super().__init__(words, num_once, characters, lower=lower, digits=digits, max_word_length=max_word_length)
        self.tags, self.valid = list(tags), valid
        self.fitted_here = True
        self._tag_ids = {tag: number for number, tag in enumerate(self.tags)}

    @classmethod
    def fit(
        cls,
        sentences: Iterable[tuple[Sequence[str], Sequence[str]]],
        *,
        lower: bool = False,
        digits: bool = False,
        min_count: int = 1,
        max_vocab: int | None = None,
        max_word_length: int = 32,
    ) -> TagCodec:
        """Take the words seen at least `min_count` times, and all characters and tags, of tokens with their tags."""
        sentences = list(sentences)
        words = fitted_words(
            Counter(token for its, _ in sentences for token in its),
            lower=lower,
            digits=digits,
            min_count=min_count,
            max_vocab=max_vocab,
            max_word_length=max_word_length,
        )
        tags = sorted({tag for _, its in sentences for tag in its})
        ends = has_ends(tags)
        valid = marks_spans(tags) and all(first_violation(its, ends) is None for _, its in sentences)
        return cls(tags=tags, valid=valid, **words)

    @property
    def marks_spans(self) -> bool:
        """True where the tags mark spans (BIO or BIOES) rather than parts of speech, say."""
        return marks_spans(self.tags)

    @property
    def types(self) -> list[str]:
        """The types of spans; empty where tags mark none."""
        return span_types(self.tags) if self.marks_spans else []

    def tag_id(self, tag: str) -> int | None:
        """Return the number of a tag, or None if the training split has none such."""
        return self._tag_ids.get(tag)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"tags": self.tags, "valid": self.valid}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> TagCodec:
        check_words(state, "tagging")
        check_names(state, "tags", "tagging")
        if type(state.get("valid")) is not bool:
            raise malformed("tagging", "`valid` must be of the type bool")
        codec = cls(tags=state["tags"], valid=state["valid"], **words_of(state))
        codec.fitted_here = False
        return codec
