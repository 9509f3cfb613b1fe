"""The problem on which vanishing gradients were first shown: hold one symbol while others go by."""

# B batch, T time, V symbols to hold, W symbols that distract

from __future__ import annotations

import math

import numpy as np

from rnntrain.data.memory.base import Drawn, MemoryProblem
from rnntrain.data.numbers.sequences import Baselines, StepClassesCodec, SymbolInputs
from rnntrain.ranges import PositiveInt


class Latch(MemoryProblem):
    """Say at the end which symbol came first.

    The latch problem of Bengio, Simard and Frasconi 1994, "Learning long-term dependencies with gradient descent is
    difficult", section II, with symbols in place of a signal: the first input is one of V symbols, the `lag` inputs
    after it are random symbols of another alphabet, and the last step's target is the first symbol. Nothing but the
    first step tells of it, so a network learns the problem only if gradients reach back over `lag` steps.

    Inputs 0 to V - 1 are held, the next W distract. A length is the lag; a sequence has lag + 1 steps.

    Trivial baseline: ln V nats (1.386 for V = 4), and an accuracy of 1/V.

    Args:
        lag: steps from the symbol to its target.
        num_symbols: V, symbols one of which is to be held.
        num_distractors: W, symbols that go by.
        every_step: make the symbol the target of every step, a loss all along the way that gradients need to go.
            Evaluations then count every step too.
    """

    def __init__(
        self,
        lag: PositiveInt = 50,
        num_symbols: PositiveInt = 4,
        num_distractors: PositiveInt = 8,
        every_step: bool = False,
        batch_size: PositiveInt = 64,
        epoch_batches: PositiveInt = 100,
        eval_rows: PositiveInt = 1000,
        test_lengths: list[PositiveInt] | None = None,
    ) -> None:
        self.lag, self.num_symbols, self.num_distractors = lag, num_symbols, num_distractors
        self.every_step = every_step
        super().__init__(batch_size, epoch_batches, eval_rows, test_lengths)

    def make_codec(self) -> StepClassesCodec:
        return StepClassesCodec(
            SymbolInputs(self.num_symbols + self.num_distractors), list(map(str, range(self.num_symbols)))
        )

    def draw(self, rng: np.random.Generator, rows: int, length: int | None) -> Drawn:
        lag = self.lag if length is None else length
        inputs_BT = rng.integers(self.num_symbols, self.num_symbols + self.num_distractors, (rows, lag + 1))
        inputs_BT[:, 0] = rng.integers(self.num_symbols, size=rows)
        targets_BT = np.repeat(inputs_BT[:, :1], lag + 1, axis=1)
        counted_BT = np.full(inputs_BT.shape, self.every_step)
        counted_BT[:, -1] = True
        return Drawn(inputs_BT, targets_BT, counted_BT=counted_BT)

    def steps(self, length: int) -> int:
        return length + 1

    def title(self) -> str:
        due = "at every step" if self.every_step else "at the end"
        return f"Holding one of {self.num_symbols} symbols for {self.lag} steps, due {due}"

    def trivial(self, split: str) -> Baselines:
        return {"uniform": {"loss": math.log(self.num_symbols), "accuracy": 1 / self.num_symbols}}
