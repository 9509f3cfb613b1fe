"""Two processes or more that stay up and do one thing after the other together, as processes of `torchrun` do.

Run as a program, this is one of them: it reads a function's name and its arguments from each line of its input, and
answers with a line of JSON. The functions are those of `together_work`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from commandline import REPOSITORY, environment


class Together:
    """The processes; a context, since they end with it."""

    def __init__(self, number: int = 2) -> None:
        self.number = number

    def __enter__(self) -> Together:
        tests = str(REPOSITORY / "tests")
        env = environment()
        env["PYTHONPATH"] = os.pathsep.join([tests, env["PYTHONPATH"]])
        command = [sys.executable, "-W", "error", str(Path(__file__))]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.processes = [subprocess.Popen(command, env=env, **pipes) for _ in range(self.number)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def call(self, function: str, *arguments: Any) -> list[Any]:
        """Return what the function gives in each of the processes; what it raises comes as text."""
        port = free_port()
        for rank, process in enumerate(self.processes):
            assert process.stdin is not None
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": self.number}
            variables = {name: str(value) for name, value in place.items()}
            variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            process.stdin.write(json.dumps([variables, function, arguments]) + "\n")
        answers = []
        for process in self.processes:
            assert process.stdout is not None
            answers.append(json.loads(process.stdout.readline()))
        return answers


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    import together_work

    answer_to = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the work prints is no answer
    for line in sys.stdin:
        variables, function, arguments = json.loads(line)
        os.environ.update(variables)
        try:
            answer = getattr(together_work, function)(*arguments)
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        answer_to.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
