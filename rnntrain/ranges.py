"""Ranges that constructors put on their arguments and the config check enforces, e.g. `hidden_size: PositiveInt`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """An interval of numbers; `low_open` and `high_open` leave out its ends. Never holds NaN."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def holds(self, value: float) -> bool:
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"greater than {self.low:g}" if self.low_open else f"at least {self.low:g}"
        left = "(" if self.low_open else "["
        right = ")" if self.high_open else "]"
        return f"in {left}{self.low:g}, {self.high:g}{right}"


PositiveInt = Annotated[int, Range(1)]
NonNegativeInt = Annotated[int, Range(0)]
PositiveFloat = Annotated[float, Range(0, low_open=True)]
NonNegativeFloat = Annotated[float, Range(0)]
DropoutRate = Annotated[float, Range(0, 1, high_open=True)]
# A deeper stack, or more threads, is a slip of the finger that would take all memory before anything could be said.
LayerCount = Annotated[int, Range(1, 1000)]
ThreadCount = Annotated[int, Range(1, 1024)]
Fraction = Annotated[float, Range(0, 1)]
# Steps that a memory is to bridge: below 2 there is nothing to remember.
MemorySpan = Annotated[int, Range(2)]
# Times the usual value, from where on a value is called a spike.
SpikeFactor = Annotated[float, Range(1, low_open=True)]
