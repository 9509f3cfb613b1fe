"""Put a run where a checkpoint was written, which may come from anywhere: what does not fit is one line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from rnntrain.build import Experiment, build_model
from rnntrain.config import Config
from rnntrain.configuring.checking import shown
from rnntrain.data.base import Codec
from rnntrain.errors import UserError
from rnntrain.processes import distributed
from rnntrain.tasks.base import Task

COUNTS = ("step", "epoch", "offset", "units_seen")
MOST = 1 << 60  # of a count
MOST_STEPS = 10**18 - 1  # which the name of a checkpoint can say
# What the sizes of a model's layers follow from, in a codec; the largest weight has at least about as many numbers.
SIZES = ("vocab_size", "num_features", "num_outputs", "num_classes", "num_keys", "num_targets")
SIZE_FACTOR = 4
# What code raises that is handed a value of another kind than it wrote.
MISFITS = (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, AssertionError)


def codec_in(tree: dict[str, Any], task: Task) -> Codec:
    """Return the codec that a checkpoint holds.

    Raises:
        UserError: it holds none, or not one of the task.
    """
    try:
        state = tree["codec"]
        if not isinstance(state, dict):
            raise TypeError("it is no codec")
        codec = task.codec_type.from_state(state)
        _check_size(codec, tree)
        return codec
    except MISFITS as error:
        raise UserError(f"the checkpoint's codec cannot be read ({_reason(error)}); use another checkpoint") from error


def _check_size(codec: Codec, tree: dict[str, Any]) -> None:
    """Refuse a codec of more entries than the weights beside it can be for, before a model is built to its size."""
    model = tree.get("trainer", tree)["model"]
    largest = max((part.numel() for part in model.values()), default=0)
    for part in (codec, getattr(codec, "inputs", None), getattr(codec, "frontend", None)):
        for name in SIZES:
            size = getattr(part, name, None)
            if isinstance(size, int) and size > SIZE_FACTOR * largest:
                raise ValueError(f"{name} is {size:,}, and the largest weight has {largest:,} numbers")


def check_weights(config: Config, task: Task, codec: Codec, tree: dict[str, Any]) -> None:
    """Compare the weights that a checkpoint holds with those that its config asks for, before any of these take memory.

    Raises:
        UserError: names the first that has another shape, or is missing or too many.
    """
    try:
        saved = {name: _form(weight) for name, weight in tree.get("trainer", tree)["model"].items()}
        with torch.device("meta"):
            model = build_model(config, task, codec)
        wanted = {name: _form(weight) for name, weight in model.state_dict().items()}
        for name in sorted(saved.keys() | wanted.keys()):
            if saved.get(name) != wanted.get(name):
                raise ValueError(f"{name} is {saved.get(name, 'missing')} and should be {wanted.get(name, 'absent')}")
    except MISFITS as error:
        raise UserError(f"the checkpoint does not fit its config: {_reason(error)}; use another checkpoint") from error


def _form(weight: torch.Tensor) -> str:
    return f"{' × '.join(map(str, weight.shape)) or 'one'} of {str(weight.dtype).removeprefix('torch.')}"


def step_in(tree: dict[str, Any]) -> int:
    """Return the step that a checkpoint was written at.

    Raises:
        UserError: it names none.
    """
    try:
        step = tree["trainer"]["step"]
    except MISFITS:
        step = None
    if type(step) is not int or not 0 <= step <= MOST_STEPS:
        raise UserError(f"the checkpoint's step is {shown(step)}, which is none; use another checkpoint")
    return step


def restore(experiment: Experiment, tree: dict[str, Any], checkpoint: Path) -> list[str]:
    """Put trainer and generators where the checkpoint was written; return what to warn of.

    Raises:
        UserError: the checkpoint does not fit the config, or holds other things than a trainer writes.
    """
    try:
        _check_counts(tree["trainer"])
        _check_groups(experiment.trainer.optimizer.state_dict(), tree["trainer"]["optimizer"])
        experiment.trainer.load_state_dict(tree["trainer"])
    except MISFITS as error:
        raise UserError(f"{checkpoint}: does not fit the run's config: {_reason(error)}") from error
    return distributed.restore_own_generators(tree)


def _check_counts(saved: dict[str, Any]) -> None:
    for name in COUNTS:
        if type(saved[name]) is not int or not 0 <= saved[name] <= MOST:
            raise ValueError(f"{name} is no count")
    seconds = saved["seconds"]
    if type(seconds) not in (int, float) or not math.isfinite(seconds):
        raise ValueError("seconds is no time")
    if type(saved["evaluated_at"]) is not int:
        raise ValueError("evaluated_at is no step")


def _check_groups(own: dict[str, Any], saved: dict[str, Any]) -> None:
    """Refuse settings of an optimizer of other kinds than its own, which would only fail at its first step."""
    for ours, theirs in zip(own["param_groups"], saved["param_groups"], strict=True):
        for name in ours.keys() & theirs.keys() - {"params"}:
            mine, its = ours[name], theirs[name]
            if _kind(mine) != _kind(its) or (isinstance(mine, (bool, str)) and mine != its):
                raise ValueError(f"{name} of the optimizer is {shown(its)}")


def _kind(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_kind(part) for part in value]
    return float if type(value) is int else type(value)


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
