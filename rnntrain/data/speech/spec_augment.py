"""SpecAugment: bands and stretches of a spectrogram are hidden while a model learns (Park et al. 2019)."""

# B batch, T frames, M features of a frame, K masks

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

    def __call__(self, x_BTM: np.ndarray, lengths_B: np.ndarray, rng: np.random.Generator) -> None:
        """Set masked places, in place, to the mean of their feature over their utterance; padding stays zero."""
        _, frames, features = x_BTM.shape
        longest_B = np.minimum(self.time_mask_frames, (MOST_TIME * lengths_B).astype(np.int64))
        hidden_BT = _stretches(lengths_B, longest_B, self.time_masks, frames, rng)
        sizes_B = np.full_like(lengths_B, features)
        hidden_BM = _stretches(sizes_B, np.minimum(self.freq_mask_bands, sizes_B), self.freq_masks, features, rng)
        valid_BT = np.arange(frames) < lengths_B[:, None]
        mean_BM = x_BTM.sum(1) / np.maximum(lengths_B, 1)[:, None].astype(x_BTM.dtype)
        hidden_BTM = (hidden_BT[..., None] | hidden_BM[:, None]) & valid_BT[..., None]
        np.copyto(x_BTM, mean_BM[:, None], where=hidden_BTM)


def _stretches(
    sizes_B: np.ndarray, widest_B: np.ndarray, number: int, places: int, rng: np.random.Generator
) -> np.ndarray:
    """Return ``hidden_BP``, True within any of `number` stretches that lie in each row's size."""
    widths_BK = (rng.random((len(sizes_B), number)) * (widest_B + 1)[:, None]).astype(np.int64)
    starts_BK = (rng.random((len(sizes_B), number)) * (sizes_B[:, None] - widths_BK + 1)).astype(np.int64)
    place = np.arange(places)
    within_BKP = (place >= starts_BK[..., None]) & (place < (starts_BK + widths_BK)[..., None])
    hidden_BP: np.ndarray = within_BKP.any(1)
    return hidden_BP
