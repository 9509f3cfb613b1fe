"""The folder of a run: created new, locked while it is written, complete enough to continue it elsewhere."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rnntrain.checkpoints import durable
from rnntrain.errors import UserError, closest
from rnntrain.runs.lock import hold_lock

FOLDERS_LIMIT = 10_000  # so that a search from `/` ends
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class RunDir:
    """The places in a run's folder."""

    path: Path

    @property
    def config(self) -> Path:
        """The whole resolved config, as YAML."""
        return self.path / "config.yaml"

    @property
    def command(self) -> Path:
        """The command line, to be pasted into a shell."""
        return self.path / "command.txt"

    @property
    def info(self) -> Path:
        """Command, versions, machine, git state, hashes of data and config; written last: it marks a started run."""
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        """One JSON object a line, with `step`."""
        return self.path / "metrics.jsonl"

    @property
    def texts(self) -> Path:
        """What the run showed in words: one JSON object a line, with `step` and `title`."""
        return self.path / "texts.jsonl"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def nonfinite(self) -> Path:
        """Steps that the guard kept away from the weights, for `rnntrain replay`."""
        return self.path / "nonfinite"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def pictures(self) -> Path:
        """What the final evaluation is better seen than told, as PNG files."""
        return self.path / "pictures"

    @property
    def pictures_over_time(self) -> Path:
        """A few moments of each picture that evaluations on the way gave, as PNG files with their step."""
        return self.path / "pictures_over_time"

    @property
    def lock_file(self) -> Path:
        return self.path / "run.lock"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the right to write the run. The system takes it back when the process dies, by whatever means.

        Raises:
            UserError: another process holds it, or the file system keeps no locks.
        """
        with hold_lock(self.lock_file):
            yield


def create_run(root: Path, group: str, name: str | None = None, directory: Path | None = None) -> RunDir:
    """Make the folder of a new run: `root/group/TIME-UNIQUE`, `root/group/NAME`, or `directory`.

    Raises:
        UserError: a name has other characters, `directory` holds something, or no folder can be made.
    """
    if directory is not None:
        _sound(directory)
        if name is not None:
            raise UserError(f"run.name={name} and run.dir={directory}: give one of the two")
        return RunDir(_make_chosen(directory))
    _sound(root)
    check_name("run.group", group)
    if name is not None:
        check_name("run.name", name)
        return RunDir(_make_named(_make_group(root, group) / name))
    parent = _make_group(root, group)
    stem = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for _ in range(100):
        path = parent / f"{stem}-{_unique()}"
        with durable.one_line(path), suppress(FileExistsError):
            os.mkdir(path)
            durable.sync_directory(parent)
            return RunDir(path)
    raise UserError(f"{parent}: no free name for a run that begins with {stem}; set run.name")


def _make_named(path: Path) -> Path:
    try:
        with durable.one_line(path):
            os.mkdir(path)
            durable.sync_directory(path.parent)
    except FileExistsError:
        raise UserError(
            f"run.name={path.name}: {path} exists; choose another name, or go on with it: rnntrain resume {path}"
        ) from None
    return path


def check_name(key: str, value: str) -> str:
    """Return a name that is safe as a part of a path.

    Raises:
        UserError: it is not.
    """
    if NAME.fullmatch(value) is None:
        raise UserError(f"{key}={value!r}: use 1 to 100 of the characters A-Z a-z 0-9 . _ -; the first is no . or -")
    return value


def write_summary(run: RunDir, summary: Mapping[str, Any]) -> None:
    """Write the outcome of a run in one step.

    Raises:
        UserError: the disk refused.
    """
    with durable.one_line(run.path):
        durable.replace_file(run.summary, (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode())


def open_run(path: Path) -> RunDir:
    """Return the run at `path`, or the one that `path` lies in, such as `RUN/checkpoints/step-000001000`.

    Raises:
        UserError: there is none; runs that may have been meant are named.
    """
    place = Path(os.path.realpath(_sound(path)))
    for folder in (place, *place.parents):
        if _is_run(folder):
            return RunDir(folder)
    missing = "is not a run: it lacks config.yaml or run.json" if os.path.lexists(place) else "does not exist"
    raise UserError(f"{path}: {missing}{_suggest(place)}")


def latest_run(root: Path) -> RunDir:
    """Return the run under `root` that was started or resumed last.

    Raises:
        UserError: there is none.
    """
    runs = find_runs(root)
    if not runs:
        raise UserError(f"{root}: holds no run; start one with `rnntrain train`")
    return RunDir(runs[-1])


def find_runs(root: Path, depth: int = 3) -> list[Path]:
    """Return the runs in `root` and the folders down to `depth`, by the time they were last started or resumed."""
    found, level = [], [Path(root)]
    for _ in range(depth + 1):
        runs = [folder for folder in level if _is_run(folder)]
        with suppress(FileNotFoundError):  # deleted meanwhile
            found += [(RunDir(run).info.stat().st_mtime_ns, run) for run in runs]
        inner = [child for folder in level if folder not in runs for child in _folders(folder)]
        level = inner[:FOLDERS_LIMIT]
    return [path for _, path in sorted(found)]


def _unique() -> str:
    # Not from `random`: a run's name must neither depend on its seed nor move its generators.
    return secrets.token_hex(3)


def _make_group(root: Path, group: str) -> Path:
    if root.is_symlink() and os.lstat(root).st_uid not in (0, os.geteuid()):
        raise UserError(f"{root}: is a symbolic link of another user; choose another output folder")
    path = root / group
    for folder in (root, path):
        with durable.one_line(folder), suppress(FileExistsError):
            os.mkdir(folder)
    if path.is_symlink() or not path.is_dir():
        raise UserError(f"{path}: is not a folder, or a link to one; choose another group")
    return path


def _make_chosen(directory: Path) -> Path:
    with durable.one_line(directory):
        try:
            os.mkdir(directory)
        except FileExistsError:
            if directory.is_symlink() or not directory.is_dir():
                raise UserError(f"{directory}: is not a folder, or a link to one; choose another") from None
            if _is_run(directory):
                raise UserError(
                    f"{directory}: holds a run; choose another folder or `rnntrain resume {directory}`"
                ) from None
            if os.listdir(directory):
                raise UserError(f"{directory}: is not empty; choose another folder") from None
        durable.sync_directory(directory.parent)
    return directory


def _sound(path: Path) -> Path:
    if "\0" in str(path):
        raise UserError(f"{str(path)!r}: a path holds no zero bytes; give another")
    return path


def _is_run(folder: Path) -> bool:
    names = (RunDir(folder).config, RunDir(folder).info)
    # os.path answers False where it may not look; pathlib raises.
    return all(os.path.isfile(name) and not os.path.islink(name) for name in names)


def _folders(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []  # none, or not ours to read


def _suggest(place: Path) -> str:
    """Return the run whose name is nearest and the latest ones, or nothing where there is none about."""
    for root, depth in ((place, 3), (place.parent, 1), (Path("outputs"), 3)):
        runs = find_runs(root, depth)
        if runs:
            by_name = {path.name: path for path in runs}
            near = closest(place.name, list(by_name))
            return f"{near}; the latest runs: {', '.join(map(str, runs[:-4:-1]))}"
    return "; start one with `rnntrain train`"
