"""SpecAugment: bands and stretches of a spectrogram are hidden while a model learns (Park et al. 2019)."""

# T frames, M features of a frame

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_TIME = 0.2  # share of an utterance that one time mask may hide, however short the utterance is


@dataclass(frozen=True)
class SpecAugment:
    """How many masks, and the widest that each may be; widths are drawn evenly from 0 on (arXiv:1904.08779).

    Attributes:
        time_masks: masks over all features of a stretch of frames.
        time_mask_frames: the longest of these, and no more than a fifth of the utterance.
        freq_masks: masks over a band of features in all frames.
        freq_mask_bands: the widest of these.
    """

    time_masks: int = 0
    time_mask_frames: int = 20
    freq_masks: int = 0
    freq_mask_bands: int = 8

    def __bool__(self) -> bool:
        return bool(self.time_masks or self.freq_masks)

    def __call__(self, x_TM: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a copy in which masked places hold the utterance's mean of their feature."""
        masked_TM, mean_M = x_TM.copy(), x_TM.mean(0)
        frames, features = x_TM.shape
        longest = min(self.time_mask_frames, int(MOST_TIME * frames))
        for _ in range(self.time_masks):
            start, width = _stretch(frames, longest, rng)
            masked_TM[start : start + width] = mean_M
        for _ in range(self.freq_masks):
            start, width = _stretch(features, min(self.freq_mask_bands, features), rng)
            masked_TM[:, start : start + width] = mean_M[start : start + width]
        return masked_TM


def _stretch(size: int, widest: int, rng: np.random.Generator) -> tuple[int, int]:
    width = int(rng.integers(widest + 1))
    return int(rng.integers(size - width + 1)), width
