"""Piano rolls as sound: a decaying tone for every key that begins to sound or goes on."""

# T time, K keys, S samples

from __future__ import annotations

import numpy as np

SAMPLE_RATE = 16_000
STEP_SECONDS = 0.25
OVERTONES = (1.0, 0.4, 0.2, 0.1)
DECAY_PER_SECOND = 3.0
MOST_STEPS = 80  # 20 seconds


def play(roll_TK: np.ndarray, lowest_pitch: int) -> np.ndarray:
    """Return the waveform of the first `MOST_STEPS` chords, between -1 and 1; pitches are counted as in MIDI."""
    size = int(SAMPLE_RATE * STEP_SECONDS)
    on_TK = np.asarray(roll_TK[:MOST_STEPS]) > 0
    samples_S = np.zeros(size * (len(on_TK) + 1), np.float32)
    for key in np.flatnonzero(on_TK.any(0)):
        for start, stop in _spans(on_TK[:, key]):
            samples_S[start * size : stop * size] += _tone(lowest_pitch + int(key), (stop - start) * size)
    return samples_S / max(float(np.abs(samples_S).max(initial=0.0)), 1.0)


def _tone(pitch: int, size: int) -> np.ndarray:
    time_S = np.arange(size) / SAMPLE_RATE
    hertz = 440.0 * 2.0 ** ((pitch - 69) / 12)
    audible = (number for number in range(1, len(OVERTONES) + 1) if number * hertz < SAMPLE_RATE / 2)
    wave_S = sum(OVERTONES[number - 1] * np.sin(2 * np.pi * number * hertz * time_S) for number in audible)
    ends_S = np.minimum(1.0, np.minimum(time_S, time_S[::-1]) / 0.01)  # without them, each tone would click
    return (0.25 * wave_S * np.exp(-DECAY_PER_SECOND * time_S) * ends_S).astype(np.float32)


def _spans(on_T: np.ndarray) -> list[tuple[int, int]]:
    """Return first and last step of each stretch in which a key sounds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], on_T.astype(np.int8), [0]])))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]
