"""What the calendar says of a time, known as far ahead as one likes: the hour, the weekday, the season as cycles."""

# T time, F features

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from rnntrain.data.forecast.time_index import DAY, HOUR, MINUTE, WEEK, Frequency

Cycle = Literal["minute", "hour", "weekday", "day", "month", "year"]


def _seconds_of_day(time_T: np.ndarray) -> np.ndarray:
    return (time_T - time_T.astype("datetime64[D]").astype("datetime64[s]")).astype(np.int64)


def _weekday(time_T: np.ndarray) -> np.ndarray:
    return (time_T.astype("datetime64[D]").astype(np.int64) + 3) % 7 / 7  # 1 January 1970 was a Thursday


def _day_of_month(time_T: np.ndarray) -> np.ndarray:
    days_T = time_T.astype("datetime64[D]")
    return (days_T - days_T.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) / 31


def _day_of_year(time_T: np.ndarray) -> np.ndarray:
    days_T = time_T.astype("datetime64[D]")
    return (days_T - days_T.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64) / 365.25


# Each gives the share of its cycle that has passed.
CYCLES: dict[Cycle, Callable[[np.ndarray], np.ndarray]] = {
    "minute": lambda time_T: _seconds_of_day(time_T) % HOUR / HOUR,
    "hour": lambda time_T: _seconds_of_day(time_T) / DAY,
    "weekday": _weekday,
    "day": _day_of_month,
    "month": lambda time_T: time_T.astype("datetime64[M]").astype(np.int64) % 12 / 12,
    "year": _day_of_year,
}


def cycles_of(frequency: Frequency) -> list[Cycle]:
    """Return the cycles that a series of this step can follow; none where times are not known."""
    if frequency.unit == "row":
        return []
    if frequency.unit == "month":
        return ["month"] if frequency.step < 12 else []
    step = DAY if frequency.unit == "weekday" else frequency.step
    cycles: list[Cycle] = ["year"]
    if step < WEEK:
        cycles.insert(0, "weekday")
    if step < DAY:
        cycles.insert(0, "hour")
    if step < 30 * MINUTE:
        cycles.insert(0, "minute")
    return cycles


def calendar_features(local_T: np.ndarray, cycles: Sequence[Cycle]) -> np.ndarray:
    """Return ``[T, F]``: sine and cosine of each cycle, so that its end lies beside its beginning."""
    parts = [2 * np.pi * CYCLES[cycle](local_T) for cycle in cycles]
    waves = [wave(part) for part in parts for wave in (np.sin, np.cos)]
    return np.stack(waves, 1) if waves else np.zeros((len(local_T), 0))
