"""Features equal those that another program computes, and their settings are checked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rnntrain.data.speech.features import Extractor, FeatureSettings, mel, stack_frames
from rnntrain.errors import UserError

# Computed once by kaldi-native-fbank 1.23.0 (the feature code of Kaldi, in float32) on `signal()` at 8000 Hz with
# frame_opts: dither=0, window_type="hanning", frame_length_ms=25, frame_shift_ms=10, preemph_coeff=0.97,
# remove_dc_offset=True, snip_edges=True, round_to_power_of_two=True; mel_opts: num_bins, low_freq, high_freq as named.
KALDI_8_BANDS = [  # low_freq=20, high_freq=0 (half the rate)
    [-3.327335, 3.694505, 2.342141, -2.977538, 2.406965, 3.931019, -0.661432, 2.785494],
    [-3.336706, 3.667688, 2.305021, -2.935869, 2.407343, 3.922165, -0.639622, 2.783069],
    [-3.337646, 3.670282, 2.309067, -2.932792, 2.494389, 4.031621, -0.638181, 2.782919],
]
KALDI_6_BANDS = [  # low_freq=300, high_freq=3000
    [3.569753, -3.9255, -2.670666, 2.798228, 3.820358, -1.077935],
    [3.538082, -3.835967, -2.661656, 2.79682, 3.811072, -1.05473],
    [3.541362, -3.840222, -2.66103, 2.888718, 3.921451, -1.053639],
]
KALDI_MFCC = [  # 8 bands from 20 Hz, num_ceps=5, use_energy=False, cepstral_lifter=22
    [2.896952, -5.524393, -2.486863, -3.850283, -25.589792],
    [2.889624, -5.594807, -2.556686, -3.826625, -25.390266],
    [2.962657, -5.690702, -2.815255, -3.411268, -25.460281],
]


def signal() -> np.ndarray:
    t = np.arange(400)
    tones = 0.3 * np.sin(2 * np.pi * 440 * t / 8000) + 0.1 * np.cos(2 * np.pi * 1730 * t / 8000)
    return (tones + 0.05 * ((t * 7919) % 101 - 50) / 50 + 0.02).astype(np.float32)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (FeatureSettings(8000, num_mels=8), KALDI_8_BANDS),
        (FeatureSettings(8000, num_mels=6, low_hz=300.0, high_hz=3000.0), KALDI_6_BANDS),
        (FeatureSettings(8000, "mfcc", num_mels=8, num_cepstra=5), KALDI_MFCC),
    ],
    ids=["8_bands", "6_bands_of_telephone", "mfcc"],
)
def test_features_are_those_of_kaldi(settings: FeatureSettings, expected: list[list[float]]) -> None:
    x_TD = Extractor(settings)(signal())
    assert x_TD.dtype == np.float32
    np.testing.assert_allclose(x_TD, expected, rtol=1e-4, atol=1e-4)


def test_one_product_is_the_transform(monkeypatch: pytest.MonkeyPatch) -> None:
    """Narrow bands take a way of their own, which is the 6 bands' of Kaldi above; both ways agree."""
    extract = Extractor(FeatureSettings(4000, window_ms=33.0, num_mels=16, low_hz=300.0, high_hz=1000.0))
    quick_TD = extract(signal())
    monkeypatch.setattr(extract, "_few_powers", lambda frames_TW: extract._powers(frames_TW)[:, extract._lines])
    np.testing.assert_allclose(quick_TD, extract(signal()), rtol=1e-4, atol=1e-4)


def test_number_of_steps_is_foretold() -> None:
    for stack in (1, 3):
        settings = FeatureSettings(8000, num_mels=8, stack=stack)
        for size in (0, 1, 199, 200, 279, 280, 360, 400, 1000, 1001):
            x_TD = Extractor(settings)(np.zeros(size, np.float32))
            assert x_TD.shape == (settings.num_steps(size), settings.num_features), (stack, size)


def test_silence_has_finite_features() -> None:
    assert np.isfinite(Extractor(FeatureSettings(8000))(np.zeros(800, np.float32))).all()


def test_louder_is_the_same_but_for_a_constant() -> None:
    extract = Extractor(FeatureSettings(8000, num_mels=8))
    np.testing.assert_allclose(extract(2 * signal()) - extract(signal()), np.log(4), rtol=1e-4)


def test_stacked_frames_stand_side_by_side() -> None:
    x_TM = np.arange(14).reshape(7, 2)
    assert stack_frames(x_TM, 3).tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert stack_frames(x_TM, 1).tolist() == x_TM.tolist()
    assert stack_frames(x_TM, 8).shape == (0, 16)


def test_thousand_hertz_is_thousand_mel() -> None:
    assert mel(1000.0) == pytest.approx(1000.0, abs=0.1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"high_hz": 5000.0}, "data.high_hz=5000"),
        ({"low_hz": 4000.0}, "data.low_hz=4000"),
        ({"window_ms": 0.1}, "data.window_ms=0.1"),
        ({"hop_ms": 0.1}, "data.hop_ms=0.1"),
        ({"kind": "mfcc", "num_mels": 8}, "data.num_cepstra=13"),
    ],
)
def test_impossible_settings_are_named(change: dict[str, object], named: str) -> None:
    with pytest.raises(UserError, match=named):
        replace(FeatureSettings(8000), **change)


def test_bands_without_a_line_of_the_spectrum_are_refused() -> None:
    with pytest.raises(UserError, match=r"data\.num_mels=200"):
        Extractor(FeatureSettings(8000, num_mels=200))(signal())
