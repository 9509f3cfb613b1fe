"""The compiled kernels: where they are cached, how they are built, and which path a process takes."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from rnntrain.errors import UserError
from rnntrain.settings import Kernels

SOURCE = Path(__file__).parent / "source"
# No -ffast-math, and no reordering of sums: either would let NaN vanish or bits depend on what the compiler likes.
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math", "-w")
# Tried in this order: some compilers know no -march=native, some have no OpenMP.
OPTIONAL_FLAGS = (("-march=native", "-fopenmp"), ("-mcpu=native", "-fopenmp"), ("-march=native",), ())
TIMEOUT_SECONDS = 300

_library: ctypes.CDLL | None = None


class BuildError(Exception):
    """The kernels could not be built; one line that says why."""


def choose(kernels: Kernels) -> None:
    """Set the path that cells take from now on, before any of them runs. Nothing is ever compiled here.

    Raises:
        UserError: the native kernels were asked for by name and are not there.
    """
    global _library
    _library, path = None, library_path()
    problem = None if path.is_file() else "not built yet; run `rnntrain build`"
    if kernels != "plain" and problem is None:
        try:
            _library = _load(path)
        except OSError as error:
            problem = f"{' '.join(str(error).split())}; run `rnntrain build --again`"
    if kernels == "native" and problem is not None:
        raise UserError(f"kernels=native: {problem}, or set kernels=auto")


def chosen() -> Literal["plain", "native"]:
    """Return the path that cells take."""
    return "plain" if _library is None else "native"


def usable(*tensors: Tensor, complex_too: bool = False) -> bool:
    """Return whether the kernels can take these tensors: built and chosen, and all in float32 on the processor.

    Args:
        complex_too: or all in complex64, which the scan takes.
    """
    return (
        _library is not None
        and all(x.dtype == tensors[0].dtype and x.device.type == "cpu" and x.numel() > 0 for x in tensors)
        and tensors[0].dtype in (torch.float32, *((torch.complex64,) if complex_too else ()))
        and not torch.is_autocast_enabled("cpu")
        and not torch.jit.is_tracing()  # type: ignore[attr-defined]
        and not torch.compiler.is_compiling()
    )


def usable_for_step(x_BD: Tensor) -> bool:
    """Return whether a kernel may take one step without gradients from this input, as far as that one tells."""
    return (
        _library is not None
        and not torch.is_grad_enabled()
        and x_BD.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and not torch.jit.is_tracing()  # type: ignore[attr-defined]
        and not torch.compiler.is_compiling()
    )


def pointers(*tensors: Tensor | None) -> list[int] | None:
    """Return the addresses of tensors, 0 for None; None unless all are dense in float32 on the processor."""
    addresses = []
    for x in tensors:
        if x is None:
            addresses.append(0)
        elif x.dtype is torch.float32 and x.is_contiguous() and x.is_cpu and x.numel():
            addresses.append(x.data_ptr())
        else:
            return None
    return addresses


def call(name: str, *arguments: Any) -> None:
    """Call a kernel, with the number of threads behind its arguments.

    Raises:
        MemoryError: there was no memory for what it keeps beside its arguments.
    """
    if _library is None:
        raise RuntimeError("the kernels are not loaded: call rnntrain.native.library.choose first")
    if getattr(_library, name)(*arguments, torch.get_num_threads()) != 0:
        raise MemoryError(f"{name}: no memory for the time loop")


# -- building ---


def library_path() -> Path:
    """Return where the library for this source and this processor is cached, built or not."""
    folder = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(folder) / "rnntrain" / "native" / _key() / "kernels.so"


def build(again: bool = False) -> Path:
    """Compile the kernels into the cache, unless they are there; return the library.

    Raises:
        BuildError: no compiler, or it failed, or what it built does not load.
    """
    path = library_path()
    if path.is_file() and not again:
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Beside its place, then renamed: a run that starts meanwhile finds all of it or nothing.
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            built = Path(folder) / path.name
            _compile(built)
            os.replace(built, path)
    except OSError as error:
        raise BuildError(f"{path.parent}: {error.strerror or error}") from error
    return path


def _compile(target: Path) -> None:
    compiler = shlex.split(os.environ.get("CXX") or "c++")
    complaint = ""
    for flags in OPTIONAL_FLAGS:
        objects = target.with_suffix(".o")
        # OpenMP's library is left out of the link on purpose: its symbols are then those of the one that PyTorch has
        # loaded. A second one would bring a second pool of threads, and both would fight for the cores.
        compile_flags = [flag for flag in FLAGS if flag != "-shared"]
        commands = (
            [*compiler, *compile_flags, *flags, "-c", str(SOURCE / "kernels.cpp"), "-o", str(objects)],
            [*compiler, *_link_flags(), str(objects), "-o", str(target)],
        )
        complaint = next(filter(None, map(_run, commands)), "")
        if not complaint:
            try:
                _load(target)
                return
            except OSError as error:
                complaint = " ".join(str(error).split())
    raise BuildError(complaint)


def _link_flags() -> list[str]:
    return ["-shared", *(["-undefined", "dynamic_lookup"] if platform.system() == "Darwin" else [])]


def _run(command: list[str]) -> str:
    """Run the compiler; return what it complains of, in one line, or an empty string."""
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    try:
        # In a session of its own: what is stopped is not the driver alone but the compiler that it has started, too.
        started = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=pipe, start_new_session=True)
    except FileNotFoundError:
        return f"{command[0]}: no such compiler; install g++ or clang++, or name one with CXX=…"
    except OSError as error:
        return f"{command[0]}: {error}"
    with started:
        try:
            _, complaints = started.communicate(timeout=TIMEOUT_SECONDS)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                return f"{command[0]}: not done after {TIMEOUT_SECONDS} seconds"
            raise
    if started.returncode == 0:
        return ""
    lines = [line for line in complaints.decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return f"{command[0]}: {(errors or lines or ['failed without a word'])[0].strip()}"


def _load(path: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(path), mode=ctypes.DEFAULT_MODE)


@functools.cache
def _key() -> str:
    """Return a hash of all that the built code depends on; the processor too, where a home is shared by machines."""
    digest = hashlib.sha256()
    for path in sorted(SOURCE.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update(repr((FLAGS, OPTIONAL_FLAGS, platform.system(), platform.machine())).encode())
    digest.update(_processor_features().encode())
    return digest.hexdigest()[:16]


def _processor_features() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith(("flags", "Features")):
                    return " ".join(sorted(line.partition(":")[2].split()))
    except OSError:
        pass
    return platform.processor()
