"""The edit distance equals that of the textbook's table, and keeps the laws of a distance."""

from __future__ import annotations

import random

import pytest

from rnntrain.edit_distance import edit_distance


def by_table(a: str, b: str) -> int:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a) + 1):
        for j in range(len(b) + 1):
            if not i or not j:
                table[i][j] = i + j
            else:
                change = table[i - 1][j - 1] + (a[i - 1] != b[j - 1])
                table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, change)
    return table[-1][-1]


@pytest.mark.parametrize(
    ("a", "b", "edits"),
    [("", "", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("a", "b", 1), ("ab", "ba", 2)],
)
def test_known_distances(a: str, b: str, edits: int) -> None:
    assert edit_distance(a, b) == edits


def test_distance_is_that_of_the_table() -> None:
    rng = random.Random(0)
    for _ in range(200):
        a, b = ("".join(rng.choices("abc", k=rng.randrange(9))) for _ in range(2))
        assert edit_distance(a, b) == by_table(a, b) == edit_distance(b, a)


def test_words_are_compared_as_wholes() -> None:
    assert edit_distance(["one", "two", "three"], ["one", "too", "three", "four"]) == 2
