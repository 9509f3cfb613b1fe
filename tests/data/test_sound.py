"""Sound files as they come: what can be read is read rightly, what is broken is named."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from sounds import tone, write_wav

from rnntrain.data.speech.resample import resample
from rnntrain.data.speech.sound import at_rate, read_sound
from rnntrain.errors import UserError

soundfile = pytest.importorskip("soundfile", reason="needs rnntrain[audio]")


def refused(path: Path, *named: str) -> None:
    with pytest.raises(UserError) as caught:
        read_sound(path, str(path))
    message = str(caught.value)
    assert message.startswith(f"{path}: "), message
    assert "\n" not in message
    for part in named:
        assert part in message, message


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_every_format_is_read(tmp_path: Path, name: str) -> None:
    samples_S = tone(440.0, 0.5)
    soundfile.write(tmp_path / name, samples_S, 8000)
    sound = read_sound(tmp_path / name, name)
    assert sound.sample_rate == 8000
    assert sound.samples_S.dtype == np.float32
    assert sound.samples_S.shape == samples_S.shape
    loss = 0.1 if name.endswith("ogg") else 1e-4
    assert np.abs(sound.samples_S - samples_S).max() < loss
    assert sound.size == (tmp_path / name).stat().st_size
    assert len(sound.sha256) == 64


def test_channels_are_refused_or_mixed(tmp_path: Path) -> None:
    pair = np.stack([np.full(800, 0.5), np.full(800, 0.1)], 1)
    path = write_wav(tmp_path / "two.wav", pair, channels=2)
    refused(path, "2 channels", "data.stereo=mix")
    np.testing.assert_allclose(read_sound(path, "two.wav", "mix").samples_S, 0.3, atol=1e-4)


def test_other_rates_are_refused_or_resampled(tmp_path: Path) -> None:
    sound = read_sound(write_wav(tmp_path / "a.wav", tone(440.0, 0.5, 16000), 16000), "a.wav")
    with pytest.raises(UserError, match=r"a\.wav: has 16000 samples a second, not 8000; .*data\.resample=true"):
        at_rate(sound, 8000, "a.wav", allowed=False)
    assert len(at_rate(sound, 8000, "a.wav", allowed=True)) == 4000
    assert at_rate(sound, 16000, "a.wav", allowed=False) is sound.samples_S


def test_empty_and_missing_files_are_named(tmp_path: Path) -> None:
    refused(tmp_path / "none.wav", "no such file")
    (tmp_path / "empty.wav").touch()
    refused(tmp_path / "empty.wav", "is empty")
    refused(write_wav(tmp_path / "zero.wav", np.zeros(0)), "no samples")
    refused(tmp_path, "no file but a folder")


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_cut_off_files_are_named(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    soundfile.write(path, tone(440.0, 1.0), 8000)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(path)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 16002], ids=["endless", "huge", "one_sample_more"])
def test_header_that_promises_more_is_named(tmp_path: Path, size: int) -> None:
    path = write_wav(tmp_path / "a.wav", tone(440.0, 1.0))
    data = bytearray(path.read_bytes())
    place = data.index(b"data")
    data[place + 4 : place + 8] = size.to_bytes(4, "little")
    path.write_bytes(data)
    refused(path, f"promises {size:,} bytes", "the file has 16,000")


def test_what_is_no_sound_is_named(tmp_path: Path) -> None:
    path = tmp_path / "text.wav"
    path.write_text("this is no sound")
    refused(path, "no sound that can be read")


def test_samples_that_are_not_finite_are_named(tmp_path: Path) -> None:
    samples_S = tone(440.0, 0.2)
    samples_S[7] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples_S, 8000, subtype="FLOAT")
    refused(tmp_path / "nan.wav", "NaN or infinite")


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_wav(tmp_path / "a.wav", tone(440.0, 0.2))
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(UserError, match=r"pip install 'rnntrain\[audio\]'"):
        read_sound(path, "a.wav")


@pytest.mark.parametrize(("rate", "new_rate"), [(16000, 8000), (8000, 16000), (44100, 8000), (8000, 11025)])
def test_resampling_keeps_tone_and_time(rate: int, new_rate: int) -> None:
    time, new_time = np.arange(rate // 2) / rate, np.arange(new_rate // 2) / new_rate
    out = resample(np.sin(2 * np.pi * 700 * time).astype(np.float32), rate, new_rate)
    assert out.dtype == np.float32
    assert abs(len(out) - len(new_time)) <= 1
    expected = np.sin(2 * np.pi * 700 * new_time[: len(out)])
    inner = slice(new_rate // 20, -new_rate // 20)
    assert np.abs(out[: len(expected)] - expected)[inner].max() < 2e-3


def test_resampling_takes_out_what_the_lower_rate_cannot_hold() -> None:
    time = np.arange(16000) / 16000
    out = resample(np.sin(2 * np.pi * 6000 * time).astype(np.float32), 16000, 8000)
    assert np.abs(out[400:-400]).max() < 1e-3


@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_short_waveforms_are_resampled(size: int) -> None:
    assert len(resample(np.ones(size, np.float32), 16000, 8000)) == -(-size // 2)
    assert len(resample(np.ones(size, np.float32), 8000, 44100)) == -(-size * 441 // 80)
