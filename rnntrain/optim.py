"""Learning-rate schedules, averaged weights and clipping."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rnntrain.ranges import Fraction, NonNegativeInt, PositiveInt
from rnntrain.settings import ClipMode

EPSILON = 1e-6  # as in PyTorch's own clipping


class Schedule(ABC):
    """The learning rate over a run: the optimizer's own, times a warm-up, times `factor`.

    Args:
        warmup_steps: steps over which the rate grows linearly from 0 to its full value.
    """

    def __init__(self, warmup_steps: NonNegativeInt = 0) -> None:
        self.warmup_steps = warmup_steps

    @abstractmethod
    def factor(self, step: int, progress: float) -> float:
        """Return the multiplier for update number `step` (from 0), at `progress` in [0, 1] of the whole run."""

    def observe(self, metric: float, larger_is_better: bool) -> None:  # noqa: B027  most schedules need no look at it
        """Take in the watched metric after an evaluation."""

    def set_rate(self, optimizer: Optimizer, step: int, progress: float) -> float:
        """Set the rate of every group for the coming update; return that of the first."""
        multiplier = self.factor(step, min(max(progress, 0.0), 1.0))
        if step < self.warmup_steps:
            multiplier *= (step + 1) / self.warmup_steps
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * multiplier
        return float(optimizer.param_groups[0]["lr"])

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert not state, state


class Constant(Schedule):
    """The optimizer's rate throughout."""

    def factor(self, step: int, progress: float) -> float:
        return 1.0


class Linear(Schedule):
    """A straight line from 1 down to `final` at the end of the run."""

    def __init__(self, final: Fraction = 0.0, warmup_steps: NonNegativeInt = 0) -> None:
        super().__init__(warmup_steps)
        self.final = final

    def factor(self, step: int, progress: float) -> float:
        return 1.0 + (self.final - 1.0) * progress


class Cosine(Schedule):
    """Half a cosine from 1 down to `final` at the end of the run (Loshchilov and Hutter, arXiv:1608.03983, eq. 5)."""

    def __init__(self, final: Fraction = 0.0, warmup_steps: NonNegativeInt = 0) -> None:
        super().__init__(warmup_steps)
        self.final = final

    def factor(self, step: int, progress: float) -> float:
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * progress))


class Step(Schedule):
    """Times `gamma` every `every_steps` updates."""

    def __init__(self, every_steps: PositiveInt, gamma: Fraction = 0.1, warmup_steps: NonNegativeInt = 0) -> None:
        super().__init__(warmup_steps)
        self.every_steps = every_steps
        self.gamma = gamma

    def factor(self, step: int, progress: float) -> float:
        return float(self.gamma ** (step // self.every_steps))


class OneCycle(Schedule):
    """Cosines up from `start` to 1 over the first `up` of the run, then down to `final` (Smith, arXiv:1708.07120)."""

    def __init__(
        self,
        up: Fraction = 0.3,
        start: Fraction = 0.04,
        final: Fraction = 0.0,
        warmup_steps: NonNegativeInt = 0,
    ) -> None:
        super().__init__(warmup_steps)
        self.up = up
        self.start = start
        self.final = final

    def factor(self, step: int, progress: float) -> float:
        if progress < self.up:
            low, position = self.start, 1.0 - progress / self.up
        else:
            low, position = self.final, (progress - self.up) / max(1.0 - self.up, 1e-12)
        return low + (1.0 - low) * 0.5 * (1.0 + math.cos(math.pi * position))


class Plateau(Schedule):
    """Times `gamma` whenever the watched metric has not improved for `patience` evaluations in a row.

    Args:
        patience: evaluations without improvement that are still borne; 0 lowers the rate at the first.
        threshold: relative improvement below which an evaluation counts as none.
    """

    def __init__(
        self,
        gamma: Fraction = 0.25,
        patience: NonNegativeInt = 0,
        threshold: Fraction = 0.0,
        warmup_steps: NonNegativeInt = 0,
    ) -> None:
        super().__init__(warmup_steps)
        self.gamma = gamma
        self.patience = patience
        self.threshold = threshold
        self._best: float | None = None
        self._bad = 0
        self._reductions = 0

    def factor(self, step: int, progress: float) -> float:
        return float(self.gamma**self._reductions)

    def observe(self, metric: float, larger_is_better: bool) -> None:
        value = metric if larger_is_better else -metric
        best = -math.inf if self._best is None else self._best + self.threshold * abs(self._best)
        if value > best:  # never where it is NaN
            self._best, self._bad = value, 0
            return
        self._bad += 1
        if self._bad > self.patience:
            self._bad = 0
            self._reductions += 1

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best, "bad": self._bad, "reductions": self._reductions}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._best, self._bad, self._reductions = state["best"], state["bad"], state["reductions"]


class AveragedWeights:
    """An exponential moving average of the weights, ``a ← d·a + (1-d)·w``, used for evaluation and kept as the result.

    The decay warms up as (1 + n) / (10 + n) so that the random first weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._weights: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self.average = [p.detach().clone() for p in self._weights]

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.average, self._weights, 1.0 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the weights and their average; a second call puts them back."""
        for average, weight in zip(self.average, self._weights, strict=True):
            held = average.clone()
            average.copy_(weight)
            weight.copy_(held)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the model use the average within the context."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "average": list(self.average)}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        for average, saved in zip(self.average, state["average"], strict=True):
            average.copy_(saved)


@torch.no_grad()
def load_weights(model: nn.Module, saved: dict[str, Any]) -> None:
    """Load the weights that a run is judged by from a trainer's saved state: the averaged ones where it kept them."""
    model.load_state_dict(saved["model"])
    if saved["average"] is not None:
        weights = [p for p in model.parameters() if p.requires_grad]
        for weight, average in zip(weights, saved["average"]["average"], strict=True):
            weight.copy_(average)


def clip_gradients(parameters: Sequence[nn.Parameter], mode: ClipMode, limit: float) -> tuple[float, bool]:
    """Clip the gradients in place; return their norm before, and whether anything was beyond the limit.

    Pascanu et al. 2013, arXiv:1211.5063, algorithm 1, where `mode` is "norm". Gradients of a norm that is not finite
    are left as they are. The norm is read here, which makes a GPU wait once a step: whoever trains must know that it
    is finite before the update, and then nothing need be multiplied where nothing is clipped.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return 0.0, False
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads))).item()
    if mode == "norm" and limit < norm < math.inf:
        torch._foreach_mul_(grads, limit / (norm + EPSILON))
    if mode == "value":
        clipped = nn.utils.get_total_norm(grads, math.inf).item() > limit
        nn.utils.clip_grad_value_(parameters, limit)
        return norm, clipped
    return norm, mode == "norm" and norm > limit
