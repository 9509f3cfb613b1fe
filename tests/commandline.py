"""What tests of the command line need beside their fixtures: a run of four steps, packages and configs of a user."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

PATIENCE_SECONDS = 180.0  # of the tests themselves, so that none hangs: nothing is asserted of it
REPOSITORY = Path(__file__).resolve().parent.parent
TEXT = "the sea was a grey line, and so we went on: the line, the sea.\n" * 60
# A run of four steps that takes some hundredths of a second.
TINY = [
    "data=text",
    "data.path=tiny.txt",
    "data.batch_size=4",
    "data.bptt=8",
    "data.eval_batch_size=8",
    "data.eval_bptt=64",
    "model.hidden_size=8",
    "task.sample_length=5",
    "trainer.max_steps=4",
    "trainer.eval_every_steps=2",
    "trainer.checkpoint_every_steps=1",
    "trainer.log_every_steps=1",
    "device=cpu",
]


def wait_for(condition: Callable[[], Any]) -> Any:
    """Return the first value of `condition` that is true."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < until, "it never came"
        time.sleep(0.05)
    return found


class Answer(NamedTuple):
    """What one call of `rnntrain` came to."""

    code: int
    out: str
    err: str


def listing(folder: Path) -> dict[str, int]:
    """Return every path below a folder with the time of its last change, except for locks, which change when taken."""
    paths = (path for path in sorted(folder.rglob("*")) if path.name != "run.lock")
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in paths}


def environment() -> dict[str, str]:
    """Return the environment of a process that finds rnntrain and uses one thread."""
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def write_package(folder: Path, name: str, **modules: str) -> Path:
    """Write a package of a user's own; return its folder."""
    package = folder / name
    package.mkdir(parents=True)
    for module, text in {"__init__": "", **modules}.items():
        (package / f"{module}.py").write_text(text, encoding="utf-8")
    return package


def write_configs(folder: Path, files: dict[str, str]) -> Path:
    """Write a config folder of a user's own; return it."""
    for name, text in files.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
