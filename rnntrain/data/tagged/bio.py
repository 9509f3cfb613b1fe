"""Tags that mark spans: from tags to spans and back, and which tag may follow which.

`B-person` begins a span of the type person, `I-person` goes on with it, `O` is outside. With `E-` (the last token of
a span) and `S-` (a span of one token) the scheme is BIOES.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

OUTSIDE = "O"
_MARK = re.compile(r"([BIES])-(.+)", re.DOTALL)


class Span(NamedTuple):
    """A stretch of tokens of one type, from `start` up to and without `stop`."""

    type: str
    start: int
    stop: int


def marks_spans(tags: Iterable[str]) -> bool:
    """Say whether a set of tags is one that marks spans, rather than one of parts of speech, say."""
    tags = set(tags)
    return tags != {OUTSIDE} and all(tag == OUTSIDE or _MARK.fullmatch(tag) for tag in tags)


def split_tag(tag: str) -> tuple[str, str]:
    """Return prefix and type: `("B", "person")`, or `("O", "")` for what is outside all spans."""
    match = _MARK.fullmatch(tag)
    return (match.group(1), match.group(2)) if match else (OUTSIDE, "")


def span_types(tags: Iterable[str]) -> list[str]:
    """Return the types of spans that occur in a set of tags, in alphabetic order."""
    return sorted({split_tag(tag)[1] for tag in tags} - {""})


def spans_of(tags: Sequence[str]) -> list[Span]:
    """Return the spans of a sentence, as the script of the CoNLL-2000 shared task reads them.

    A span goes on only through tags of its own type, and ends after E and S. A tag that should go on with a span
    where there is none of its type begins one, so every tag but O is part of a span.
    """
    spans: list[Span] = []
    open_type: str | None = None
    start = 0
    for place, tag in enumerate([*tags, OUTSIDE]):
        prefix, kind = split_tag(tag)
        goes_on = kind == open_type and prefix in "IE"
        if open_type is not None and not goes_on:
            spans.append(Span(open_type, start, place))
            open_type = None
        if prefix == OUTSIDE:
            continue
        if not goes_on:
            open_type, start = kind, place
        if prefix in "ES":
            spans.append(Span(kind, start, place + 1))
            open_type = None
    return spans


def tags_of(spans: Iterable[Span], length: int, ends: bool) -> list[str]:
    """Return the tags of a sentence from its spans, with `ends` in BIOES, else in BIO."""
    tags = [OUTSIDE] * length
    for kind, start, stop in spans:
        prefixes = ["B", *"I" * (stop - start - 1)]
        if ends:
            prefixes[-1] = "S" if len(prefixes) == 1 else "E"
        tags[start:stop] = [f"{prefix}-{kind}" for prefix in prefixes]
    return tags


def has_ends(tags: Iterable[str]) -> bool:
    """Say whether a set of tags marks the ends of spans (BIOES), and not only where they begin (BIO)."""
    return any(split_tag(tag)[0] in "ES" for tag in tags)


def may_follow(before: str | None, after: str | None, ends: bool) -> bool:
    """Say whether one tag may stand before another; None is the edge of the sentence.

    I and E go on with a span of their own type. Where ends are marked, a span that is open must go on.
    """
    before_prefix, before_type = split_tag(before or OUTSIDE)
    after_prefix, after_type = split_tag(after or OUTSIDE)
    is_open = before_prefix in "BI"
    if after_prefix in "IE":
        return is_open and before_type == after_type
    return not (ends and is_open)


def first_violation(tags: Sequence[str], ends: bool) -> int | None:
    """Return the first token whose tag may not follow the one before (the number of tokens: the end), or None."""
    pairs = pairwise([None, *tags, None])
    return next((place for place, (before, after) in enumerate(pairs) if not may_follow(before, after, ends)), None)


def tokens_with_spans(tokens: Sequence[str], tags: Sequence[str]) -> str:
    """Write a sentence for people: `[person: Barack Obama] visited [location: Berlin] .`, or `The/DT cat/NN`."""
    if not all(tag == OUTSIDE or _MARK.fullmatch(tag) for tag in tags):
        return " ".join(f"{token}/{tag}" for token, tag in zip(tokens, tags, strict=True))
    pieces, place = [], 0
    for kind, start, stop in spans_of(tags):
        pieces += [*tokens[place:start], f"[{kind}: {' '.join(tokens[start:stop])}]"]
        place = stop
    return " ".join([*pieces, *tokens[place:]])
