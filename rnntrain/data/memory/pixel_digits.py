"""Handwritten digits, one pixel a step."""

# N images, T time

from __future__ import annotations

import numpy as np

from rnntrain.data.arrays import Arrays, Rows
from rnntrain.ranges import NonNegativeInt, PositiveInt


class PixelDigits(Arrays):
    """Say which digit an image of 8 × 8 pixels shows, reading one pixel a step, row by row or in a fixed disorder.

    Le et al. 2015 (arXiv:1504.00941), section 4.2, do so with the 784 pixels of MNIST; here with the 1,797 images that
    scikit-learn ships as `load_digits`, the test part of the UCI set by Alpaydin and Kaynak (1998), in 64 steps. The
    split is our own, by a fixed permutation with equal shares of each digit, and stands in the file: 1,259 images to
    train on, 179 for validation, 359 to test. Writers are not marked in the set, so one may be in two splits.

    Trivial baseline: the most frequent class, about 10 % accuracy; the loss of the classes' shares, about
    ln 10 = 2.303.

    Args:
        permuted: the pixels come in a random order, the same for all images: what is near lies far.
        permutation_seed: of this order.
    """

    def __init__(
        self,
        permuted: bool = False,
        permutation_seed: NonNegativeInt = 0,
        batch_size: PositiveInt = 32,
        eval_batch_size: PositiveInt = 180,
    ) -> None:
        super().__init__("@digits/digits.npz", batch_size, "classes", eval_batch_size=eval_batch_size)
        self.permuted, self.permutation_seed = permuted, permutation_seed

    def _read(self, arrays: dict[str, np.ndarray]) -> dict[str, Rows]:
        rows = super()._read(arrays)
        if not self.permuted:
            return rows
        order_T = np.random.default_rng(self.permutation_seed).permutation(len(rows["train"].x[0]))
        return {split: Rows([x_TD[order_T] for x_TD in part.x], part.y) for split, part in rows.items()}
