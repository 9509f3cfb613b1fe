"""When the rows of a series are: times read from text, the step between them, and where steps are left out."""

# T time

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from rnntrain.errors import UserError

SECOND, MINUTE, HOUR, DAY, WEEK = 1, 60, 3600, 86400, 604800
NAMES = {SECOND: "second", MINUTE: "minute", HOUR: "hour", DAY: "day", WEEK: "week"}
MONTHS_FORMAT = re.compile(r"(\d{4})[-/](\d{1,2})")
YEAR_FORMAT = re.compile(r"[12]\d{3}")
SLASHES = re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})(.*)")
FEWEST_FOR_WEEKDAYS = 10  # rows from which a series without any Saturday and Sunday counts as one of weekdays

Unit = Literal["row", "second", "weekday", "month"]


@dataclass(frozen=True)
class Times:
    """The times of rows, in seconds.

    Attributes:
        index_T: those by which steps are counted: in UTC where a time zone is known, else as written.
        local_T: what a clock on the wall shows then; hours and weekdays are taken from it.
    """

    index_T: np.ndarray
    local_T: np.ndarray


def parse_times(
    texts: Sequence[str], place: Callable[[int], str], time_format: str | None = None, zone: str | None = None
) -> Times:
    """Read times: ISO 8601, also with slashes; a year and a month; a year; or what `time_format` says.

    Args:
        place: gives the place of a row, for messages.
        time_format: as for `datetime.strptime`.
        zone: an IANA name such as Europe/Berlin, in which times with an offset are read.

    Raises:
        UserError: names the place of a time that cannot be read, or that has another zone than the first.
    """
    where = _zone(zone)
    parsed = [_parse(text, row, place, time_format) for row, text in enumerate(texts)]
    offsets = [moment.utcoffset() for moment in parsed]
    for row, offset in enumerate(offsets):
        if (offset is None) != (offsets[0] is None):
            with_or_without = "without" if offset is None else "with"
            raise UserError(
                f"{place(row)}: {texts[row]} is {with_or_without} a time zone, unlike the first row; write all alike"
            )
        if where is None and offset != offsets[0]:
            raise UserError(
                f"{place(row)}: {texts[row]} has another time zone than the first row ({texts[0]}); write all in one, "
                "or name it: data.time_zone=Europe/Berlin, for instance"
            )
    if where is not None and offsets[0] is None:
        raise UserError(
            f"data.time_zone={zone}: the times have no zone themselves ({texts[0]}), so that hours which the clock "
            "shows twice cannot be told apart; leave it out, or write offsets"
        )
    if where is None:
        local = [moment.replace(tzinfo=None) for moment in parsed]
        index = local
    else:
        index = [moment.astimezone(UTC).replace(tzinfo=None) for moment in parsed]
        local = [moment.astimezone(where).replace(tzinfo=None) for moment in parsed]
    return Times(np.array(index, "datetime64[s]"), np.array(local, "datetime64[s]"))


def _zone(name: str | None) -> ZoneInfo | None:
    try:
        return None if name is None else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UserError(
            f"data.time_zone={name}: is no time zone known here; write one such as Europe/Berlin"
        ) from error


def is_time(text: str) -> bool:
    """Say whether a text reads as a time in one of the formats that need not be named."""
    return read_time(text) is not None


def read_time(text: str) -> datetime | None:
    """Return the time that a text says, or None."""
    if match := MONTHS_FORMAT.fullmatch(text):
        text = f"{match[1]}-{int(match[2]):02}-01"
    elif YEAR_FORMAT.fullmatch(text):
        text = f"{text}-01-01"
    elif match := SLASHES.fullmatch(text):
        text = f"{match[1]}-{int(match[2]):02}-{int(match[3]):02}{match[4]}"
    elif text.isdecimal() and len(text) != 8:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _parse(text: str, row: int, place: Callable[[int], str], time_format: str | None) -> datetime:
    if time_format is None:
        moment, fix = (
            read_time(text),
            "write it as 2024-12-31 23:59:00, or say how to read it: data.time_format='%d.%m.%Y'",
        )
    else:
        fix = f"correct it, or data.time_format={time_format}"
        try:
            moment = datetime.strptime(text, time_format)
        except ValueError:
            moment = None
    if moment is None:
        raise UserError(f"{place(row)}: {text[:40]!r} is no time that can be read; {fix}")
    return moment


@dataclass(frozen=True)
class Frequency:
    """The step from one row to the next: `step` units; "row" where nothing is known of times."""

    unit: Unit
    step: int = 1

    def positions(self, index_T: np.ndarray) -> np.ndarray:
        """Return the number of steps from the first row to each; a fraction where a row lies between two steps."""
        if self.unit == "row":
            return np.arange(len(index_T), dtype=np.float64)
        if self.unit == "month":
            months_T = index_T.astype("datetime64[M]").astype(np.int64)
            return (months_T - months_T[0]) / self.step
        if self.unit == "weekday":
            days_T = index_T.astype("datetime64[D]")
            return np.busday_count(days_T[0], days_T).astype(np.float64)
        return (index_T - index_T[0]).astype(np.int64) / self.step

    def at(self, first: np.datetime64, number_T: np.ndarray) -> np.ndarray:
        """Return the times so many steps after `first`."""
        if self.unit == "month":
            month = first.astype("datetime64[M]")
            return (month + number_T * self.step).astype("datetime64[s]") + (first - month.astype("datetime64[s]"))
        if self.unit == "weekday":
            day = first.astype("datetime64[D]")
            return np.busday_offset(day, number_T).astype("datetime64[s]") + (first - day.astype("datetime64[s]"))
        return first + (number_T * self.step).astype("timedelta64[s]")

    @property
    def season(self) -> int | None:
        """The number of steps after which things come again: of a year, a week or a day; None where none is known."""
        if self.unit == "month":
            return 12 // self.step if 12 % self.step == 0 and self.step < 12 else None
        if self.unit == "weekday":
            return 5
        if self.unit == "row" or self.step > WEEK:
            return None
        if self.step == WEEK:
            return 52
        period = WEEK if self.step >= DAY else DAY
        return period // self.step if period % self.step == 0 else None

    def __str__(self) -> str:
        if self.unit != "second":
            return self.unit if self.step == 1 else f"{self.step} {self.unit}s"
        size = max(size for size in NAMES if self.step % size == 0)
        number = self.step // size
        return NAMES[size] if number == 1 else f"{number} {NAMES[size]}s"

    @classmethod
    def parse(cls, text: str) -> Frequency:
        """Return the step that `str` gave as text.

        Raises:
            UserError: it is no such text.
        """
        number, _, name = text.rpartition(" ")
        singular = name.removesuffix("s") if number else name
        if number and not number.isdecimal():
            raise UserError(f"{text!r} is no step between rows; use another checkpoint")
        count = int(number or 1)
        sizes = {name: size for size, name in NAMES.items()}
        if singular in sizes and count:
            return cls("second", count * sizes[singular])
        units: dict[str, Unit] = {"row": "row", "weekday": "weekday", "month": "month"}
        if singular not in units or not count:
            raise UserError(f"{text!r} is no step between rows; use another checkpoint")
        return cls(units[singular], count)


def infer_frequency(series: Sequence[np.ndarray]) -> Frequency:
    """Return the step that most rows keep to; months where all rows fall on one day of the month, or on its last."""
    index_T = np.concatenate(series)
    steps = np.concatenate([np.diff(times_T).astype(np.int64) for times_T in series])
    if not len(steps):
        return Frequency("row")
    if steps.min() >= 28 * DAY and _same_day_of_month(index_T):
        months = np.concatenate([np.diff(times_T.astype("datetime64[M]").astype(np.int64)) for times_T in series])
        return Frequency("month", _most_common(months))
    step = _most_common(steps)
    is_weekend = not np.is_busday(index_T.astype("datetime64[D]")).all()
    if step == DAY and not is_weekend and len(index_T) >= FEWEST_FOR_WEEKDAYS:
        return Frequency("weekday")
    return Frequency("second", step)


def _same_day_of_month(index_T: np.ndarray) -> bool:
    days_T = index_T.astype("datetime64[D]")
    first_T = days_T.astype("datetime64[M]").astype("datetime64[D]")
    last_T = (days_T.astype("datetime64[M]") + 1).astype("datetime64[D]") - 1
    return len(np.unique(days_T - first_T)) == 1 or bool((days_T == last_T).all())


def _most_common(values: np.ndarray) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])
