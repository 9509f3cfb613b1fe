"""Halving carries the best of η on, compares all that have come as far, and begins later with some points."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rnntrain.sweeps.halving import Halving
from rnntrain.sweeps.plan import make_plan
from rnntrain.sweeps.study import Study


class Sweep:
    """Points that report values, as a study of Optuna has them."""

    def __init__(self, pruner: Halving, direction: str = "MINIMIZE") -> None:
        self.pruner, self.direction = pruner, SimpleNamespace(name=direction)
        self.trials: dict[int, Any] = {}

    def get_trials(self, deepcopy: bool) -> list[Any]:
        return list(self.trials.values())

    def report(self, number: int, evaluation: int, value: float) -> bool:
        """Report a value; return whether the point is ended by it."""
        trial = self.trials.setdefault(number, SimpleNamespace(number=number, intermediate_values={}))
        trial.intermediate_values[evaluation] = value
        trial.last_step = evaluation
        return self.pruner.prune(self, trial)  # type: ignore[arg-type]


def test_the_best_third_of_those_that_came_as_far_are_carried_on() -> None:
    sweep = Sweep(Halving(3))
    ended = [sweep.report(number, 1, value) for number, value in enumerate([5.0, 4.0, 6.0, 3.5, 3.0, 4.5, 2.0])]
    #          the first, better, worst of 3, 2 of 4, best of 5, 5 of 6, best of 7
    assert ended == [False, False, True, False, False, True, False]


def test_more_is_better_where_the_metric_says_so() -> None:
    sweep = Sweep(Halving(3), "MAXIMIZE")
    assert [sweep.report(number, 1, value) for number, value in enumerate([0.5, 0.4, 0.6])] == [False, True, False]


def test_runs_are_ended_at_powers_of_the_factor_alone() -> None:
    sweep = Sweep(Halving(3))
    for evaluation in range(1, 28):
        assert not sweep.report(0, evaluation, 0.0)
    assert [evaluation for evaluation in range(1, 28) if sweep.report(1, evaluation, 1.0)] == [1, 3, 9, 27]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_ends_a_run_and_counts_as_the_worst(value: float) -> None:
    sweep = Sweep(Halving(2))
    assert sweep.report(0, 1, value)
    assert not sweep.report(1, 1, 7.0)


def test_equal_runs_are_carried_on_together() -> None:
    sweep = Sweep(Halving(3))
    assert not any(sweep.report(number, 1, 1.0) for number in range(5))


def test_brackets_have_the_shares_of_the_paper_in_any_stretch_of_points() -> None:
    """η 3, 27 evaluations: brackets of 27, 12, 6 and 4 points, whose runs are ended from 1, 3, 9 and 27 on."""
    pruner = Halving(3, 27)
    shares = dict(enumerate((27, 12, 6, 4)))
    assert Counter(pruner.bracket(number) for number in range(49)) == shares
    for points in (12, 24, 98):
        counts = Counter(pruner.bracket(number) for number in range(points))
        assert all(abs(counts[bracket] - share / 49 * points) <= 1 for bracket, share in shares.items())


def test_a_point_of_a_later_bracket_is_spared_until_its_first_evaluation() -> None:
    pruner = Halving(3, 9)
    late = next(number for number in range(20) if pruner.bracket(number) == 1)
    sweep = Sweep(pruner)
    first = next(number for number in range(20) if pruner.bracket(number) == 0)
    for evaluation in range(1, 4):
        sweep.report(first, evaluation, 0.0)
    assert [sweep.report(late, evaluation, 1.0) for evaluation in (1, 2, 3)] == [False, False, True]


def test_points_of_all_brackets_are_compared_with_each_other() -> None:
    """Else each of the few points of a bracket would be among its best."""
    pruner = Halving(3, 27)
    sweep = Sweep(pruner)
    firsts = [number for number in range(49) if pruner.bracket(number) == 0][:5]
    for number in firsts:
        for evaluation in (1, 2, 3):
            sweep.report(number, evaluation, 0.0)
    late = next(number for number in range(49) if pruner.bracket(number) == 1)
    assert sweep.report(late, 3, 1.0)


def test_successive_halving_has_one_bracket() -> None:
    assert {Halving(3).bracket(number) for number in range(50)} == {0}


def test_a_verdict_that_did_not_reach_its_run_is_given_again(workspace: Path) -> None:
    """As where the sweep was killed between an evaluation and the end of the run."""
    words = [
        "optimizer.lr=interval(0.1,1)",
        "sweep.name=mine",
        "sweep.metric=val/loss",
        "sweep.pruner=successive_halving",
    ]
    plan = make_plan(words)
    study = Study(plan, ["minimize"], 27)
    for _ in range(2):
        assert study.next(set()) is not None
    assert not study.report(0, 1, 1.0)
    assert [study.report(1, 1, 2.0) for _ in range(2)] == [True, True]
    again = Study(plan, ["minimize"], 27)
    assert again.report(1, 1, 2.0)
    assert not again.report(1, 2, 2.0)
    assert not again.report(1, 1, 2.0)
