"""One line in place of a traceback where memory runs out: the numbers, and what to lower."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rnntrain.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from rnntrain.trainer import Trainer

CGROUPS = Path("/sys/fs/cgroup")
_ASKED_FOR = re.compile(r"[Tt]ried to allocate ([\d.]+) ?(\w+)")
_SIGNS = ("can't allocate memory", "not enough memory", "CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


class OutOfMemory(UserError):
    """Memory has run out; what was saved before stands."""


@contextmanager
def memory_explained(trainer: Trainer | None = None) -> Iterator[None]:
    """Turn whatever says that memory ran out into one line with the numbers of the trainer's step.

    Raises:
        OutOfMemory: in place of it.
    """
    try:
        yield
    except OutOfMemory:
        raise
    except (MemoryError, RuntimeError, UserError) as error:  # PyTorch's own, on any device, is a RuntimeError
        cause = error.__cause__ if isinstance(error, UserError) else error  # a constructor's is the config's to tell
        if not _is_shortage(cause):
            raise
        raise OutOfMemory(_explanation(cause, trainer)) from error


def _is_shortage(error: BaseException | None) -> bool:
    torch = sys.modules.get("torch")  # where nobody has imported it, it cannot have run out
    kinds = (MemoryError,) if torch is None else (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or any(sign in str(error) for sign in _SIGNS)


def _explanation(error: BaseException | None, trainer: Trainer | None) -> str:
    asked = _ASKED_FOR.search(str(error))
    wanted = ""
    if asked:
        amount = _size(int(asked[1])) if asked[2] == "bytes" else f"{asked[1]} {asked[2]}"
        wanted = f" ({amount} more were asked for)"
    if trainer is None:
        return (
            f"out of memory{wanted}; {_machine()}. "
            "Lower model.hidden_size, data.batch_size or data.eval_batch_size, or read less data"
        )
    where = f"out of memory in step {trainer.step + 1:,}{wanted}"
    return f"{where}: {_step(trainer)}; {_machine(trainer)}. {_advice(trainer)}"


def _step(trainer: Trainer) -> str:
    batches = trainer.last_batches()
    sizes = ""
    if batches:
        largest = max(batches, key=lambda batch: batch.inputs.shape[0] * batch.inputs.shape[1])
        sizes = f"{largest.inputs.shape[0]} sequences of {largest.inputs.shape[1]:,} steps in a batch, "
    return sizes + model_size(trainer.model)


def model_size(model: nn.Module) -> str:
    """Return the size of a model in words."""
    weights = list(model.parameters())
    number, size = sum(p.numel() for p in weights), sum(p.numel() * p.element_size() for p in weights)
    return f"{number:,} parameters ({_size(size)}, about four times that with gradients and Adam's state)"


def _advice(trainer: Trainer) -> str:
    lower = "data.batch_size (trainer.accumulate makes up for it)"
    if hasattr(trainer.data, "bptt"):
        lower += ", data.bptt"
    return f"Lower {lower} or model.hidden_size, or try precision=bfloat16; what was saved before stands"


def _machine(trainer: Trainer | None = None) -> str:
    import torch

    if trainer is not None and trainer.device.type == "cuda":
        free, total = torch.cuda.mem_get_info(trainer.device)
        ours = torch.cuda.memory_allocated(trainer.device)
        return f"{trainer.device} has {_size(total)}, {_size(free)} free, {_size(ours)} held by this run"
    total, free = _memory()
    return f"this machine has {_size(total)}, {_size(free)} free"


def _memory() -> tuple[int, int]:
    """Return the bytes of memory that a process has here and may still get: the machine's, or what its limit leaves."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _read(Path("/proc/meminfo")), re.MULTILINE)
    free = int(found[1]) << 10 if found else total
    # A container or a job of a cluster has a limit of its own, of cgroup version 2.
    own = re.search(r"^0::/(.*)$", _read(Path("/proc/self/cgroup")), re.MULTILINE)
    folder = CGROUPS / (own[1] if own else "")
    limit, used = _read(folder / "memory.max").strip(), _read(folder / "memory.current").strip()
    if limit.isdigit() and used.isdigit():
        total, free = min(total, int(limit)), min(free, max(int(limit) - int(used), 0))
    return total, free


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _size(number: int) -> str:
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.1f} MB"
