"""Quantiles of Student's t for any number of degrees of freedom, by operations that a graph can hold."""

# K nodes of a quadrature

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

NUM_NODES = 24
MOST_FREEDOM = 1e7  # from here on it is the normal distribution, to 1e-7
SHIFT = 16  # of the argument of a gamma function, to where its series is good to 1e-11


def student_t_quantile(freedom: Tensor, level: float) -> Tensor:
    """Return the quantile of Student's t for each number of degrees of freedom ν ≥ 2, to 1e-6 of its value.

    With x = √ν tan θ, the distribution function is F = 1/2 + c ∫₀^θ cos^{ν-1} φ dφ, c = Γ((ν+1)/2) / (√π Γ(ν/2))
    (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4 are its sums for whole ν). The integrand is smooth for every ν, so
    that Gauss and Legendre's quadrature takes it in 24 points; from the quantile by Hill's expansion, one step of
    Newton's method in θ. Good to 1e-6 for levels from 0.001 to 0.999, to 1e-5 from 0.0001 to 0.9999.

    Args:
        freedom: any shape; the quantiles have its shape and type.
        level: within 0 and 1.
    """
    if level == 0.5:
        return torch.zeros_like(freedom)
    tail = min(level, 1 - level)
    size = _above(freedom, tail, NormalDist().inv_cdf(tail))
    return size if level > 0.5 else -size


def student_t_of_normal(freedom: Tensor, scores: Tensor) -> Tensor:
    """Return the quantiles of Student's t at the levels of which the scores are those of the normal distribution."""
    below = -scores.abs().to(torch.float64)
    return scores.sign() * _above(freedom, torch.special.ndtr(below), below)


def _above(freedom: Tensor, tail: float | Tensor, normal: float | Tensor) -> Tensor:
    """Return the quantile above which `tail` ≤ 1/2 of the distribution lies; `normal` is that of the normal one."""
    n = freedom.to(torch.float64).clamp(max=MOST_FREEDOM)
    c = _factor(n)
    # The start in float32: onnxruntime has no arc tangent in float64.
    angle = torch.atan((_expansion(n, tail, normal) / n.sqrt()).float()).double()
    angle = angle - (c * _integral(n, angle) - (0.5 - tail)) / (c * torch.cos(angle) ** (n - 1))
    return (n.sqrt() * torch.sin(angle) / torch.cos(angle)).to(freedom.dtype)


def _integral(n: Tensor, angle: Tensor) -> Tensor:
    """Return ∫₀^θ cos^{n-1} φ dφ."""
    nodes, weights = np.polynomial.legendre.leggauss(NUM_NODES)
    nodes_K = torch.from_numpy((nodes + 1) / 2).to(n.device)
    weights_K = torch.from_numpy(weights / 2).to(n.device)
    return angle * (torch.cos(angle[..., None] * nodes_K) ** (n[..., None] - 1) * weights_K).sum(-1)


def _factor(n: Tensor) -> Tensor:
    """Return Γ((n+1)/2) / (√π Γ(n/2)).

    By the series of Γ(x + 1/2) / Γ(x) for large x (Tricomi and Erdélyi 1951, Pacific Journal of Mathematics 1), which
    is exact at once where n is large, and back from there by Γ(x + 1) = x Γ(x). ONNX has no gamma function.
    """
    m = n + SHIFT
    series = 1 - 1 / (4 * m) + 1 / (32 * m**2) + 5 / (128 * m**3) - 21 / (2048 * m**4) - 399 / (8192 * m**5)
    ratio = torch.sqrt(m / 2) * series
    for step in range(0, SHIFT, 2):
        ratio = ratio * (n + step) / (n + step + 1)
    return ratio / math.sqrt(math.pi)


def _expansion(n: Tensor, tail: float | Tensor, x: float | Tensor) -> Tensor:
    """Return the quantile above which `tail` of the distribution lies, to 1e-3 of its value; x ≤ 0 is the normal's.

    By Hill 1970 (Communications of the ACM 13, algorithm 396).
    """
    both_tails = 2 * tail
    a = 1 / (n - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * torch.sqrt(a * math.pi / 2) * n
    y = (d * both_tails) ** (2 / n)
    # Far out in the tail a series in y, nearer the middle one about the quantile of the normal distribution.
    series = ((1 / (((n + 6) / (n * y) - 0.089 * d - 0.822) * (n + 2) * 3) + 0.5 / (n + 4)) * y - 1) * (n + 1) / (n + 2)
    series = series + 1 / y
    c = torch.where(n < 5, c + 0.3 * (n - 4.5) * (x + 0.6), c)
    c = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c
    middle = (((((0.4 * x**2 + 6.3) * x**2 + 36) * x**2 + 94.5) / c - x**2 - 3) / b + 1) * x
    middle = torch.expm1(a * middle**2)
    return torch.sqrt(n * torch.where(y > 0.05 + a, middle, series))
