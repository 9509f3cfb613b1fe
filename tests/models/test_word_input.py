"""Words are known by what they are made of: n-grams that two words share have one vector."""

from __future__ import annotations

import torch

from rnntrain.models.word_input import BUCKETS, LONGEST, SHORTEST, CharNgrams, hashed_ngrams

NUM_CHARS = 30


def ngrams_of(*words: str) -> list[list[int]]:
    longest = max(map(len, words))
    chars_NC = torch.tensor([[ord(char) - 96 for char in word.ljust(longest, "`")] for word in words])
    counts_N = torch.tensor([len(word) for word in words])
    return [[place for place in row if place] for row in hashed_ngrams(chars_NC, counts_N, NUM_CHARS).tolist()]


def test_a_word_has_its_ngrams_and_no_more() -> None:
    for word in ("a", "to", "free", "winner", "abcdefghijklm"):
        [found] = ngrams_of(word)
        assert len(found) == sum(max(len(word) + 3 - size, 0) for size in range(SHORTEST, LONGEST + 1))
        assert all(0 < place <= BUCKETS for place in found)
        assert len(set(found)) == len(found)


def test_ngrams_do_not_depend_on_longer_neighbours() -> None:
    alone, beside = ngrams_of("win")[0], ngrams_of("win", "something")[0]
    assert sorted(alone) == sorted(beside)


def test_words_share_what_they_have_in_common() -> None:
    win, winner, inn = (set(its) for its in ngrams_of("win", "winner", "inn"))
    # With "winner" all within "<win"; with "inn" the pair "in" and the last "n".
    assert len(win & winner) == 6
    assert len(win & inn) == 2


def test_ngrams_spread_over_the_table() -> None:
    words = [chr(97 + a) + chr(97 + b) + chr(97 + c) for a in range(26) for b in range(26) for c in range(26)]
    whole = {its[-1] for its in ngrams_of(*words)}  # the five of "<abc>"
    expected = BUCKETS * (1 - (1 - 1 / BUCKETS) ** len(words))
    assert abs(len(whole) - expected) < 0.03 * expected


def test_the_vector_is_the_mean_of_those_of_its_ngrams() -> None:
    spelling = CharNgrams(NUM_CHARS, 6)
    chars_NC, counts_N = torch.tensor([[23, 9, 14, 0], [0, 0, 0, 0]]), torch.tensor([3, 0])
    [win] = ngrams_of("win")
    vectors_NH = spelling(chars_NC, counts_N)
    torch.testing.assert_close(vectors_NH[0], spelling.embedding.weight[win].mean(0))
    vectors_NH.sum().backward()
    assert not spelling.embedding.weight.grad[0].any()
