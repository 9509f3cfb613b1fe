"""Handwritten digits, one pixel a step."""

# B images, T time, D features, K draws, Y rows of pixels, X columns of pixels

from __future__ import annotations

from typing import Annotated

import numpy as np

from rnntrain.data.numbers.array_rows import Rows
from rnntrain.data.numbers.arrays import Arrays, Sequences
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
        shift: move each training image by up to so many whole pixels up or down and left or right, anew in each epoch.
        rotate: turn it by up to so many degrees in either direction.
        zoom: make it larger or smaller by up to this share, height and width each for itself.
        train_on_val: train on the images of val too; see `rnntrain.data.numbers.arrays.Arrays`.
    """

    num_draws = 5

    def __init__(
        self,
        permuted: bool = False,
        permutation_seed: NonNegativeInt = 0,
        shift: Annotated[int, Range(0, 3)] = 0,
        rotate: Annotated[float, Range(0, 45)] = 0.0,
        zoom: Annotated[float, Range(0, 0.5)] = 0.0,
        batch_size: PositiveInt = 32,
        train_on_val: bool = False,
        eval_batch_size: PositiveInt = 180,
    ) -> None:
        super().__init__(
            "@digits/digits.npz", batch_size, "classes", train_on_val=train_on_val, eval_batch_size=eval_batch_size
        )
        self.permuted, self.permutation_seed = permuted, permutation_seed
        self.shift, self.rotate, self.zoom = shift, rotate, zoom
        self._order_T = reading_order(permuted, permutation_seed)

    def transform(self, rows: Rows) -> Rows:
        return Rows([x_TD[self._order_T] for x_TD in rows.x], rows.y)

    def vary(self, x: Sequences, draws_BK: np.ndarray) -> Sequences:
        if not (self.shift or self.rotate or self.zoom):
            return x
        x_BT = np.asarray(x)[..., 0]
        images_BYX = x_BT[:, self._order_T.argsort()].reshape(-1, SIDE, SIDE)
        moved_BYX = moved(images_BYX, draws_BK, self.shift, self.rotate, self.zoom, self._inputs().encode(np.zeros(1)))
        return moved_BYX.reshape(len(x), -1)[:, self._order_T, None]


def reading_order(permuted: bool, permutation_seed: int) -> np.ndarray:
    """Return the pixel that each step reads."""
    pixels_T = np.arange(SIDE * SIDE)
    return np.random.default_rng(permutation_seed).permutation(pixels_T) if permuted else pixels_T


def moved(
    images_BYX: np.ndarray, draws_BK: np.ndarray, shift: int, rotate: float, zoom: float, paper: np.ndarray
) -> np.ndarray:
    """Return images turned and stretched about their centre and moved, each by draws of its own.

    What lies between pixels is interpolated linearly, so that an image which is only moved keeps its values.

    Args:
        draws_BK: five numbers each on [0, 1): the moves down and right, the angle, the factors of height and width.
        paper: the value of what comes in from outside.
    """
    size = images_BYX.shape[1]
    down_B, right_B = (np.floor(draws_BK[:, :2] * (2 * shift + 1)) - shift).T
    angle_B = np.deg2rad(rotate) * (2 * draws_BK[:, 2] - 1)
    height_B, width_B = (1 + zoom * (2 * draws_BK[:, 3:5] - 1)).T
    centred = np.arange(size) - (size - 1) / 2
    y_BYX = centred[:, None] - down_B[:, None, None]
    x_BYX = centred - right_B[:, None, None]
    # Where each new pixel comes from: the inverse of stretching, turning and moving.
    cos_B, sin_B = np.cos(angle_B)[:, None, None], np.sin(angle_B)[:, None, None]
    from_y_BYX = (cos_B * y_BYX + sin_B * x_BYX) / height_B[:, None, None] + (size - 1) / 2
    from_x_BYX = (cos_B * x_BYX - sin_B * y_BYX) / width_B[:, None, None] + (size - 1) / 2
    return _interpolated(images_BYX, from_y_BYX, from_x_BYX, paper)


def _interpolated(images_BYX: np.ndarray, y_BYX: np.ndarray, x_BYX: np.ndarray, paper: np.ndarray) -> np.ndarray:
    """Return the images' values at places between their pixels; `paper` beyond them."""
    size = images_BYX.shape[1]
    # A rim of paper, and places no further out than that.
    framed_BYX = np.full((len(images_BYX), size + 2, size + 2), paper, images_BYX.dtype)
    framed_BYX[:, 1:-1, 1:-1] = images_BYX
    y_BYX, x_BYX = (np.clip(place, -1, size) + 1 for place in (y_BYX, x_BYX))
    top, left = (np.minimum(place.astype(np.int64), size) for place in (y_BYX, x_BYX))
    below, beside = y_BYX - top, x_BYX - left
    corner = (np.arange(len(images_BYX))[:, None, None] * (size + 2) + top) * (size + 2) + left
    pixels = framed_BYX.ravel()
    upper = pixels[corner] * (1 - beside) + pixels[corner + 1] * beside
    lower = pixels[corner + size + 2] * (1 - beside) + pixels[corner + size + 3] * beside
    return (upper * (1 - below) + lower * below).astype(images_BYX.dtype)
