"""Quantiles of Student's t are those of the tables, for any number of degrees of freedom."""

from __future__ import annotations

import math

import pytest
import torch

from rnntrain.tasks.forecast.outputs import StudentTOutput
from rnntrain.tasks.forecast.student_t import student_t_of_normal, student_t_quantile

LEVELS = (0.55, 0.9, 0.975, 0.999)
# By scipy.stats.t.ppf 1.17.
TABLE = {
    2.0001: (0.142132983, 1.88557655, 4.30244659, 22.3243755),
    2.3: (0.139970457, 1.78192399, 3.80716321, 16.279416),
    3.0: (0.136598199, 1.63774435, 3.18244631, 10.2145319),
    4.0: (0.133830367, 1.53320627, 2.77644511, 7.17318222),
    5.0: (0.132175175, 1.47588405, 2.57058184, 5.89342953),
    17.5: (0.127497854, 1.33184083, 2.10523297, 3.62755022),
    1000.0: (0.125693263, 1.28239872, 1.96233908, 3.09840216),
    1e9: (0.125661347, 1.28155157, 1.95996399, 3.09023231),
}


@pytest.mark.parametrize("freedom", TABLE)
def test_quantiles_are_those_of_the_tables(freedom: float) -> None:
    n = torch.tensor([freedom], dtype=torch.float64)
    for level, value in zip(LEVELS, TABLE[freedom], strict=True):
        assert float(student_t_quantile(n, level)) == pytest.approx(value, rel=1e-6)
        assert float(student_t_quantile(n, 1 - level)) == pytest.approx(-value, rel=1e-6)


@pytest.mark.parametrize("freedom", TABLE)
def test_scores_of_the_normal_distribution_name_levels_too(freedom: float) -> None:
    scores = torch.special.ndtri(torch.tensor([*LEVELS, 0.5, 0.1, 0.001], dtype=torch.float64))
    below = [-TABLE[freedom][1], -TABLE[freedom][3]]
    expected = torch.tensor([*TABLE[freedom], 0.0, *below], dtype=torch.float64)
    found = student_t_of_normal(torch.full_like(scores, freedom), scores)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("level", [0.51, 0.75, 0.99, 0.9999])
def test_two_degrees_of_freedom_have_a_formula(level: float) -> None:
    found = student_t_quantile(torch.tensor([2.0], dtype=torch.float64), level)
    assert float(found) == pytest.approx((2 * level - 1) / math.sqrt(2 * level * (1 - level)), rel=1e-5)


def test_the_distribution_function_takes_quantiles_back_to_their_level() -> None:
    freedom = torch.linspace(2, 50, 97, dtype=torch.float64)
    x = student_t_quantile(freedom, 0.9)
    # By the trapezoid rule in the angle, with another formula for the constant.
    angles = torch.linspace(0, 1, 100001, dtype=torch.float64) * torch.atan(x / freedom.sqrt())[:, None]
    area = torch.trapezoid(torch.cos(angles) ** (freedom[:, None] - 1), angles)
    constant = torch.exp(torch.lgamma((freedom + 1) / 2) - torch.lgamma(freedom / 2)) / math.sqrt(math.pi)
    torch.testing.assert_close(0.5 + constant * area, torch.full_like(freedom, 0.9), rtol=0, atol=1e-7)


def test_bands_lie_about_the_location_in_units_of_the_scale() -> None:
    params = torch.tensor([[7.0, 2.0, 4.0]])
    quantiles = StudentTOutput([0.1, 0.5, 0.9]).quantiles(params)
    expected = torch.tensor([[7 - 2 * 1.53320627, 7.0, 7 + 2 * 1.53320627]])
    torch.testing.assert_close(quantiles, expected, rtol=1e-6, atol=0)
