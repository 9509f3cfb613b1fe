"""Forecasts that need no model: the last value, the last season, the last season and growth."""

# N rows, B batch, S steps of the horizon, C targets

from __future__ import annotations

import numpy as np
import torch

from rnntrain.data.forecast.series import Series
from rnntrain.tasks.forecast.metrics import ForecastMetrics
from rnntrain.tasks.forecast.outputs import Forecast, PointOutput
from rnntrain.tasks.forecast.units import Units

LAST_VALUE, SEASONAL, GROWTH = "last value", "seasonal", "seasonal growth"


def baselines(data: Series, split: str) -> dict[str, dict[str, float]]:
    """Return the metrics of each simple method on all windows of a split.

    A method stands here only where every window has the history that it needs: one season, two for growth.
    """
    metrics, units = {}, Units(data.codec)
    output = PointOutput("mae")
    for method in methods(data, split):
        measured = metrics[method] = ForecastMetrics(data.codec, output)
        for batch, row_B in data.rolling_origins(split):
            forecast_BSC = torch.from_numpy(simple_forecast(method, data, row_B))
            scaled_BSC = units.scaled(forecast_BSC, batch).to(batch.targets.dtype)
            count = torch.tensor(float(scaled_BSC.numel()))
            measured.update(Forecast(scaled_BSC[..., None]), batch, torch.zeros(()), count)
    computed = {method: measured.compute() for method, measured in metrics.items()}
    for values in computed.values():
        del values["loss"]  # the model's own loss may be another
    return computed


def methods(data: Series, split: str) -> list[str]:
    """Return the methods for which all windows of a split have enough history."""
    season = data.codec.layout.season
    if season is None:
        return [LAST_VALUE]
    before = min(
        int((row_B - data.first_row_P[data.series_of(row_B)]).min()) for _, row_B in data.rolling_origins(split)
    )
    needed = {LAST_VALUE: 1, SEASONAL: season, GROWTH: 2 * season}
    return [method for method, rows in needed.items() if before >= rows]


def simple_forecast(method: str, data: Series, row_B: np.ndarray) -> np.ndarray:
    """Return the forecasts ``[B, S, C]`` of one method, in measured units, for horizons that begin at these rows.

    seasonal: ŷ(t + s) = y(t + s - m ⌈s / m⌉). With growth, times the ratio of the last season's mean to that of the
    season before, or plus their difference where some value of the data is not above 0; once for each season ahead.
    """
    measured_NC, horizon, season = data.measured_NC, data.codec.layout.horizon, data.codec.layout.season
    step_S = np.arange(1, horizon + 1)
    if method == LAST_VALUE or season is None:
        return np.repeat(measured_NC[row_B - 1][:, None], horizon, axis=1)
    seasons_S = -(-step_S // season)
    forecast_BSC = measured_NC[row_B[:, None] - 1 + step_S - season * seasons_S]
    if method == SEASONAL:
        return forecast_BSC
    past_BMC = measured_NC[row_B[:, None] - np.arange(2 * season, 0, -1)]
    before_B1C, last_B1C = past_BMC[:, :season].mean(1)[:, None], past_BMC[:, season:].mean(1)[:, None]
    power_S1 = seasons_S[:, None]
    if (data.measured_NC > 0).all():
        grown_BSC: np.ndarray = forecast_BSC * (last_B1C / before_B1C) ** power_S1
        return grown_BSC
    added_BSC: np.ndarray = forecast_BSC + (last_B1C - before_B1C) * power_S1
    return added_BSC
