"""The engines that run the jobs of a multirun side by side or elsewhere: what each needs, what is said of its mishaps.

They are Hydra's launchers (`hydra/launcher=NAME`); none is needed to train.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
from collections.abc import Sequence

from rnntrain.errors import Interrupted, UserError

# By the name of the choice: the extra that brings it, and the package that must be there.
LAUNCHERS = {
    "joblib": ("joblib", "hydra_plugins.hydra_joblib_launcher"),
    "submitit_local": ("submitit", "hydra_plugins.hydra_submitit_launcher"),
    "submitit_slurm": ("submitit", "hydra_plugins.hydra_submitit_launcher"),
    "slurm": ("submitit", "hydra_plugins.hydra_submitit_launcher"),
    "ray": ("ray", "hydra_plugins.hydra_ray_launcher"),
    "ray_cluster": ("ray", "hydra_plugins.hydra_ray_launcher"),
}


def check_installed(overrides: Sequence[str]) -> None:
    """Check that the launcher which the overrides choose is there.

    Raises:
        UserError: it is not; says how to install it.
    """
    name = chosen(overrides)
    if name in LAUNCHERS:
        extra, package = LAUNCHERS[name]
        if not _is_installed(package):
            raise UserError(f"hydra/launcher={name}: is not installed; run: pip install 'rnntrain[{extra}]'")


def chosen(overrides: Sequence[str]) -> str | None:
    """Return the launcher that the overrides choose, None for Hydra's own, which runs one job after the other."""
    words = (override.lstrip("+").partition("=") for override in overrides)
    return next((name for key, _, name in words if key == "hydra/launcher" and name != "basic"), None)


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def is_slurm(overrides: Sequence[str]) -> bool:
    """Say whether the launcher that the overrides choose hands jobs to Slurm."""
    return chosen(overrides) in ("submitit_slurm", "slurm")


def put_back(error: Interrupted) -> str:
    """Let the engine that runs this job put it into its queue again, where the engine's own signal interrupted it.

    The run has been saved by now. Returns what is said of it if the engine does not take the job back; else does not
    return: the process ends.
    """
    in_slurm = os.environ.get("SUBMITIT_EXECUTOR") == "slurm"
    if error.reason == "SIGTERM" and in_slurm:
        _leave_to_slurm()
        return str(error)
    number = getattr(signal, error.reason or "", None)
    handler = None if number is None else signal.getsignal(number)
    if number is not None and callable(handler) and handler is not signal.default_int_handler:
        try:
            handler(number, None)
        except Exception as refused:  # as of a job that has run into its time limit too often
            if in_slurm:  # which may have put it back, and killed who asked for it
                _leave_to_slurm()
            return f"{error} ({_one_line(refused)})"
    return str(error)


def _leave_to_slurm() -> None:
    from rnntrain.configuring import slurm_jobs

    slurm_jobs.leave_to_slurm()


def explained(error: Exception, overrides: Sequence[str], vanished: str | None = None) -> Exception:
    """Return one line in place of what an engine raises where a job has vanished, or none can be started.

    What jobs themselves find wrong comes as a `UserError`, and stays as it is.

    Args:
        vanished: which jobs have, where that is known.
    """
    name = chosen(overrides)
    if name is None or isinstance(error, UserError):
        return error
    what = f"a job has vanished, or could not be started: {type(error).__name__}: {_one_line(error)}"
    if vanished is not None and (place := re.search(r"with path (.*)_result\.pkl", str(error))):
        what = f"{vanished}; what it printed: {place[1]}_log.err"
    return UserError(
        f"hydra/launcher={name}: {what}; "
        "the runs that have finished stand, and `rnntrain resume RUN` goes on with one that was broken off"
    )


def _one_line(error: BaseException) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()[:300]
