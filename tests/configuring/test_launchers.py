"""Multiruns through Hydra's launchers: jobs put back into their queue, and one line for each mishap."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from commandline import PATIENCE_SECONDS, TINY, Answer, environment, wait_for
from training import differences

from rnntrain.checkpoints.checkpoint import find_checkpoints, load_checkpoint
from rnntrain.configuring import launchers
from rnntrain.errors import Interrupted, UserError


def needs(package: str) -> pytest.MarkDecorator:
    try:
        found = importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        found = False
    return pytest.mark.skipif(not found, reason=f"{package} is not installed")


JOBLIB = needs("hydra_plugins.hydra_joblib_launcher")
SUBMITIT = needs("hydra_plugins.hydra_submitit_launcher")
RAY = needs("hydra_plugins.hydra_ray_launcher")


@contextmanager
def multirun(workspace: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "rnntrain", "train", "-m", *TINY, "run.group=g", *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=workspace, env=environment(), start_new_session=True, **pipes) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def answer(workspace: Path, *words: str) -> tuple[int, str]:
    with multirun(workspace, *words) as process:
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, output


def runs(workspace: Path) -> list[Path]:
    return sorted((workspace / "outputs" / "g").iterdir())


def jobs_of_submitit(workspace: Path) -> list[int]:
    """Return the processes that submitit's local executor trains in."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdecimal() and os.readlink(folder / "cwd") == str(workspace):
                command = (folder / "cmdline").read_bytes().split(b"\0")
                has_id = b"SUBMITIT_LOCAL_JOB_ID=" in (folder / "environ").read_bytes()
                if has_id and b"submitit.core._submit" in command:
                    found.append(int(folder.name))
    return found


@pytest.fixture
def place(tiny_text: Path) -> Path:
    return tiny_text.parent


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param("joblib", marks=JOBLIB),
        pytest.param("submitit_local", marks=SUBMITIT),
        pytest.param("ray", marks=RAY),
    ],
)
def test_each_launcher_trains_every_combination(launcher: str, place: Path) -> None:
    code, output = answer(place, f"hydra/launcher={launcher}", "seed=0,1")
    assert code == 0, output
    assert len(runs(place)) == 2
    assert all(json.loads((run / "summary.json").read_text())["status"] == "finished" for run in runs(place))


@JOBLIB
@pytest.mark.slow
def test_a_job_that_fails_is_one_line_and_the_others_finish(place: Path) -> None:
    code, output = answer(place, "hydra/launcher=joblib", "data.path=missing.txt,tiny.txt")
    assert code == 2
    last = output.rstrip().splitlines()[-1]
    assert last.startswith("rnntrain: error: the run with data.path=missing.txt: data.path=missing.txt: there is no")
    [run] = runs(place)
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"


@SUBMITIT
@pytest.mark.slow
def test_a_preempted_job_saves_is_put_back_and_goes_on_in_its_own_run_to_the_bit(place: Path) -> None:
    words = ["trainer.max_steps=2000", "trainer.checkpoint_every_steps=500", "trainer.eval_every_steps=1000"]
    code, output = answer(place, *words, "run.group=whole", "seed=1")
    assert code == 0, output
    with multirun(place, *words, "hydra/launcher=submitit_local", "seed=1") as process:
        wait_for(lambda: list(place.glob("outputs/g/*/checkpoints/step-000000500")))
        os.kill(wait_for(lambda: jobs_of_submitit(place))[0], signal.SIGUSR2)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, output
    [run] = runs(place)
    [resumed] = json.loads((run / "run.json").read_text())["resumed"]
    assert resumed["step"] % 500  # it saved when it was told to end, not before
    [whole] = (place / "outputs" / "whole").iterdir()
    trees = [load_checkpoint(find_checkpoints(each / "checkpoints")[-1]) for each in (whole, run)]
    for tree in trees:
        del tree["trainer"]["seconds"]
    assert differences(*trees) == []


@SUBMITIT
@pytest.mark.slow
def test_a_job_that_vanishes_is_one_line(place: Path) -> None:
    with multirun(place, "trainer.max_steps=1000000", "hydra/launcher=submitit_local", "seed=0") as process:
        wait_for(lambda: list(place.glob("outputs/g/*/checkpoints/step-*")))
        os.kill(jobs_of_submitit(place)[0], signal.SIGKILL)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2
    assert (
        output.rstrip().splitlines()[-1].startswith("rnntrain: error: hydra/launcher=submitit_local: a job has vanis")
    )


@SUBMITIT
def test_slurm_without_slurm_is_one_line(tiny_text: Path, run_cli: Callable[..., Answer]) -> None:
    done = run_cli("train", *TINY, "-m", "hydra/launcher=slurm", "seed=0,1")
    assert done.code == 2
    assert (
        done.err.rstrip().splitlines()[-1].startswith("rnntrain: error: hydra/launcher=slurm: a job has vanished, or c")
    )


@pytest.mark.parametrize(("name", "extra"), [("joblib", "joblib"), ("slurm", "submitit"), ("ray", "ray")])
def test_a_launcher_that_is_not_installed_says_what_to_install(
    name: str, extra: str, tiny_text: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launchers, "_is_installed", lambda package: False)
    line = refused("train", *TINY, "-m", f"hydra/launcher={name}", "seed=0,1")
    assert line == f"hydra/launcher={name}: is not installed; run: pip install 'rnntrain[{extra}]'"


def test_what_jobs_find_wrong_is_said_in_their_own_words() -> None:
    mistake = UserError("data.path: …")
    assert launchers.explained(mistake, ["hydra/launcher=joblib"]) is mistake
    assert "a job has vanished" in str(launchers.explained(RuntimeError("gone"), ["hydra/launcher=joblib"]))
    own = RuntimeError("a fault of ours")
    assert launchers.explained(own, ["seed=0,1"]) is own


def test_a_job_that_the_engine_does_not_take_back_says_why() -> None:
    def refuse(number: int, frame: object) -> None:
        raise RuntimeError("Job not requeued because: timed-out too many times.")

    before = signal.signal(signal.SIGUSR2, refuse)
    try:
        line = launchers.put_back(Interrupted("SIGUSR2: saved at step 7", "SIGUSR2"))
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert line == "SIGUSR2: saved at step 7 (Job not requeued because: timed-out too many times.)"


def test_only_the_signal_of_the_engine_puts_a_job_back() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: seen.append(number))
    try:
        launchers.put_back(Interrupted("saved", "SIGTERM"))
        launchers.put_back(Interrupted("saved", "pruned"))
        launchers.put_back(Interrupted("saved"))
        assert seen == []
        launchers.put_back(Interrupted("saved", "SIGUSR2"))
        assert seen == [signal.SIGUSR2]
    finally:
        signal.signal(signal.SIGUSR2, before)
