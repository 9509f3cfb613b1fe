"""Tags as files have them, made into such as keep the rules of their scheme, or refused: in place, by sentence."""

from __future__ import annotations

from typing import Literal, TypeAlias

from rnntrain.data.tagged.bio import OUTSIDE, first_violation, marks_spans, may_follow, spans_of, split_tag, tags_of
from rnntrain.data.tagged.conll import Sentence
from rnntrain.errors import UserError

Bio: TypeAlias = Literal["refuse", "repair", "keep"]
Alternatives: TypeAlias = Literal["refuse", "first"]


def choose_alternatives(sentence: Sentence, alternatives: Alternatives) -> None:
    """Leave one tag where a token has several, as in `B-person,B-group`: the first that may follow the tag before.

    Raises:
        UserError: there are several and `alternatives` refuses them.
    """
    before: str | None = None
    for place, tag in enumerate(sentence.tags):
        choices = tag.split(",")
        if len(choices) > 1 and marks_spans(choices):
            if alternatives == "refuse":
                raise UserError(
                    f"{sentence.place(place)}: {tag} are several tags; leave one, or set data.alternatives=first"
                )
            fitting = (choice for choice in choices if may_follow(before, choice, ends=False))
            sentence.tags[place] = next(fitting, choices[0])
        before = sentence.tags[place]


def mend_tags(sentence: Sentence, ends: bool, bio: Bio) -> int:
    """Refuse or repair tags that break the rules of their scheme; return how many were changed.

    Raises:
        UserError: there are such tags and `bio` refuses them.
    """
    place = first_violation(sentence.tags, ends)
    if place is None:
        return 0
    if bio == "refuse":
        raise _violation(sentence, place)
    repaired = tags_of(spans_of(sentence.tags), len(sentence.tags), ends)
    changed = sum(old != new for old, new in zip(sentence.tags, repaired, strict=True))
    sentence.tags[:] = repaired
    return changed


def _violation(sentence: Sentence, place: int) -> UserError:
    fix = "correct it, or set data.bio=repair (which also reads IOB1)"
    if place == len(sentence.tags) or split_tag(sentence.tags[place])[0] not in "IE":
        return UserError(f"{sentence.place(place)}: the span before it has no end (E-); {fix}")
    tag = sentence.tags[place]
    before = sentence.tags[place - 1] if place else OUTSIDE
    return UserError(f"{sentence.place(place)}: {tag} goes on with a span, but before it stands {before}; {fix}")
