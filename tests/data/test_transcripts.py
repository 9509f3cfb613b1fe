"""The codec of transcripts: there and back, and nothing of a damaged state is trusted."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from rnntrain.data.speech.features import FeatureSettings
from rnntrain.data.speech.frontend import Frontend
from rnntrain.data.speech.transcripts import TranscriptCodec, frames_needed
from rnntrain.errors import UserError


def codec(unit: Any = "char", lm_order: int = 0, normalize: Any = "none") -> TranscriptCodec:
    raw = [np.random.default_rng(0).standard_normal((20, 8), np.float32)]
    frontend = Frontend.fit(FeatureSettings(8000, num_mels=8), normalize, raw)
    return TranscriptCodec.fit(frontend, unit, ["ab c", "cab"], lm_order)


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
