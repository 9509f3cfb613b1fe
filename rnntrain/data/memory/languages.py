"""Formal languages that take a counter or a stack: a^n b^n, a^n b^n c^n and Dyck."""

# B batch, T time, K kinds of brackets

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np

from rnntrain.data.memory.base import Drawn, MemoryProblem, at_each_length, check_bounds, drawn_lengths, none_if_full
from rnntrain.data.numbers.sequences import Baselines, StepClassesCodec, SymbolInputs
from rnntrain.ranges import PositiveInt, Range


class Counting(MemoryProblem):
    """Predict the next letter of a^n b^n, or of a^n b^n c^n, wherever it is certain.

    Gers and Schmidhuber 2001, "LSTM recurrent networks learn simple context-free and context-sensitive languages". The
    input is the word; the target of a step is the letter after it, or the end of the word. From the first b on, all
    that follows is certain, if the a have been counted: these steps count, n of them in a^n b^n and 2n in a^n b^n c^n.

    Inputs are the letters; the last class is the end. A length is n.

    Trivial baseline: each letter, and the end, with its share of all targets that count. Over lengths n the end has
    the share 1 / mean n in a^n b^n, and b the rest; in a^n b^n c^n the shares of b, c and end are
    (mean n - 1) : mean n : 1. The loss is the entropy of the shares, the accuracy the largest of them.

    Args:
        letters: 2 for a^n b^n, 3 for a^n b^n c^n.
        min_length: least n of a training word; n is uniform between the two.
        max_length: greatest n of one.
    """

    def __init__(
        self,
        letters: Literal[2, 3] = 2,
        min_length: PositiveInt = 1,
        max_length: PositiveInt = 20,
        batch_size: PositiveInt = 64,
        epoch_batches: PositiveInt = 100,
        eval_rows: PositiveInt = 1000,
        test_lengths: list[PositiveInt] | None = None,
    ) -> None:
        check_bounds(min_length, max_length)
        self.letters, self.min_length, self.max_length = letters, min_length, max_length
        super().__init__(batch_size, epoch_batches, eval_rows, test_lengths)

    def make_codec(self) -> StepClassesCodec:
        return StepClassesCodec(SymbolInputs(self.letters), [*"abc"[: self.letters], "end"])

    def draw(self, rng: np.random.Generator, rows: int, length: int | None) -> Drawn:
        n_B1 = drawn_lengths(rng, rows, length, self.min_length, self.max_length)[:, None]
        time_T = np.arange(self.steps(int(n_B1.max())))
        lengths_B1 = self.letters * n_B1
        valid_BT = time_T < lengths_B1
        inputs_BT = np.where(valid_BT, time_T // n_B1, 0)
        targets_BT = np.where(valid_BT, (time_T + 1) // n_B1, 0)
        return Drawn(inputs_BT, targets_BT, none_if_full(lengths_B1[:, 0], len(time_T)), valid_BT & (time_T >= n_B1))

    def steps(self, length: int) -> int:
        return self.letters * length

    def title(self) -> str:
        return (
            f"{' '.join(f'{letter}^n' for letter in 'abc'[: self.letters])}, n = {self.min_length} to {self.max_length}"
        )

    def trivial(self, split: str) -> Baselines:
        tested = split == "test" and self.test_lengths
        lengths = self.test_lengths if tested else list(range(self.min_length, self.max_length + 1))
        mean = sum(lengths) / len(lengths)
        weights = [mean - 1, *[mean] * (self.letters - 2), 1]
        shares = [weight / sum(weights) for weight in weights if weight]
        return {"shares": {"loss": -sum(p * math.log(p) for p in shares), "accuracy": max(shares)}}


class Dyck(MemoryProblem):
    """Say which kind of bracket would close next, in well-nested brackets of several kinds.

    The Dyck language of K kinds with bounded depth, Dyck-(K, m), of Hewitt et al. 2020 (arXiv:2010.07515). Brackets are
    drawn one after the other: where some are open and depth and length allow both, it opens or closes with probability
    ½; which kind opens is uniform. The target of a step is the kind of the innermost bracket that is open after it, on
    which alone a closing one can follow. Steps after which a bracket is open count.

    Inputs 0 to K - 1 open, K to 2·K - 1 close. A length is the number of pairs.

    Trivial baseline: kinds are symmetric and uniform: ln K (0.693 nats for K = 2), and an accuracy of 1/K. Beside it,
    the kind of the bracket opened last, whether it has been closed or not: its accuracy is measured on the split.

    Args:
        num_kinds: K.
        max_depth: m, brackets that are open at once.
        min_length: fewest pairs of a training word; uniform between the two.
        max_length: most pairs of one.
    """

    def __init__(
        self,
        num_kinds: Annotated[int, Range(2)] = 2,
        max_depth: PositiveInt = 8,
        min_length: PositiveInt = 1,
        max_length: PositiveInt = 20,
        batch_size: PositiveInt = 64,
        epoch_batches: PositiveInt = 100,
        eval_rows: PositiveInt = 1000,
        test_lengths: list[PositiveInt] | None = None,
    ) -> None:
        check_bounds(min_length, max_length)
        self.num_kinds, self.max_depth = num_kinds, max_depth
        self.min_length, self.max_length = min_length, max_length
        super().__init__(batch_size, epoch_batches, eval_rows, test_lengths)

    def make_codec(self) -> StepClassesCodec:
        return StepClassesCodec(SymbolInputs(2 * self.num_kinds), [f"kind {kind}" for kind in range(self.num_kinds)])

    def draw(self, rng: np.random.Generator, rows: int, length: int | None) -> Drawn:
        lengths_B = 2 * drawn_lengths(rng, rows, length, self.min_length, self.max_length)
        num_steps = int(lengths_B.max())
        rows_B = np.arange(rows)
        opens_BT = rng.random((rows, num_steps)) < 0.5
        kinds_BT = rng.integers(self.num_kinds, size=(rows, num_steps))
        stack_BS = np.zeros((rows, self.max_depth), np.int64)
        depth_B = np.zeros(rows, np.int64)
        inputs_BT = np.zeros((rows, num_steps), np.int64)
        targets_BT = np.zeros_like(inputs_BT)
        counted_BT = np.zeros((rows, num_steps), bool)
        for t in range(num_steps):
            # A word is closed by its end: it opens no more where all steps left are needed to close.
            may_open_B = (depth_B < self.max_depth) & (depth_B < lengths_B - t)
            opens_B = may_open_B & (opens_BT[:, t] | (depth_B == 0))
            top_B = stack_BS[rows_B, np.maximum(depth_B - 1, 0)]
            inputs_BT[:, t] = np.where(opens_B, kinds_BT[:, t], top_B + self.num_kinds)
            stack_BS[rows_B[opens_B], depth_B[opens_B]] = kinds_BT[opens_B, t]
            depth_B = np.maximum(depth_B + np.where(opens_B, 1, -1), 0)
            targets_BT[:, t] = stack_BS[rows_B, np.maximum(depth_B - 1, 0)]
            counted_BT[:, t] = depth_B > 0
        padded_BT = np.arange(num_steps) >= lengths_B[:, None]
        inputs_BT[padded_BT] = targets_BT[padded_BT] = counted_BT[padded_BT] = 0
        return Drawn(inputs_BT, targets_BT, none_if_full(lengths_B, num_steps), counted_BT)

    def steps(self, length: int) -> int:
        return 2 * length

    def title(self) -> str:
        pairs = f"{self.min_length} to {self.max_length} pairs"
        return f"Dyck words of {self.num_kinds} kinds, {pairs}, at most {self.max_depth} deep"

    def trivial(self, split: str) -> Baselines:
        hits = counted = 0
        for drawn in self.eval_sets(split):
            assert drawn.counted_BT is not None
            place_BT = np.where(drawn.inputs < self.num_kinds, np.arange(drawn.inputs.shape[1]), 0)
            last_BT = np.take_along_axis(drawn.inputs, np.maximum.accumulate(place_BT, 1), 1)
            hits += int((last_BT == drawn.targets)[drawn.counted_BT].sum())
            counted += int(drawn.counted_BT.sum())
        uniform = {"loss": math.log(self.num_kinds), "accuracy": 1 / self.num_kinds}
        return {
            "uniform": at_each_length(self, split, uniform),
            "opened last": {"accuracy": hits / counted},
        }
