"""How far back a network learns: the gradient of a loss by lag, the recurrent Jacobian, gates and dead units.

Everything is measured in evaluation mode, on one batch, and leaves weights, their gradients and the random generators
as they were.
"""

# B batch, T time, K lags, L layers, S numbers in one row's state of a layer

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from rnntrain.batch import Batch
from rnntrain.cells.base import Recurrent, State, map_state, select_rows
from rnntrain.errors import UserError
from rnntrain.models.sequence import SequenceModel
from rnntrain.tasks.base import Task

FORGOTTEN = 0.01  # of its largest value: what is left of a gradient counts as nothing
FLOOR = 1e-30  # below which a float32 gradient is rounding alone
JACOBIANS = 8  # time steps at which the recurrent Jacobian is taken
LARGEST_STATE = 2048  # numbers; the Jacobian has the square of them
SATURATED = 0.05  # a gate within this distance of an end of its range
DEAD = 1e-4  # standard deviation below which an output says nothing


@dataclass(frozen=True)
class LayerDiagnosis:
    """What was measured of one layer.

    Attributes:
        gradient_K: norm of the gradient of the last step's loss by the layer's state `k` steps before; mean over rows.
        spectral_radius: median over time of the largest absolute eigenvalue of ∂state_t/∂state_{t-1}; NaN where the
            state is too large.
        saturation: share of each gate's values near an end of its range, by the gate's name.
        dead: share of outputs that hardly change over the batch.
    """

    gradient_K: Tensor
    spectral_radius: float
    saturation: dict[str, float]
    dead: float

    @property
    def memory(self) -> int | None:
        """The lag at which the gradient has fallen to 1 % of its largest value for good; None if it never does."""
        kept_K = self.gradient_K >= FORGOTTEN * self.gradient_K.max()
        last = int(kept_K.nonzero().max())
        return None if last == len(kept_K) - 1 else last + 1

    @property
    def factor_per_step(self) -> float:
        """By what a gradient changes with each step back: the slope of a line through its logarithm.

        The line is fitted over the lags at which more than rounding is left.
        """
        logs_K = self.gradient_K.double().clamp(min=FLOOR).log()
        kept = int((self.gradient_K > 1e-6 * self.gradient_K.max()).nonzero().max()) + 1
        if kept < 3:
            return 0.0
        lags_K = torch.arange(kept, dtype=torch.float64)
        lags_K -= lags_K.mean()
        return math.exp(float((lags_K * logs_K[:kept]).sum() / (lags_K**2).sum()))

    @property
    def half_life(self) -> float:
        """Steps over which the gradient halves; infinite where it does not shrink."""
        factor = self.factor_per_step
        if factor <= 0:
            return 0.0
        return math.inf if factor >= 1 else math.log(0.5) / math.log(factor)


def diagnose(model: SequenceModel, task: Task, batch: Batch, max_lag: int = 400) -> list[LayerDiagnosis]:
    """Measure every layer on one batch, the last `max_lag` steps of it.

    Raises:
        UserError: for a bidirectional model, which has no step, and for sequences of fewer than three steps.
    """
    if model.backbone.bidirectional:
        raise UserError("a bidirectional model cannot run step by step, so its lags mean nothing; diagnose another")
    training = model.training
    model.eval()
    try:
        with torch.enable_grad():
            x_BTD = model.input(batch.inputs).detach()
            if x_BTD.shape[1] < 3:
                raise UserError(f"sequences of {x_BTD.shape[1]} steps have no lags to look at; give longer ones")
            lengths_B = batch.lengths_B
            if lengths_B is None:
                lengths_B = torch.full((len(x_BTD),), x_BTD.shape[1], device=x_BTD.device)
            walk = _walk(model, x_BTD, lengths_B)
            gradient_LTB = _gradient(model, task, batch, walk, lengths_B)
            return [
                LayerDiagnosis(
                    _by_lag(gradient_TB, lengths_B, max_lag),
                    _spectral_radius(layer, walk, number, int(lengths_B.argmax())),
                    _saturation(layer, walk, number),
                    _dead(walk.outputs[number], lengths_B),
                )
                for number, (layer, gradient_TB) in enumerate(zip(layers(model), gradient_LTB, strict=True))
            ]
    finally:
        model.train(training)


@torch.no_grad()
def gates(model: SequenceModel, batch: Batch) -> list[dict[str, Tensor]]:
    """Return the values of each layer's gates over a batch, flat, by the gate's name; cells without gates have none."""
    training = model.training
    model.eval()
    try:
        x_BTD = model.input(batch.inputs)
        lengths_B = batch.lengths_B
        if lengths_B is None:
            lengths_B = torch.full((len(x_BTD),), x_BTD.shape[1], device=x_BTD.device)
        walk = _walk(model, x_BTD, lengths_B)
        return [_gates(layer, walk, number, lengths_B) for number, layer in enumerate(layers(model))]
    finally:
        model.train(training)


def _gates(layer: Recurrent, walk: Walk, number: int, lengths_B: Tensor) -> dict[str, Tensor]:
    found: dict[str, list[Tensor]] = {}
    for t, (x_BD, state) in enumerate(zip(walk.inputs[number], walk.states[number], strict=False)):
        for name, gate in layer.gate_values(x_BD, state).items():
            found.setdefault(name, []).append(gate[t < lengths_B].flatten())
    return {name: torch.cat(values) for name, values in found.items()}


def layers(model: SequenceModel) -> list[Recurrent]:
    """Return the recurrences of the stack, the first layer first."""
    return [cast(Recurrent, layer) for layer in model.backbone.layers]


@dataclass
class Walk:
    """One pass step by step: what each layer read and gave, and the states between the steps, as nodes of one graph."""

    inputs: list[list[Tensor]]
    outputs: list[list[Tensor]]
    states: list[list[State]]
    y_BTH: Tensor


def _walk(model: SequenceModel, x_BTD: Tensor, lengths_B: Tensor) -> Walk:
    state = map_state(lambda part: part.clone().requires_grad_(), model.backbone.initial_state(len(x_BTD)))
    walk = Walk([[] for _ in state], [[] for _ in state], [[part] for part in state], x_BTD)
    tops: list[Tensor] = []
    for t, x_BD in enumerate(x_BTD.unbind(1)):
        number = 0

        def step(layer: Recurrent, x: Tensor, before: State) -> tuple[Tensor, State]:
            nonlocal number
            y, after = layer.step(x, before)
            walk.inputs[number].append(x.detach())
            walk.outputs[number].append(y.detach())
            number += 1
            return y, after

        y_BH, after = model.backbone.climb(x_BD, state, step)
        # Nodes from which both the output and the next step follow, so not those of the selection below.
        for of_layer, part in zip(walk.states, after, strict=True):
            of_layer.append(part)
        state = select_rows(t < lengths_B, after, state)
        tops.append(y_BH)
    walk.y_BTH = torch.stack(tops, 1)
    return walk


def _gradient(model: SequenceModel, task: Task, batch: Batch, walk: Walk, lengths_B: Tensor) -> Tensor:
    """Return ``[L, T + 1, B]``: norms of the gradient by the state after each step; index 0 is the initial state.

    All outputs but each row's last valid one are cut from the graph, so that only the last step's loss, or what a
    pooling head takes from the last step, is looked back from.
    """
    time_T = torch.arange(walk.y_BTH.shape[1], device=lengths_B.device)
    is_last_BT = time_T == lengths_B[:, None] - 1
    y_BTH = torch.where(is_last_BT[..., None], walk.y_BTH, walk.y_BTH.detach())
    loss_sum, _ = task.loss(model.head(y_BTH, batch), batch)
    parts = [part for states in walk.states for state in states for part in _tensors(state)]
    grads = iter(torch.autograd.grad(loss_sum, parts, allow_unused=True))
    norms_LT: list[Tensor] = []
    for states in walk.states:
        for state in states:
            squares = [torch.zeros(len(lengths_B), device=lengths_B.device)]
            for _ in _tensors(state):
                grad = next(grads)
                if grad is not None:
                    squares.append(grad.detach().flatten(1).double().square().sum(1).float())
            norms_LT.append(torch.stack(squares).sum(0).sqrt())
    return torch.stack(norms_LT).view(len(walk.states), -1, len(lengths_B)).cpu()


def _by_lag(gradient_TB: Tensor, lengths_B: Tensor, max_lag: int) -> Tensor:
    """Return the mean at each lag, 0 at the last valid step, over the rows of at least the median length.

    The same rows at every lag: a mean over fewer and fewer of them would show their differences as a decay.
    """
    lengths_B = lengths_B.cpu()
    num_steps = min(max_lag, int(lengths_B.median()))
    rows = (lengths_B >= num_steps).nonzero().squeeze(1)
    return torch.stack([gradient_TB[lengths_B[rows] - lag, rows].mean() for lag in range(num_steps + 1)])


def _spectral_radius(layer: Recurrent, walk: Walk, number: int, row: int) -> float:
    states, inputs = walk.states[number], walk.inputs[number]
    size = sum(part[0].numel() for part in _tensors(states[0]))
    if size > LARGEST_STATE:
        return math.nan
    chosen = torch.linspace(0, len(inputs) - 1, min(JACOBIANS, len(inputs))).long().tolist()
    before = [map_state(lambda part: part[row : row + 1].detach(), states[t]) for t in chosen]
    jacobians = [_jacobian(layer, inputs[t][row : row + 1], each, size) for t, each in zip(chosen, before, strict=True)]
    return float(torch.stack([torch.linalg.eigvals(jacobian_SS).abs().max() for jacobian_SS in jacobians]).median())


def _jacobian(layer: Recurrent, x_1D: Tensor, state: State, size: int) -> Tensor:
    """Return ``∂state_t/∂state_{t-1}`` of one row, copied once a number of its state, in one backward pass."""
    before = map_state(lambda part: part.expand(size, *part.shape[1:]).clone().requires_grad_(), state)
    _, after = layer.step(x_1D.expand(size, -1), before)
    results = [part.flatten(1) for part in _tensors(after)]
    total = (torch.cat(results, 1) * torch.eye(size, device=x_1D.device, dtype=results[0].dtype)).sum()
    grads = torch.autograd.grad(total, _tensors(before), allow_unused=True)
    columns = [
        (torch.zeros_like(part) if grad is None else grad).flatten(1)
        for part, grad in zip(_tensors(before), grads, strict=True)
    ]
    return torch.cat(columns, 1).detach().double().cpu()


def _saturation(layer: Recurrent, walk: Walk, number: int) -> dict[str, float]:
    shares: dict[str, list[float]] = {}
    with torch.no_grad():
        for x_BD, state in zip(walk.inputs[number], walk.states[number], strict=False):
            for name, gate in layer.gate_values(x_BD, state).items():
                shares.setdefault(name, []).append(float((torch.minimum(gate, 1 - gate) < SATURATED).float().mean()))
    return {name: sum(values) / len(values) for name, values in shares.items()}


def _dead(outputs: list[Tensor], lengths_B: Tensor) -> float:
    y_TBH = torch.stack(outputs)
    time_T1 = torch.arange(len(outputs), device=lengths_B.device)[:, None]
    return float((y_TBH[time_T1 < lengths_B].std(0) < DEAD).float().mean())


def _tensors(state: State) -> list[Tensor]:
    return [tensor for part in state for tensor in _tensors(part)] if isinstance(state, tuple) else [state]


# -- in words ---


def verdict(layer: int, diagnosis: LayerDiagnosis) -> str:
    """Say in one line how a layer's gradient behaves, and what to try."""
    factor, lags = diagnosis.factor_per_step, len(diagnosis.gradient_K) - 1
    grown = float(diagnosis.gradient_K.max() / diagnosis.gradient_K[0].clamp(min=FLOOR))
    if factor > 1 and grown > 10:
        return (
            f"layer {layer}: exploding: the gradient grows by {factor - 1:.1%} with each step back, {grown:.0f} times "
            f"over {lags} steps; try trainer.grad_clip=0.5, a lower optimizer.lr, or model/cell=orthogonal, lstm or gru"
        )
    memory = diagnosis.memory
    if memory is not None:
        gated = bool(diagnosis.saturation)
        cures = "model.cell.t_max=N, N steps to be remembered" if gated else "model/cell=lstm, gru, orthogonal or leaky"
        return (
            f"layer {layer}: vanishing: half-life {diagnosis.half_life:.0f} steps; beyond {memory} steps less than 1 % "
            f"is left; try {cures}, or a loss at every step"
        )
    return f"layer {layer}: steady: after {lags} steps more than 1 % of the gradient is left"
