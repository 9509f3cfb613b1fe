"""What a forecast says of a value: a point, quantiles, or Student's t distribution; and the loss of each."""

# B batch, S steps of the horizon, C targets, P parameters, Q quantiles

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rnntrain.batch import Batch
from rnntrain.tasks.forecast.student_t import student_t_of_normal, student_t_quantile

Loss = Literal["mse", "mae", "huber"]
MIN_SCALE = 1e-3  # of Student's t, in units of the scale: a value met exactly would else have no bound on its density


class Forecast(NamedTuple):
    """What a head gives: parameters of each value, on the scale of the targets.

    Attributes:
        params_BSCP: their meaning is the output's.
        one_step: True where each is a forecast from one step before, over the window, and not of the horizon.
    """

    params_BSCP: Tensor
    one_step: bool = False


class Output(ABC):
    """A kind of forecast.

    Attributes:
        num_params: P, the numbers that a head gives for each value.
        levels: of the quantiles that it knows, ascending, with 0.5 in the middle; empty for points.
    """

    num_params: int = 1
    levels: tuple[float, ...] = ()

    @abstractmethod
    def params(self, raw_BSCP: Tensor, centre_BSC: Tensor, width_B1C: Tensor) -> Tensor:
        """Return parameters from what a linear layer gives, which is relative to the window's centre and width."""

    @abstractmethod
    def loss(self, params_BSCP: Tensor, targets_BSC: Tensor) -> Tensor:
        """Return the loss summed over all values."""

    @abstractmethod
    def point(self, params_BSCP: Tensor) -> Tensor:
        """Return the one value to name, ``[B, S, C]``."""

    def quantiles(self, params_BSCP: Tensor) -> Tensor:
        """Return the quantiles of `levels`, ``[B, S, C, Q]``."""
        raise NotImplementedError

    def values(self, params_BSCP: Tensor, scores_BSCK: Tensor) -> Tensor:
        """Return the values whose levels are those of normal scores: Φ(z) of what may come lies below."""
        raise NotImplementedError

    @property
    def bands(self) -> list[tuple[int, int, float]]:
        """Places of the two quantiles of each symmetric band, and its nominal share, the widest first."""
        count = len(self.levels)
        return [(q, count - 1 - q, self.levels[-1 - q] - self.levels[q]) for q in range(count // 2)]


def forecast_loss(kind: Output, output: Forecast, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the loss of a kind of forecast summed over all values, and how many there are."""
    targets_BSC = batch.targets
    if output.one_step:
        count = targets_BSC.shape[-1]
        targets_BSC = torch.cat([batch.inputs[:, 1:, :count], targets_BSC[:, :1]], 1)
    return kind.loss(output.params_BSCP, targets_BSC), torch.tensor(float(targets_BSC.numel()))


class PointOutput(Output):
    """One value, under squared, absolute or Huber's error (quadratic up to 1)."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss

    def params(self, raw_BSCP: Tensor, centre_BSC: Tensor, width_B1C: Tensor) -> Tensor:
        return raw_BSCP * width_B1C[..., None] + centre_BSC[..., None]

    def loss(self, params_BSCP: Tensor, targets_BSC: Tensor) -> Tensor:
        if self._loss == "mse":
            return F.mse_loss(params_BSCP[..., 0], targets_BSC, reduction="sum")
        if self._loss == "mae":
            return F.l1_loss(params_BSCP[..., 0], targets_BSC, reduction="sum")
        return F.huber_loss(params_BSCP[..., 0], targets_BSC, reduction="sum")

    def point(self, params_BSCP: Tensor) -> Tensor:
        return params_BSCP[..., 0]


class QuantileOutput(Output):
    """Quantiles that never cross: the lowest, and positive steps up from it; under the pinball loss.

    Σ_q max(q (y - ŷ_q), (q - 1)(y - ŷ_q)) / Q   (Koenker and Bassett 1978; Wen et al. 2017, arXiv:1711.11053)
    """

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels = tuple(levels)
        self.num_params = len(levels)

    def params(self, raw_BSCP: Tensor, centre_BSC: Tensor, width_B1C: Tensor) -> Tensor:
        lowest, steps = raw_BSCP[..., :1], F.softplus(raw_BSCP[..., 1:])
        values = torch.cat([lowest, lowest + steps.cumsum(-1)], -1)
        return values * width_B1C[..., None] + centre_BSC[..., None]

    def loss(self, params_BSCP: Tensor, targets_BSC: Tensor) -> Tensor:
        return pinball(params_BSCP, targets_BSC, self.levels).sum() / len(self.levels)

    def point(self, params_BSCP: Tensor) -> Tensor:
        return params_BSCP[..., len(self.levels) // 2]

    def quantiles(self, params_BSCP: Tensor) -> Tensor:
        return params_BSCP

    def values(self, params_BSCP: Tensor, scores_BSCK: Tensor) -> Tensor:
        """Between two quantiles, and beyond the outermost two, values lie as those of a normal distribution would."""
        known_Q = torch.special.ndtri(torch.tensor(self.levels, dtype=torch.float64)).to(scores_BSCK)
        above = torch.bucketize(scores_BSCK.contiguous(), known_Q).clamp(1, len(self.levels) - 1)
        low, high = params_BSCP.gather(-1, above - 1), params_BSCP.gather(-1, above)
        share = (scores_BSCK - known_Q[above - 1]) / (known_Q[above] - known_Q[above - 1])
        return low + share * (high - low)


class StudentTOutput(Output):
    """Location, scale and degrees of freedom ν > 2 of Student's t; under the negative log-likelihood in nats."""

    num_params = 3

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels = tuple(levels)

    def params(self, raw_BSCP: Tensor, centre_BSC: Tensor, width_B1C: Tensor) -> Tensor:
        location, scale, freedom = raw_BSCP.unbind(-1)
        location = location * width_B1C + centre_BSC
        scale = (F.softplus(scale) + MIN_SCALE) * width_B1C
        return torch.stack([location, scale, 2.0 + F.softplus(freedom)], -1)

    def loss(self, params_BSCP: Tensor, targets_BSC: Tensor) -> Tensor:
        location, scale, freedom = params_BSCP.unbind(-1)
        return -torch.distributions.StudentT(freedom, location, scale, validate_args=False).log_prob(targets_BSC).sum()

    def point(self, params_BSCP: Tensor) -> Tensor:
        return params_BSCP[..., 0]

    def quantiles(self, params_BSCP: Tensor) -> Tensor:
        location, scale, freedom = params_BSCP.unbind(-1)
        above = [student_t_quantile(freedom, level) for level in self.levels[len(self.levels) // 2 + 1 :]]
        # The levels lie symmetrically about 0.5, and so do their quantiles.
        distances = [*(-each for each in reversed(above)), torch.zeros_like(freedom), *above]
        return torch.stack([location + scale * distance for distance in distances], -1)

    def values(self, params_BSCP: Tensor, scores_BSCK: Tensor) -> Tensor:
        location, scale, freedom = (part[..., None] for part in params_BSCP.unbind(-1))
        return location + scale * student_t_of_normal(freedom.expand_as(scores_BSCK), scores_BSCK)


def pinball(values_BSCQ: Tensor, targets_BSC: Tensor, levels: Sequence[float]) -> Tensor:
    """Return the pinball loss of each quantile of each value."""
    levels_Q = torch.tensor(levels, dtype=values_BSCQ.dtype, device=values_BSCQ.device)
    error_BSCQ = targets_BSC[..., None] - values_BSCQ
    return torch.maximum(levels_Q * error_BSCQ, (levels_Q - 1) * error_BSCQ)
