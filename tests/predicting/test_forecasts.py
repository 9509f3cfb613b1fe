"""Forecasts from history: the window that a data set would read, dates that go on, horizons beyond the trained one."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commandline import Answer
from data.series_files import hourly, long_table, write
from tasks.forecasting_cases import make

from rnntrain import commands
from rnntrain.build import Experiment
from rnntrain.config import check
from rnntrain.data.forecast.time_index import Frequency
from rnntrain.errors import UserError
from rnntrain.predicting.forecasts import ForecastPredictor
from rnntrain.predicting.history import History
from rnntrain.predicting.readers.finding import items_of
from rnntrain.predicting.readers.items import Reading

Cli = Callable[..., Answer]
Refused = Callable[..., str]


def predictor_of(experiment: Experiment) -> ForecastPredictor:
    arguments = experiment.config.data.arguments
    found = experiment.task.predictor(experiment.data.codec, experiment.model, arguments)
    assert isinstance(found, ForecastPredictor)
    return found


def histories(experiment: Experiment, path: Path | None = None) -> list[History]:
    arguments = experiment.config.data.arguments
    found = items_of(predictor_of(experiment), [str(path or arguments["path"])], Reading(arguments))
    return [item.raw for item in found]


def monthly(rows: int) -> list[list[str]]:
    table = [["month", "sales"]]
    for row in range(rows):
        table.append([f"{2000 + row // 12}-{row % 12 + 1:02}", f"{100 + row + 10 * (row % 12)}"])
    return table


def weekdays(rows: int) -> list[list[str]]:
    day, table = datetime(2024, 1, 1), [["date", "price"]]
    while len(table) <= rows:
        if day.weekday() < 5:
            table.append([day.date().isoformat(), f"{50 + len(table) % 7}"])
        day += timedelta(days=1)
    return table


TABLES: dict[str, tuple[list[list[str]], dict[str, Any]]] = {
    "hourly": (hourly(120, ("a", "b")), {}),
    "independent": (hourly(120, ("a", "b")), {"channels": "independent"}),
    "observed": (hourly(120, ("a", "b")), {"target": "a", "observed": ["b"]}),
    "log": (hourly(120), {"transform": "log"}),
    "returns": (hourly(120), {"transform": "returns"}),
    "long": (long_table({"north": 80, "south": 90}), {}),
    "monthly": (monthly(120), {"window": 12, "horizon": 4}),
    "weekdays": (weekdays(120), {}),
    "counted": ([["y"], *([f"{row % 9 + 1}"] for row in range(120))], {}),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_history_becomes_the_window_of_the_data_set(tmp_path: Path, name: str) -> None:
    """Each window of val, told as values and times alone, gives the inputs and the context that the split has."""
    table, options = TABLES[name]
    experiment = make(tmp_path, data={"path": str(write(tmp_path, table)), "window": 10, "horizon": 3, **options})
    data, predictor = experiment.data, predictor_of(experiment)
    series = {history.name: history for history in histories(experiment)}
    for number in range(0, data.num_windows("val"), 3):
        batch, row = data.window_of("val", number)
        place = int(data.series_of(np.array(row)))
        whole = series[data.codec.layout.series[place]]
        before = whole.last(len(whole) - 0)
        stop = row - int(data.first_row_P[place])
        times = (
            None
            if before.times is None
            else type(before.times)(before.times.index_T[:stop], before.times.local_T[:stop])
        )
        example = predictor.example(History(whole.name, whole.values_TD[:stop], times))
        np.testing.assert_allclose(example.inputs, batch.inputs[0].numpy(), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(example.context, batch.context[0].numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TABLES)
def test_dates_go_on_from_the_last_row(tmp_path: Path, name: str) -> None:
    table, options = TABLES[name]
    experiment = make(tmp_path, data={"path": str(write(tmp_path, table)), "window": 10, "horizon": 3, **options})
    records = predictor_of(experiment)(histories(experiment))
    expected = {
        "hourly": ["2024-01-06T00:00:00", "2024-01-06T01:00:00", "2024-01-06T02:00:00"],
        "long": ["2024-03-21", "2024-03-22", "2024-03-23"],
        "monthly": ["2010-01-01", "2010-02-01", "2010-03-01", "2010-04-01"],
        "weekdays": ["2024-06-17", "2024-06-18", "2024-06-19"],  # 120 weekdays end on a Friday
        "counted": ["121", "122", "123"],
    }
    assert records[0]["dates"] == expected.get(name, expected["hourly"])


def test_clock_changes_are_told_by_the_zone(tmp_path: Path) -> None:
    table = [["date", "a"]]
    for hour in range(200):
        moment = datetime.fromisoformat("2024-10-20T00:00:00+00:00") + timedelta(hours=hour)
        table.append([moment.isoformat(), f"{hour % 24}"])
    data = {"path": str(write(tmp_path, table[:169])), "time_zone": "Europe/Berlin", "window": 10, "horizon": 3}
    experiment = make(tmp_path, data=data)
    [record] = predictor_of(experiment)(histories(experiment))
    # The clock shows 2 o'clock twice in that night: it is 23:00 UTC before the first row to come.
    assert record["dates"] == ["2024-10-27T02:00:00", "2024-10-27T02:00:00", "2024-10-27T03:00:00"]


@pytest.mark.parametrize(
    "task", [{}, {"output": "quantiles"}, {"head": "segments", "segment": 5}, {"head": "recursive"}]
)
def test_beyond_the_horizon_the_model_goes_on_from_its_own(tmp_path: Path, task: dict[str, Any]) -> None:
    experiment = make(tmp_path, task, {"window": 10, "horizon": 3})
    predictor, [history] = predictor_of(experiment), histories(experiment)
    [near], [far] = predictor([history]), predictor.ahead(8)([history])
    for target in ("a", "b"):
        told = far["targets"][target]["forecast"]
        assert len(told) == len(far["dates"]) == 8
        np.testing.assert_allclose(told[:3], near["targets"][target]["forecast"], rtol=1e-4)
    if task.get("head") != "recursive" and "output" not in task:  # see test_paths.py for those with bands
        told_SC = np.array([far["targets"][target]["forecast"] for target in ("a", "b")]).T
        went_on = history.after(told_SC[:3], Frequency.parse("hour"))
        [next_block] = predictor([went_on])
        np.testing.assert_allclose(next_block["targets"]["a"]["forecast"], told_SC[3:6, 0], rtol=1e-3)
        assert next_block["dates"] == far["dates"][3:6]


def test_a_shorter_horizon_is_the_first_steps(tmp_path: Path) -> None:
    experiment = make(tmp_path, data={"window": 10, "horizon": 5})
    predictor, raw = predictor_of(experiment), histories(experiment)
    [whole], [part] = predictor(raw), predictor.ahead(2)(raw)
    assert part["targets"]["a"]["forecast"] == whole["targets"]["a"]["forecast"][:2]


def test_bands_hold_the_forecast(tmp_path: Path) -> None:
    experiment = make(tmp_path, {"output": "student_t"}, {"window": 10, "horizon": 3})
    [record] = predictor_of(experiment)(histories(experiment))
    told = record["targets"]["a"]
    assert record["band"] == pytest.approx(0.8)
    assert list(told["quantiles"]) == ["0.1", "0.25", "0.5", "0.75", "0.9"]
    assert told["lower"] == told["quantiles"]["0.1"]
    for low, middle, high in zip(told["lower"], told["forecast"], told["upper"], strict=True):
        assert low < middle < high


def test_observed_columns_end_at_the_trained_horizon(tmp_path: Path) -> None:
    experiment = make(tmp_path, data={"target": "a", "observed": ["b"], "window": 10, "horizon": 3})
    with pytest.raises(UserError, match=r"--horizon 4: .* know b ahead"):
        predictor_of(experiment).ahead(4)


STEPS = ["row", "hour", "15 minutes", "90 seconds", "day", "2 days", "week", "weekday", "month", "3 months"]


@pytest.mark.parametrize("text", STEPS)
def test_a_step_is_read_from_its_own_words(text: str) -> None:
    assert str(Frequency.parse(text)) == text


@pytest.mark.parametrize("text", ["", "fortnight", "x days", "0 days", "-1 hours"])
def test_what_is_no_step_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is no step between rows"):
        Frequency.parse(text)


# -- bad history ---


def plain(rows: int = 12, step: timedelta = timedelta(hours=1), **changes: Any) -> dict[str, Any]:
    times = [(datetime(2024, 1, 1) + row * step).isoformat() for row in range(rows)]
    return {"values": [[1.0, 2.0]] * rows, "times": times} | changes


@pytest.mark.parametrize(
    ("raw", "part"),
    [
        (plain(5), "has 5 rows, and the model reads 10"),
        (plain(step=timedelta(days=1)), "is not one step of 1 hour"),
        (plain(times=None), "has no times"),
        (plain(times=["2024-01-01"]), "as many texts"),
        (plain(values=[[1.0]] * 12), "expected 2 values a row"),
        (plain(values=[[1.0, float("inf")]] * 12), "not finite"),
        (plain(values=[[1.0, "x"]] * 12), "expected numbers"),
        (plain(dates=[]), "dates is no part of a history"),
        ("12", "expected"),
        ({}, "expected"),
    ],
)
def test_bad_history_is_refused_with_the_reason(tmp_path: Path, raw: Any, part: str) -> None:
    predictor = predictor_of(make(tmp_path, data={"window": 10, "horizon": 3}))
    with pytest.raises(UserError, match="here: ") as refused:
        predictor.example(raw, "here")
    assert part in str(refused.value)


def test_a_series_that_the_model_lacks_is_refused(tmp_path: Path) -> None:
    table = long_table({"north": 80, "south": 90})
    experiment = make(tmp_path, data={"path": str(write(tmp_path, table)), "window": 10, "horizon": 3})
    new = write(tmp_path, long_table({"noth": 30}), "new.csv")
    with pytest.raises(UserError, match=r"knows no series 'noth' \(did you mean north\?\)"):
        predictor_of(experiment)(histories(experiment, new))


def test_the_column_that_names_known_series_is_found_among_several(tmp_path: Path) -> None:
    def table(sizes: dict[str, int]) -> list[list[str]]:
        names, *rows = long_table(sizes)
        return [[*names, "visits", "remark"], *([*row, str(number % 9), "none"] for number, row in enumerate(rows))]

    path = write(tmp_path, table({"north": 80, "south": 90}))
    experiment = make(tmp_path, data={"path": str(path), "window": 10, "horizon": 3})
    for sizes in ({"south": 30}, {"north": 30, "south": 40}):
        new = write(tmp_path, table(sizes), "new.csv")
        assert [history.name for history in histories(experiment, new)] == list(sizes)


# -- the verb ---


@pytest.fixture(scope="module")
def series_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    config = make(folder, {"output": "quantiles"}, {"window": 10, "horizon": 3}).config.plain
    limits = {"max_steps": 4, "eval_every_steps": 4, "log_every_steps": 2}
    run = {**config["run"], "dir": str(folder / "run")}
    return commands.train(check({**config, "trainer": limits, "run": run}), quiet=True).run.path


def test_forecast_tells_the_steps_to_come(run_cli: Cli, series_run: Path, workspace: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run_cli("forecast", series_run, "--horizon", "5", "--format", "csv").out)))
    assert [row["target"] for row in rows] == ["a"] * 5 + ["b"] * 5
    assert rows[0].keys() == {"series", "date", "target", "forecast", "lower", "upper"}
    new = write(workspace, hourly(50, ("b", "x", "a")), "new.csv")
    answer = run_cli("forecast", series_run, new, "--plot", "new.png", "--out", "new.jsonl")
    assert answer.code == 0, answer
    record = json.loads((workspace / "new.jsonl").read_text())
    assert record["dates"][0] == "2024-01-03T02:00:00"
    assert (workspace / "new.png").read_bytes().startswith(b"\x89PNG")
    far = [run_cli("forecast", series_run, "--horizon", "9", "--seed", seed) for seed in ("0", "0", "1")]
    assert "later ones go on along 200 paths drawn from its forecasts (--seed 0)" in far[0].err
    assert far[0].out == far[1].out != far[2].out


@pytest.mark.parametrize(
    ("table", "part"),
    [
        (hourly(50, ("a", "c")), "has no column b"),
        (hourly(50, ("a", "b"), skip=[40]), "data.gaps=forward"),
        (hourly(8, ("a", "b")), "has 8 rows, and the model reads 10"),
        ([["date", "a", "b"], *([f"2024-01-{day:02}", "1", "2"] for day in range(1, 29))], "is not one step of 1 hour"),
    ],
)
def test_forecast_refuses_other_tables_in_one_line(
    refused: Refused, series_run: Path, workspace: Path, table: list[list[str]], part: str
) -> None:
    assert part in refused("forecast", series_run, write(workspace, table, "new.csv"))


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--horizon", "0"], "--horizon 0: give 1 to"),
        (["--seed", "-1"], "--seed -1: give 0 or a larger"),
        (["--out", "tiny.txt"], "--out tiny.txt: exists"),
        (["--plot", "tiny.txt"], "--plot tiny.txt: exists"),
        (["--out", "no/where.csv"], "there is no folder no"),
        (["nowhere.csv"], "no such file"),
        (["data.window=3"], "data.window=3: cannot change here"),
    ],
)
def test_forecast_refuses_in_one_line(refused: Refused, series_run: Path, words: list[str], part: str) -> None:
    assert part in refused("forecast", series_run, *words)


def test_forecast_refuses_a_run_of_another_task(refused: Refused, trained_run: Path) -> None:
    assert "forecast takes task=forecasting" in refused("forecast", trained_run)


def test_gaps_can_be_filled_where_asked(run_cli: Cli, series_run: Path, workspace: Path) -> None:
    path = write(workspace, hourly(50, ("a", "b"), skip=[45]), "new.csv")
    assert run_cli("forecast", series_run, path, "data.gaps=forward").code == 0
    assert torch.is_grad_enabled()
