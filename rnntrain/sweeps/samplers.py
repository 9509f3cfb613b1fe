"""What Optuna calls the parts of a plan: distributions, samplers and pruners."""

from __future__ import annotations

import zlib
from importlib.util import find_spec
from typing import TYPE_CHECKING

from rnntrain.errors import UserError
from rnntrain.sweeps.halving import Halving
from rnntrain.sweeps.settings import SweepSettings
from rnntrain.sweeps.space import Dimension
from rnntrain.sweeps.storage import INSTALL

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution


def distribution_of(dimension: Dimension) -> BaseDistribution:
    from optuna import distributions as d

    if dimension.values:
        return d.CategoricalDistribution(dimension.values)
    if dimension.integer:
        return d.IntDistribution(
            round(dimension.low), round(dimension.high), log=dimension.log, step=max(1, round(dimension.step))
        )
    step = None if dimension.log or not dimension.step else dimension.step
    return d.FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=step)


def check_sampler(settings: SweepSettings) -> None:
    needed = {"gp": "scipy", "qmc": "scipy"}.get(settings.sampler)
    if needed and find_spec(needed) is None:
        raise UserError(f"sweep.sampler={settings.sampler}: needs {needed}; install it: {INSTALL}")


def sampler_of(settings: SweepSettings, number: int) -> optuna.samplers.BaseSampler:
    """Make the sampler of one point. Its seed follows from the point's number, so that a sweep that was stopped draws
    the points that it would have drawn, and none a second time."""
    import warnings

    from optuna import samplers
    from optuna.exceptions import ExperimentalWarning

    seed = zlib.crc32(f"{settings.sampler_seed} {number}".encode())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if settings.sampler == "tpe":
            return samplers.TPESampler(
                n_startup_trials=settings.startup_trials, multivariate=True, constant_liar=True, seed=seed
            )
        if settings.sampler == "gp":
            return samplers.GPSampler(n_startup_trials=settings.startup_trials, seed=seed)
        if settings.sampler == "nsga2":
            return samplers.NSGAIISampler(population_size=max(2, settings.startup_trials), seed=seed)
        return samplers.RandomSampler(seed=seed)


def pruner_of(settings: SweepSettings, evaluations: int | None) -> optuna.pruners.BasePruner | Halving:
    """Make the pruner; its resource is the number of evaluations."""
    from optuna import pruners

    if settings.pruner == "none":
        return pruners.NopPruner()
    if evaluations is not None and evaluations < 2:
        raise UserError(
            f"sweep.pruner={settings.pruner}: a run is evaluated {evaluations} time, and is ended early only between "
            "evaluations; lower trainer.eval_every_steps"
        )
    if settings.pruner == "median":
        return pruners.MedianPruner(n_startup_trials=settings.startup_trials, n_warmup_steps=0)
    if settings.pruner == "successive_halving":
        return Halving(settings.reduction_factor)
    if evaluations is None:
        raise UserError(
            "sweep.pruner=hyperband: needs to know how often a run is evaluated; set trainer.max_steps or max_epochs"
        )
    return Halving(settings.reduction_factor, evaluations)
