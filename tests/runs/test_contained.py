"""A run that came from elsewhere is written only where its own folder is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rnntrain.errors import UserError
from rnntrain.runs.contained import check_contained
from rnntrain.runs.run import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "run")
    for folder in (run.path, run.tensorboard, run.pictures, run.pictures_over_time, run.checkpoints):
        folder.mkdir()
    run.metrics.write_text("")
    run.texts.write_text("")
    (run.pictures / "a.png").write_text("")
    check_contained(run)
    return run


def test_a_new_run_has_nothing_yet(tmp_path: Path) -> None:
    check_contained(RunDir(tmp_path))


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "texts.jsonl", "tensorboard", "pictures", "pictures_over_time", "checkpoints"]
)
def test_a_link_in_place_of_a_part_is_refused(run: RunDir, tmp_path: Path, name: str) -> None:
    (run.path / name).rename(tmp_path / "elsewhere")
    (run.path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=f"{name}: is a link or another thing"):
        check_contained(run)


@pytest.mark.parametrize("folder", ["tensorboard", "pictures", "pictures_over_time", "checkpoints"])
def test_a_link_in_a_part_is_refused(run: RunDir, tmp_path: Path, folder: str) -> None:
    (run.path / folder / "b.png").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"b\.png: is a link, which a run does not hold"):
        check_contained(run)


def test_a_pipe_is_refused(run: RunDir) -> None:
    run.metrics.unlink()
    os.mkfifo(run.metrics)
    with pytest.raises(UserError, match="where the run has a file"):
        check_contained(run)
