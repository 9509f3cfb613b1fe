"""Problems of recall: of what came some steps ago, of what stood beside a key, of what followed a sign."""

# B batch, T time, P pairs, K keys, V values

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

from rnntrain.data.memory.base import Drawn, MemoryProblem, at_each_length
from rnntrain.data.numbers.sequences import Baselines, StepClassesCodec, SymbolInputs
from rnntrain.errors import UserError
from rnntrain.ranges import PositiveInt, Range


class DelayedRecall(MemoryProblem):
    """At every step, say what came a fixed number of steps ago.

    The delay line of Jaeger 2001, "Short term memory in echo state networks", with symbols in place of numbers. The
    input is T random symbols; the target of step t is the symbol of step t - delay. Steps from `delay` on count.

    A length is T.

    Trivial baseline: symbols are uniform and independent: ln V (2.079 nats for V = 8), and an accuracy of 1/V.

    Args:
        delay: how many steps ago.
        length: T; at least delay + 1.
        num_symbols: V, different symbols.
    """

    def __init__(
        self,
        delay: PositiveInt = 10,
        length: PositiveInt = 60,
        num_symbols: PositiveInt = 8,
        batch_size: PositiveInt = 64,
        epoch_batches: PositiveInt = 100,
        eval_rows: PositiveInt = 1000,
        test_lengths: list[PositiveInt] | None = None,
    ) -> None:
        if length <= delay:
            raise UserError(f"data.length={length}: must be above data.delay={delay}, or there is nothing to recall")
        self.delay, self.length, self.num_symbols = delay, length, num_symbols
        super().__init__(batch_size, epoch_batches, eval_rows, test_lengths)

    @property
    def shortest(self) -> int:
        return self.delay + 1

    def make_codec(self) -> StepClassesCodec:
        return StepClassesCodec(SymbolInputs(self.num_symbols), list(map(str, range(self.num_symbols))))

    def draw(self, rng: np.random.Generator, rows: int, length: int | None) -> Drawn:
        inputs_BT = rng.integers(self.num_symbols, size=(rows, self.length if length is None else length))
        targets_BT = np.zeros_like(inputs_BT)
        targets_BT[:, self.delay :] = inputs_BT[:, : -self.delay]
        counted_BT = np.repeat(np.arange(inputs_BT.shape[1])[None] >= self.delay, rows, axis=0)
        return Drawn(inputs_BT, targets_BT, counted_BT=counted_BT)

    def steps(self, length: int) -> int:
        return length

    def title(self) -> str:
        return f"Recalling one of {self.num_symbols} symbols {self.delay} steps later"

    def trivial(self, split: str) -> Baselines:
        values = {"loss": math.log(self.num_symbols), "accuracy": 1 / self.num_symbols}
        return {"uniform": at_each_length(self, split, values)}


class AssociativeRecall(MemoryProblem):
    """Say which value stood beside a key.

    Graves et al. 2014 (arXiv:1410.5401), section 4.3, in the form of Ba et al. 2016, "Using fast weights to attend
    to the recent past" (arXiv:1610.06258), section 4.1: P pairs of key and value, the keys distinct, then a sign and
    one of the keys, after which its value is due. Only this last step counts. Values are uniform and may stand twice.

    Inputs 0 to K - 1 are keys, the next V values, and the last is the sign. A length is the number of pairs P.

    Trivial baseline: one of V values at random has ln V nats (2.303 for V = 10) and an accuracy of 1/V. Beside it, a
    method that remembers which values it saw, but not beside which key, and gives each its share of the P pairs: for
    each number of pairs its loss is E[-ln(n/P)] with n - 1 ~ Binomial(P - 1, 1/V), the count of the asked value.

    Args:
        num_pairs: P of a training sequence.
        num_keys: K, different keys; at least as many as pairs.
        num_values: V, different values.
    """

    def __init__(
        self,
        num_pairs: PositiveInt = 4,
        num_keys: PositiveInt = 26,
        num_values: PositiveInt = 10,
        batch_size: PositiveInt = 64,
        epoch_batches: PositiveInt = 100,
        eval_rows: PositiveInt = 1000,
        test_lengths: list[PositiveInt] | None = None,
    ) -> None:
        for key, pairs in (("num_pairs", num_pairs), ("test_lengths", max(test_lengths or [0]))):
            if pairs > num_keys:
                raise UserError(f"data.{key}: {pairs} pairs need as many keys; raise data.num_keys={num_keys}")
        self.num_pairs, self.num_keys, self.num_values = num_pairs, num_keys, num_values
        super().__init__(batch_size, epoch_batches, eval_rows, test_lengths)

    def make_codec(self) -> StepClassesCodec:
        return StepClassesCodec(
            SymbolInputs(self.num_keys + self.num_values + 1), list(map(str, range(self.num_values)))
        )

    def draw(self, rng: np.random.Generator, rows: int, length: int | None) -> Drawn:
        pairs = self.num_pairs if length is None else length
        keys_BP = rng.random((rows, self.num_keys)).argsort(1)[:, :pairs]
        values_BP = rng.integers(self.num_values, size=(rows, pairs))
        asked_B1 = rng.integers(pairs, size=(rows, 1))
        inputs_BT = np.zeros((rows, self.steps(pairs)), np.int64)
        inputs_BT[:, : 2 * pairs : 2], inputs_BT[:, 1 : 2 * pairs : 2] = keys_BP, values_BP + self.num_keys
        inputs_BT[:, -2] = self.num_keys + self.num_values
        inputs_BT[:, -1] = np.take_along_axis(keys_BP, asked_B1, 1)[:, 0]
        targets_BT = np.zeros_like(inputs_BT)
        targets_BT[:, -1] = np.take_along_axis(values_BP, asked_B1, 1)[:, 0]
        return Drawn(inputs_BT, targets_BT, counted_BT=_last_alone(inputs_BT.shape))

    def steps(self, length: int) -> int:
        return 2 * length + 2

    def title(self) -> str:
        return f"Recalling the value of one of {self.num_pairs} keys"

    def trivial(self, split: str) -> Baselines:
        tested = split == "test" and self.test_lengths
        losses = [self._values_seen(pairs) for pairs in (self.test_lengths if tested else [self.num_pairs])]
        uniform = {"loss": math.log(self.num_values), "accuracy": 1 / self.num_values}
        return {
            "uniform": at_each_length(self, split, uniform),
            "values seen": {"loss": sum(losses) / len(losses)},
        }

    def _values_seen(self, pairs: int) -> float:
        """Return the loss of giving each value its share of the pairs."""
        share = 1 / self.num_values
        return sum(
            math.comb(pairs - 1, more) * share**more * (1 - share) ** (pairs - 1 - more) * -math.log((more + 1) / pairs)
            for more in range(pairs)
        )


class InductionHeads(MemoryProblem):
    """Say what followed a sign the last time that it came.

    Olsson et al. 2022, "In-context learning and induction heads" (arXiv:2209.11895), as a synthetic task in Fu et al.
    2022 (arXiv:2212.14052) and Gu and Dao 2023 (arXiv:2312.00752), section 4.1.2: T random symbols, among which a
    special sign stands at one random place before the last two and again at the end; the symbol that followed it is
    due. Only the last step counts.

    The last symbol among inputs is the sign. A length is T, the end included.

    Trivial baseline: symbols are uniform: ln V (2.773 nats for V = 16), and an accuracy of 1/V.

    Args:
        length: T.
        num_symbols: V, different symbols beside the sign.
    """

    def __init__(
        self,
        length: Annotated[int, Range(3)] = 64,
        num_symbols: PositiveInt = 16,
        batch_size: PositiveInt = 64,
        epoch_batches: PositiveInt = 100,
        eval_rows: PositiveInt = 1000,
        test_lengths: list[PositiveInt] | None = None,
    ) -> None:
        self.length, self.num_symbols = length, num_symbols
        super().__init__(batch_size, epoch_batches, eval_rows, test_lengths)

    @property
    def shortest(self) -> int:
        return 3  # the sign, what follows, the sign again

    def make_codec(self) -> StepClassesCodec:
        return StepClassesCodec(SymbolInputs(self.num_symbols + 1), list(map(str, range(self.num_symbols))))

    def draw(self, rng: np.random.Generator, rows: int, length: int | None) -> Drawn:
        num_steps = self.length if length is None else length
        inputs_BT = rng.integers(self.num_symbols, size=(rows, num_steps))
        rows_B, place_B = np.arange(rows), rng.integers(num_steps - 2, size=rows)
        inputs_BT[rows_B, place_B] = inputs_BT[:, -1] = self.num_symbols
        targets_BT = np.zeros_like(inputs_BT)
        targets_BT[:, -1] = inputs_BT[rows_B, place_B + 1]
        return Drawn(inputs_BT, targets_BT, counted_BT=_last_alone(inputs_BT.shape))

    def steps(self, length: int) -> int:
        return length

    def title(self) -> str:
        return f"Recalling what followed a sign among {self.length} of {self.num_symbols} symbols"

    def trivial(self, split: str) -> Baselines:
        values = {"loss": math.log(self.num_symbols), "accuracy": 1 / self.num_symbols}
        return {"uniform": at_each_length(self, split, values)}


def _last_alone(shape: tuple[int, ...]) -> np.ndarray:
    counted_BT = np.zeros(shape, bool)
    counted_BT[:, -1] = True
    return counted_BT
