"""Copying after a delay, and copying what stands among noise."""

# B batch, T time, S symbols to copy

from __future__ import annotations

import math

import numpy as np

from rnntrain.data.memory.base import Drawn, MemoryProblem, at_each_length
from rnntrain.data.numbers.sequences import Baselines, StepClassesCodec, SymbolInputs
from rnntrain.errors import UserError
from rnntrain.ranges import PositiveInt


class Copy(MemoryProblem):
    """Keep a few symbols in mind through a long silence, and say them again.

    Hochreiter and Schmidhuber 1997, as in Arjovsky et al. 2016 (arXiv:1511.06464), section 5.1: the input is
    S = 10 symbols, each one of 8, then T - 1 blanks, a sign to go, and S blanks more; the target is T + S blanks
    and then the S symbols. All T + 2·S steps count.

    Class 0 is the blank, classes 1 to 8 the symbols; among inputs 9 is the sign to go. A length is the delay T.

    Trivial baseline: blanks for certain where blanks are due, and one of 8 symbols at random after that, has a
    cross-entropy of S · ln 8 / (T + 2·S) a step: 0.1733 nats at T = 100. Its accuracy is (T + S + S/8) / (T + 2·S).

    Args:
        delay: T.
        num_copied: S, the symbols to keep.
        num_symbols: different symbols.
    """

    def __init__(
        self,
        delay: PositiveInt = 100,
        num_copied: PositiveInt = 10,
        num_symbols: PositiveInt = 8,
        batch_size: PositiveInt = 64,
        epoch_batches: PositiveInt = 100,
        eval_rows: PositiveInt = 1000,
        test_lengths: list[PositiveInt] | None = None,
    ) -> None:
        self.delay, self.num_copied, self.num_symbols = delay, num_copied, num_symbols
        super().__init__(batch_size, epoch_batches, eval_rows, test_lengths)

    def make_codec(self) -> StepClassesCodec:
        names = ["blank", *map(str, range(1, self.num_symbols + 1))]
        return StepClassesCodec(SymbolInputs(self.num_symbols + 2), names)

    def draw(self, rng: np.random.Generator, rows: int, length: int | None) -> Drawn:
        delay = self.delay if length is None else length
        kept_BS = rng.integers(1, self.num_symbols + 1, (rows, self.num_copied))
        inputs_BT = np.zeros((rows, self.steps(delay)), np.int64)
        inputs_BT[:, : self.num_copied] = kept_BS
        inputs_BT[:, self.num_copied + delay - 1] = self.num_symbols + 1
        targets_BT = np.zeros_like(inputs_BT)
        targets_BT[:, -self.num_copied :] = kept_BS
        return Drawn(inputs_BT, targets_BT)

    def steps(self, length: int) -> int:
        return length + 2 * self.num_copied

    def title(self) -> str:
        return f"Copying {self.num_copied} of {self.num_symbols} symbols after {self.delay} steps"

    def trivial(self, split: str) -> Baselines:
        delays = self.test_lengths if split == "test" and self.test_lengths else [self.delay]
        steps = sum(map(self.steps, delays))
        copied = len(delays) * self.num_copied
        loss = copied * math.log(self.num_symbols) / steps
        accuracy = (steps - copied + copied / self.num_symbols) / steps
        return {"no memory": {"loss": loss, "accuracy": accuracy}}


class SelectiveCopy(MemoryProblem):
    """Keep the few symbols that stand at random places among blanks, and say them again in their order.

    Jing et al. 2019, "Gated orthogonal recurrent units" (arXiv:1706.02761), the denoise task; named selective
    copying by Gu and Dao 2023 (arXiv:2312.00752), section 4.1.1. The input is T steps, blanks but for S symbols at
    distinct random places, and then S signs to go, at each of which the next symbol is due. Only these S steps count.

    Class k is input k + 1; among inputs 0 is the blank, and the last the sign to go. A length is T.

    Trivial baseline: each of the V symbols with the same probability has a cross-entropy of ln V (2.079 nats for
    V = 8), and an accuracy of 1/V.

    Args:
        length: T.
        num_copied: S, the symbols to keep.
        num_symbols: V, different symbols.
    """

    def __init__(
        self,
        length: PositiveInt = 100,
        num_copied: PositiveInt = 10,
        num_symbols: PositiveInt = 8,
        batch_size: PositiveInt = 64,
        epoch_batches: PositiveInt = 100,
        eval_rows: PositiveInt = 1000,
        test_lengths: list[PositiveInt] | None = None,
    ) -> None:
        if length < num_copied:
            raise UserError(f"data.length={length}: has no room for data.num_copied={num_copied} symbols; raise it")
        self.length, self.num_copied, self.num_symbols = length, num_copied, num_symbols
        super().__init__(batch_size, epoch_batches, eval_rows, test_lengths)

    @property
    def shortest(self) -> int:
        return self.num_copied

    def make_codec(self) -> StepClassesCodec:
        return StepClassesCodec(SymbolInputs(self.num_symbols + 2), list(map(str, range(1, self.num_symbols + 1))))

    def draw(self, rng: np.random.Generator, rows: int, length: int | None) -> Drawn:
        length = self.length if length is None else length
        kept_BS = rng.integers(self.num_symbols, size=(rows, self.num_copied))
        # The places of the smallest of many random numbers are distinct places at random.
        places_BS = np.sort(rng.random((rows, length)).argpartition(self.num_copied - 1)[:, : self.num_copied])
        inputs_BT = np.zeros((rows, self.steps(length)), np.int64)
        np.put_along_axis(inputs_BT, places_BS, kept_BS + 1, axis=1)
        inputs_BT[:, length:] = self.num_symbols + 1
        targets_BT = np.zeros_like(inputs_BT)
        targets_BT[:, length:] = kept_BS
        counted_BT = np.broadcast_to(np.arange(inputs_BT.shape[1]) >= length, inputs_BT.shape)
        return Drawn(inputs_BT, targets_BT, counted_BT=np.ascontiguousarray(counted_BT))

    def steps(self, length: int) -> int:
        return length + self.num_copied

    def title(self) -> str:
        return f"Copying {self.num_copied} of {self.num_symbols} symbols from among {self.length} steps"

    def trivial(self, split: str) -> Baselines:
        values = {"loss": math.log(self.num_symbols), "accuracy": 1 / self.num_symbols}
        return {"uniform": at_each_length(self, split, values)}
