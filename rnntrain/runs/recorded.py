"""What a run recorded, for whoever goes on with it or uses it: its config, its codec, its checkpoints."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rnntrain import config as configs
from rnntrain.build import Experiment
from rnntrain.bundling.seal import is_bundle, verify_seal
from rnntrain.checkpoints.checkpoint import CheckpointError, find_checkpoints, latest_valid
from rnntrain.checkpoints.durable import read_bounded
from rnntrain.checkpoints.retention import best_checkpoint, read_best
from rnntrain.checkpoints.saved_state import check_weights, codec_in
from rnntrain.config import Config
from rnntrain.data.base import Codec
from rnntrain.errors import UserError
from rnntrain.processes import distributed
from rnntrain.runs.lock import is_held
from rnntrain.runs.record import read_config_text, read_start
from rnntrain.runs.run import RunDir, find_runs

SUMMARY_LIMIT_BYTES = 16 << 20


def config_of(run: RunDir, overrides: Sequence[str], allowed: tuple[str, ...], text: str | None = None) -> Config:
    """Return the checked config of a run, with overrides of the allowed keys.

    A recorded plugin is not imported because the record says so: the user names it again.

    Args:
        text: takes the place of the config that the run has now.
    """
    if is_bundle(run.path):
        verify_seal(run.path)
    plain = configs.from_yaml(read_config_text(run) if text is None else text, str(run.config))
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


def config_before(run: RunDir, config: Config) -> str | None:
    """Return the text of the config that a run has, or None where it says the same as the one it is to go on with."""
    text = read_config_text(run)
    before, now = (configs.flatten(plain) for plain in (configs.from_yaml(text, str(run.config)), config.plain))
    differ = [key for key in before.keys() | now.keys() if before.get(key) != now.get(key) and key != "plugins"]
    return text if differ else None


def as_it_began(run: RunDir, config: Config) -> Config:
    """Put what was chosen when the run began in the place of "auto", since the bits of its results depend on it."""
    chosen: dict[str, Any] = {}
    before = section(read_start(run), "environment")
    # Native kernels may not be there any more; "auto" then goes on without them, and says so.
    if config.top.kernels == "auto" and before.get("kernels") == "plain":
        chosen["kernels"] = "plain"
    if config.top.threads == "auto" and isinstance(before.get("threads"), int):
        chosen["threads"] = max(1, before["threads"])
    return replace(config, top=replace(config.top, **chosen))


def anywhere(config: Config, overrides: Sequence[str]) -> Config:
    """Let a model that was trained on a device or with kernels that are not here compute with those that are.

    What the user names stays as named.
    """
    named = {override.partition("=")[0].lstrip("+").partition(".")[0] for override in overrides}
    if "device" not in named and config.device.kind == "cuda":
        config = replace(config, device=replace(config.device, kind="auto", index=0))
    if "kernels" not in named and config.top.kernels == "native":
        config = replace(config, top=replace(config.top, kernels="auto"))
    return config


def codec_of(config: Config, tree: dict[str, Any]) -> Codec:
    """Return the codec that a checkpoint holds, beside weights that fit the config.

    Raises:
        UserError: they do not, or there is no codec.
    """
    task = config.task.build()
    codec = codec_in(tree, task)
    check_weights(config, task, codec, tree)
    return codec


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


def was_never_saved(run: RunDir) -> bool:
    """Say whether a run was stopped, by a crash, before any of its checkpoints stood."""
    return not find_checkpoints(run.checkpoints) and not has_ended(run)


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
        return bool(json.loads(read_bounded(run.summary, SUMMARY_LIMIT_BYTES))["status"] != "interrupted")
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return True


def changes_of_bits(run: RunDir, experiment: Experiment) -> list[str]:
    """Say in one line each what makes the coming steps differ from those of a run that had never stopped."""
    recorded = read_start(run)
    found = []
    if recorded.get("data") != experiment.data.fingerprint():
        found.append("the data is not what the run was started on; its results will differ")
    before = recorded_bits(recorded)
    for name, now in bits_depend_on(experiment).items():
        if name in before and before[name] != now:
            found.append(f"{name} was {before[name]} and is {now}: the last bits of the results may differ")
    return found


def bits_depend_on(experiment: Experiment) -> dict[str, Any]:
    """Return by name what, beside config, code and data, decides over the last bits of a run's results."""
    import torch

    device = experiment.device
    return {
        "torch": str(torch.__version__),
        "threads": experiment.threads,
        "kernels": experiment.kernels,
        "instruction set": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "world size": distributed.world_size(),
    }


def recorded_bits(start: dict[str, Any]) -> dict[str, Any]:
    """Return what `bits_depend_on` was when a run began, as far as its run.json says so."""
    environment = section(start, "environment")
    found = {name: environment[name] for name in ("torch", "threads", "kernels") if name in environment}
    return found | section(start, "bits_depend_on")


def section(record: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a part of what run.json holds; an empty one where it holds none, or something else there."""
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def warn(text: str) -> None:
    """Print a warning of one line."""
    print(f"rnntrain: warning: {text}", file=sys.stderr, flush=True)
