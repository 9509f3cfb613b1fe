"""A run is written into its own folder alone: what came from elsewhere may hold links out of it, pipes and devices."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from rnntrain.errors import UserError
from rnntrain.runs.run import RunDir

MOST_FILES = 100_000  # of one folder of a run


def check_contained(run: RunDir) -> None:
    """Refuse a run in which a file or folder that will be written to is a link, or no file or folder at all.

    Files that are replaced as a whole (`summary.json`, `best.json`) need no check: a rename replaces the link itself.

    Raises:
        UserError: names the first.
    """
    for file in (run.metrics, run.texts):
        _check(file, "file")
    for folder in (run.tensorboard, run.pictures, run.pictures_over_time, run.checkpoints, run.nonfinite):
        check_folder(folder)


def check_folder(folder: Path) -> None:
    """Refuse a folder that is a link, or holds one: what is written under its names would go elsewhere.

    Raises:
        UserError: names it.
    """
    _check(folder, "folder")
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if entry.is_symlink():
                raise UserError(f"{entry.path}: is a link, which a run does not hold; delete it")
            if number >= MOST_FILES:
                raise UserError(f"{folder}: holds more than {MOST_FILES:,} files, which no run does; restore it")


def _check(path: Path, kind: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; mend that, or restore the run from a copy") from error
    if not (stat.S_ISREG(mode) if kind == "file" else stat.S_ISDIR(mode)):
        raise UserError(f"{path}: is a link or another thing where the run has a {kind}; put the {kind} itself there")
