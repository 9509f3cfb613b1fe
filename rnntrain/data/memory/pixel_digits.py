"""Handwritten digits, one pixel a step."""

# T time, D features, S shifts

from __future__ import annotations

from typing import Annotated

import numpy as np

from rnntrain.data.numbers.array_rows import Rows
from rnntrain.data.numbers.arrays import Arrays
from rnntrain.ranges import NonNegativeInt, PositiveInt, Range

SIDE = 8  # pixels of an image


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
        shift: move each training image by up to so many pixels up or down and left or right, anew in each epoch.
    """

    def __init__(
        self,
        permuted: bool = False,
        permutation_seed: NonNegativeInt = 0,
        shift: Annotated[int, Range(0, 3)] = 0,
        batch_size: PositiveInt = 32,
        eval_batch_size: PositiveInt = 180,
    ) -> None:
        super().__init__("@digits/digits.npz", batch_size, "classes", eval_batch_size=eval_batch_size)
        self.permuted, self.permutation_seed, self.shift = permuted, permutation_seed, shift
        self._order_T = reading_order(permuted, permutation_seed)
        self._sources_ST = _shifted(self._order_T, shift)

    def transform(self, rows: Rows) -> Rows:
        return Rows([x_TD[self._order_T] for x_TD in rows.x], rows.y)

    def vary(self, x_TD: np.ndarray, draw: float) -> np.ndarray:
        if not self.shift:
            return x_TD
        paper_1D = self._inputs().encode(np.zeros((1, 1)))
        return np.concatenate([x_TD, paper_1D])[self._sources_ST[int(draw * len(self._sources_ST))]]


def reading_order(permuted: bool, permutation_seed: int) -> np.ndarray:
    """Return the pixel that each step reads."""
    pixels_T = np.arange(SIDE * SIDE)
    return np.random.default_rng(permutation_seed).permutation(pixels_T) if permuted else pixels_T


def _shifted(order_T: np.ndarray, most: int) -> np.ndarray:
    """Return for each shift of an image the step that each step's pixel comes from; past the last step where none is.

    Args:
        order_T: the pixel that each step reads.
        most: pixels by which an image is moved in either direction.
    """
    step_of = np.full((SIDE + 2 * most, SIDE + 2 * most), len(order_T))
    inner = slice(most, most + SIDE)
    step_of[inner, inner] = order_T.argsort().reshape(SIDE, SIDE)
    moves = range(2 * most + 1)
    moved = [step_of[down : down + SIDE, right : right + SIDE].ravel()[order_T] for down in moves for right in moves]
    return np.stack(moved)
