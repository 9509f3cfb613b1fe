"""Signals to predict: mixed sines, and a series that is chaotic."""

# B batch, T time, N trajectories, S their steps

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, ClassVar

import numpy as np

from rnntrain.data.base import Codec
from rnntrain.data.labelled.classes import FeatureInputs
from rnntrain.data.memory.base import TEST, TRAIN, VAL, Drawn, MemoryProblem, at_each_length
from rnntrain.data.numbers.sequences import Baselines, NumbersCodec
from rnntrain.errors import UserError
from rnntrain.ranges import PositiveInt, Range


class MixedSines(MemoryProblem):
    """Predict the next value of a sum of sines whose frequencies and phases are new in every sequence.

    x_t = √(2/k) · Σ_j sin(2π f_j t + φ_j), j = 1 … k, with f_j uniform between two bounds (in cycles a step) and φ_j
    uniform: a signal of mean 0 and variance 1. The input of a step is x_t, its target x_{t+1}; all steps count. Such a
    sum obeys a linear recurrence of order 2k, whose coefficients must be found from what has been seen.

    A length is the number of steps.

    Trivial baselines: 0 has the mean squared error 1, the variance. The last value has
    E[(x_{t+1} - x_t)²] = 2 · (1 - E[cos 2πf]), E[cos 2πf] = (sin b - sin a) / (b - a) with a and b the bounds of 2πf.

    Args:
        num_sines: k.
        length: steps of a training sequence.
        lowest: least frequency in cycles a step.
        highest: greatest frequency; ½ is the most that steps can tell apart.
    """

    def __init__(
        self,
        num_sines: PositiveInt = 2,
        length: PositiveInt = 100,
        lowest: Annotated[float, Range(0, 0.5)] = 0.01,
        highest: Annotated[float, Range(0, 0.5)] = 0.1,
        batch_size: PositiveInt = 64,
        epoch_batches: PositiveInt = 100,
        eval_rows: PositiveInt = 1000,
        test_lengths: list[PositiveInt] | None = None,
    ) -> None:
        if lowest >= highest:
            raise UserError(f"data.lowest={lowest}: must be below data.highest={highest}; lower it")
        self.num_sines, self.length = num_sines, length
        self.lowest, self.highest = lowest, highest
        super().__init__(batch_size, epoch_batches, eval_rows, test_lengths)

    def make_codec(self) -> NumbersCodec:
        return NumbersCodec(FeatureInputs([0.0], [1.0]), FeatureInputs([0.0], [1.0]), per_step=True)

    def draw(self, rng: np.random.Generator, rows: int, length: int | None) -> Drawn:
        time_T = np.arange((self.length if length is None else length) + 1)
        signal_BT = np.zeros((rows, len(time_T)))
        for _ in range(self.num_sines):
            frequency_B1 = 2 * np.pi * rng.uniform(self.lowest, self.highest, (rows, 1))
            signal_BT += np.sin(frequency_B1 * time_T + rng.uniform(0, 2 * np.pi, (rows, 1)))
        signal_BT1 = (signal_BT * math.sqrt(2 / self.num_sines)).astype(np.float32)[..., None]
        return Drawn(signal_BT1[:, :-1], signal_BT1[:, 1:])

    def steps(self, length: int) -> int:
        return length

    def title(self) -> str:
        return f"{self.num_sines} mixed sines of {self.lowest:g} to {self.highest:g} cycles a step"

    def trivial(self, split: str) -> Baselines:
        low, high = 2 * math.pi * self.lowest, 2 * math.pi * self.highest
        moved = 2 * (1 - (math.sin(high) - math.sin(low)) / (high - low))
        methods = {"always 0": {"loss": 1.0, "mse": 1.0, "r2": 0.0}, "last value": {"loss": moved, "mse": moved}}
        return {name: at_each_length(self, split, values) for name, values in methods.items()}


class MackeyGlass(MemoryProblem):
    """Predict a chaotic series some steps ahead.

    Mackey and Glass 1977, "Oscillation and chaos in physiological control systems":
    dx/dt = β · x(t-τ) / (1 + x(t-τ)^n) - γ · x(t), with β = 0.2, γ = 0.1, n = 10; chaotic for τ > 16.8. Solved by
    Heun's method in steps of 0.1 from random histories around 1.2, the first 500 units left out, and read once a unit
    of time. The input of a step is x_t, its target x_{t+horizon}; all steps count.

    Training windows are drawn from 96 trajectories of 2,000 units, those of validation and test from 16 others each.
    Values are standardised by mean and deviation of the training trajectories; `mse` is on the original scale. A
    length is the number of steps of a window.

    Trivial baselines, measured on the sets themselves: the mean of the training trajectories, whose error is the
    variance, and the last value.

    Args:
        tau: τ.
        horizon: steps ahead.
        length: steps of a training window.
    """

    most_units: ClassVar[int] = 2000
    trajectories: ClassVar[dict[str, int]] = {"train": 96, "val": 16, "test": 16}

    def __init__(
        self,
        tau: Annotated[int, Range(1, 100)] = 17,
        horizon: Annotated[int, Range(1, 500)] = 10,
        length: Annotated[int, Range(1, 1000)] = 100,
        batch_size: PositiveInt = 64,
        epoch_batches: PositiveInt = 100,
        eval_rows: PositiveInt = 1000,
        test_lengths: list[PositiveInt] | None = None,
    ) -> None:
        self.tau, self.horizon, self.length = tau, horizon, length
        super().__init__(batch_size, epoch_batches, eval_rows, test_lengths)
        longest = self.most_units - horizon
        if max(self.test_lengths, default=0) > longest:
            raise UserError(f"data.test_lengths={self.test_lengths}: windows have at most {longest} steps")

    def load(self, codec: Codec | None = None) -> None:
        kinds = {"train": TRAIN, "val": VAL, "test": TEST}
        self._series = {
            split: mackey_glass(np.random.default_rng((kinds[split], self.tau)), number, self.most_units, self.tau)
            for split, number in self.trajectories.items()
        }
        super().load(codec)

    def make_codec(self) -> NumbersCodec:
        scale = FeatureInputs.fit([self._series["train"].reshape(-1, 1)])
        return NumbersCodec(scale, scale, per_step=True)

    def draw(self, rng: np.random.Generator, rows: int, length: int | None) -> Drawn:
        return self._windows("train", rng, rows, length)

    def eval_sets(self, split: str) -> Iterator[Drawn]:
        lengths: list[int] | list[None] = self.test_lengths if split == "test" and self.test_lengths else [None]
        for length in lengths:
            kind = {"train": TRAIN, "val": VAL, "test": TEST}[split]
            yield self._windows(split, np.random.default_rng((kind, length or 0, 1)), self.eval_rows, length)

    def _windows(self, split: str, rng: np.random.Generator, rows: int, length: int | None) -> Drawn:
        assert isinstance(self.codec, NumbersCodec)
        num_steps = self.length if length is None else length
        series_NS = self._series[split]
        starts_B1 = rng.integers(series_NS.shape[1] - num_steps - self.horizon + 1, size=(rows, 1))
        places_BT = starts_B1 + np.arange(num_steps + self.horizon)
        window_BT = series_NS[rng.integers(len(series_NS), size=(rows, 1)), places_BT]
        window_BT1 = self.codec.targets.encode(window_BT[..., None])
        return Drawn(window_BT1[:, :num_steps], window_BT1[:, self.horizon :])

    def steps(self, length: int) -> int:
        return length

    def title(self) -> str:
        return f"Mackey-Glass series, τ = {self.tau}, {self.horizon} steps ahead"

    def trivial(self, split: str) -> Baselines:
        assert isinstance(self.codec, NumbersCodec)
        of_mean, of_last, count = 0.0, 0.0, 0
        for drawn in self.eval_sets(split):
            of_mean += float((drawn.targets.astype(np.float64) ** 2).sum())
            of_last += float(((drawn.targets - drawn.inputs).astype(np.float64) ** 2).sum())
            count += drawn.targets.size
        variance = float(self.codec.targets.scale_D[0]) ** 2
        errors = {"training mean": of_mean / count, "last value": of_last / count}
        return {name: {"loss": error, "mse": error * variance} for name, error in errors.items()}


def mackey_glass(rng: np.random.Generator, number: int, units: int, tau: int) -> np.ndarray:
    """Return trajectories ``[N, S]``, one value a unit of time, after 500 units that are left out."""
    per_unit, left_out = 10, 500
    lag, width = tau * per_unit, 1 / per_unit
    x_SN = np.empty((lag + (left_out + units) * per_unit + 1, number))
    x_SN[: lag + 1] = 1.2 + 0.1 * rng.standard_normal(number)
    x_SN[: lag + 1] += 0.01 * rng.standard_normal((lag + 1, number))
    inflow_SN = np.empty_like(x_SN)
    inflow_SN[: lag + 1] = 0.2 * x_SN[: lag + 1] / (1 + x_SN[: lag + 1] ** 10)
    for now in range(lag, len(x_SN) - 1):
        x_N, delayed = x_SN[now], now - lag
        slope_N = inflow_SN[delayed] - 0.1 * x_N
        guess_N = x_N + width * slope_N
        x_SN[now + 1] = x_N + width / 2 * (slope_N + inflow_SN[delayed + 1] - 0.1 * guess_N)
        inflow_SN[now + 1] = 0.2 * x_SN[now + 1] / (1 + x_SN[now + 1] ** 10)
    return x_SN[lag + left_out * per_unit + 1 :: per_unit].T[:, :units].copy()
