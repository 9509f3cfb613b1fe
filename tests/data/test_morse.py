"""Morse code: timing as the standard has it, noise of the stated power, and texts of their own for each split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tasks.cases import MORSE
from training import differences

from rnntrain.data.speech.morse import SYMBOLS, Morse
from rnntrain.data.speech.morse_code import CODE, Signal, durations, key, receive
from rnntrain.errors import UserError

RATE = 4000
PLAIN = Signal(words_per_minute=20.0, pitch_hz=600.0, snr_db=0.0)


def morse(**options: Any) -> Morse:
    data = Morse(**{name: value for name, value in {**MORSE, **options}.items() if name != "_target_"})
    data.load()
    return data


def test_codes_are_distinct() -> None:
    assert len(set(CODE.values())) == len(CODE)
    assert CODE["s"] + CODE["o"] + CODE["s"] == "...---..."


def test_paris_takes_fifty_units() -> None:
    """With the gap to the next word: so speed is words a minute."""
    marks, gaps = durations("paris paris")
    half = len(marks) // 2
    assert marks[:half].sum() + gaps[:half].sum() == 50


def test_marks_and_gaps_have_the_lengths_of_the_standard() -> None:
    marks, gaps = durations("an e")
    assert marks.tolist() == [1, 3, 3, 1, 1]
    assert gaps.tolist() == [1, 3, 1, 7, 0]
    on_S = key("an e", PLAIN, RATE, np.random.default_rng(0))
    lengths = np.diff(np.flatnonzero(np.diff(on_S.astype(int)))) / (RATE * 1.2 / 20)
    np.testing.assert_allclose(lengths, [1, 1, 3, 3, 3, 1, 1, 7, 1], atol=0.01)


@pytest.mark.parametrize("snr_db", [-3.0, 0.0, 10.0])
@pytest.mark.parametrize("fading", [0.0, 0.5])
def test_noise_has_the_stated_power(snr_db: float, fading: float) -> None:
    """Against that of the tone while it sounds, in the full band: from the samples alone."""
    signal = PLAIN._replace(snr_db=snr_db, fading=fading)
    quiet = signal._replace(snr_db=200.0)
    text = "paris " * 20
    tone_S = receive(text, quiet, RATE, np.random.default_rng(1))
    noise_S = receive(text, signal, RATE, np.random.default_rng(1)) - tone_S
    on_S = key(text, signal, RATE, np.random.default_rng(1))
    ratio = 10 * np.log10(np.mean(tone_S[on_S] ** 2) / np.mean(noise_S**2))
    assert ratio == pytest.approx(snr_db, abs=0.1)


def test_tone_has_its_pitch() -> None:
    samples_S = receive("0000", PLAIN._replace(snr_db=60.0), RATE, np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(samples_S))
    assert np.argmax(spectrum) * RATE / len(samples_S) == pytest.approx(600.0, abs=2.0)


def test_utterances_are_a_function_of_seed_epoch_and_batch() -> None:
    data = morse()
    whole = [vars(batch) for batch in data.train_batches(0, 0)]
    assert len(whole) == data.num_train_batches(0, 0) == 3
    assert differences([vars(batch) for batch in data.train_batches(0, 0, start=1)], whole[1:]) == []
    assert differences(vars(next(data.train_batches(1, 0))), whole[0])
    assert differences(vars(next(data.train_batches(0, 1))), whole[0])


def test_val_and_test_are_the_same_in_every_run_and_differ() -> None:
    one, other = morse(), morse()
    assert one.fingerprint() == other.fingerprint()
    assert one.examples("val", 8) == other.examples("val", 8)
    assert one.examples("val", 8) != one.examples("test", 8)
    assert "endless" in one.describe()
    assert len(one.examples("train", 3)) == 3


def test_texts_have_the_asked_length_and_all_characters() -> None:
    data = morse(eval_size=300, min_chars=4, max_chars=9)
    texts = [line.partition(": ")[2] for line in data.examples("val", 300)]
    assert {len(text) for text in texts} == set(range(4, 10))
    assert set("".join(texts)) == set(SYMBOLS)
    assert all(text == " ".join(text.split()) for text in texts)


def test_ramp_begins_with_short_and_clear_texts() -> None:
    data = morse(ramp_epochs=4, min_chars=1, max_chars=9, batch_size=32)
    longest = [max(int(batch.target_lengths_B.max()) for batch in data.train_batches(0, epoch)) for epoch in range(6)]
    assert longest[0] == 1
    assert longest == sorted(longest)
    assert longest[4] == longest[5] == 9


def test_plays_give_words() -> None:
    data = morse(source="plays", min_chars=15, max_chars=25, lm_order=2)
    texts = [line.partition(": ")[2] for line in data.examples("val", 8)]
    assert all(set(text) <= set(SYMBOLS) for text in texts)
    assert sum(text.count(" ") for text in texts) >= 8
    assert data.codec.language_model is not None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"min_wpm": 40.0}, "data.min_wpm=40 is more than data.max_wpm=30"),
        ({"min_chars": 5, "max_chars": 4}, "data.min_chars=5"),
        ({"max_pitch_hz": 2500.0}, "data.max_pitch_hz=2500"),
        ({"high_hz": 3000.0}, "data.high_hz=3000"),
    ],
)
def test_impossible_options_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        Morse(**options)
