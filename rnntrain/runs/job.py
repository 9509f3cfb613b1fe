"""The job in which a run was started, so that the same command, started again by the same job, goes on with its run.

A cluster that takes a machine back puts the job into its queue again; `torchrun --max-restarts` starts processes
anew. Both repeat the command word for word, and none says which run it had begun: the run says of which job it is.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from rnntrain import config as configs
from rnntrain.config import Config
from rnntrain.errors import UserError
from rnntrain.runs.record import read_config_text, read_start
from rnntrain.runs.run import RunDir, find_runs


def names() -> dict[str, str]:
    """Return what the job is called, by whatever started it; empty for a command typed by hand."""
    own: dict[str, str] = {}
    env, host = os.environ, socket.gethostname()
    if "SLURM_JOB_ID" in env:
        own["slurm"] = f"{env.get('SLURM_CLUSTER_NAME', '')}:{env['SLURM_JOB_ID']}"
    if "SUBMITIT_LOCAL_JOB_ID" in env:
        own["submitit"] = f"{host}:{env['SUBMITIT_LOCAL_JOB_ID']}"
    if "TORCHELASTIC_RUN_ID" in env:
        run_id = env["TORCHELASTIC_RUN_ID"]
        # Without an id there is one machine, or rank 0 stays where it is: torchrun is the parent of all attempts.
        own["torchrun"] = f"{host}:{os.getppid()}:{_started(os.getppid())}" if run_id == "none" else run_id
    return own


def names_from_before() -> dict[str, str]:
    """Return those of `names` under which this command has run before."""
    counts = {"slurm": "SLURM_RESTART_COUNT", "torchrun": "TORCHELASTIC_RESTART_COUNT"}
    # submitit counts nothing, but each of its jobs is one run: what it finds can only be its own.
    return {key: name for key, name in names().items() if key not in counts or _number(counts[key]) > 0}


def run_of_this_job(config: Config) -> RunDir | None:
    """Return the run that this command is to go on with, None where it is to begin one.

    That is the run which the same job began with the same config, or, with `run.resume`, whatever run is there.

    Raises:
        UserError: with `run.resume`, if that run has another config.
    """
    settings = config.run
    folder = Path(settings.root) / str(settings.group)
    if settings.resume:
        run = RunDir(Path(settings.dir) if settings.dir is not None else folder / str(settings.name))
        if not run.info.is_file():
            return None
        if key := _differing_key(run, config):
            raise UserError(
                f"run.resume=true: {run.path} holds a run with another {key}; choose another run.name or run.dir, "
                f"or go on with it as it is: rnntrain resume {run.path}"
            )
        return run
    before = names_from_before()
    chosen = [Path(settings.dir)] if settings.dir is not None else find_runs(folder, depth=1) if before else []
    for path in reversed(chosen):
        run = RunDir(path)
        if before and run.info.is_file() and _is_of(run, before) and _differing_key(run, config) is None:
            return run
    return None


def _is_of(run: RunDir, before: dict[str, str]) -> bool:
    try:
        recorded: Any = read_start(run).get("environment", {}).get("job", {})
        return any(recorded.get(key) == name for key, name in before.items())
    except (UserError, AttributeError):
        return False


def _differing_key(run: RunDir, config: Config) -> str | None:
    recorded = configs.flatten(configs.from_yaml(read_config_text(run), str(run.config)))
    # A resume records it where the config does not say: none.
    recorded, wanted = ({"plugins": [], **values} for values in (recorded, configs.flatten(config.plain)))
    keys = sorted(recorded.keys() | wanted.keys())
    return next((key for key in keys if not key.startswith("run.") and recorded.get(key) != wanted.get(key)), None)


def _number(variable: str) -> int:
    value = os.environ.get(variable, "")
    return int(value) if value.isdecimal() else 0


def _started(process: int) -> str:
    """Return when a process was started, in the system's ticks, so that its number alone is not taken for it."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
