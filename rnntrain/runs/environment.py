"""What a run was started with: versions, machine, threads, git state. Recorded, never needed to train."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

GIT_TIMEOUT_SECONDS = 1.0


def environment() -> dict[str, Any]:
    """Return versions, processor, threads and git state as plain JSON values; imports torch."""
    import numpy
    import torch

    from rnntrain.native import library
    from rnntrain.processes import distributed
    from rnntrain.runs import job

    here = _working_directory()
    return {
        "rnntrain": package_version(),
        "torch": str(torch.__version__),
        "numpy": str(numpy.__version__),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cpu": {
            "model": _cpu_model(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "cores": os.cpu_count(),
        },
        "processes": distributed.world_size(),
        "job": job.names(),
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "kernels": library.chosen(),
        "cuda": torch.version.cuda,
        # Asking for the devices would start CUDA, which takes seconds: listed only where it runs already.
        "devices": _devices(),
        "working_directory": None if here is None else str(here),
        "git": {"working_directory": git_state(here), "rnntrain": git_state(_source_checkout())},
    }


def git_state(folder: Path | None) -> dict[str, Any] | None:
    """Return commit, branch and whether tracked files differ, or None where `folder` is in no checkout."""
    if folder is None or not any((parent / ".git").exists() for parent in (folder, *folder.parents)):
        return None
    # No lock on the index, which a user may be writing, and no program that the checkout's own settings name.
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(folder), "status"]
    command += ["--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=GIT_TIMEOUT_SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode != 0:
        return None
    lines = done.stdout.decode(errors="replace").splitlines()
    heads = dict(line.removeprefix("# branch.").split(" ", 1) for line in lines if line.startswith("# branch."))
    dirty = any(not line.startswith("#") for line in lines)
    return {"commit": heads.get("oid"), "branch": heads.get("head"), "dirty": dirty}


@functools.cache
def package_version() -> str:
    """Return the installed version of rnntrain, or `unknown` where it runs without being installed."""
    try:
        return importlib.metadata.version("rnntrain")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _working_directory() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # deleted under us
        return None


def _source_checkout() -> Path | None:
    """Return the checkout that this package runs from; site-packages may lie in that of another project."""
    root = Path(__file__).resolve().parent.parent.parent
    return root if (root / ".git").exists() else None


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()


def _devices() -> list[str]:
    torch = sys.modules["torch"]
    if not torch.cuda.is_initialized():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
