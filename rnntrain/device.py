"""Where and in which arithmetic a run computes: device, precision, threads, seeds."""

from __future__ import annotations

import ctypes
import os
import platform
import random
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from rnntrain.errors import UserError
from rnntrain.settings import DeviceSettings, Precision

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(settings: DeviceSettings, precision: Precision) -> torch.device:
    """Return the device that the settings ask for.

    Raises:
        UserError: if it is not there, or cannot compute in `precision`.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if settings.kind == "cuda" and settings.index >= available:
        reason = f"there are {available} CUDA devices" if available else "PyTorch finds no CUDA device here"
        raise UserError(f"device=cuda:{settings.index}: {reason}; set device=cpu or device=auto")
    if settings.kind == "cpu" or not available:
        if precision == "float16":
            raise UserError("precision=float16: works on CUDA alone; set precision=bfloat16 or device=cuda")
        return torch.device("cpu")
    torch.set_float32_matmul_precision("high" if settings.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = settings.tf32
    return torch.device("cuda", settings.index)


def set_threads(threads: int | Literal["auto"]) -> int:
    """Set the number of threads within an operation; return it. "auto" leaves PyTorch's own choice, one a core.

    `rnntrain.threads` then measures whether one is faster, before a run's first step.
    """
    if threads != "auto":
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def keep_freed_memory() -> None:
    """Let the C library keep large tensors that were freed for those of the next step; does nothing where it cannot.

    By default glibc gets each tensor beyond 32 MiB from the system and gives it back: a training step of a long
    sequence then spends up to half its time on clearing pages. The price is a higher peak, since what is kept does not
    always fit what is asked for next: a sixth in an LSTM of 256 units, batch 64, 128 steps, and half in the worst case
    seen. Bits do not depend on it.
    """
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def set_seeds(seed: int, deterministic: bool) -> None:
    """Seed every generator; `deterministic` also refuses operations that have no deterministic form."""
    random.seed(seed)
    torch.manual_seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)
    if deterministic != torch.are_deterministic_algorithms_enabled():  # the call imports torch's compiler
        torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        # cuBLAS is only deterministic with a fixed workspace, which it reads when CUDA starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return the context in which forward passes run; it can be entered again and again."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=_DTYPES[precision])


def memory_mebibytes(device: torch.device) -> float:
    """Return the memory in use: of the process on a CPU, allocated at most so far on CUDA."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)
