"""Which runs are ended early, by successive halving and by Hyperband."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


class Halving:
    """Ends a run at its evaluations 1, η, η², … unless it is among the best of η of all that have come so far.

    Nobody waits for anybody: a run is compared with what others had at that evaluation by then (asynchronous successive
    halving, Li et al. 2020, arXiv:1810.05934), so the first are carried on with few beside them. Hyperband (Li et al.
    2018, arXiv:1603.06560) begins later with some points, in case early evaluations mislead: bracket b of them at
    evaluation η^b, with as many points in each as their paper has, spread evenly over the numbers of the points. Unlike
    in the paper, a run is compared with those of all brackets: of 24 points most brackets hold a few, each of which
    would be among the best of its own.

    Args:
        reduction_factor: η.
        evaluations: of a whole run, for the brackets of Hyperband; None for the one of successive halving.
    """

    def __init__(self, reduction_factor: int, evaluations: int | None = None) -> None:
        self.reduction_factor = reduction_factor
        last = 0
        while evaluations is not None and reduction_factor ** (last + 1) <= evaluations:
            last += 1
        self._shares = [math.ceil((last + 1) / (s + 1) * reduction_factor**s) for s in range(last, -1, -1)]
        self._brackets: list[int] = []

    def bracket(self, number: int) -> int:
        """Return the bracket of a point: the one that is furthest behind its share of the points so far."""
        while len(self._brackets) <= number:
            points = len(self._brackets) + 1
            behind = [
                share / sum(self._shares) * points - self._brackets.count(bracket)
                for bracket, share in enumerate(self._shares)
            ]
            self._brackets.append(behind.index(max(behind)))
        return self._brackets[number]

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Say whether a run is to be ended at the evaluation that was reported last."""
        evaluation = trial.last_step
        if evaluation is None or not self._ends_at(evaluation, self.bracket(trial.number)):
            return False
        sign = -1.0 if study.direction.name == "MAXIMIZE" else 1.0
        own = sign * trial.intermediate_values[evaluation]
        if not math.isfinite(own):
            return True
        reached = [
            sign * other.intermediate_values[evaluation]
            for other in study.get_trials(deepcopy=False)
            if evaluation in other.intermediate_values
        ]
        better = sum(value < own for value in reached)
        return better >= math.ceil(len(reached) / self.reduction_factor)

    def _ends_at(self, evaluation: int, bracket: int) -> bool:
        power = self.reduction_factor**bracket
        while power < evaluation:
            power *= self.reduction_factor
        return power == evaluation
