"""Small sound files for tests: tones, written without the package that reads them."""

# S samples

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

RATE = 8000
PITCHES = {"a": 500.0, "b": 1100.0, "c": 2300.0}  # what each letter sounds like


def tone(pitch_hz: float, seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Return a tone with a little noise."""
    time_S = np.arange(int(seconds * rate)) / rate
    noise_S = np.random.default_rng(seed).standard_normal(len(time_S))
    return (0.3 * np.sin(2 * np.pi * pitch_hz * time_S) + 0.01 * noise_S).astype(np.float32)


def spoken(text: str, seconds: float = 0.15, seed: int = 0) -> np.ndarray:
    """Return the tones of a text's letters, one after the other, and silence for a space."""
    return np.concatenate([tone(PITCHES.get(letter, 20.0), seconds, seed=seed + i) for i, letter in enumerate(text)])


def write_wav(path: Path, samples_S: np.ndarray, rate: int = RATE, channels: int = 1) -> Path:
    """Write 16-bit samples; of several channels they lie side by side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(np.clip(samples_S, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def write_letters(folder: Path, per_speaker: int = 4, speakers: tuple[str, ...] = ("ann", "bob")) -> Path:
    """Write `{letter}_{speaker}_{index}.wav` for all letters: a folder named as the spoken digits are."""
    for number, speaker in enumerate(speakers):
        for index in range(per_speaker):
            for letter, pitch in PITCHES.items():
                seed = 100 * number + index
                samples_S = tone(pitch * (1 + 0.05 * number), 0.12 + 0.02 * index, seed=seed)
                write_wav(folder / f"{letter}_{speaker}_{index}.wav", samples_S)
    return folder
