"""The learning-rate range test: raise the rate with every step, and see where the loss falls and where it bursts.

Smith 2017, "Cyclical Learning Rates for Training Neural Networks" (arXiv:1506.01186); the rates grow by a constant
factor here.
"""

# N steps

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from rnntrain.build import Experiment
from rnntrain.errors import NonFiniteError, UserError
from rnntrain.optim import Schedule

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch.optim import Optimizer

SMOOTHING = 0.9  # of the moving mean over losses: single batches differ more than single steps
BURST = 4.0  # times the least smoothed loss, and above the first, at which the trial ends
LEAST_STEPS = 10  # before the trial may end: the first losses are as noisy as any
BELOW_LEAST = 10.0  # by what the suggestion lies below the rate of the least loss


class Rising(Schedule):
    """A rate that grows from `low` to `high` by a constant factor a step, whatever the optimizer's own."""

    def __init__(self, low: float, high: float, num_steps: int) -> None:
        super().__init__()
        self.low, self.ratio, self.num_steps = low, high / low, num_steps

    def factor(self, step: int, progress: float) -> float:
        return self.low * self.ratio ** (step / max(self.num_steps - 1, 1))

    def set_rate(self, optimizer: Optimizer, step: int, progress: float) -> float:
        rate = self.factor(step, progress)
        for group in optimizer.param_groups:
            group["lr"] = rate
        return rate


@dataclass(frozen=True)
class RateTrial:
    """What a trial saw.

    Attributes:
        rates: of each step.
        losses: its loss.
        smoothed: a moving mean of the losses without the pull of its start.
        burst: True where the loss grew so large that the trial ended before the highest rate.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    burst: bool

    @property
    def at_least(self) -> int:
        """The step of the least smoothed loss."""
        return min(range(len(self.smoothed)), key=self.smoothed.__getitem__)

    @property
    def steepest(self) -> int:
        """The step, before that of the least loss, at which the smoothed loss falls fastest by the rate's logarithm."""
        falls = [after - before for before, after in pairwise(self.smoothed[: self.at_least + 1])]
        return min(range(len(falls)), key=falls.__getitem__) if falls else 0

    @property
    def suggestion(self) -> float:
        """A tenth of the rate of the least loss, but no less than where the loss falls fastest; two digits."""
        rate = max(
            self.rates[self.at_least] / BELOW_LEAST, min(self.rates[self.steepest], self.rates[self.at_least] / 3)
        )
        return float(f"{rate:.1e}")

    def in_words(self) -> list[str]:
        """Say what was seen, what is suggested and why."""
        if self.at_least == 0 or self.smoothed[0] - self.smoothed[self.at_least] < 0.01 * abs(self.smoothed[0]):
            return [
                "The loss never fell over these rates, so they say nothing: give a wider range with --low and --high, "
                "or more --steps; where that does not help, try debug=overfit."
            ]
        fastest, least, last = (self.rates[n] for n in (self.steepest, self.at_least, -1))
        end = f"burst at {last:.2g}" if self.burst else f"did not burst up to {last:.2g}"
        return [
            f"The loss fell fastest at {fastest:.2g}, was least at {least:.2g} and {end}.",
            f"Try optimizer.lr={self.suggestion:g}: below the rate of the least loss, where training is at the edge, "
            "and not below where it learns fastest. A schedule that falls allows more, a long run takes less.",
        ]


def try_rates(experiment: Experiment, low: float, high: float, num_steps: int) -> RateTrial:
    """Train for at most `num_steps` steps at rates from `low` to `high`.

    Raises:
        UserError: the range is none, or the very first steps are not finite.
    """
    if not 0 < low < high:
        raise UserError(f"--low {low:g} --high {high:g}: the lower rate must be above 0 and below the higher")
    if num_steps < LEAST_STEPS:
        raise UserError(f"--steps {num_steps}: at least {LEAST_STEPS} are needed to see anything")
    trainer = experiment.trainer
    trainer.schedule = Rising(low, high, num_steps)
    trainer.model.train()
    rates: list[float] = []
    losses: list[float] = []
    burst = False
    for _ in range(num_steps):
        try:
            result = trainer.train_step()
        except NonFiniteError:
            burst = True
            break
        loss = float(result.loss_sum / result.count)
        if not math.isfinite(loss):
            burst = True
            break
        rates.append(trainer.learning_rate)
        losses.append(loss)
        if len(losses) > LEAST_STEPS and _has_burst(smooth(losses)):
            burst = True
            break
    if len(losses) < 2:
        raise UserError(f"--low {low:g}: the loss is not finite from the first steps on; try a lower one")
    return RateTrial(rates, losses, smooth(losses), burst)


def smooth(losses: Sequence[float]) -> list[float]:
    """Return the exponential moving mean, each value without the pull of the start."""
    mean, weight, found = 0.0, 0.0, []
    for loss in losses:
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        found.append(mean / weight)
    return found


def _has_burst(smoothed: Sequence[float]) -> bool:
    """Say whether the loss has risen above its start, and far above its least value."""
    first, least, last = smoothed[0], min(smoothed), smoothed[-1]
    return last > first and last > BURST * max(abs(least), abs(first) / BURST)


def draw(trial: RateTrial, usual: float | None) -> Figure:
    """Draw losses by rate, the suggestion, and the rate that the config has now."""
    import matplotlib

    from rnntrain.watching.pictures import COLOURS, STYLE, new_figure

    figure = new_figure()
    with matplotlib.rc_context(STYLE):
        axes = figure.subplots()
    axes.semilogx(trial.rates, trial.losses, color=COLOURS[0], alpha=0.35, linewidth=0.9, label="loss of each step")
    axes.semilogx(trial.rates, trial.smoothed, color=COLOURS[0], linewidth=2.0, label="smoothed")
    axes.plot(trial.rates[trial.at_least], trial.smoothed[trial.at_least], "o", color=COLOURS[6], label="least")
    axes.axvline(trial.suggestion, color=COLOURS[1], linestyle="--", label=f"suggestion {trial.suggestion:g}")
    if usual is not None:
        axes.axvline(usual, color=COLOURS[2], linestyle=":", label=f"optimizer.lr={usual:g}")
    low, high = min(trial.smoothed), max(trial.smoothed[0], *trial.smoothed[: trial.at_least + 1])
    axes.set_ylim(low - 0.15 * (high - low or 1.0), high + 0.5 * (high - low or 1.0))
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.legend()
    return figure
