"""Take a step again that the guard kept away from the weights, and say where the first number is not finite."""

# B batch, T time

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rnntrain.batch import Batch
from rnntrain.build import build_model
from rnntrain.checkpoints.checkpoint import load_checkpoint
from rnntrain.config import Config
from rnntrain.device import autocast, choose_device, set_seeds, set_threads
from rnntrain.errors import UserError
from rnntrain.guard import non_finite_gradients, non_finite_values
from rnntrain.models.sequence import SequenceModel
from rnntrain.native import library
from rnntrain.runs.recorded import as_it_began, codec_of, config_of
from rnntrain.runs.run import open_run
from rnntrain.using import READABLE

SHOWN = 6  # names of parameters in a line
SQUARE_OVERFLOWS = 1e18  # or comes near it, in float32


@dataclass
class Trace:
    """Where the first number that is not finite was seen on the way forward, and on the way back."""

    forward: str | None = None
    backward: str | None = None
    hooks: list[Any] = field(default_factory=list)


@dataclass
class Replayed:
    """What a step came to when it was taken again."""

    batches: list[Batch]
    weights: list[str]
    largest_weight: float
    trace: Trace
    loss: float
    gradients: list[str]
    num_gradients: int
    largest: float


def replay(path: Path, overrides: list[str] | None = None) -> list[str]:
    """Take a recorded step again, with its weights, state and noise; return what is printed. Reads no data set.

    Args:
        path: the folder that the guard wrote, such as ``RUN/nonfinite/step-000000009``.

    Raises:
        UserError: it is no such folder, or does not fit its run.
    """
    run = open_run(path)
    tree = load_checkpoint(path)
    if "batches" not in tree or "problem" not in tree:
        raise UserError(f"{path}: is a checkpoint, not a step written aside; give one of {run.nonfinite}")
    config = as_it_began(run, config_of(run, overrides or (), READABLE))
    replayed = _take_again(config, tree)
    return [f"{path}, step {tree['step']:,}: {tree['problem']}", *_lines(tree, replayed)]


def _take_again(config: Config, tree: dict[str, Any]) -> Replayed:
    set_seeds(config.top.seed, config.top.deterministic)
    set_threads(config.top.threads)
    library.choose(config.top.kernels)
    device = choose_device(config.device, config.top.precision)
    task, codec = config.task.build(), codec_of(config, tree)
    model = build_model(config, task, codec).to(device)
    model.load_state_dict(tree["model"])
    model.train()
    batches = [Batch(**fields).to(device) for fields in tree["batches"]]
    weights = [name for name, weight in model.named_parameters() if not weight.isfinite().all()]
    torch.set_rng_state(tree["generators"]["cpu"])
    if device.type == "cuda" and "cuda" in tree["generators"]:
        torch.cuda.set_rng_state(tree["generators"]["cuda"], device)
    state, losses, counts = tree["state"], [], []
    with _traced(model) as trace:
        for batch in batches:
            with autocast(device, config.top.precision):
                output, state = model(batch, _to(state, device))
                loss_sum, count = task.loss(output, batch)
            state = task.carry(state)
            total = loss_sum if model.penalty is None else loss_sum + count * model.penalty
            losses.append(loss_sum.detach())
            counts.append(count)
            (total / counts[0]).backward()
    loss = sum(losses[1:], losses[0]) / sum(counts[1:], counts[0])
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    largest_weight, largest = _largest(list(model.parameters())), _largest(grads)
    bad = non_finite_gradients(model)
    return Replayed(batches, weights, largest_weight, trace, float(loss), bad, len(grads), largest)


def _largest(tensors: Sequence[Tensor]) -> float:
    return max((float(tensor.detach().abs().max()) for tensor in tensors if tensor.numel()), default=0.0)


@contextmanager
def _traced(model: SequenceModel) -> Iterator[Trace]:
    """Look at what every part of the model gives, in the order in which they end, and at what comes back to it."""
    trace = Trace()
    for name, module in model.named_modules():
        if name:
            title = f"{name} ({type(module).__name__})"
            trace.hooks.append(module.register_forward_hook(partial(_look, trace, title)))
    try:
        yield trace
    finally:
        for hook in trace.hooks:
            hook.remove()


def _look(trace: Trace, title: str, module: nn.Module, given: Any, output: Any) -> None:
    for tensor in _tensors(output):
        if not tensor.is_floating_point() and not tensor.is_complex():
            continue
        if trace.forward is None and not tensor.isfinite().all():
            trace.forward = f"the output of {title}{_place(tensor)}"
        if tensor.requires_grad:
            trace.hooks.append(tensor.register_hook(partial(_look_back, trace, title)))


def _look_back(trace: Trace, title: str, grad: Tensor | None) -> None:
    if trace.backward is None and grad is not None and not grad.isfinite().all():
        trace.backward = f"the gradient that comes back to the output of {title}{_place(grad)}"


def _place(tensor: Tensor) -> str:
    """Return where the first bad number stands, first in time where there is time."""
    bad = ~tensor.isfinite()
    if tensor.dim() < 3:
        return ""
    places = bad.nonzero()
    row, step = places[places[:, 1].argmin()][:2].tolist()
    return f", first at row {row}, step {step}"


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _to(state: Any, device: torch.device) -> Any:
    if isinstance(state, tuple):
        return tuple(_to(part, device) for part in state)
    return state if state is None else state.to(device)


def _lines(tree: dict[str, Any], replayed: Replayed) -> Iterator[str]:
    sizes = ", ".join(f"{b.inputs.shape[0]} sequences of {b.inputs.shape[1]:,} steps" for b in replayed.batches)
    values = non_finite_values(replayed.batches)
    yield f"  batch      epoch {tree['epoch']}, number {tree['offset']}, seed {tree['seed']}: {sizes}"
    yield f"  data       {'; '.join(values) or 'finite'}"
    yield f"  weights    {_named(replayed.weights) or f'finite, up to {replayed.largest_weight:.3g}'}"
    yield f"  forward    {replayed.trace.forward or 'finite'}"
    yield f"  loss       {replayed.loss:g} ({_recorded(tree['loss'], replayed.loss)})"
    yield f"  backward   {replayed.trace.backward or 'finite'}"
    of = f"not finite in {len(replayed.gradients)} of {replayed.num_gradients}: {_named(replayed.gradients)}"
    yield f"  gradients  {of if replayed.gradients else f'finite, up to {replayed.largest:.3g}'}"
    yield f"It begins in {_beginning(tree, replayed, values)}"


def _beginning(tree: dict[str, Any], replayed: Replayed, values: list[str]) -> str:
    trace = replayed.trace
    if values:
        return "the data: mend it, or leave such batches out with trainer.on_nonfinite=skip"
    if replayed.weights:
        return "the weights, which are not finite themselves"
    if trace.forward is not None:
        return f"the forward pass, in {trace.forward}"
    if not torch.tensor(replayed.loss).isfinite():
        return "the loss: all that it is computed from is finite"
    if trace.backward is not None:
        return f"the backward pass, in {trace.backward}"
    if replayed.gradients:
        return f"the backward pass, in the gradients of {_named(replayed.gradients)}"
    if replayed.largest > SQUARE_OVERFLOWS:
        return "the norm of the gradient: each of its values is finite, the sum of their squares is not"
    if torch.tensor([tree["loss"], tree["grad_norm"]]).isfinite().all():
        return "no number that is not finite: the step was a spike"
    return (
        "nothing that can be seen here: every number is finite now. The machine may have erred, or its kernels differ"
    )


def _named(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _recorded(before: float, now: float) -> str:
    # By their bits: NaN is the same as itself here.
    if struct.pack("d", before) == struct.pack("d", now) or (before != before and now != now):
        return "as recorded"
    return f"recorded {before:g}"
