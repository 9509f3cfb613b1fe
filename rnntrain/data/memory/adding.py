"""The adding problem."""

# B batch, T time

from __future__ import annotations

from typing import Annotated

import numpy as np

from rnntrain.data.labelled.classes import FeatureInputs
from rnntrain.data.memory.base import Drawn, MemoryProblem, at_each_length, drawn_lengths, none_if_full
from rnntrain.data.numbers.sequences import Baselines, NumbersCodec
from rnntrain.ranges import Fraction, PositiveInt, Range


class Adding(MemoryProblem):
    """Add the two marked numbers of a long sequence.

    Hochreiter and Schmidhuber 1997, "Long short-term memory", experiment 4, in the form of Arjovsky et al. 2016
    (arXiv:1511.06464): at each step the input is a number, uniform on [0, 1], and a marker, which is 1 at one random
    step of the first half and at one of the second, and 0 elsewhere. The target, after the last step, is the sum
    of the two marked numbers.

    A length is the number of time steps.

    Trivial baseline: 1 for every sequence, the mean of a sum of two uniform numbers, has the mean squared error of
    its variance, 2 · 1/12 = 0.1667, and a mean absolute error of 1/3, that of the triangular distribution.

    Args:
        length: T of a training sequence.
        vary: lengths are uniform from `length` to (1 + `vary`) · `length`; 0.1 as in the paper of 1997.
    """

    def __init__(
        self,
        length: Annotated[int, Range(2)] = 200,
        vary: Fraction = 0.0,
        batch_size: PositiveInt = 64,
        epoch_batches: PositiveInt = 100,
        eval_rows: PositiveInt = 1000,
        test_lengths: list[PositiveInt] | None = None,
    ) -> None:
        self.length, self.vary = length, vary
        super().__init__(batch_size, epoch_batches, eval_rows, test_lengths)

    @property
    def shortest(self) -> int:
        return 2  # one step in each half

    def make_codec(self) -> NumbersCodec:
        return NumbersCodec(FeatureInputs([0.0, 0.0], [1.0, 1.0]), FeatureInputs([0.0], [1.0]))

    def draw(self, rng: np.random.Generator, rows: int, length: int | None) -> Drawn:
        lengths_B = drawn_lengths(rng, rows, length, self.length, round(self.length * (1 + self.vary)))
        num_steps = int(lengths_B.max())
        inputs_BT2 = np.zeros((rows, num_steps, 2), np.float32)
        inputs_BT2[..., 0] = rng.random((rows, num_steps), np.float32)
        halves_B = lengths_B // 2
        rows_B = np.arange(rows)
        first_B, second_B = rng.integers(halves_B), rng.integers(halves_B, lengths_B)
        inputs_BT2[rows_B, first_B, 1] = inputs_BT2[rows_B, second_B, 1] = 1.0
        targets_B1 = (inputs_BT2[rows_B, first_B, 0] + inputs_BT2[rows_B, second_B, 0])[:, None]
        return Drawn(inputs_BT2, targets_B1, none_if_full(lengths_B, num_steps))

    def steps(self, length: int) -> int:
        return length

    def title(self) -> str:
        return f"Adding two numbers among {self.length}"

    def trivial(self, split: str) -> Baselines:
        values = {"loss": 1 / 6, "mse": 1 / 6, "mae": 1 / 3, "r2": 0.0}
        return {"always 1": at_each_length(self, split, values)}
