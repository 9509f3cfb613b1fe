"""Problems of a finite automaton: parity of bits, and arithmetic modulo a number."""

# B batch, T time, M modulus

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

from rnntrain.data.memory.base import Drawn, MemoryProblem, at_each_length, check_bounds, drawn_lengths, none_if_full
from rnntrain.data.numbers.sequences import Baselines, StepClassesCodec, SymbolInputs
from rnntrain.ranges import PositiveInt, Range

PLUS, MINUS, TIMES = 0, 1, 2


class Parity(MemoryProblem):
    """Say whether the ones so far are odd in number.

    Minsky and Papert 1969, "Perceptrons"; as a test of sequence models on lengths beyond those of training, Delétang et
    al. 2023 (arXiv:2207.02098), who train on lengths up to 40. The input is T random bits; the target of each step is
    the sum of the bits up to it modulo 2. With `every_step=false` the last step alone counts.

    A length is the number of bits.

    Trivial baseline: every prefix is odd with probability ½ whatever its length, so that without all of the bits
    there is nothing better than ln 2 = 0.693 nats, and an accuracy of ½.

    Args:
        min_length: fewest bits of a training sequence; lengths are uniform between the two.
        max_length: most bits of one.
        every_step: every step counts, not the last alone.
    """

    def __init__(
        self,
        min_length: PositiveInt = 1,
        max_length: PositiveInt = 40,
        every_step: bool = True,
        batch_size: PositiveInt = 64,
        epoch_batches: PositiveInt = 100,
        eval_rows: PositiveInt = 1000,
        test_lengths: list[PositiveInt] | None = None,
    ) -> None:
        check_bounds(min_length, max_length)
        self.min_length, self.max_length, self.every_step = min_length, max_length, every_step
        super().__init__(batch_size, epoch_batches, eval_rows, test_lengths)

    def make_codec(self) -> StepClassesCodec:
        return StepClassesCodec(SymbolInputs(2), ["even", "odd"])

    def draw(self, rng: np.random.Generator, rows: int, length: int | None) -> Drawn:
        lengths_B = drawn_lengths(rng, rows, length, self.min_length, self.max_length)
        num_steps = int(lengths_B.max())
        bits_BT = rng.integers(2, size=(rows, num_steps))
        bits_BT *= np.arange(num_steps) < lengths_B[:, None]
        counted_BT = None if self.every_step else np.arange(num_steps) == lengths_B[:, None] - 1
        return Drawn(bits_BT, np.bitwise_xor.accumulate(bits_BT, 1), none_if_full(lengths_B, num_steps), counted_BT)

    def steps(self, length: int) -> int:
        return length

    def title(self) -> str:
        return f"Parity of {self.min_length} to {self.max_length} bits"

    def trivial(self, split: str) -> Baselines:
        return {"uniform": at_each_length(self, split, {"loss": math.log(2), "accuracy": 0.5})}


class ModularArithmetic(MemoryProblem):
    """Compute from left to right, modulo M.

    Delétang et al. 2023 (arXiv:2207.02098), modular arithmetic without brackets; here operators have no precedence,
    so that a running value is all the memory it takes. The input is number, operator, number, operator, …, number;
    the target of each number is the value of all up to it modulo M, and these steps count. All is drawn uniformly.

    Inputs 0 to M - 1 are the numbers, M, M + 1 and M + 2 are +, - and ×. A length is the count of numbers.

    Trivial baseline: with + and - alone, every value is uniform whatever went before: ln M (1.609 nats for M = 5). A
    product is uniform only over the multiples of its factors, so with × the baseline is the entropy of the values'
    distribution at each step, which follows from that of the step before: p' = ⅔ u + ⅓ p ⊗ u, with u uniform and ⊗ the
    distribution of a product; accuracy: its largest probability.

    Args:
        modulus: M.
        multiply: × is an operator too.
        min_length: fewest numbers of a training sequence; lengths are uniform between the two.
        max_length: most numbers of one.
    """

    def __init__(
        self,
        modulus: Annotated[int, Range(2, 100)] = 5,
        multiply: bool = False,
        min_length: PositiveInt = 1,
        max_length: PositiveInt = 20,
        batch_size: PositiveInt = 64,
        epoch_batches: PositiveInt = 100,
        eval_rows: PositiveInt = 1000,
        test_lengths: list[PositiveInt] | None = None,
    ) -> None:
        check_bounds(min_length, max_length)
        self.modulus, self.multiply = modulus, multiply
        self.min_length, self.max_length = min_length, max_length
        super().__init__(batch_size, epoch_batches, eval_rows, test_lengths)

    def make_codec(self) -> StepClassesCodec:
        return StepClassesCodec(SymbolInputs(self.modulus + 3), list(map(str, range(self.modulus))))

    def draw(self, rng: np.random.Generator, rows: int, length: int | None) -> Drawn:
        counts_B = drawn_lengths(rng, rows, length, self.min_length, self.max_length)
        most = int(counts_B.max())
        numbers_BN = rng.integers(self.modulus, size=(rows, most))
        operators_BN = rng.integers(3 if self.multiply else 2, size=(rows, most - 1))
        inputs_BT = np.zeros((rows, self.steps(most)), np.int64)
        inputs_BT[:, ::2], inputs_BT[:, 1::2] = numbers_BN, operators_BN + self.modulus
        targets_BT = np.zeros_like(inputs_BT)
        targets_BT[:, ::2] = _values(numbers_BN, operators_BN, self.modulus)
        lengths_B = 2 * counts_B - 1
        padded_BT = np.arange(inputs_BT.shape[1]) >= lengths_B[:, None]
        inputs_BT[padded_BT] = targets_BT[padded_BT] = 0
        counted_BT = ~padded_BT & (np.arange(inputs_BT.shape[1]) % 2 == 0)
        return Drawn(inputs_BT, targets_BT, none_if_full(lengths_B, inputs_BT.shape[1]), counted_BT)

    def steps(self, length: int) -> int:
        return 2 * length - 1

    def title(self) -> str:
        operators = "+, - and ×" if self.multiply else "+ and -"
        return f"{operators} of {self.min_length} to {self.max_length} numbers modulo {self.modulus}"

    def trivial(self, split: str) -> Baselines:
        tested = split == "test" and self.test_lengths
        counts = self.test_lengths if tested else list(range(self.min_length, self.max_length + 1))
        weights = [sum(count > place for count in counts) for place in range(max(counts))]
        loss = accuracy = 0.0
        uniform_M = probability_M = np.full(self.modulus, 1 / self.modulus)
        for weight in weights:
            loss -= weight * float((probability_M * np.log(probability_M)).sum())
            accuracy += weight * float(probability_M.max())
            if self.multiply:
                probability_M = (2 * uniform_M + _product(probability_M)) / 3
        total = sum(weights)
        return {"each step's frequencies": {"loss": loss / total, "accuracy": accuracy / total}}


def _values(numbers_BN: np.ndarray, operators_BN: np.ndarray, modulus: int) -> np.ndarray:
    """Return the value of each row's first 1, 2, …, N numbers."""
    values_BN = numbers_BN.copy()
    for place in range(1, numbers_BN.shape[1]):
        before_B, number_B = values_BN[:, place - 1], numbers_BN[:, place]
        operator_B = operators_BN[:, place - 1]
        signed_B = np.where(operator_B == MINUS, before_B - number_B, before_B + number_B)
        values_BN[:, place] = np.where(operator_B == TIMES, before_B * number_B, signed_B) % modulus
    return values_BN


def _product(probability_M: np.ndarray) -> np.ndarray:
    """Return the distribution of a value times a uniform number."""
    modulus = len(probability_M)
    table_MM = np.multiply.outer(np.arange(modulus), np.arange(modulus)) % modulus
    weights_MM = np.broadcast_to(probability_M[:, None] / modulus, table_MM.shape)
    return np.bincount(table_MM.ravel(), weights_MM.ravel(), modulus)
