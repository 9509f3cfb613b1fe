"""The process of one run as its sweep sees it: started, read, told to end, and what became of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rnntrain.comparing.records import number
from rnntrain.runs.run import RunDir

JOB = "rnntrain.sweeps.job"
END_SECONDS = 10.0  # a process gets to end, once it has answered


class Outcome(NamedTuple):
    """What became of a run's process.

    Attributes:
        status: "finished", "pruned", "interrupted"; "refused" where another try would end the same way, else "crashed".
        error: the first line of what went wrong.
    """

    status: Literal["finished", "pruned", "interrupted", "refused", "crashed"]
    error: str


class RunProcess:
    """A run in a process of its own.

    Args:
        config: nested and resolved; `run.dir` says where the run is kept.
        command: as it would be typed after `rnntrain`.
        resume: go on with the run that is there.
        log: takes what the process prints.
        environment: of the process.
        inherited: descriptors that it keeps open as long as it lives.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        command: Sequence[str],
        *,
        resume: bool,
        log: Path,
        environment: Mapping[str, str],
        inherited: Sequence[int] = (),
    ) -> None:
        reading, writing = os.pipe()
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", JOB],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=dict(environment),
                    pass_fds=(writing, *inherited),
                    start_new_session=True,  # Ctrl-C is for the sweep, which tells its runs
                )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._answer = reading
        spec = {"config": config, "command": list(command), "resume": resume, "parent": os.getpid(), "answer": writing}
        self._tell(json.dumps(spec))
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        """Return what can be read from when the process has ended; for `select`."""
        return self._answer

    def prune(self) -> None:
        self._tell("prune")

    def stop(self) -> None:
        self._tell("stop")

    def kill(self) -> None:
        """End it at once; what it has not saved is lost."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def outcome(self) -> Outcome:
        """Wait for the end; return what it came to."""
        with os.fdopen(self._answer, "rb") as file:
            text = file.read()
        try:
            code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.wait()
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            answer = json.loads(text)
            return Outcome(answer["status"], answer["error"])
        except ValueError:
            return Outcome("crashed", self._last_words(code))

    def _last_words(self, code: int) -> str:
        if code == -signal.SIGKILL:
            return "killed by SIGKILL, as the system does where memory runs out"
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else f"ended with code {code}"

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended, and will be asked why
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()


class Evaluation(NamedTuple):
    """The value of a metric at one evaluation; `number` counts from 1."""

    number: int
    step: int
    value: float


class Progress:
    """Reads on in a run's metrics.jsonl: how far it is, and the evaluations that came since the last look."""

    def __init__(self, run: Path, metric: str) -> None:
        self._path, self._metric = RunDir(run).metrics, metric
        self._file: tuple[int, int] | None = None
        self._offset = 0
        self._evaluations = 0
        self.step = 0
        self.value: float | None = None

    def look(self) -> list[Evaluation]:
        found = []
        for line in self._new_lines():
            self.step = max(self.step, int(line.get("step", 0)))
            if (value := number(line.get(self._metric))) is not None:
                self._evaluations += 1
                self.value = value
                found.append(Evaluation(self._evaluations, self.step, value))
        return found

    def _new_lines(self) -> Iterator[dict[str, Any]]:
        try:
            status = os.stat(self._path)
            if self._file != (status.st_ino, status.st_dev) or status.st_size < self._offset:
                self._file, self._offset, self._evaluations = (
                    (status.st_ino, status.st_dev),
                    0,
                    0,
                )  # a resume's new file
            if status.st_size == self._offset:
                return
            with self._path.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
        except OSError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            with suppress(ValueError, RecursionError):
                values = json.loads(line)
                if isinstance(values, dict):
                    yield values
