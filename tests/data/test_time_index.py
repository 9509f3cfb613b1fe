"""Times are read as they are written, and the step between them is the one that most rows keep to."""

from __future__ import annotations

import numpy as np
import pytest

from rnntrain.data.forecast.calendar import calendar_features, cycles_of
from rnntrain.data.forecast.time_index import Frequency, infer_frequency, parse_times, read_time


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2024-03-01", "2024-03-01T00:00:00"),
        ("2024/3/1", "2024-03-01T00:00:00"),
        ("2024/03/01 14:30", "2024-03-01T14:30:00"),
        ("2024-03-01T14:30:05", "2024-03-01T14:30:05"),
        ("2024-03", "2024-03-01T00:00:00"),
        ("1949", "1949-01-01T00:00:00"),
        ("20240301", "2024-03-01T00:00:00"),
        ("3", None),
        ("01.03.2024", None),
        ("x", None),
    ],
)
def test_times_are_read(text: str, iso: str | None) -> None:
    moment = read_time(text)
    assert (moment.isoformat() if moment else None) == iso


def times(*texts: str, **options: str) -> np.ndarray:
    return parse_times(texts, lambda row: f"row {row}", **options).index_T


def test_a_format_of_ones_own_is_read() -> None:
    assert str(times("01.03.2024", time_format="%d.%m.%Y")[0]) == "2024-03-01T00:00:00"


def test_hours_go_on_where_the_clock_is_changed() -> None:
    texts = ("2024-03-31T01:00+01:00", "2024-03-31T03:00+02:00", "2024-03-31T04:00+02:00")
    read = parse_times(texts, str, zone="Europe/Berlin")
    assert np.diff(read.index_T).astype(int).tolist() == [3600, 3600]
    assert [str(moment)[11:13] for moment in read.local_T] == ["01", "03", "04"]


def series(start: str, step: str, number: int) -> np.ndarray:
    return (np.datetime64(start) + np.arange(number) * np.timedelta64(1, step)).astype("datetime64[s]")


@pytest.mark.parametrize(
    ("index_T", "text", "season"),
    [
        (series("2024-01-01", "h", 50), "hour", 24),
        (series("2024-01-01", "h", 50)[::6], "6 hours", 4),
        (series("2024-01-01T00:00", "m", 60)[::15], "15 minutes", 96),
        (series("2024-01-01", "D", 50), "day", 7),
        (series("2024-01-01", "D", 50)[::7], "week", 52),
        (series("2024-01", "M", 30), "month", 12),
        (series("2024-01", "M", 30)[::3], "3 months", 4),
        (series("1990", "Y", 30), "12 months", None),
        (series("2024-02", "M", 30) - np.timedelta64(1, "D"), "month", 12),
        (
            series("2024-01-01", "D", 70)[np.is_busday(series("2024-01-01", "D", 70).astype("datetime64[D]"))],
            "weekday",
            5,
        ),
    ],
)
def test_the_step_and_its_season_are_found(index_T: np.ndarray, text: str, season: int | None) -> None:
    frequency = infer_frequency([index_T])
    assert (str(frequency), frequency.season) == (text, season)
    positions_T = frequency.positions(index_T)
    np.testing.assert_array_equal(positions_T, np.arange(len(index_T)))
    assert str(frequency.at(index_T[0], np.arange(3))[2])[:7] == str(index_T[2])[:7]


def test_the_calendar_says_where_in_its_cycles_a_time_lies() -> None:
    local_T = np.array(["2024-01-01T06:00", "2024-07-04T18:00"], "datetime64[s]")  # a Monday and a Thursday
    hour_T2, weekday_T2 = np.split(calendar_features(local_T, ["hour", "weekday"]), 2, axis=1)
    np.testing.assert_allclose(hour_T2, [[1, 0], [-1, 0]], atol=1e-12)
    np.testing.assert_allclose(weekday_T2[0], [0, 1], atol=1e-12)
    np.testing.assert_allclose(weekday_T2[1], [np.sin(6 * np.pi / 7), np.cos(6 * np.pi / 7)])
    assert calendar_features(local_T, []).shape == (2, 0)


def test_cycles_longer_than_the_step_are_chosen() -> None:
    assert cycles_of(Frequency("month")) == ["month"]
    assert cycles_of(Frequency("row")) == []
    assert cycles_of(Frequency("weekday")) == ["weekday", "year"]
    assert cycles_of(Frequency("second", 60)) == ["minute", "hour", "weekday", "year"]
