"""The n-gram model is a probability, and Witten and Bell's."""

from __future__ import annotations

import math
from itertools import product

import pytest

from rnntrain.data.speech.ngram import NGram


@pytest.mark.parametrize("order", [1, 2, 3])
def test_ngram_sums_to_one_after_every_history(order: int) -> None:
    model = NGram.fit([[0, 1], [0, 1, 1], [1, 0]], 3, order)
    for length in range(4):
        for history in product(range(3), repeat=length):
            total = sum(math.exp(model.log_prob(history, symbol)) for symbol in range(4))
            assert total == pytest.approx(1.0)


def test_ngram_is_witten_bell() -> None:
    """Of 0 1, 0 1 1 and 1 0: nine symbols and ends, of three kinds; after 0 came 1 twice and the end once."""
    model = NGram.fit([[0, 1], [0, 1, 1], [1, 0]], 2, 2)
    of_one = (4 + 3 * (1 / 3)) / (10 + 3)
    assert math.exp(model.log_prob((), 1)) == pytest.approx(of_one)
    assert math.exp(model.log_prob((0,), 1)) == pytest.approx((2 + 2 * of_one) / (3 + 2))
    assert model.log_prob((1, 1, 0), 1) == model.log_prob((0,), 1)


def test_ngram_leaves_an_unseen_history_to_the_shorter() -> None:
    model = NGram.fit([[0, 1]], 3, 3)
    assert model.log_prob((2, 2), 1) == pytest.approx(model.log_prob((), 1))
