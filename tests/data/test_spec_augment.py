"""Masks stay within their limits, and off the padding."""

from __future__ import annotations

import numpy as np

from rnntrain.data.speech.spec_augment import SpecAugment


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
