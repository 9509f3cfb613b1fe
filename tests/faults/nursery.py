"""Processes that cost a fork and not a start of Python: what a test may kill, starve or feed with hostile input.

A server imports torch and all else that a command needs, and forks a child for each job. The child calls `rnntrain`,
or goes on with a run; it can be killed at a system call, at a step or after some time, and its exit code, its time,
its peak memory and the last step that it took are told.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# The calls that change what stands on the disk, at which a child may be ended.
CALLS = ("open", "write", "fsync", "rename", "mkdir", "unlink", "rmdir", "ftruncate")
STEP, NUM_CALLS, TRAINING = 0, 8, 16  # places in the memory that server and child share
SHARED_BYTES = 24
LIMIT_SECONDS = 120.0
LIMIT_MEMORY_BYTES = 6 << 30  # of addresses, far above what is measured: a bomb must not take the machine along


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: its exit code; the negative number of the signal that killed it.
        seconds: from the fork to its end.
        peak_megabytes: the largest resident memory, that of the warm server (torch and all) included.
        step: the last step that it finished.
        calls: of `CALLS` that it made.
        training: it had begun to train.
        out, err: what it printed.
        events: what it ran, connected to, unpickled, or opened for writing outside its working directory, where the job
            asks for `audit`.
    """

    code: int
    seconds: float
    peak_megabytes: float
    step: int
    calls: int
    training: bool
    out: str
    err: str
    events: tuple[str, ...] = ()


class Nursery:
    """The server as tests see it; jobs run one at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        folder.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join([str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
        self._server = subprocess.Popen(
            [sys.executable, str(HERE / "nursery.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=folder,
        )

    def cli(self, *words: object, **options: Any) -> Ended:
        """Call `rnntrain` with these words."""
        return self._run({"do": "cli", "words": list(map(str, words)), **options})

    def train(self, plain: dict[str, Any], **options: Any) -> Ended:
        """Train the run of a config that needs no Hydra."""
        return self._run({"do": "train", "plain": plain, **options})

    def call(self, function: str, *arguments: Any, **options: Any) -> Ended:
        """Call a function of a test module, `module:name`, with what JSON can carry."""
        return self._run({"do": "call", "function": function, "arguments": arguments, **options})

    def _run(self, job: dict[str, Any]) -> Ended:
        """Run a job.

        Options: `cwd`; `env`; `signal` (by default SIGKILL) with one of `at_call` (that of this number, from the moment
        training begins), `at_step`, `after` (seconds from the moment training begins); `again_after`, the seconds
        to a second signal; `limit` in seconds.
        """
        self._number += 1
        out = self._folder / f"job{self._number}"
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps({**job, "number": self._number, "output": str(out)}) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        assert answer, "the server has gone"
        texts = []
        for end in (".out", ".err", ".audit"):
            texts.append(Path(f"{out}{end}").read_text(encoding="utf-8", errors="replace"))
            os.unlink(f"{out}{end}")
        return Ended(**json.loads(answer), out=texts[0], err=texts[1], events=tuple(texts[2].splitlines()))

    def close(self) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


# -- the server ---


def serve() -> None:
    sys.path.insert(0, str(HERE.parent))
    _warm_up()
    for line in sys.stdin:
        print(json.dumps(_run_job(json.loads(line))), flush=True)


def _warm_up() -> None:
    """Import what jobs import, so that they find it; begin no thread, which a fork would lose."""
    import hydra  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import torch
    import torch.utils.tensorboard

    import rnntrain.commands
    import rnntrain.config
    import rnntrain.using  # noqa: F401

    with suppress(ImportError):
        import soundfile  # noqa: F401
    torch.set_num_threads(1)
    torch.nn.LSTM(2, 2)(torch.zeros(1, 1, 2))[0].sum().backward()


def _run_job(job: dict[str, Any]) -> dict[str, Any]:
    shared = mmap.mmap(-1, SHARED_BYTES)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _be_child(job, shared)
    _end_in_time(child, job, shared, began)
    _, status, usage = os.wait4(child, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - began,
        "peak_megabytes": usage.ru_maxrss / 1024,
        "step": _get(shared, STEP),
        "calls": _get(shared, NUM_CALLS),
        "training": bool(_get(shared, TRAINING)),
    }


def _end_in_time(child: int, job: dict[str, Any], shared: mmap.mmap, began: float) -> None:
    """Send the signals that a job asks for by time; kill a child that outlives its limit."""
    handle = os.pidfd_open(child)
    try:
        if "after" in job:
            while not _get(shared, TRAINING) and not select.select([handle], [], [], 0.0005)[0]:
                pass
            for wait in (job["after"], job.get("again_after")):
                if wait is not None and not select.select([handle], [], [], wait)[0]:
                    os.kill(child, job.get("signal", signal.SIGKILL))
        if not select.select([handle], [], [], job.get("limit", LIMIT_SECONDS))[0]:
            os.kill(child, signal.SIGKILL)
    finally:
        os.close(handle)


def _get(shared: mmap.mmap, place: int) -> int:
    return int.from_bytes(shared[place : place + 8], "little")


# -- the child ---


def _be_child(job: dict[str, Any], shared: mmap.mmap) -> None:
    code = 70
    try:
        os.setsid()
        for number, end in ((1, ".out"), (2, ".err"), (None, ".audit")):
            file = os.open(job["output"] + end, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            if number is not None:
                os.dup2(file, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(job.get("cwd", "."))
        os.environ.update({"TMPDIR": os.getcwd(), **job.get("env", {})})
        tempfile.tempdir = None  # what the server has found before
        resource.setrlimit(resource.RLIMIT_AS, (LIMIT_MEMORY_BYTES, LIMIT_MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.argv = ["rnntrain", *job.get("words", [job["do"]])]
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
        _watch(job, shared)
        if job.get("audit"):
            _audit(file)
        code = _do(job)
    except BaseException as error:
        import traceback

        traceback.print_exception(error)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(code)


def _do(job: dict[str, Any]) -> int:
    from rnntrain.cli import main

    if job["do"] == "cli":
        return int(main(job["words"]) or 0)
    if job["do"] == "call":
        from importlib import import_module

        module, _, name = job["function"].partition(":")
        return int(getattr(import_module(module), name)(*job["arguments"]) or 0)
    from rnntrain import commands
    from rnntrain.config import check
    from rnntrain.errors import INTERRUPTED, Interrupted

    try:
        commands.train(check(job["plain"]), quiet=True)
    except Interrupted:
        return INTERRUPTED
    return 0


def _watch(job: dict[str, Any], shared: mmap.mmap) -> None:
    """Count steps and calls; send this process its signal at the one that the job names."""
    from rnntrain.watching.recorder import Recorder

    started, stepped = Recorder.started, Recorder.stepped
    number = job.get("signal", signal.SIGKILL)

    def note_start(self: Recorder, trainer: Any) -> None:
        shared[TRAINING : TRAINING + 8] = (1).to_bytes(8, "little")
        started(self, trainer)

    def note_step(self: Recorder, trainer: Any, result: Any) -> None:
        stepped(self, trainer, result)
        shared[STEP : STEP + 8] = trainer.step.to_bytes(8, "little")
        if trainer.step == job.get("at_step"):
            os.kill(os.getpid(), number)

    Recorder.started, Recorder.stepped = note_start, note_step  # type: ignore[method-assign]
    for name in CALLS:
        setattr(os, name, _counted(getattr(os, name), job.get("at_call"), number, shared))
    _order_event_files(job["number"])


# Events of Python's own audit (PEP 578) that no reading of a config, a checkpoint or a data file has a use for.
FORBIDDEN = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn")
FORBIDDEN += ("socket.connect", "socket.bind", "pickle.find_class", "webbrowser.open")
READER = ["-P", "-m", "rnntrain.data.forecast.parquet_tables"]
OURS = ("git", "uname")  # which a run asks for its own state
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND


def _audit(file: int) -> None:
    """Write down what this process does that it should not, seen from within the interpreter."""
    write, root, getpid, mine = os.write, os.path.realpath("."), os.getpid, os.getpid()
    dull = (os.devnull, sys.prefix, "/proc/self/")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if getpid() != mine:
            return
        told = event in FORBIDDEN and not (event == "subprocess.Popen" and _is_ours(arguments))
        if event == "open" and isinstance(arguments[0], str) and arguments[2] and arguments[2] & WRITING:
            place = _place(arguments[0], arguments[2] & (os.O_NOFOLLOW | os.O_EXCL))
            told = not place.startswith((root + os.sep, *dull))
        elif event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate"):
            names = [name for name in arguments[:2] if isinstance(name, str) and os.path.isabs(name)]
            told = any(not _place(name, True).startswith(root + os.sep) for name in names)
        if told:
            write(file, (f"{event} {arguments!r}"[:500].replace("\n", " ") + "\n").encode("utf-8", "replace"))

    sys.addaudithook(hook)


def _is_ours(arguments: tuple[Any, ...]) -> bool:
    """Say whether a process that is started is one that asks for the state of the machine, or our reader of Parquet."""
    return arguments[0] in OURS or (arguments[0] == sys.executable and arguments[1][1:4] == READER)


def _place(name: str, itself: object) -> str:
    """Return where a name leads, or where it stands itself: a call that renames or makes it follows no link there."""
    folder, own = os.path.split(os.path.abspath(name))
    return os.path.join(os.path.realpath(folder), own) if itself else os.path.realpath(name)


def _counted(call: Callable[..., Any], at_call: int | None, number: int, shared: mmap.mmap) -> Callable[..., Any]:
    kill = os.kill

    def counted(*args: Any, **options: Any) -> Any:
        if shared[TRAINING]:
            count = _get(shared, NUM_CALLS) + 1
            shared[NUM_CALLS : NUM_CALLS + 8] = count.to_bytes(8, "little")
            if count == at_call:
                kill(os.getpid(), number)
        return call(*args, **options)

    return counted


def _order_event_files(number: int) -> None:
    """Give the event files of jobs of one second, which real processes never are, names in their order."""
    from types import SimpleNamespace

    from tensorboard.summary.writer import event_file_writer

    event_file_writer.time = SimpleNamespace(time=lambda: 2_000_000_000 + number)


if __name__ == "__main__":
    serve()
