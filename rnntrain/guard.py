"""Keeps updates that are not finite, or far out of proportion, away from the weights."""

# B batch, T time

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from rnntrain.batch import Batch, length_mask
from rnntrain.cells.base import State
from rnntrain.errors import NonFiniteError
from rnntrain.settings import NonFinitePolicy, TrainerSettings

SPIKE_STEPS = 100  # over which the medians run
SPIKE_STEPS_AT_LEAST = 20  # before which nothing is called a spike: the first steps of a run differ much


@dataclass
class Origin:
    """Where a step began, so that it can be taken again: its place in the data, its state, its batches, its noise."""

    epoch: int
    offset: int
    state: State
    generators: dict[str, Tensor]
    batches: list[Batch]

    @classmethod
    def here(cls, epoch: int, offset: int, state: State, device: torch.device) -> Origin:
        """Take down where a step begins; a few microseconds."""
        generators = {"cpu": torch.get_rng_state()}
        if device.type == "cuda":
            generators["cuda"] = torch.cuda.get_rng_state(device)
        return cls(epoch, offset, state, generators, [])


@dataclass(frozen=True)
class Incident:
    """A step whose update was kept away from the weights.

    Attributes:
        step: the step, from 1.
        problem: what was wrong, in words: the loss, or the gradient's norm.
        loss: the mean loss of the step.
        grad_norm: the gradient's norm before clipping.
        gradients: names of the parameters whose gradients are not finite.
        values: what is not finite in the batches themselves, in words.
        origin: where the step began.
    """

    step: int
    problem: str
    loss: float
    grad_norm: float
    gradients: list[str]
    values: list[str]
    origin: Origin

    @classmethod
    def of(cls, model: nn.Module, step: int, problem: str, loss: float, grad_norm: float, origin: Origin) -> Incident:
        """Take down a step that is being taken, its gradients still in the model."""
        values = non_finite_values(origin.batches)
        return cls(step, problem, loss, grad_norm, non_finite_gradients(model), values, origin)

    def error(self, limit: str = "") -> NonFiniteError:
        """Return the error that ends the run; `limit` says which limit of the policy was reached."""
        return NonFiniteError(self.step, self.loss, self.grad_norm, self.problem, self.values, limit)

    def to_tree(self, seed: int) -> dict[str, Any]:
        """Return it as a tree that a checkpoint can hold; the batches are under "batches"."""
        origin = self.origin
        return {
            "step": self.step,
            "problem": self.problem,
            "loss": self.loss,
            "grad_norm": self.grad_norm,
            "gradients": self.gradients,
            "values": self.values,
            "seed": seed,
            "epoch": origin.epoch,
            "offset": origin.offset,
            "state": origin.state,
            "generators": origin.generators,
            "batches": [{f.name: getattr(batch, f.name) for f in fields(batch)} for batch in origin.batches],
        }


class Guard:
    """Judges every step before its update, and counts what it kept away.

    A step is bad where its loss or the norm of its gradient is not finite. With a spike factor it is so too where
    one of them is more than so many times the median of the last 100 steps that were taken; a median that is not
    positive, as that of a negative log-likelihood can be, judges nothing.

    Attributes:
        anchor: the step that a rollback goes back to: the last multiple of the interval between saves. It is a
            function of the step alone, so that a run that was interrupted in between goes back to the same one.
    """

    def __init__(self, settings: TrainerSettings) -> None:
        self.policy: NonFinitePolicy = settings.on_nonfinite
        self.anchor = 0
        self._limits = {"skip": settings.max_skips, "rollback": settings.max_rollbacks}
        self._counts = {"skip": 0, "rollback": 0}
        self._factor = settings.spike_factor
        self._every = settings.save_every_steps
        self._recent: dict[str, deque[float]] = {name: deque(maxlen=SPIKE_STEPS) for name in ("loss", "gradient norm")}

    def problem(self, loss_sum: Tensor, count: Tensor, grad_norm: float, scaled: bool) -> str | None:
        """Say what is wrong with a step, or return None and count it among those that were taken.

        Args:
            scaled: the loss was scaled for float16. Gradients that overflow then are the scaler's own to skip; a loss
                that overflowed before is beyond its help.
        """
        if not math.isfinite(loss_sum.item()):
            return "the loss is not finite"
        if not math.isfinite(grad_norm):
            return None if scaled else "the gradient's norm is not finite"
        if self._factor is None:
            return None
        measured = {"loss": float(loss_sum / count), "gradient norm": grad_norm}
        for name, value in measured.items():
            recent = self._recent[name]
            if len(recent) >= SPIKE_STEPS_AT_LEAST and value > self._factor * (usual := statistics.median(recent)) > 0:
                return f"the {name} is {value / usual:.3g} times the median of the last {len(recent)} steps"
        for name, value in measured.items():
            self._recent[name].append(value)
        return None

    def decide(self, incident: Incident) -> None:
        """Count an incident, and return if the policy takes care of it.

        Raises:
            NonFiniteError: the run is to stop, by its policy or by the limit of it.
        """
        if self.policy == "stop":
            raise incident.error()
        if self._counts[self.policy] == self._limits[self.policy]:
            raise incident.error(f"trainer.max_{self.policy}s={self._limits[self.policy]}")
        self._counts[self.policy] += 1

    def stepped(self, step: int) -> None:
        """Take in that a step has been counted."""
        if step % self._every == 0:
            self.anchor = step

    def scalars(self) -> dict[str, float]:
        """Return what is logged: how many steps were kept away so far; nothing where the first ends the run."""
        return {} if self.policy == "stop" else {f"train/{self.policy}s": float(self._counts[self.policy])}

    def state_dict(self) -> dict[str, Any]:
        recent = {name: list(values) for name, values in self._recent.items()}
        return {"anchor": self.anchor, "counts": dict(self._counts), "recent": recent}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.anchor = saved["anchor"]
        self._counts = {name: saved["counts"][name] for name in self._counts}
        self._recent = {name: deque(saved["recent"][name], maxlen=SPIKE_STEPS) for name in self._recent}


def non_finite_gradients(model: nn.Module) -> list[str]:
    """Return the names of the parameters whose gradients are not finite."""
    return [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]


def non_finite_values(batches: list[Batch]) -> list[str]:
    """Say which parts of batches hold what is not finite, where they are valid and count."""
    found = []
    for number, batch in enumerate(batches):
        for name in ("inputs", "targets", "context"):
            bad = _bad_places(batch, name)
            if bad is not None and bad.any():
                of = f" of batch {number + 1} of {len(batches)}" if len(batches) > 1 else ""
                first = ", ".join(map(str, bad.nonzero()[0].tolist()))
                found.append(f"{name}{of}: {int(bad.sum()):,} of {bad.numel():,} values, the first at [{first}]")
    return found


def _bad_places(batch: Batch, name: str) -> Tensor | None:
    value: Tensor | None = getattr(batch, name)
    if value is None or not (value.is_floating_point() or value.is_complex()):
        return None
    bad = ~value.isfinite()
    over_time = value.dim() >= 2 and value.shape[:2] == batch.inputs.shape[:2]
    if over_time and batch.lengths_B is not None:  # what stands in padded places has no meaning
        bad &= _like(length_mask(batch.lengths_B, value.shape[1]), bad)
    if over_time and name == "targets" and batch.counted_BT is not None:
        bad &= _like(batch.counted_BT, bad)
    return bad


def _like(mask_BT: Tensor, other: Tensor) -> Tensor:
    return mask_BT.reshape(*mask_BT.shape, *[1] * (other.dim() - 2))
