"""What is called worse is worse by the book, and too few runs are called that."""

from __future__ import annotations

import math
import random

import pytest

from rnntrain.comparing.significance import difference, holm, t_quantile, two_sided_p


def by_seed(values: list[float], first: int = 0) -> dict[str, float]:
    return {str(first + number): value for number, value in enumerate(values)}


@pytest.mark.parametrize("freedom", [1, 2, 2.7, 5, 30, 1000])
@pytest.mark.parametrize("t", [0.0, 0.1, 1.0, 2.5, 12.0, -3.0])
def test_student_t_agrees_with_scipy(freedom: float, t: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert two_sided_p(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom), rel=1e-9, abs=1e-15)
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)


@pytest.mark.parametrize("runs", [3, 5, 9])
def test_both_tests_agree_with_scipy(runs: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = random.Random(runs)
    first = [rng.gauss(0, 1) for _ in range(runs)]
    second = [rng.gauss(0.5, 2) for _ in range(runs)]
    paired, apart = difference(by_seed(first), by_seed(second)), difference(by_seed(first), by_seed(second, 100))
    assert (paired.method, apart.method) == ("paired", "welch")
    expected = stats.ttest_rel(second, first)
    assert paired.p_value == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert paired.half_width == pytest.approx((interval.high - interval.low) / 2)
    expected = stats.ttest_ind(second, first, equal_var=False)
    assert apart.p_value == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert apart.half_width == pytest.approx((interval.high - interval.low) / 2)


def test_pairs_see_what_runs_apart_do_not() -> None:
    noise = [0.0, 5.0, 10.0, 15.0]
    better, worse = by_seed(noise), by_seed([value + 1 + 0.1 * (value % 2) for value in noise])
    assert difference(better, worse).p_value < 0.001
    assert difference(better, {f"other {key}": value for key, value in worse.items()}).p_value > 0.5


@pytest.mark.parametrize("runs", [1, 2])
def test_below_three_runs_nothing_is_said(runs: int) -> None:
    found = difference(by_seed([1.0, 1.1][:runs]), by_seed([9.0, 9.1][:runs]))
    assert found.too_few
    assert math.isnan(found.p_value)
    assert found.mean == pytest.approx(8)


def test_seeds_that_all_say_the_same_are_certain() -> None:
    assert difference(by_seed([1.0] * 3), by_seed([2.0] * 3)).p_value == 0
    assert difference(by_seed([1.0] * 3), by_seed([1.0] * 3)).p_value == 1
    assert difference(by_seed([1.0] * 3), by_seed([2.0] * 3, 50)).p_value == 0


def test_many_comparisons_need_more_to_stand() -> None:
    assert holm([0.04]) == [True]
    assert holm([0.04, 0.9]) == [False, False]
    assert holm([0.02, 0.04]) == [True, True]
    assert holm([0.03, 0.001, math.nan, 0.04]) == [False, True, False, False]
    assert holm([]) == []


def test_of_equal_groups_one_is_called_worse_no_more_than_one_time_in_twenty() -> None:
    rng = random.Random(0)
    false_words, tries = 0, 200
    for _ in range(tries):
        best = by_seed([rng.gauss(0, 1) for _ in range(4)])
        against = [difference(best, by_seed([rng.gauss(0, 1) for _ in range(4)], 10)) for _ in range(4)]
        false_words += any(holm([each.p_value for each in against]))
    assert false_words / tries < 0.07
