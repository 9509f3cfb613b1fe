"""Bands beyond the trained horizon, where it is known how wide they must be: of models that say the truth.

A model of a random walk or an autoregression that knows the law of each next block says nothing of later blocks. The
bands that paths give there are compared with the law of the process itself.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data.series_files import hourly, write
from tasks.forecasting_cases import make
from torch import Tensor, nn

from rnntrain.batch import Batch
from rnntrain.predicting.forecasts import ForecastPredictor
from rnntrain.predicting.history import History
from rnntrain.predicting.paths import step_scores
from rnntrain.tasks.forecast.outputs import Forecast, QuantileOutput, StudentTOutput

HORIZON, TIMES, LEVELS = 4, 3, [0.1, 0.25, 0.5, 0.75, 0.9]
SCORE_90 = 1.2815515655446004


class Truth(nn.Module):
    """Says the law of the next steps of x_t = φ x_{t-1} + ε_t, each ε normal with deviation 1; for returns, of ε."""

    def __init__(self, output: Any, phi: float, of_returns: bool = False) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        self.output, self.phi, self.of_returns = output, phi, of_returns
        self.rows = 0

    def forward(self, batch: Batch, state: Any) -> tuple[Forecast, Any]:
        self.rows = max(self.rows, batch.batch_size)
        last_B1C = batch.inputs[:, -1:]
        steps_S = torch.arange(1, HORIZON + 1)
        mean_BSC = self.phi ** steps_S[:, None] * last_B1C
        deviation_BSC = deviations(self.phi, HORIZON)[:, None].expand_as(mean_BSC)
        if self.of_returns:
            mean_BSC, deviation_BSC = torch.zeros_like(mean_BSC), torch.full_like(mean_BSC, 0.01)
        if isinstance(self.output, StudentTOutput):
            return Forecast(torch.stack([mean_BSC, deviation_BSC, torch.full_like(mean_BSC, 1e4)], -1)), state
        known_Q = torch.special.ndtri(torch.tensor(LEVELS))
        return Forecast(mean_BSC[..., None] + deviation_BSC[..., None] * known_Q), state


def deviations(phi: float, steps: int) -> Tensor:
    """Return the deviations of x_{t+1} … x_{t+S} given x_t."""
    return torch.tensor([sum(phi ** (2 * lag) for lag in range(step)) for step in range(1, steps + 1)]).sqrt()


def predictor_of(folder: Path, output: str, phi: float, transform: str = "none") -> tuple[ForecastPredictor, Truth]:
    data = {"path": str(write(folder, hourly(120))), "target": "a", "window": 8, "horizon": HORIZON}
    task = {"output": output, "quantiles": LEVELS}
    experiment = make(folder, task, {**data, "scaling": "none", "transform": transform})
    truth = Truth(experiment.task.output, phi, transform == "returns")
    found = experiment.task.predictor(experiment.data.codec, truth, experiment.config.data.arguments)
    assert isinstance(found, ForecastPredictor)
    return found, truth


def history_of(values: list[float]) -> History:
    return History("", np.array(values, np.float64)[:, None])


@pytest.mark.parametrize("output", ["quantiles", "student_t"])
@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, 1.0])
def test_bands_at_three_times_the_horizon_cover_what_they_say(tmp_path: Path, output: str, phi: float) -> None:
    predictor, _ = predictor_of(tmp_path, output, phi)
    predictor.windows.history = lambda raw, where: raw  # type: ignore[method-assign,assignment]
    last, steps = 3.0, TIMES * HORIZON
    [record] = predictor.ahead(steps).run([predictor._example(history_of([0.0] * 7 + [last]))])
    told = record["targets"]["a"]
    mean_S = np.array([phi**step * last for step in range(1, steps + 1)])
    deviation_S = deviations(phi, steps).numpy()
    scores = {name: (np.array(told[name]) - mean_S) / deviation_S for name in ("lower", "forecast", "upper")}
    inside_S = [below(high) - below(low) for low, high in zip(scores["lower"], scores["upper"], strict=True)]
    assert inside_S[:HORIZON] == pytest.approx([0.8] * HORIZON, abs=0.002)
    assert inside_S[HORIZON:] == pytest.approx([0.8] * (steps - HORIZON), abs=0.03)
    assert abs(scores["forecast"]).max() < 0.15


def below(score: float) -> float:
    return 0.5 * (1 + math.erf(score / math.sqrt(2)))


def test_bands_of_prices_grow_as_a_walk_of_their_returns_does(tmp_path: Path) -> None:
    predictor, _ = predictor_of(tmp_path, "student_t", 1.0, "returns")
    steps = TIMES * HORIZON
    [record] = predictor.ahead(steps).run([predictor._example(history_of([100.0] * 9))])
    widths_S = np.log(np.array(record["targets"]["a"]["upper"]) / 100.0)
    expected_S = 0.01 * SCORE_90 * np.sqrt(np.arange(1, steps + 1))
    np.testing.assert_allclose(widths_S[:HORIZON], expected_S[:HORIZON], rtol=0.02)
    np.testing.assert_allclose(widths_S[HORIZON:], expected_S[HORIZON:], rtol=0.12)


def test_what_is_drawn_follows_from_the_seed_alone(tmp_path: Path) -> None:
    predictor, _ = predictor_of(tmp_path, "quantiles", 1.0)
    examples = [predictor._example(history_of([*range(7), last])) for last in (3.0, 30.0)]
    first, again, other = (predictor.ahead(9, seed).run(examples) for seed in (0, 0, 1))
    assert first == again
    assert first[0]["targets"] != other[0]["targets"]
    assert predictor.ahead(9).run(examples[1:])[0] == first[1]  # whatever it shares a batch with
    near = [record["targets"]["a"]["forecast"][:HORIZON] for record in (first[0], other[0])]
    assert near[0] == near[1]


def test_no_batch_grows_with_the_horizon(tmp_path: Path) -> None:
    from rnntrain.predicting.predictor import MOST_ROWS

    predictor, truth = predictor_of(tmp_path, "quantiles", 0.5)
    predictor.ahead(100).run([predictor._example(history_of([0.0] * 8))])
    assert truth.rows <= MOST_ROWS


def test_quantiles_do_not_cross_beyond_the_horizon(tmp_path: Path) -> None:
    predictor, _ = predictor_of(tmp_path, "quantiles", 0.9)
    [record] = predictor.ahead(20).run([predictor._example(history_of([0.0] * 8))])
    told = list(record["targets"]["a"]["quantiles"].values())
    assert all((np.array(low) < np.array(high)).all() for low, high in pairwise(told))
    assert record["targets"]["a"]["forecast"] == told[2]


# -- the parts ---


@pytest.mark.parametrize("phi", [0.0, 0.7, 1.0, 1.1])
def test_steps_of_a_block_hang_together_as_their_widths_tell(phi: float) -> None:
    generator = torch.Generator().manual_seed(0)
    noise_PSC = torch.randn((40_000, 5, 1), generator=generator, dtype=torch.float64)
    width_S = deviations(phi, 5).double()
    errors_PS = (step_scores(noise_PSC, width_S[None, :, None].expand_as(noise_PSC)) * width_S[:, None])[..., 0]
    fresh_PS = errors_PS[:, 1:] - phi * errors_PS[:, :-1]
    torch.testing.assert_close(errors_PS.std(0), width_S, rtol=0.02, atol=0)
    torch.testing.assert_close(fresh_PS.std(0), torch.ones(4).double(), rtol=0.02, atol=0)


def test_steps_whose_doubt_shrinks_are_drawn_each_for_itself() -> None:
    noise_PSC = torch.randn((3, 4, 2), generator=torch.Generator().manual_seed(0))
    width_PSC = torch.tensor([4.0, 3.0, 2.0, 1.0])[None, :, None].expand_as(noise_PSC)
    torch.testing.assert_close(step_scores(noise_PSC, width_PSC), noise_PSC)


def test_values_between_and_beyond_quantiles_are_those_of_a_normal_distribution() -> None:
    output = QuantileOutput(LEVELS)
    known_Q = torch.special.ndtri(torch.tensor(LEVELS, dtype=torch.float64))
    params = (5.0 + 2.0 * known_Q)[None, None, None]
    scores = torch.linspace(-3, 3, 25, dtype=torch.float64)[None, None, None]
    torch.testing.assert_close(output.values(params, scores), 5.0 + 2.0 * scores)


@pytest.mark.parametrize("freedom", [2.0, 3.0, 5.0, 30.0])
def test_values_of_student_t_are_its_quantiles(freedom: float) -> None:
    output = StudentTOutput(LEVELS)
    params = torch.tensor([1.0, 2.0, freedom], dtype=torch.float64)[None, None, None]
    scores = torch.special.ndtri(torch.tensor(LEVELS, dtype=torch.float64))[None, None, None]
    torch.testing.assert_close(output.values(params, scores), output.quantiles(params))
    assert output.values(params, torch.zeros(1, 1, 1, 1, dtype=torch.float64)).item() == 1.0
