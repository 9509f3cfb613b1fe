"""What speech data is made of: n-grams, the transcript codec, masks, and batches made ahead."""

from __future__ import annotations

import json
import math
import threading
from itertools import islice, product
from typing import Any

import numpy as np
import pytest

from rnntrain.data.features import FeatureSettings
from rnntrain.data.frontend import Frontend
from rnntrain.data.ngram import NGram
from rnntrain.data.prefetch import ahead
from rnntrain.data.spec_augment import SpecAugment
from rnntrain.data.transcripts import TranscriptCodec, frames_needed
from rnntrain.errors import UserError

TEXTS = ["ab", "abb", "ba", "aab"]


def codec(unit: Any = "char", lm_order: int = 0, normalize: Any = "none") -> TranscriptCodec:
    raw = [np.random.default_rng(0).standard_normal((20, 8), np.float32)]
    frontend = Frontend.fit(FeatureSettings(8000, num_mels=8), normalize, raw)
    return TranscriptCodec.fit(frontend, unit, ["ab c", "cab"], lm_order)


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


def test_codec_encodes_and_decodes() -> None:
    characters = codec()
    assert characters.encode("ab  c", "x").tolist() == [2, 3, 1, 4]
    assert characters.decode([2, 3, 1, 4]) == "ab c"
    words = codec("word")
    assert words.encode("cab ab", "x").tolist() == [3, 1]
    assert words.decode([3, 1]) == "cab ab"


@pytest.mark.parametrize(
    ("text", "named"), [("", "is empty"), ("abd", "'d' in the transcript"), ("\u200b", "'\\u200b'")]
)
def test_codec_names_what_it_cannot_write(text: str, named: str) -> None:
    with pytest.raises(UserError) as caught:
        codec().encode(text, "file.csv:3")
    assert str(caught.value).startswith("file.csv:3: ")
    assert named in str(caught.value)


@pytest.mark.parametrize("normalize", ["none", "utterance", "train"])
@pytest.mark.parametrize("lm_order", [0, 2])
def test_codec_comes_back_from_its_state(normalize: str, lm_order: int) -> None:
    first = codec(lm_order=lm_order, normalize=normalize)
    again = TranscriptCodec.from_state(json.loads(json.dumps(first.state_dict())))
    assert again.state_dict() == first.state_dict()
    samples_S = np.random.default_rng(1).standard_normal(800).astype(np.float32)
    assert np.array_equal(again.frontend(samples_S), first.frontend(samples_S))
    if lm_order:
        assert again.language_model.log_prob((1,), 2) == first.language_model.log_prob((1,), 2)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("unit",), "bpe"),
        (("symbols",), ["b", "a"]),
        (("symbols",), []),
        (("symbols",), ["ab"]),
        (("inputs",), None),
        (("inputs", "normalize"), "all"),
        (("inputs", "mean"), [0.0]),
        (("inputs", "mean"), [float("nan")] * 8),
        (("inputs", "std"), [0.0] * 8),
        (("inputs", "features", "num_mels"), 0),
        (("inputs", "features", "num_mels"), 10**9),
        (("inputs", "features", "sample_rate"), True),
        (("inputs", "features", "high_hz"), 1e5),
        (("inputs", "features", "kind"), "mfccs"),
        (("inputs", "features", "more"), 1),
        (("language_model",), {"order": 2}),
        (("language_model", "order"), 0),
        (("language_model", "counts"), [[[9], [[0, 1]]]]),
        (("language_model", "counts"), [[[0], [[0, -1]]]]),
    ],
)
def test_damaged_state_of_a_codec_is_refused(place: tuple[str, ...], value: Any) -> None:
    state = codec(lm_order=2, normalize="train").state_dict()
    inner = state
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    with pytest.raises(UserError, match="speech codec's saved state is damaged"):
        TranscriptCodec.from_state(state)


def test_repeats_need_a_blank_between() -> None:
    assert frames_needed(np.array([1, 2, 3])) == 3
    assert frames_needed(np.array([1, 1, 1, 2, 2])) == 8
    assert frames_needed(np.array([1])) == 1


def test_masks_are_within_limits_and_padding_stays() -> None:
    rng = np.random.default_rng(0)
    lengths_B = np.array([50, 20, 3])
    hidden = np.zeros((3, 50, 10))
    for _ in range(200):
        x_BTM = rng.standard_normal((3, 50, 10)).astype(np.float32) + 5
        for row, length in enumerate(lengths_B):
            x_BTM[row, length:] = 0
        before = x_BTM.copy()
        SpecAugment(time_masks=1, time_mask_frames=8)(x_BTM, lengths_B, rng)
        changed = (x_BTM != before).any(-1)
        assert (changed.sum(1) <= [8, 4, 0]).all()
        assert not changed[1, 20:].any()
        hidden += x_BTM != before
        SpecAugment(freq_masks=1, freq_mask_bands=3)(x_BTM := before.copy(), lengths_B, rng)
        assert ((x_BTM != before).any(1).sum(1) <= 3).all()
        for row, length in enumerate(lengths_B):
            masked = (x_BTM[row, :length] != before[row, :length]).any(0)
            mean_M = before[row, :length].mean(0)
            np.testing.assert_allclose(
                x_BTM[row, :length, masked], np.broadcast_to(mean_M[masked, None], (masked.sum(), length)), rtol=1e-4
            )
    assert hidden[0, :4, 0].sum() > 0
    assert hidden[0, -4:, 0].sum() > 0


def test_items_come_in_order_whatever_the_pace() -> None:
    assert list(ahead(range(100), depth=3)) == list(range(100))
    assert list(ahead([])) == []


def test_errors_of_the_maker_come_where_their_item_would() -> None:
    def items() -> Any:
        yield 1
        raise UserError("broken")

    made = ahead(items())
    assert next(made) == 1
    with pytest.raises(UserError, match="broken"):
        next(made)


def test_thread_ends_with_its_reader() -> None:
    before = threading.active_count()
    made = ahead(iter(int, 1), depth=2)  # endless
    assert list(islice(made, 5)) == [0] * 5
    assert threading.active_count() == before + 1
    made.close()
    assert threading.active_count() == before
