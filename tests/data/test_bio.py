"""Spans from tags and back, as the CoNLL script and seqeval read them."""

from __future__ import annotations

import random

import pytest

from rnntrain.data.tagged.bio import (
    Span,
    first_violation,
    has_ends,
    marks_spans,
    may_follow,
    spans_of,
    tags_of,
    tokens_with_spans,
)

TAGS = ["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in ("person", "creative-work"))]


def random_tags(rng: random.Random, tags: list[str]) -> list[str]:
    return [rng.choice(tags) for _ in range(rng.randrange(12))]


@pytest.mark.parametrize("prefixes", ["BI", "BIES", "I", "IE", "S"])
def test_spans_are_those_of_seqeval(prefixes: str) -> None:
    entities = pytest.importorskip("seqeval.metrics.sequence_labeling", reason="seqeval is not installed")
    rng = random.Random(0)
    tags = [tag for tag in TAGS if tag[0] in prefixes + "O"]
    for _ in range(2000):
        sentence = random_tags(rng, tags)
        expected = [Span(kind, start, last + 1) for kind, start, last in entities.get_entities(sentence)]
        assert spans_of(sentence) == expected, sentence


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("B-a I-a O B-a", [("a", 0, 2), ("a", 3, 4)]),
        ("I-a I-a", [("a", 0, 2)]),
        ("B-a I-b", [("a", 0, 1), ("b", 1, 2)]),
        ("B-a B-a", [("a", 0, 1), ("a", 1, 2)]),
        ("B-a E-a I-a", [("a", 0, 2), ("a", 2, 3)]),
        ("S-a I-a", [("a", 0, 1), ("a", 1, 2)]),
        ("O O", []),
        ("", []),
    ],
)
def test_what_breaks_the_rules_is_read_too(tags: str, spans: list[tuple[str, int, int]]) -> None:
    assert spans_of(tags.split()) == [Span(*span) for span in spans]


@pytest.mark.parametrize("ends", [False, True])
def test_tags_come_back_from_their_spans(ends: bool) -> None:
    """Whatever tags they were: those of the spans keep all rules and mark the same spans."""
    rng = random.Random(1)
    for _ in range(500):
        sentence = random_tags(rng, TAGS)
        written = tags_of(spans_of(sentence), len(sentence), ends)
        assert spans_of(written) == spans_of(sentence)
        assert first_violation(written, ends) is None
        assert tags_of(spans_of(written), len(written), ends) == written


@pytest.mark.parametrize(
    ("before", "after", "ends", "allowed"),
    [
        ("B-a", "I-a", False, True),
        ("I-a", "I-a", False, True),
        ("B-a", "I-b", False, False),
        ("O", "I-a", False, False),
        (None, "I-a", False, False),
        ("I-a", "B-a", False, True),
        ("B-a", None, False, True),
        ("B-a", "O", True, False),
        ("B-a", "E-a", True, True),
        ("E-a", "I-a", True, False),
        ("I-a", None, True, False),
        ("S-a", "B-b", True, True),
        (None, "E-a", True, False),
    ],
)
def test_a_tag_may_only_follow_what_its_scheme_allows(
    before: str | None, after: str | None, ends: bool, allowed: bool
) -> None:
    assert may_follow(before, after, ends) is allowed


def test_the_first_violation_is_found_where_it_is() -> None:
    assert first_violation(["O", "B-a", "I-b", "I-c"], ends=False) == 2
    assert first_violation(["B-a", "I-a"], ends=True) == 2
    assert first_violation([], ends=True) is None


def test_schemes_are_told_by_their_tags() -> None:
    assert marks_spans(["O", "B-a", "I-a"])
    assert not has_ends(["O", "B-a", "I-a"])
    assert has_ends(["O", "S-a"])
    for others in (["NN", "VB"], ["O"], ["O", "B"], ["O", "X-a"]):
        assert not marks_spans(others)


def test_sentences_read_as_people_write_them() -> None:
    tokens, tags = ["Barack", "Obama", "saw", "Paris", "."], ["B-person", "I-person", "O", "B-location", "O"]
    assert tokens_with_spans(tokens, tags) == "[person: Barack Obama] saw [location: Paris] ."
    assert tokens_with_spans(["a", "cat"], ["DT", "NN"]) == "a/DT cat/NN"
    assert tokens_with_spans(["a"], ["O"]) == "a"
