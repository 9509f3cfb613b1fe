"""The settings of a sweep, as values with their defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from rnntrain.ranges import NonNegativeInt, PositiveFloat, PositiveInt, Range

Sampler = Literal["random", "tpe", "gp", "grid", "qmc", "nsga2"]
Pruner = Literal["none", "median", "successive_halving", "hyperband"]
Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class SweepSettings:
    """The `sweep` section.

    Attributes:
        name: the sweep's folder below RUN_ROOT/sweeps; the group of its runs and the sweep's choice where null.
        trials: points to try in all, those of earlier calls included.
        sampler: how points are drawn. "grid" tries every combination, "qmc" spreads points evenly, "tpe" and "gp" learn
            from earlier points, "nsga2" is for several metrics.
        pruner: how points that do badly are ended early, by the evaluations of their first seed.
        metric: what is to be best, such as "val/loss"; a list for several. The metric that the task chooses its best
            weights by where null. `num_parameters`, `minutes` and `units_per_second` may stand beside others.
        direction: the sense of each metric; known or guessed from its name where null.
        seeds: runs of each point, whose mean is its value: so many seeds, or a list of them.
        workers: runs at once; "auto" takes as many as there are GPUs, else processor cores.
        storage: a URL that Optuna opens, such as sqlite:///sweeps.db; a journal file in the sweep's folder where null.
        on_failure: whether the others go on when a run has failed for good.
        retries: how often a run that crashed is started again without having got any further in between.
        retry_failed: try points anew that failed in earlier calls, their cause having been mended.
        max_minutes: save and stop after so many minutes; the same command goes on.
        startup_trials: random points before a sampler learns, and finished ones before "median" ends any.
        reduction_factor: of "successive_halving" and "hyperband": one of so many is carried on each time.
        sampler_seed: of the points that are drawn.
    """

    name: str | None = None
    trials: PositiveInt = 20
    sampler: Sampler = "tpe"
    pruner: Pruner = "none"
    metric: str | list[str] | None = None
    direction: Direction | list[Direction] | None = None
    seeds: PositiveInt | list[NonNegativeInt] = 1
    workers: PositiveInt | Literal["auto"] = "auto"
    storage: str | None = None
    on_failure: Literal["continue", "stop"] = "continue"
    retries: NonNegativeInt = 1
    retry_failed: bool = False
    max_minutes: PositiveFloat | None = None
    startup_trials: NonNegativeInt = 5
    reduction_factor: Annotated[int, Range(2)] = 3
    sampler_seed: NonNegativeInt = 0
