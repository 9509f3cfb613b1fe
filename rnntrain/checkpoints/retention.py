"""Which checkpoints stay: the last few, the best, and always one that verifies."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from rnntrain.checkpoints import durable
from rnntrain.checkpoints.checkpoint import (
    CheckpointError,
    CheckpointWriteError,
    checkpoint_name,
    checkpoint_step,
    find_checkpoints,
    latest_valid,
    reason_of,
)

BEST = "best.json"
BEST_LIMIT_BYTES = 64 << 10


@dataclass(frozen=True)
class Best:
    """The checkpoint with the best value of the metric that the run is judged by."""

    name: str
    metric: str
    value: float
    step: int


def mark_best(folder: Path, name: str, metric: str, value: float) -> None:
    """Point `best.json` at the checkpoint `name`, in one step; `rotate` never deletes it.

    Raises:
        ValueError: the value is not finite, or `name` is no checkpoint name.
        CheckpointWriteError: the disk refused; the old pointer stands.
    """
    step = checkpoint_step(name)
    if name != checkpoint_name(step):
        raise ValueError(f"{name!r} is not the name of a checkpoint; use {checkpoint_name(step)}")
    if not math.isfinite(value):
        raise ValueError(f"{metric} is {value}, which cannot be the best")
    document = {"name": name, "metric": metric, "value": float(value), "step": step}
    try:
        durable.replace_file(folder / BEST, durable.seal(document))
    except OSError as error:
        raise CheckpointWriteError(folder / BEST, 0.001, error) from error


def read_best(folder: Path) -> Best | None:
    """Return what `best.json` says, or None where none was marked yet.

    Raises:
        CheckpointError: it is damaged.
    """
    path = folder / BEST
    if not os.path.lexists(path):
        return None
    try:
        document = durable.unseal(durable.read_bounded(path, BEST_LIMIT_BYTES), BEST)
        best = Best(document["name"], document["metric"], document["value"], document["step"])
        # The exact name: a path would lead out of the folder.
        if best.name != checkpoint_name(best.step) or type(best.value) is not float:
            raise ValueError("names no checkpoint")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: {reason_of(error)}; delete it and name a checkpoint yourself") from error
    return best


def best_checkpoint(folder: Path) -> Path:
    """Return the path of the best checkpoint, unverified.

    Raises:
        CheckpointError: none was marked, the pointer is damaged, or what it names is gone.
    """
    best = read_best(folder)
    if best is None:
        raise CheckpointError(f"{folder}: has no best checkpoint; use the latest")
    if not (folder / best.name).is_dir():
        raise CheckpointError(f"{folder / best.name}: the best checkpoint is gone; use the latest")
    return folder / best.name


def rotate(folder: Path, keep_last: int, keep_also: int | None = None) -> list[Path]:
    """Delete all but the last `keep_last` checkpoints, the best and the newest valid one; return the deleted.

    Args:
        keep_also: the step of one more that stays.

    Nothing is deleted where none verifies, or where `best.json` is damaged and the best thus unknown.

    Raises:
        CheckpointWriteError: the disk refused.
    """
    if keep_last < 1:
        raise ValueError(f"keep_last={keep_last}: at least one checkpoint is kept")
    durable.remove_stale(folder)
    found = find_checkpoints(folder)
    try:
        newest, best = latest_valid(folder), read_best(folder)
    except CheckpointError:
        return []
    steps = sorted({checkpoint_step(path) for path in found})[-keep_last:]
    keep = {checkpoint_step(newest), *steps, *([best.step] if best else []), keep_also}
    gone = [path for path in found if checkpoint_step(path) not in keep]
    for path in gone:
        try:
            durable.discard(path)
        except OSError as error:
            raise CheckpointWriteError(path, 0, error) from error
    return gone
