"""Errors of forecasts, on the scale of the model and in the units that were measured, for each step of the horizon."""

# B batch, S steps of the horizon, C targets, Q quantiles

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rnntrain.batch import Batch
from rnntrain.data.forecast.series_codec import SeriesCodec
from rnntrain.metrics import Metrics, Picture, Sum, Table
from rnntrain.tasks.forecast.outputs import Forecast, Output, forecast_loss, pinball
from rnntrain.tasks.forecast.units import Units

PERCENT = 100.0
# What is summed up for each step of the horizon, of point forecasts and of quantiles.
POINTS = (
    "count",
    "scaled_square",
    "scaled_error",
    "error",
    "square",
    "last_value_error",
    "shares",
    "positive",
    "symmetric",
    "relative",
    "relative_count",
)
QUANTILES = ("pinball", "scaled_pinball")


class ForecastMetrics(Metrics):
    """The metrics that `Forecasting` names; sums over all windows, steps and targets."""

    def __init__(self, codec: SeriesCodec, output: Output) -> None:
        self._codec, self._units, self._output = codec, Units(codec), output
        self._horizon = self.block = codec.layout.horizon
        self._loss, self._count = Sum(), Sum()
        quantiles = [_below(level) for level in output.levels] + [_band(share) for _, _, share in output.bands]
        names = (*POINTS, *(QUANTILES if output.levels else ()), *quantiles)
        self._sums = {name: Sum() for name in names}

    def update(self, output: Any, batch: Batch, loss_sum: Tensor, count: Tensor) -> None:
        assert isinstance(output, Forecast)
        self._loss.add(loss_sum)
        self._count.add(count)
        for name, part_BS in self._parts(output, batch).items():
            self._sums[name].add(part_BS.sum(0))

    def sums(self) -> list[Sum]:
        return [self._loss, self._count, *self._sums.values()]

    def _parts(self, output: Forecast, batch: Batch) -> dict[str, Tensor]:
        """Return what each window adds to each sum at each step of the horizon, ``[B, S]``."""
        # Of forecasts one step ahead over the window, only the last is one of the horizon.
        params_BSCP = (output.params_BSCP[:, -1:] if output.one_step else output.params_BSCP).detach()
        targets_BSC = batch.targets[:, : params_BSCP.shape[1]]
        parts = self._of_points(self._output.point(params_BSCP), targets_BSC, batch)
        if self._output.levels:
            parts |= self._of_quantiles(self._output.quantiles(params_BSCP), targets_BSC, batch)
        beyond = self._horizon - targets_BSC.shape[1]
        return {name: F.pad(part.to(torch.float64).sum(2), (0, beyond)) for name, part in parts.items()}

    def _of_points(self, point_BSC: Tensor, targets_BSC: Tensor, batch: Batch) -> dict[str, Tensor]:
        units = self._units
        truth_BSC, forecast_BSC = units.measured(targets_BSC, batch), units.measured(point_BSC, batch)
        scaled_BSC = (point_BSC - targets_BSC).to(torch.float64)
        error_BSC, size_BSC = (forecast_BSC - truth_BSC).abs(), truth_BSC.abs()
        both_BSC = size_BSC + forecast_BSC.abs()
        naive_BSC = units.naive_error(batch).expand_as(error_BSC)
        return {
            "count": torch.ones_like(error_BSC),
            "scaled_square": scaled_BSC.square(),
            "scaled_error": scaled_BSC.abs(),
            "error": error_BSC,
            "square": error_BSC.square(),
            "last_value_error": (units.level(batch) - truth_BSC).abs(),
            "shares": _ratio(error_BSC, size_BSC),
            "positive": truth_BSC > units.rounding(batch),
            "symmetric": _ratio(2 * error_BSC, both_BSC),
            "relative": _ratio(error_BSC, naive_BSC),
            "relative_count": naive_BSC > 0,
        }

    def _of_quantiles(self, values_BSCQ: Tensor, targets_BSC: Tensor, batch: Batch) -> dict[str, Tensor]:
        levels = self._output.levels
        truth_BSC = self._units.measured(targets_BSC, batch)
        measured_BSCQ = self._units.measured_quantiles(values_BSCQ, batch)
        parts = {
            "pinball": pinball(measured_BSCQ, truth_BSC, levels).mean(-1),
            "scaled_pinball": pinball(values_BSCQ, targets_BSC, levels).mean(-1),
        }
        # In units: the same as on the scale of the model, but for sums of returns.
        below_BSCQ = truth_BSC[..., None] <= measured_BSCQ
        parts |= {_below(level): below_BSCQ[..., q] for q, level in enumerate(levels)}
        for low, high, share in self._output.bands:
            parts[_band(share)] = (truth_BSC >= measured_BSCQ[..., low]) & (truth_BSC <= measured_BSCQ[..., high])
        return parts

    def compute(self) -> dict[str, float]:
        totals = {name: float(each.array().sum()) for name, each in self._sums.items()}
        count = totals["count"]
        values = {
            "loss": self._loss.value() / self._count.value(),
            "scaled_mse": totals["scaled_square"] / count,
            "scaled_mae": totals["scaled_error"] / count,
            "mae": totals["error"] / count,
            "rmse": (totals["square"] / count) ** 0.5,
            "smape": PERCENT * totals["symmetric"] / count,
        }
        if totals["positive"] == count:
            values["mape"] = PERCENT * totals["shares"] / count
        if totals["relative_count"]:
            values["mase"] = totals["relative"] / totals["relative_count"]
        if totals["last_value_error"]:
            # Rounded: the last value's own skill is 0, and not what float32 leaves of it.
            values["skill"] = round(1 - totals["error"] / totals["last_value_error"], 6) + 0.0
        for name in ("pinball", "scaled_pinball", *(_band(share) for _, _, share in self._output.bands)):
            if name in totals:
                values[name] = totals[name] / count
        errors_S = self.by_step("error")
        for step in sorted({1, (len(errors_S) + 1) // 2, len(errors_S)} if self._horizon > 1 else ()):
            values[f"mae_h{step}"] = errors_S[step - 1]
        return values

    def by_step(self, name: str) -> list[float]:
        """Return the mean of a sum at each step of the horizon that was forecast."""
        counts_S = self._sums["count"].array()
        known_S = counts_S > 0
        means: list[float] = (self._sums[name].array()[known_S] / counts_S[known_S]).tolist()
        return means

    def rows(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        assert isinstance(output, Forecast)
        losses = []
        for row in range(batch.batch_size):
            told = output._replace(params_BSCP=output.params_BSCP[row : row + 1])
            alone = batch.take(torch.tensor([row], device=batch.inputs.device))
            losses.append(torch.stack(forecast_loss(self._output, told, alone)))
        loss_B, count_B = torch.stack(losses).unbind(1)
        return {**self._parts(output, batch), "loss": loss_B, "loss_count": count_B}

    def scores(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        alone = ForecastMetrics(self._codec, self._output)
        alone._loss.add(torch.tensor(float(sums["loss"])))
        alone._count.add(torch.tensor(float(sums["loss_count"])))
        for name, total in alone._sums.items():
            total.add(torch.from_numpy(sums[name]))
        return alone.compute()

    def tables(self, sums: Mapping[str, np.ndarray]) -> dict[str, Table]:
        if self._horizon == 1:
            return {}
        steps = np.flatnonzero(sums["count"])
        means = {name: sums[name][steps] / sums["count"][steps] for name in ("error", "square", "last_value_error")}
        columns = {
            "mae": means["error"],
            "rmse": means["square"] ** 0.5,
            "mae of last value": means["last_value_error"],
        }
        return {
            "by horizon": {
                f"step {step + 1}": {name: float(values[place]) for name, values in columns.items()}
                for place, step in enumerate(steps)
            }
        }

    def pictures(self) -> dict[str, Picture]:
        from rnntrain.tasks.forecast import pictures as draw  # brings matplotlib

        shown: dict[str, Picture] = {}
        if self._horizon > 1:
            errors_S, naive_S = self.by_step("error"), self.by_step("last_value_error")
            shown["error by step"] = lambda: draw.error_by_step(errors_S, naive_S)
        if self._output.levels:
            count = float(self._sums["count"].array().sum())
            shares = [float(self._sums[_below(level)].array().sum()) / count for level in self._output.levels]
            shown["coverage"] = lambda: draw.coverage(self._output.levels, shares)
        return shown


def _below(level: float) -> str:
    return f"below {level:g}"


def _band(share: float) -> str:
    return f"coverage_{PERCENT * share:.3g}"


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """Return the ratio, and 0 where there is nothing to divide by."""
    return torch.where(below > 0, above / torch.where(below > 0, below, 1.0), 0.0)
