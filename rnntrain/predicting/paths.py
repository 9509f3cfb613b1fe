"""Bands beyond the trained horizon: many futures are drawn from what the model says, each going on from itself.

What a path meets in later blocks are its own values, not a median that nothing would ever follow so closely: so the
doubt about what a forecast goes on from is in the bands of what comes after it.
"""

# P paths, S steps of a block, C targets, K scores, Q quantiles

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rnntrain.batch import Batch
from rnntrain.predicting.history import History
from rnntrain.predicting.predictor import batches
from rnntrain.tasks.forecast.outputs import Output

if TYPE_CHECKING:
    from rnntrain.predicting.forecasts import ForecastPredictor

NUM_PATHS = 200
NUM_SCORES = 30  # equally likely values that stand for the whole of what is said at the end of one path; even


def bands_beyond(
    predictor: ForecastPredictor, history: History, params_1SCP: Tensor, batch: Batch, num_blocks: int
) -> np.ndarray:
    """Return the quantiles of the blocks after the first, ``[num_blocks · S, C, Q]`` as measured.

    A path's values of a block are drawn from what the model says of each step (Student's t, or quantiles, between which
    values lie as a normal distribution's would), and read as history before the next block. The quantiles are those of
    the mixture of what the model says at the end of all paths. Targets are drawn as if each went its own way.

    Args:
        history: from which the first block was forecast.
        params_1SCP: what the model says of the first block.
        batch: the one row that this was said of.
    """
    levels = predictor.task.output.levels
    rng = np.random.default_rng(predictor.seed)
    all_paths = range(NUM_PATHS)
    one = torch.zeros(NUM_PATHS, dtype=torch.long, device=batch.inputs.device)
    noise_PSC = _noise(rng, params_1SCP)
    drawn_PSC, _ = _ends(predictor, params_1SCP.expand(NUM_PATHS, -1, -1, -1), batch.take(one), noise_PSC, all_paths)
    histories = [history] * NUM_PATHS
    told = []
    for _ in range(num_blocks):
        histories = _gone_on(predictor, histories, drawn_PSC)
        noise_PSC = _noise(rng, params_1SCP)
        drawn, mixture = [], []
        for places in batches([predictor.layout.window] * NUM_PATHS):
            output, part = predictor.block([histories[place] for place in places])
            ends = _ends(predictor, output.params_BSCP, part, noise_PSC[places], places)
            drawn.append(ends[0])
            mixture.append(ends[1])
        drawn_PSC = np.concatenate(drawn)
        values_NSC = np.concatenate(mixture).transpose(0, 3, 1, 2).reshape(-1, *drawn_PSC.shape[1:])
        told.append(np.quantile(values_NSC, levels, axis=0).transpose(1, 2, 0))
    return np.concatenate(told)


def step_scores(noise_PSC: Tensor, width_PSC: Tensor) -> Tensor:
    """Return normal scores of the steps of a block that hang together as forecasts of one origin do.

    A model says how likely the values of each step are, not how those of several steps go together. That follows from
    how its doubt w_s grows, if errors go on as an autoregression of first order, e_s = φ_s e_{s-1} + ε_s with all ε as
    wide as e_1: w_s² = φ_s² w_{s-1}² + w_1², so that neighbouring errors have the correlation φ_s w_{s-1} / w_s =
    √(1 - w_1² / w_s²). It is exact for random walks and autoregressions of first order, and 0 where the doubt does not
    grow.
    """
    correlation_PSC = (1 - (width_PSC[:, :1] / width_PSC.clamp(min=1e-12)).square()).clamp(min=0.0).sqrt()
    fresh_PSC = noise_PSC * (1 - correlation_PSC.square()).sqrt()
    scores = [noise_PSC[:, 0]]
    for step in range(1, noise_PSC.shape[1]):
        scores.append(correlation_PSC[:, step] * scores[-1] + fresh_PSC[:, step])
    return torch.stack(scores, 1)


def _ends(
    predictor: ForecastPredictor, params_PSCP: Tensor, batch: Batch, noise_PSC: Tensor, places: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return values drawn of each path ``[P, S, C]``, and those that stand for all it may come to ``[P, S, C, K]``."""
    output, units = predictor.task.output, predictor.units
    scores_PSC = noise_PSC
    if predictor.layout.transform != "returns":  # whose steps are what is left when all that goes on is taken away
        scores_PSC = step_scores(noise_PSC, _width(output, params_PSCP))
    drawn_PSC = units.measured(output.values(params_PSCP, scores_PSC[..., None])[..., 0], batch)
    likely_PSCK = _likely_scores(places)[:, None, None].to(params_PSCP).expand(*params_PSCP.shape[:3], -1)
    mixture_PSCK = units.measured_quantiles(output.values(params_PSCP, likely_PSCK), batch).cpu().numpy()
    return drawn_PSC.cpu().numpy(), np.delete(mixture_PSCK, NUM_SCORES // 2, -1)


def _likely_scores(places: Sequence[int]) -> Tensor:
    """Return normal scores ``[P, K + 1]`` of equally likely values, in their middle that of the median.

    They lie elsewhere within their strata from path to path: else a quantile could only be one of so many values.
    """
    shift_P1 = (torch.tensor(places, dtype=torch.float64)[:, None] + 0.5) / NUM_PATHS
    scores_PK = torch.special.ndtri((torch.arange(NUM_SCORES) + shift_P1) / NUM_SCORES)
    low, high = scores_PK.split(NUM_SCORES // 2, 1)
    return torch.cat([low, torch.zeros_like(shift_P1), high], 1)


def _width(output: Output, params_PSCP: Tensor) -> Tensor:
    quantiles_PSCQ = output.quantiles(params_PSCP)
    return quantiles_PSCQ[..., -1] - quantiles_PSCQ[..., 0]


def _noise(rng: np.random.Generator, params_1SCP: Tensor) -> Tensor:
    """Return normal scores of each path, step and target, ``[P, S, C]``.

    Those of one step and target are one of each of `NUM_PATHS` equally likely strata, and the second half of the paths
    mirrors the first, so that together they stray to neither side.
    """
    num_steps, num_targets = params_1SCP.shape[1:3]
    upper = _strata(NUM_PATHS).numpy()[NUM_PATHS // 2 :, None]
    half = rng.permuted(np.repeat(upper, num_steps * num_targets, 1), axis=0)
    half *= rng.choice((-1.0, 1.0), half.shape)
    return torch.from_numpy(np.concatenate([half, -half])).unflatten(1, (num_steps, num_targets)).to(params_1SCP)


def _strata(count: int) -> Tensor:
    """Return the normal scores in the middle of equally likely strata."""
    return torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count)


def _gone_on(predictor: ForecastPredictor, histories: Sequence[History], drawn_PSC: np.ndarray) -> list[History]:
    """Return the histories with what was drawn as their newest rows; the times are those of all paths."""
    rows = predictor.windows.rows
    later = histories[0].after(drawn_PSC[0], predictor.windows.frequency).last(rows)
    joined = (
        np.concatenate([history.values_TD, drawn_SC])[-rows:]
        for history, drawn_SC in zip(histories, drawn_PSC, strict=True)
    )
    return [replace(later, values_TD=values_TD) for values_TD in joined]
