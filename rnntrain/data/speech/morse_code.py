"""Morse code as sound: keying, tone, fading and noise."""

# S samples, E elements: the dots and dashes of a text

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# International Morse code (ITU-R M.1677-1): letters, figures and the signs in common use.
CODE = {
    "a": ".-", "b": "-...", "c": "-.-.", "d": "-..", "e": ".", "f": "..-.", "g": "--.", "h": "....", "i": "..",
    "j": ".---", "k": "-.-", "l": ".-..", "m": "--", "n": "-.", "o": "---", "p": ".--.", "q": "--.-", "r": ".-.",
    "s": "...", "t": "-", "u": "..-", "v": "...-", "w": ".--", "x": "-..-", "y": "-.--", "z": "--..",
    "0": "-----", "1": ".----", "2": "..---", "3": "...--", "4": "....-", "5": ".....", "6": "-....", "7": "--...",
    "8": "---..", "9": "----.", ".": ".-.-.-", ",": "--..--", "?": "..--..", "/": "-..-.", "=": "-...-",
}  # fmt: skip
DOT, DASH, BETWEEN_LETTERS, BETWEEN_WORDS = 1, 3, 3, 7  # in units, of which 50 make the word PARIS
EDGE_SECONDS = 0.004  # in which the tone rises and falls, so that keying does not click


class Signal(NamedTuple):
    """How a text is sent and received.

    Attributes:
        words_per_minute: of five letters: a dot lasts 1.2 / words_per_minute seconds.
        pitch_hz: of the tone.
        snr_db: power of the tone while it sounds, fading included, over that of the noise in the full band from 0 to
            half the sample rate, in decibels.
        fading: share of the amplitude that is lost at the worst; 0 for none.
        fading_hz: how often in a second it comes and goes.
        jitter: standard deviation of the logarithm of each mark's and gap's length: the unsteady hand.
        lead_seconds, tail_seconds: noise alone before and after.
    """

    words_per_minute: float
    pitch_hz: float
    snr_db: float
    fading: float = 0.0
    fading_hz: float = 0.3
    jitter: float = 0.0
    lead_seconds: float = 0.2
    tail_seconds: float = 0.2


def durations(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the lengths of the marks ``[E]`` and of the gap after each, in units; the last gap is 0."""
    marks: list[int] = []
    gaps: list[int] = []
    for word in text.split():
        for letter in word:
            code = CODE[letter]
            marks += [DOT if sign == "." else DASH for sign in code]
            gaps += [DOT] * (len(code) - 1) + [BETWEEN_LETTERS]
        gaps[-1] = BETWEEN_WORDS
    gaps[-1] = 0
    return np.array(marks), np.array(gaps)


def key(text: str, signal: Signal, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``on_S``, True while the key is down."""
    units = np.stack(durations(text), 1).ravel() * (1.2 / signal.words_per_minute)
    seconds = units * np.exp(signal.jitter * rng.standard_normal(len(units)))
    edges = np.cumsum(np.concatenate([[signal.lead_seconds], seconds[:-1], [signal.tail_seconds]]))
    samples = np.round(edges * sample_rate).astype(np.int64)
    lengths = samples - np.concatenate([[0], samples[:-1]])
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)


def receive(text: str, signal: Signal, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return the waveform of a text, in float32, with the tone's amplitude at most 0.1."""
    on_S = key(text, signal, sample_rate, rng)
    time_S = np.arange(len(on_S), dtype=np.float32) / np.float32(sample_rate)
    edge = max(int(EDGE_SECONDS * sample_rate), 1)
    # The mean of the key about each sample: the tone rises and falls in straight lines.
    padded = np.pad(on_S.astype(np.int32), (edge // 2 + 1, edge - 1 - edge // 2))
    sums = np.cumsum(padded)
    amplitude_S = (sums[edge:] - sums[:-edge]).astype(np.float32) * np.float32(0.1 / edge)
    if signal.fading:
        turn_S = np.cos(2 * np.pi * (np.float32(signal.fading_hz) * time_S + np.float32(rng.random())))
        amplitude_S *= 1 - np.float32(signal.fading / 2) * (1 + turn_S)
    tone_S = amplitude_S * np.sin(2 * np.pi * (np.float32(signal.pitch_hz) * time_S + np.float32(rng.random())))
    power = float(np.mean(tone_S[on_S] ** 2))
    noise_S = rng.standard_normal(len(on_S), np.float32)
    return tone_S + np.float32(np.sqrt(power / 10 ** (signal.snr_db / 10))) * noise_S
