"""The past of a series, from which a forecast starts: values with their times, and the window that a model reads."""

# T time, S steps ahead, C targets, D = C + O: targets and observed columns, F features of the calendar

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast
from zoneinfo import ZoneInfo

import numpy as np

from rnntrain.data.forecast.calendar import Cycle, calendar_features
from rnntrain.data.forecast.series_codec import SeriesCodec
from rnntrain.data.forecast.time_index import Frequency, Times, infer_frequency, parse_times
from rnntrain.errors import UserError, closest
from rnntrain.predicting.encoding import as_numbers

ON_STEP = 1e-6  # how far from a whole number of steps a time may lie


@dataclass(frozen=True)
class History:
    """Regular rows of one series, the newest last.

    Attributes:
        name: of the series; empty where there is one alone.
        values_TD: as measured, the targets first.
        times: of the rows; None where they are only counted.
        before: rows that came before these, so that those to come can be counted where they have no times.
        zone: an IANA name, where times have an offset.
    """

    name: str
    values_TD: np.ndarray
    times: Times | None = None
    before: int = 0
    zone: str | None = None

    def __len__(self) -> int:
        return len(self.values_TD)

    def last(self, rows: int) -> History:
        """Return the newest rows alone."""
        cut = max(len(self) - rows, 0)
        times = None if self.times is None else Times(self.times.index_T[cut:], self.times.local_T[cut:])
        return replace(self, values_TD=self.values_TD[cut:], times=times, before=self.before + cut)

    def coming(self, steps: int, frequency: Frequency) -> Times | None:
        """Return the times of the rows after the last."""
        if self.times is None:
            return None
        index_S = frequency.at(self.times.index_T[-1], np.arange(1, steps + 1))
        return Times(index_S, _local(index_S, self.zone))

    def after(self, values_SC: np.ndarray, frequency: Frequency) -> History:
        """Return the history as it would be once the given values had been measured."""
        times = self.coming(len(values_SC), frequency)
        if times is not None and self.times is not None:
            pairs = ((self.times.index_T, times.index_T), (self.times.local_T, times.local_T))
            times = Times(*(np.concatenate(pair) for pair in pairs))
        return replace(self, values_TD=np.concatenate([self.values_TD, values_SC]), times=times)

    def labels(self, steps: int, frequency: Frequency) -> list[str]:
        """Return when the coming rows are: ISO times, days alone where all are at midnight, else numbers of rows."""
        times = self.coming(steps, frequency)
        if times is None:
            return [str(self.before + len(self) + step) for step in range(1, steps + 1)]
        return labels_of(times.local_T)


def labels_of(local_S: np.ndarray) -> list[str]:
    """Return times in ISO format, days alone where all are at midnight."""
    days = bool((local_S == local_S.astype("datetime64[D]")).all())
    return [str(time) for time in (local_S.astype("datetime64[D]") if days else local_S)]


def _local(index_S: np.ndarray, zone: str | None) -> np.ndarray:
    """Return what a clock on the wall shows at times in UTC; the times themselves where no zone is known."""
    if zone is None:
        return index_S
    from datetime import UTC

    moments = [moment.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)) for moment in index_S.tolist()]
    return np.array([moment.replace(tzinfo=None) for moment in moments], "datetime64[s]")


class Windows:
    """Turns histories into what a model reads, checking that they are such as it was trained on.

    Args:
        reading: how the run read its own file; `gaps` and `time_zone` are taken from it.
    """

    def __init__(self, codec: SeriesCodec, reading: Mapping[str, Any]) -> None:
        self.codec, self.layout = codec, codec.layout
        self.frequency = Frequency.parse(codec.layout.step)
        self.zone = reading.get("time_zone")
        self.time_format = reading.get("time_format")
        self.gaps = reading.get("gaps", "refuse")
        # A return is to the row before, which the first row of a window has outside it.
        self.rows = codec.layout.window + (codec.layout.transform == "returns")

    def history(self, raw: Any, where: str) -> History:
        """Return a raw input as a history: one, or a table `{"values": …, "times": …, "series": …}`.

        Raises:
            UserError: it is none, too short, of other columns, or of another step than the training data.
        """
        history = raw if isinstance(raw, History) else self._from_table(raw, where)
        self.number(history.name, where)
        width = self.layout.num_values
        if history.values_TD.ndim != 2 or history.values_TD.shape[1] != width:
            names = ", ".join([*self.layout.targets, *self.layout.observed])
            raise UserError(f"{where}: expected {width} values a row ({names}), not {list(history.values_TD.shape)}")
        if len(history) < self.rows:
            raise UserError(
                f"{where}: has {len(history)} rows, and the model reads {self.rows} to forecast the next; "
                "give a longer history"
            )
        recent = history.last(self.rows)
        if not np.isfinite(recent.values_TD).all():
            raise UserError(f"{where}: a value of the last {self.rows} rows is missing; fill it, or set data.missing")
        if self.layout.transform != "none" and (recent.values_TD[:, : self.layout.num_targets] <= 0).any():
            raise UserError(f"{where}: a value is not above 0, which data.transform={self.layout.transform} needs")
        self._check_times(recent, where)
        return recent

    def _from_table(self, raw: Any, where: str) -> History:
        if isinstance(raw, list | tuple | np.ndarray):
            raw = {"values": raw}
        if not isinstance(raw, Mapping) or "values" not in raw:
            raise UserError(f'{where}: expected {{"values": rows of numbers, "times": texts, "series": its name}}')
        strange = [name for name in raw if name not in ("values", "times", "series")]
        if strange:
            raise UserError(f"{where}: {strange[0]} is no part of a history; it has values, times and series")
        values_TD = as_numbers(raw["values"], where)
        values_TD = values_TD[:, None] if values_TD.ndim == 1 else values_TD
        times = None
        if raw.get("times") is not None:
            texts = raw["times"]
            if not isinstance(texts, list) or len(texts) != len(values_TD) or not texts:
                raise UserError(f"{where}: times must be a list of as many texts as there are rows of values")
            times = parse_times(
                [str(text) for text in texts], lambda row: f"{where}: row {row + 1}", self.time_format, self.zone
            )
        return History(str(raw.get("series") or ""), values_TD, times, zone=self.zone)

    def number(self, name: str, where: str) -> int:
        """Return the number of a series.

        Raises:
            UserError: the model was trained on several, and not on this one.
        """
        names = self.layout.series
        if len(names) == 1:
            return 0
        if name not in names:
            raise UserError(
                f"{where}: the model knows no series {name!r}{closest(name, names)}; it was trained on "
                f"{', '.join(names[:12])}"
            )
        return names.index(name)

    def _check_times(self, history: History, where: str) -> None:
        if history.times is None:
            if self.layout.cycles:
                raise UserError(
                    f"{where}: has no times, and the model reads the {', '.join(self.layout.cycles)}; add them"
                )
            return
        if self.gaps == "ignore" or self.frequency.unit == "row" or len(history) < 2:
            return
        index_T = history.times.index_T
        positions_T = self.frequency.positions(index_T)
        off_T = np.abs(np.diff(positions_T) - 1) > ON_STEP
        if off_T.any():
            row = int(off_T.argmax())
            step = infer_frequency([index_T])
            raise UserError(
                f"{where}: from {index_T[row]} to {index_T[row + 1]} is not one step of 1 {self.layout.step}, as in "
                f"training (here most are 1 {step}); give rows at that step"
            )

    def encode(self, history: History, horizon: int) -> tuple[np.ndarray, np.ndarray]:
        """Return ``inputs [T, D + F]`` of the last window, and ``context [S, 1 + C + F]`` of the steps to come."""
        layout, number = self.layout, self.number(history.name, "input")
        recent = history.last(self.rows)
        values_TD, _ = self.codec.encode(number, recent.values_TD, np.ones(len(recent), bool))
        window = layout.window
        past = None if recent.times is None else recent.times.local_T[-window:]
        coming = recent.coming(horizon, self.frequency)
        level_SC = np.broadcast_to(recent.values_TD[-1, : layout.num_targets], (horizon, layout.num_targets))
        number_S1 = np.full((horizon, 1), number)
        calendar_SF = self._calendar(None if coming is None else coming.local_T, horizon)
        inputs_TD = np.concatenate([values_TD[-window:].astype(np.float32), self._calendar(past, window)], 1)
        return inputs_TD, np.concatenate([number_S1, level_SC, calendar_SF], 1, dtype=np.float32)

    def _calendar(self, local_T: np.ndarray | None, rows: int) -> np.ndarray:
        if local_T is None or not self.layout.cycles:
            return np.zeros((rows, 0), np.float32)
        return calendar_features(local_T, cast(list[Cycle], self.layout.cycles)).astype(np.float32)
