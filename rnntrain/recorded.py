"""What a run recorded, for whoever goes on with it or uses it: its config, its codec, its checkpoints."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rnntrain import config as configs
from rnntrain import distributed
from rnntrain.build import Experiment
from rnntrain.checkpoint import CheckpointError, latest_valid
from rnntrain.config import Config
from rnntrain.data.base import Codec
from rnntrain.errors import UserError
from rnntrain.lock import is_held
from rnntrain.retention import best_checkpoint, read_best
from rnntrain.run import RunDir, find_runs, read_config_text, read_start
from rnntrain.tasks.base import Task


def config_of(run: RunDir, overrides: Sequence[str], allowed: tuple[str, ...]) -> Config:
    """Return the checked config of a run, with overrides of the allowed keys.

    A recorded plugin is not imported because the record says so: the user names it again.
    """
    plain = configs.from_yaml(read_config_text(run), str(run.config))
    recorded = plain.get("plugins") or []
    if not isinstance(recorded, list):
        raise UserError(f"{run.config}: plugins={recorded}: expected a list; restore the file from a copy of the run")
    plain["plugins"] = []
    plain = configs.override(plain, overrides, allowed)
    named = plain["plugins"] if isinstance(plain["plugins"], list) else []
    unnamed = [name for name in recorded if name not in named]
    if unnamed:
        raise UserError(
            f"{run.path}: uses classes of {', '.join(map(str, unnamed))}, which are only imported when you name them: "
            f"add plugins=[{','.join(map(str, recorded))}]"
        )
    return configs.check(plain)


def as_it_began(run: RunDir, config: Config) -> Config:
    """Put what was chosen when the run began in the place of "auto", since the bits of its results depend on it."""
    chosen: dict[str, Any] = {}
    before = read_start(run).get("environment", {})
    # Native kernels may not be there any more; "auto" then goes on without them, and says so.
    if config.top.kernels == "auto" and before.get("kernels") == "plain":
        chosen["kernels"] = "plain"
    if config.top.threads == "auto" and isinstance(before.get("threads"), int):
        chosen["threads"] = max(1, before["threads"])
    return replace(config, top=replace(config.top, **chosen))


def codec_of(config: Config, tree: dict[str, Any]) -> Codec:
    """Return the codec that a checkpoint holds."""
    task: Task = config.task.build()
    return task.codec_type.from_state(tree["codec"])


def checkpoint_of(path: Path, run: RunDir) -> Path:
    """Return the checkpoint that the user named, or the best one of the run, or the latest where none is the best."""
    if path.resolve().parent == run.checkpoints.resolve():
        return path
    if read_best(run.checkpoints) is None:
        return latest_checkpoint(run)
    return best_checkpoint(run.checkpoints)


def latest_checkpoint(run: RunDir) -> Path:
    """Return the newest checkpoint that verifies, and warn of those that do not."""
    damaged: list[CheckpointError] = []
    checkpoint = latest_valid(run.checkpoints, damaged.append)
    for error in damaged:  # where none verifies, the one error says so of all
        warn(f"{error}; taking the one before")
    return checkpoint


def latest_interrupted(root: Path = Path("outputs")) -> Path:
    """Return the run below `root` that was stopped last before its end: by a signal, a crash, or power that failed.

    Raises:
        UserError: if there is none.
    """
    unfinished = [run for run in map(RunDir, find_runs(root)) if not is_held(run.lock_file) and not has_ended(run)]
    if not unfinished:
        raise UserError(f"resume: no interrupted run lies in {root}; name the run: rnntrain resume RUN")
    return max(unfinished, key=lambda run: run.info.stat().st_mtime).path


def has_ended(run: RunDir) -> bool:
    """Say whether a run came to its end, rather than being stopped on its way."""
    try:
        # A run that went on after its summary was written has not ended by what that says.
        if run.summary.stat().st_mtime < run.info.stat().st_mtime:
            return False
        return bool(json.loads(run.summary.read_text(encoding="utf-8"))["status"] != "interrupted")
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        return True


def warn_of_changes(run: RunDir, experiment: Experiment) -> None:
    """Say what makes the coming steps differ from those of a run that had never stopped."""
    recorded = read_start(run)
    if recorded.get("data") != experiment.data.fingerprint():
        warn("the data is not what the run was started on; its results will differ")
    before = recorded.get("environment", {})
    for name, now in _bits_depend_on(experiment).items():
        if name in before and before[name] != now:
            warn(f"{name} was {before[name]} and is {now}: the last bits of the results may differ")


def _bits_depend_on(experiment: Experiment) -> dict[str, Any]:
    import torch

    return {
        "torch": str(torch.__version__),
        "threads": experiment.threads,
        "kernels": experiment.kernels,
        "processes": distributed.world_size(),
    }


def warn(text: str) -> None:
    """Print a warning of one line."""
    print(f"rnntrain: warning: {text}", file=sys.stderr, flush=True)
