"""What the tests of the command line share: a small text, a run trained on it, and three ways to call `rnntrain`.

- `run_cli(*words)` calls it in this process, which is fast;
- `refused(*words)` does so too, and asserts all that a mistake must come to: one line, exit code 2, nothing written;
- `rnntrain_process(*words)` is for what only a real process shows: signals, pipes, what is imported.
"""

from __future__ import annotations

import logging
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commandline import TEXT, TINY, Answer, environment, listing

from rnntrain.cli import main


@pytest.fixture(scope="session", autouse=True)
def _no_kernels_built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let no test depend on what has been built on this machine; tests/native builds its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in an empty folder that holds nothing but `tiny.txt`."""
    (tmp_path / "tiny.txt").write_text(TEXT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tiny_text(workspace: Path) -> Path:
    """Return the path of a small text."""
    return workspace / "tiny.txt"


@pytest.fixture
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put back what a command changes in its process, which then ends anywhere but here."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules, handlers = set(sys.modules), list(logging.root.handlers)
    yield
    logging.root.handlers[:] = handlers
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if "pytest-of-" in file:  # a plugin of a test, which must not be found by the next one
            del sys.modules[name]
    torch = sys.modules.get("torch")
    if torch is not None and torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(False)


@pytest.fixture
def run_cli(
    workspace: Path, _as_it_was: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Answer]:
    """Call `rnntrain` in this process, from `workspace`."""

    def run(*words: object) -> Answer:
        arguments = list(map(str, words))
        monkeypatch.setattr(sys, "argv", ["rnntrain", *arguments])
        capsys.readouterr()
        try:
            code: Any = main(arguments)
        except SystemExit as end:
            code = end.code or 0
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture
def refused(run_cli: Callable[..., Answer], workspace: Path) -> Callable[..., str]:
    """Call `rnntrain` with a mistake; return its one line."""

    def run(*words: object) -> str:
        before = listing(workspace)
        answer = run_cli(*words)
        assert answer.code == 2, answer
        assert answer.err.startswith("rnntrain: error: "), answer
        assert answer.err.count("\n") == 1, answer
        assert answer.out == "", answer
        assert listing(workspace) == before
        return answer.err.removeprefix("rnntrain: error: ").rstrip("\n")

    return run


@pytest.fixture
def rnntrain_process(workspace: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start `rnntrain` as a process of its own, in `workspace`."""

    def start(*words: object, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "rnntrain", *map(str, words)]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            command, text=True, bufsize=1, **{"cwd": workspace, "env": environment(), **pipes, **options}
        )

    return start


@pytest.fixture
def python(workspace: Path) -> Callable[[str], str]:
    """Run a program in a fresh interpreter, warnings as errors; return what it prints."""

    def run(program: str) -> str:
        command = [sys.executable, "-W", "error", "-c", program]
        done = subprocess.run(command, cwd=workspace, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of four steps, for tests that only read it."""
    import rnntrain

    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.txt").write_text(TEXT, encoding="utf-8")
    overrides = [word.replace("tiny.txt", str(folder / "tiny.txt")) for word in TINY]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["rnntrain", "train", *overrides])
        return rnntrain.train(*overrides, f"run.dir={shlex.quote(str(folder / 'run'))}", quiet=True).run.path
