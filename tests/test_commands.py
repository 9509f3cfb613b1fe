"""Which run and which of its checkpoints a command takes."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import TINY, Answer

from rnntrain.checkpoints.checkpoint import find_checkpoints
from rnntrain.errors import UserError
from rnntrain.runs.recorded import latest_interrupted
from rnntrain.runs.run import RunDir
from rnntrain.using import load


@pytest.fixture
def runs(tmp_path: Path, trained_run: Path) -> Callable[[str, str | None], RunDir]:
    """Make copies of a finished run, later ones younger, with another status or with no summary at all."""
    made: list[Path] = []

    def make(name: str, status: str | None) -> RunDir:
        run = RunDir(tmp_path / "outputs" / "lm" / name)
        shutil.copytree(trained_run, run.path)
        made.append(run.path)
        if status is None:
            run.summary.unlink()
        else:
            run.summary.write_text(json.dumps({"status": status}))
        for path in (run.info, run.summary):
            if path.exists():
                os.utime(path, (len(made), len(made)))
        return run

    return make


def test_resume_finds_what_was_stopped_last(tmp_path: Path, runs: Callable[[str, str | None], RunDir]) -> None:
    runs("first", "interrupted")
    second = runs("second", "interrupted")
    runs("third", "finished")
    assert latest_interrupted(tmp_path / "outputs") == second.path


def test_resume_finds_a_run_that_crashed(tmp_path: Path, runs: Callable[[str, str | None], RunDir]) -> None:
    runs("first", "interrupted")
    crashed = runs("second", None)
    assert latest_interrupted(tmp_path / "outputs") == crashed.path


def test_resume_passes_over_a_run_that_is_alive(tmp_path: Path, runs: Callable[[str, str | None], RunDir]) -> None:
    first, alive = runs("first", "interrupted"), runs("second", None)
    with alive.lock():
        assert latest_interrupted(tmp_path / "outputs") == first.path
    assert latest_interrupted(tmp_path / "outputs") == alive.path


def test_run_that_went_on_after_its_end_has_not_ended(
    tmp_path: Path, runs: Callable[[str, str | None], RunDir]
) -> None:
    run = runs("first", "finished")
    os.utime(run.info, (100, 100))  # resumed, then killed
    assert latest_interrupted(tmp_path / "outputs") == run.path


def test_where_nothing_was_interrupted_resume_says_so(
    tmp_path: Path, runs: Callable[[str, str | None], RunDir]
) -> None:
    runs("first", "finished")
    with pytest.raises(UserError, match="name the run"):
        latest_interrupted(tmp_path / "outputs")


def test_named_checkpoint_is_the_one_that_is_used(run_cli: Callable[..., Answer]) -> None:
    run_cli("train", *TINY, "trainer.checkpoint_every_steps=4", "trainer.max_steps=4", "run.dir=run")
    first, *_, last = find_checkpoints(Path("run/checkpoints"))
    assert load(first).step == 2
    assert load(last).step == 4
    answers = [run_cli("eval", path, "--json") for path in (first, last)]
    assert [answer.code for answer in answers] == [0, 0]
    assert answers[0].out != answers[1].out
