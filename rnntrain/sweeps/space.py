"""Search spaces: what `interval(…)`, `range(…)` and `choice(…)` stand for."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from rnntrain.configuring.checking import shown
from rnntrain.errors import UserError

Value = bool | int | float | str | None
MOST_GRID_POINTS = 100_000
END_SHARE = 0.02
HOW = "write interval(LOW,HIGH[,log][,int]), range(START,STOP[,STEP]) or choice(A,B,…)"

_CALL = re.compile(r"(?P<name>[A-Za-z_]+)\((?P<inside>.*)\)", re.DOTALL)
_CALL_BEGUN = re.compile(r"(interval|range|choice)\s*\(")
_PART = re.compile(r"""\s*("[^"]*"|'[^']*'|[^,'"]*)\s*(,|$)""")
_WORDS: dict[str, Value] = {"null": None, "true": True, "false": False}


@dataclass(frozen=True)
class Dimension:
    """The values that one key may take: those between two ends, in steps or not, or a list.

    Attributes:
        text: as the user wrote it.
        step: between values, 0 where there is none.
        values: the list; empty between ends.
    """

    key: str
    text: str
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0
    log: bool = False
    integer: bool = False
    values: tuple[Value, ...] = ()

    def corners(self) -> list[Value]:
        """Return every value of a list, else both ends."""
        return list(self.values) or [self.cast(self.low), self.cast(self.high)]

    def grid(self) -> list[Value]:
        """Return all values.

        Raises:
            UserError: they cannot be counted.
        """
        if self.values:
            return list(self.values)
        if not self.step:
            raise UserError(f"{self.key}={self.text}: a grid needs single values; {HOW[6:].partition(', ')[2]}")
        return [self.cast(self.low + number * self.step) for number in range(self.count())]

    def count(self) -> int:
        return len(self.values) or (1 + round((self.high - self.low) / self.step) if self.step else 0)

    def at(self, share: float) -> Value:
        """Return the value that lies at a share of the way, in [0, 1), by logarithms where the interval is one."""
        if number := 0 if self.log else self.count():
            place = min(int(share * number), number - 1)
            return self.values[place] if self.values else self.cast(self.low + place * self.step)
        if self.log:
            return self.cast(math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low))))
        return self.low + share * (self.high - self.low)

    def is_near_an_end(self, value: float) -> bool:
        """Say whether a value lies within a fiftieth of an end beyond which there may be more; lists have none."""
        if self.values:
            return False
        low, high, place = (math.log(each) if self.log else each for each in (self.low, self.high, value))
        share = (place - low) / (high - low)
        lowest = 1 if self.integer else 0  # of layers and shares, of which there are no fewer
        return share > 1 - END_SHARE or (share < END_SHARE and self.low > lowest)

    def cast(self, value: float) -> Value:
        return round(value) if self.integer else value


def parse_dimension(key: str, text: str) -> Dimension | None:
    """Return what a value spans, or None where it is a single value.

    Raises:
        UserError: it is meant to span something and cannot be read.
    """
    match = _CALL.fullmatch(text.strip())
    if match is None and _CALL_BEGUN.match(text.strip()):
        raise _mistake(key, text, f"its bracket does not close; {HOW}")
    if match is None:
        parts = _split(text)
        return _choice(key, text, parts) if len(parts or []) > 1 else None
    name, parts = match["name"], _split(match["inside"])
    if name not in ("interval", "range", "choice") or parts is None:
        raise _mistake(key, text, HOW)
    return {"interval": _interval, "range": _range, "choice": _choice}[name](key, text, parts)


def read_dimension(key: str, value: object) -> Dimension:
    """Return what the value of a key under `space:` in a file spans; a list is a choice.

    Raises:
        UserError: it spans nothing.
    """
    if isinstance(value, list):
        if not all(isinstance(each, (bool, int, float, str)) or each is None for each in value):
            raise UserError(f"sweep.space: {key}={shown(value)}: choices are numbers, texts, true, false or null")
        return _list(key, str(value), tuple(value))
    found = parse_dimension(key, value) if isinstance(value, str) else None
    if found is None:
        raise UserError(f"sweep.space: {key}={shown(value)}: spans nothing; {HOW}")
    return found


def grid_points(space: Sequence[Dimension]) -> list[dict[str, Value]]:
    """Return every combination; the values of the last key change first.

    Raises:
        UserError: a dimension has no single values, or there are too many combinations.
    """
    values = [dimension.grid() for dimension in space]
    number = math.prod(map(len, values))
    if number > MOST_GRID_POINTS:
        raise UserError(f"sweep.sampler=grid: the space has {number:,} points; sample it, or leave keys out")
    return [dict(zip((each.key for each in space), point, strict=True)) for point in product(*values)]


def corner_points(space: Sequence[Dimension]) -> list[dict[str, Value]]:
    """Return points that together hold every end and every choice: the first of each, and one changed at a time."""
    first = {dimension.key: dimension.corners()[0] for dimension in space}
    changed = [{**first, each.key: value} for each in space for value in each.corners()[1:]]
    return [first, *changed]


def as_override(key: str, value: Value) -> str:
    """Return a value as it is typed on a command line."""
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return f"{key}={words[value]}"
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z_][\w./-]*", value) and value not in _WORDS
        return f"{key}={value}" if plain else f"{key}='{value}'"
    return f"{key}={value!r}"


def _interval(key: str, text: str, parts: list[str]) -> Dimension:
    flags = parts[2:]
    if len(parts) < 2 or not set(flags) <= {"log", "int"} or len(set(flags)) < len(flags):
        raise _mistake(key, text, HOW)
    low, high = (_number(key, text, part) for part in parts[:2])
    log, integer = "log" in flags, "int" in flags
    if not low < high:
        raise _mistake(key, text, "the lower end comes first, and the ends differ")
    if log and low <= 0:
        raise _mistake(key, text, "a logarithmic interval begins above 0")
    if integer and not (low.is_integer() and high.is_integer()):
        raise _mistake(key, text, "an interval of whole numbers has whole ends")
    return Dimension(key, text, low, high, step=float(integer), log=log, integer=integer)


def _range(key: str, text: str, parts: list[str]) -> Dimension:
    if len(parts) not in (2, 3):
        raise _mistake(key, text, HOW)
    start, stop, step = (_number(key, text, part) for part in (parts if len(parts) == 3 else [*parts, "1"]))
    if not (step > 0 and start < stop):
        raise _mistake(key, text, "holds no value: START lies below STOP, which is left out, and STEP is above 0")
    steps = math.ceil((stop - start) / step - 1e-9) - 1
    integer = start.is_integer() and step.is_integer()
    if steps == 0:
        return Dimension(key, text, values=(round(start) if integer else start,))
    return Dimension(key, text, start, start + steps * step, step, integer=integer)


def _choice(key: str, text: str, parts: list[str] | None) -> Dimension:
    return _list(key, text, tuple(_value(part) for part in parts or []))


def _list(key: str, text: str, values: tuple[Value, ...]) -> Dimension:
    if not values or values == ("",):
        raise _mistake(key, text, "has nothing to choose from")
    if len({repr(value) for value in values}) < len(values):
        raise _mistake(key, text, "names a value twice")
    return Dimension(key, text, values=values)


def _split(text: str) -> list[str] | None:
    """Split at commas outside quotes, or return None where quotes or brackets do not close."""
    parts, place = [], 0
    while True:
        match = _PART.match(text, place)
        if match is None:
            return None
        parts.append(match[1].strip())
        if not match[2]:
            return None if any(re.search(r"[(){}\[\]]", part) for part in parts if part[:1] not in "\"'") else parts
        place = match.end()


def _value(text: str) -> Value:
    if text[:1] in ("'", '"'):
        return text[1:-1]
    if text in _WORDS:
        return _WORDS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _number(key: str, text: str, part: str) -> float:
    try:
        value = float(part)
    except ValueError:
        raise _mistake(key, text, f"{part or 'nothing'} is no number; {HOW}") from None
    if not math.isfinite(value):
        raise _mistake(key, text, f"{part} is no finite number")
    return value


def _mistake(key: str, text: str, what: str) -> UserError:
    return UserError(f"{key}={shown(text)}: {what}")
