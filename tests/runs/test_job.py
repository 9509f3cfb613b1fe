"""A command that a scheduler starts again goes on with its own run, and begins none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import TINY, Answer

from rnntrain.runs import job
from rnntrain.watching.recorder import Recorder

WORDS = [*TINY, "run.group=g", "task.sample_length=0"]


@pytest.fixture
def place(tiny_text: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_CLUSTER_NAME", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    return tiny_text.parent


def runs(place: Path) -> list[Path]:
    return sorted((place / "outputs" / "g").iterdir())


def kill_at(step: int, patch: pytest.MonkeyPatch) -> None:
    """End a run at a step as a kill would: nothing is saved."""
    stepped = Recorder.stepped

    def stepped_and_killed(self: Recorder, trainer: object, result: object) -> None:
        stepped(self, trainer, result)  # type: ignore[arg-type]
        if trainer.step == step:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    patch.setattr(Recorder, "stepped", stepped_and_killed)


@pytest.mark.parametrize("step", [1, 3])
def test_a_job_that_slurm_starts_again_goes_on_with_its_run(
    step: int, place: Path, run_cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with monkeypatch.context() as patch:
        kill_at(step, patch)
        assert run_cli("train", *WORDS).code == 130
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert run_cli("train", *WORDS).code == 0
    [run] = runs(place)
    assert json.loads((run / "summary.json").read_text())["step"] == 4
    assert [each["step"] for each in json.loads((run / "run.json").read_text())["resumed"]] == [step - 1]


def test_what_the_job_has_finished_is_not_trained_again(
    place: Path, run_cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    run_cli("train", *WORDS)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    again = run_cli("train", *WORDS)
    assert (again.code, again.out.count("has come to its end before")) == (0, 1)
    assert run_cli("train", *WORDS, "seed=1").code == 0  # the next command of the job's script
    assert len(runs(place)) == 2


@pytest.mark.parametrize(("number", "count"), [("8", "1"), ("7", "0")])
def test_other_jobs_and_first_starts_begin_runs_of_their_own(
    number: str, count: str, place: Path, run_cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    run_cli("train", *WORDS)
    monkeypatch.setenv("SLURM_JOB_ID", number)
    monkeypatch.setenv("SLURM_RESTART_COUNT", count)
    assert run_cli("train", *WORDS).code == 0
    assert len(runs(place)) == 2


def test_torchrun_without_an_id_is_known_by_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    name = job.names()["torchrun"]
    assert name == job.names()["torchrun"]
    monkeypatch.setattr("os.getppid", lambda: 1)
    assert job.names()["torchrun"] != name
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "mine")
    assert job.names()["torchrun"] == "mine"


# -- run.resume ---


def test_run_resume_goes_on_where_there_is_a_run_and_begins_it_where_there_is_none(
    place: Path, run_cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*WORDS, "run.name=mine", "run.resume=true"]
    with monkeypatch.context() as patch:
        kill_at(3, patch)
        assert run_cli("train", *words).code == 130
    assert run_cli("train", *words).code == 0
    assert "has come to its end before" in run_cli("train", *words).out
    [run] = runs(place)
    assert json.loads((run / "run.json").read_text())["resumed"][0]["step"] == 2


def test_run_resume_needs_to_know_which_run(tiny_text: Path, refused: Callable[..., str]) -> None:
    assert refused("train", *WORDS, "run.resume=true").endswith("set run.name or run.dir")


def test_run_resume_refuses_a_run_of_another_config(place: Path, run_cli: Callable[..., Answer]) -> None:
    words = [*WORDS, "run.name=mine", "run.resume=true"]
    run_cli("train", *words)
    again = run_cli("train", *words, "model.hidden_size=9")
    assert again.code == 2
    assert "holds a run with another model.hidden_size" in again.err
