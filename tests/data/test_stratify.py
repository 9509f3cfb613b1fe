"""A stratified split gives every class its share, keeps equal rows together, and is a function of its seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from rnntrain.data.labelled.stratify import stratified_split

LABELS = ["a"] * 500 + ["b"] * 300 + ["c"] * 200


@pytest.mark.parametrize("fractions", [{"val": 0.1, "test": 0.2}, {"test": 0.5}, {"val": 0.0, "test": 0.1}, {}])
def test_every_row_is_in_one_split_and_every_class_has_its_share(fractions: dict[str, float]) -> None:
    parts = stratified_split(LABELS, fractions, 0)
    assert parts.keys() == {"train", *fractions}
    assert sorted(np.concatenate(list(parts.values()))) == list(range(1000))
    for split, fraction in fractions.items():
        counts = Counter(LABELS[row] for row in parts[split])
        for label, total in Counter(LABELS).items():
            assert abs(counts[label] - fraction * total) <= 2
    assert all(np.array_equal(part, np.sort(part)) for part in parts.values())


def test_it_is_a_function_of_its_seed() -> None:
    first, again, other = (stratified_split(LABELS, {"test": 0.2}, seed)["test"].tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_equal_rows_stay_together() -> None:
    contents = [row % 70 for row in range(1000)]
    parts = stratified_split(LABELS, {"val": 0.2, "test": 0.2}, 0, contents)
    places = [{contents[row] for row in part} for part in parts.values()]
    assert all(places)
    assert sum(map(len, places)) == 70


def test_a_class_of_one_row_is_for_training() -> None:
    labels = [*LABELS, "rare"]
    for seed in range(20):
        assert 1000 in stratified_split(labels, {"val": 0.45, "test": 0.45}, seed)["train"]


def test_nothing_gives_nothing() -> None:
    assert [part.tolist() for part in stratified_split([], {"val": 0.5}, 0).values()] == [[], []]
