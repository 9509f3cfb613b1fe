"""Forecasting: what is said is in the units that were measured, baselines are what they are called, bands cover."""

# B batch, S steps of the horizon, C targets

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data.series_files import hourly, load, long_table, write

from rnntrain.batch import Batch
from rnntrain.build import Experiment, build
from rnntrain.config import check, compose
from rnntrain.data.forecast.series import Series
from rnntrain.errors import UserError
from rnntrain.tasks.base import carry_nothing
from rnntrain.tasks.forecast.baselines import GROWTH, LAST_VALUE, SEASONAL, methods, simple_forecast
from rnntrain.tasks.forecast.heads import window_scale
from rnntrain.tasks.forecast.outputs import (
    Forecast,
    PointOutput,
    QuantileOutput,
    StudentTOutput,
)
from rnntrain.tasks.forecast.units import Units
from rnntrain.tasks.forecasting import Forecasting
from tasks.forecasting_cases import make, shops

NORMS = ("none", "mean", "last", "season", "deviation", "standard")
HEADS: dict[str, dict[str, Any]] = {
    "direct": {},
    "segments": {"head": "segments", "segment": 4},
    "segments_mlp": {"head": "segments", "segment": 4, "decoder": "mlp"},
    "recursive": {"head": "recursive"},
}
OUTPUTS: dict[str, dict[str, Any]] = {
    "point": {},
    "huber": {"loss": "huber"},
    "quantiles": {"output": "quantiles"},
    "student_t": {"output": "student_t"},
}


def told(experiment: Experiment, batch: Batch) -> torch.Tensor:
    experiment.model.eval()
    with torch.no_grad():
        output, _ = experiment.task.infer(experiment.model, batch, None)
    return experiment.task.output.point(output.params_BSCP)


def val_batch(experiment: Experiment) -> Batch:
    return next(iter(experiment.data.eval_batches("val")))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("channels", ["joint", "independent"])
def test_every_head_tells_every_step_of_every_target(tmp_path: Path, head: str, channels: str) -> None:
    experiment = make(tmp_path, HEADS[head], {"channels": channels})
    batch = val_batch(experiment)
    assert told(experiment, batch).shape == batch.targets.shape
    assert math.isfinite(experiment.trainer.evaluate("val", carry_nothing)["mae"])


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("norm", NORMS)
def test_outputs_learn_under_every_norm(tmp_path: Path, output: str, norm: str) -> None:
    experiment = make(tmp_path, {**OUTPUTS[output], "window_norm": norm})
    before = experiment.trainer.evaluate("val", carry_nothing)["loss"]
    experiment.trainer.fit()
    assert experiment.trainer.evaluate("val", carry_nothing)["loss"] < before


@pytest.mark.parametrize("norm", ["mean", "last", "season", "standard"])
def test_a_norm_lets_forecasts_move_with_their_window(tmp_path: Path, norm: str) -> None:
    """A window that lies higher by a constant has a forecast that lies higher by it."""
    experiment = make(tmp_path, {"window_norm": norm}, {"target": "a"})
    batch = val_batch(experiment)
    moved = batch.inputs.clone()
    moved[..., 0] += 2.5
    shifted = Batch(moved, batch.targets, context=batch.context)
    torch.testing.assert_close(told(experiment, shifted), told(experiment, batch) + 2.5, rtol=1e-4, atol=1e-4)


def test_a_norm_by_deviation_widens_bands_with_their_window(tmp_path: Path) -> None:
    """A window twice as wild has a band twice as wide."""
    task = {"window_norm": "deviation", "output": "student_t"}
    experiment = make(tmp_path, task, {"target": "a", "calendar": "none"})
    batch = val_batch(experiment)
    experiment.model.eval()
    with torch.no_grad():
        calm, _ = experiment.model(batch)
        wild, _ = experiment.model(Batch(2 * batch.inputs, batch.targets, context=batch.context))
    torch.testing.assert_close(wild.params_BSCP[..., 1], 2 * calm.params_BSCP[..., 1])


def test_seasonal_norm_starts_from_the_value_one_season_before(tmp_path: Path) -> None:
    data = load(write(tmp_path, long_table({"a": 90})), window=14, horizon=10, val_size=20, test_size=20)
    batch, row = data.window_of("val", 0)
    centre_BSC = window_scale(batch.inputs[..., :1], "season", data.codec.layout).forecast_centre_BSC
    measured_BSC = Units(data.codec).measured(centre_BSC, batch).numpy()
    np.testing.assert_allclose(measured_BSC, simple_forecast(SEASONAL, data, np.array([row])), rtol=1e-5)


def test_recursive_forecast_is_the_model_run_on_over_its_own_words(tmp_path: Path) -> None:
    """Appending what was said to the window, and asking again for one step, gives the next step."""
    experiment = make(tmp_path, {"head": "recursive"}, {"target": "a"})
    batch = val_batch(experiment)
    assert batch.context is not None
    forecast_BSC = told(experiment, batch)
    inputs = batch.inputs
    for step in range(batch.targets.shape[1]):
        with torch.no_grad():
            output, _ = experiment.model(Batch(inputs, batch.targets))
        said_BC = output.params_BSCP[:, -1, :, 0]
        torch.testing.assert_close(said_BC, forecast_BSC[:, step], rtol=1e-4, atol=1e-5)
        inputs = torch.cat([inputs, torch.cat([said_BC, batch.context[:, step, 2:]], -1)[:, None]], 1)


def test_recursive_training_counts_one_step_ahead_over_the_window(tmp_path: Path) -> None:
    experiment = make(tmp_path, {"head": "recursive"})
    batch = val_batch(experiment)
    output, _ = experiment.model(batch)
    loss_sum, count = experiment.task.loss(output, batch)
    error = output.params_BSCP[:, :-1, :, 0] - batch.inputs[:, 1:, :2]
    first = output.params_BSCP[:, -1, :, 0] - batch.targets[:, 0]
    assert float(count) == batch.batch_size * 24 * 2
    torch.testing.assert_close(loss_sum, error.square().sum() + first.square().sum())


def test_segments_need_a_window_that_they_divide(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"task.segment=7: data.window=24"):
        make(tmp_path, {"head": "segments", "segment": 7})


@pytest.mark.parametrize(
    "options",
    [
        {"head": "recursive", "output": "quantiles"},
        {"head": "recursive", "window_norm": "last"},
        {"quantiles": [0.1, 0.5, 0.8]},
        {"quantiles": [0.9, 0.5, 0.1]},
        {"quantiles": [0.1, 0.9]},
        {"quantiles": [0.0, 0.5, 1.0]},
        {"quantiles": []},
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="task"):
        Forecasting(**options)


def test_recursion_over_what_is_only_observed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.observed"):
        make(tmp_path, {"head": "recursive"}, {"target": "a", "observed": ["b"]})


def test_a_season_that_the_window_does_not_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"task\.window_norm=season"):
        make(tmp_path, {"window_norm": "season"}, {"window": 23})


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust", "none"])
@pytest.mark.parametrize("transform", ["none", "log", "returns"])
def test_units_undo_what_the_codec_does(tmp_path: Path, scaling: str, transform: str) -> None:
    data = load(
        write(tmp_path, long_table({"north": 90, "south": 90})), scaling=scaling, transform=transform, horizon=5
    )
    units = Units(data.codec)
    for batch, row_B in data.rolling_origins("test"):
        measured_BSC = units.measured(batch.targets, batch)
        np.testing.assert_allclose(measured_BSC, data.measured_NC[row_B[:, None] + np.arange(5)], rtol=1e-5)
        torch.testing.assert_close(units.scaled(measured_BSC, batch).float(), batch.targets, rtol=1e-3, atol=1e-3)


def test_metrics_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    experiment = make(tmp_path, {}, {**shops(tmp_path), "window": 14, "horizon": 3, "test_fraction": 0.3})
    data = experiment.data
    assert isinstance(data, Series)
    measured = experiment.trainer.evaluate("test", carry_nothing)
    truth, said, last, naive = [], [], [], []
    for batch, row_B in data.rolling_origins("test"):
        truth.append(data.measured_NC[row_B[:, None] + np.arange(3)])
        said.append(Units(data.codec).measured(told(experiment, batch), batch).numpy())
        last.append(np.repeat(data.measured_NC[row_B - 1][:, None], 3, 1))
        naive.append(np.repeat(data.codec.naive_error_PC[data.series_of(row_B)][:, None], 3, 1))
    y, f, n, q = (np.concatenate(parts) for parts in (truth, said, last, naive))
    error = np.abs(y - f)
    expected = {
        "mae": error.mean(),
        "rmse": math.sqrt((error**2).mean()),
        "mape": 100 * (error / y).mean(),
        "smape": 100 * (2 * error / (np.abs(y) + np.abs(f))).mean(),
        "mase": (error / q).mean(),
        "skill": 1 - error.mean() / np.abs(y - n).mean(),
        "mae_h1": error[:, 0].mean(),
        "mae_h3": error[:, 2].mean(),
    }
    assert {name: measured[name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_shares_of_a_value_of_zero_are_not_told(tmp_path: Path) -> None:
    """Zeros come back from the scale of the model as 1e-9 and the like, of which an error is a share of billions."""
    names, *rows = hourly(120)
    table = [[*names, "promo"], *([*row, str(int(number % 11 == 0))] for number, row in enumerate(rows))]
    experiment = make(tmp_path, {}, {"path": str(write(tmp_path, table)), "window": 14, "horizon": 3})
    measured = experiment.trainer.evaluate("test", carry_nothing)
    assert "mape" not in measured
    assert 0 < measured["smape"] <= 200


def test_mase_is_relative_to_the_season_before_in_train(tmp_path: Path) -> None:
    data = load(write(tmp_path, long_table({"a": 90})), val_size=20, test_size=20)
    train_T = data.measured_NC[:50, 0]
    assert data.codec.naive_error_PC[0, 0] == pytest.approx(np.abs(train_T[7:] - train_T[:-7]).mean())


def test_simple_methods_are_what_they_are_called(tmp_path: Path) -> None:
    data = load(write(tmp_path, long_table({"a": 90})), window=14, horizon=9, val_size=20, test_size=20)
    y = data.measured_NC[:, 0]
    row = 60
    assert methods(data, "val") == [LAST_VALUE, SEASONAL, GROWTH]
    last, seasonal, growth = (simple_forecast(m, data, np.array([row]))[0, :, 0] for m in methods(data, "val"))
    np.testing.assert_allclose(last, [y[row - 1]] * 9)
    np.testing.assert_allclose(seasonal, [*y[row - 7 : row], *y[row - 7 : row - 5]])
    ratio = y[row - 7 : row].mean() / y[row - 14 : row - 7].mean()
    np.testing.assert_allclose(growth, seasonal * ratio ** np.array([1] * 7 + [2] * 2))


def test_growth_of_values_that_may_be_negative_is_added(tmp_path: Path) -> None:
    table = [
        [name, day, value if n == 0 else str(float(value) - 102)]
        for n, (name, day, value) in enumerate(long_table({"a": 90}))
    ]
    data = load(write(tmp_path, table), window=14, horizon=7, val_size=20, test_size=20)
    seasonal, growth = (simple_forecast(m, data, np.array([60]))[0, :, 0] for m in (SEASONAL, GROWTH))
    np.testing.assert_allclose(growth - seasonal, 0.7)


def test_skill_of_the_last_value_is_none(tmp_path: Path) -> None:
    experiment = make(tmp_path)
    values = experiment.task.baselines(experiment.data, "test")
    assert set(values) == {LAST_VALUE, SEASONAL, GROWTH}
    assert values[LAST_VALUE]["skill"] == pytest.approx(0, abs=1e-6)
    assert values[SEASONAL]["mae"] < values[LAST_VALUE]["mae"]
    assert set(values[SEASONAL]) < set(experiment.trainer.evaluate("test", carry_nothing))


def test_methods_without_enough_history_are_left_out(tmp_path: Path) -> None:
    data = load(write(tmp_path, long_table({"a": 90})), season=30, val_size=20, test_size=20)
    assert methods(data, "val") == [LAST_VALUE, SEASONAL]


def test_quantiles_never_cross() -> None:
    output = QuantileOutput([0.1, 0.5, 0.9])
    raw = torch.randn(4, 3, 2, 3, generator=torch.Generator().manual_seed(0))
    values = output.params(raw, torch.zeros(4, 1, 2), torch.full((4, 1, 2), 2.0))
    assert (values.diff(dim=-1) > 0).all()


def test_pinball_loss_is_least_at_the_quantile() -> None:
    output = QuantileOutput([0.2, 0.5, 0.8])
    y = torch.linspace(0, 1, 101)[:, None, None]
    losses = [float(output.loss(torch.full((101, 1, 1, 3), level), y)) for level in np.linspace(0, 1, 11)]
    assert int(np.argmin(losses)) == 5
    assert float(PointOutput("mae").loss(torch.zeros(101, 1, 1, 1), y)) == pytest.approx(50.5)


@pytest.mark.parametrize("transform", ["none", "returns"])
def test_true_distributions_cover_what_they_should(tmp_path: Path, transform: str) -> None:
    """Values drawn from a Student's t that is told as it is lie within its bands as often as the bands say."""
    rng = np.random.default_rng(0)
    noise = rng.standard_t(5, 4000)
    values = 100 * np.exp(np.cumsum(0.01 * noise)) if transform == "returns" else noise
    path = write(tmp_path, [["y"], *([f"{value:.8f}"] for value in values)])
    data = load(path, transform=transform, scaling="none", horizon=1, test_fraction=0.5)
    task = Forecasting(output="student_t", quantiles=[0.1, 0.25, 0.5, 0.75, 0.9])
    metrics = task.metrics(data.codec)
    scale = 0.01 if transform == "returns" else 1.0
    for batch in data.eval_batches("test"):
        params = torch.tensor([0.0, scale, 5.0]).expand(*batch.targets.shape, 3)
        metrics.update(Forecast(params), batch, *task.loss(Forecast(params), batch))
    values_of = metrics.compute()
    assert values_of["coverage_80"] == pytest.approx(0.8, abs=0.03)
    assert values_of["coverage_50"] == pytest.approx(0.5, abs=0.03)
    assert values_of["loss"] == pytest.approx(1.6275 + math.log(scale), abs=0.05)  # entropy of t with 5 degrees


def test_texts_and_pictures_show_forecasts_in_units(tmp_path: Path) -> None:
    experiment = make(tmp_path, {"output": "student_t"}, shops(tmp_path))
    shown = experiment.task.illustrate(experiment.model, experiment.data, 0)
    table = shown["last forecast of val"]
    assert isinstance(table, str)
    assert table.startswith("south sales")
    assert "80 % band" in table
    assert len(table.splitlines()) == 1 + 6
    pictures = experiment.trainer.measure("val", carry_nothing).pictures() | {"f": shown["forecasts of val"]}
    assert set(pictures) == {"error by step", "coverage", "f"}
    for draw in pictures.values():
        assert not isinstance(draw, str)
        assert draw().axes


def test_decoded_rows_are_in_units(tmp_path: Path) -> None:
    experiment = make(tmp_path, {}, {**shops(tmp_path), "scaling": "none"})
    batch = val_batch(experiment)
    perfect = Forecast(batch.targets[..., None])
    text = experiment.task.decode(perfect, batch, experiment.data.codec)[0]
    np.testing.assert_allclose([float(part) for part in text.split(", ")], batch.targets[0, :, 0], rtol=1e-4)


def test_student_t_tells_its_location(tmp_path: Path) -> None:
    output = StudentTOutput([0.1, 0.5, 0.9])
    params = output.params(torch.randn(2, 3, 1, 3), torch.ones(2, 1, 1), torch.ones(2, 1, 1))
    torch.testing.assert_close(output.quantiles(params)[..., 1], output.point(params))


@pytest.mark.parametrize("name", ["airpassengers", "weather", "stocks"])
def test_recipes_over_what_ships_are_built(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RNNTRAIN_DATA", raising=False)
    experiment = build(check(compose([f"experiment={name}", "threads=1"])))
    assert experiment.data.splits == ("train", "val", "test")
    batch = next(iter(experiment.data.train_batches(0, 0)))
    output, _ = experiment.model(batch)
    assert torch.isfinite(experiment.task.loss(output, batch)[0])
