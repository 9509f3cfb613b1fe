"""What becomes of jobs in Slurm, by answers of its commands that are written down; `test_slurm` has a real one."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rnntrain.configuring import launchers
from rnntrain.errors import INTERRUPTED, Interrupted

if importlib.util.find_spec("submitit") is None:
    pytest.skip("submitit is not installed", allow_module_level=True)

from rnntrain.configuring.slurm_jobs import SlurmStates, leave_to_slurm

Answers = Callable[..., None]


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Let a command of Slurm print lines, and note that it was called; others are not there."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def install(name: str, *lines: str, error: str = "", code: int = 0) -> None:
        called = f"echo \"$@\" >> '{tmp_path}/{name}.called'"
        script = ["#!/bin/sh", called, "cat <<'END'", *lines, "END", f"echo '{error}' >&2", f"exit {code}", ""]
        (tmp_path / name).write_text("\n".join(script), encoding="utf-8")
        (tmp_path / name).chmod(0o755)

    for name in ("squeue", "sacct", "scontrol"):
        install(name, error="slurm_load_jobs error: Unable to contact slurm controller", code=1)
    return install


def states_of(*jobs: str) -> SlurmStates:
    states = SlurmStates(["seed=0", "seed=1"])
    for job in jobs:
        states.register_job(job)
    return states


def done(states: SlurmStates) -> list[bool]:
    return [states.is_done(job, mode="force") for job in sorted(states._registered)]


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETING", "SUSPENDED", "PREEMPTED", "REQUEUE_HOLD"])
def test_a_job_that_waits_runs_or_will_run_again_has_not_ended(state: str, answer: Answers) -> None:
    states = states_of("7_0")
    answer("squeue", f"7_0|{state}")
    assert done(states) == [False]


def test_one_that_has_vanished_is_said_at_once_and_missed_when_the_others_have_ended(
    answer: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    states = states_of("7_0", "7_1")
    answer("squeue", "7_0|CANCELLED", "7_1|RUNNING")
    assert done(states) == done(states) == [False, False]
    assert capsys.readouterr().err == "rnntrain: job 7_0 (seed=0) has ended as CANCELLED\n"
    answer("squeue", "7_0|CANCELLED", "7_1|COMPLETED")
    assert done(states) == [True, True]
    assert states.vanished() == "job 7_0 (seed=0) has ended as CANCELLED"
    assert states.get_state("7_0") == "CANCELLED"


def test_what_slurm_has_forgotten_is_looked_up_in_its_accounts(answer: Answers) -> None:
    states = states_of("7_0", "7_1")
    answer("squeue", "7_1|COMPLETED")
    answer("sacct", "7_0|CANCELLED by 1000", "7_1|RUNNING")
    assert done(states) == [True, True]
    assert states.vanished() == "job 7_0 (seed=0) has ended as CANCELLED"


def test_without_accounts_a_job_that_is_twice_unknown_has_gone(answer: Answers) -> None:
    states = states_of("7")
    answer("squeue", error="slurm_load_jobs error: Invalid job id specified", code=1)
    assert done(states) == [False]
    assert done(states) == [True]
    assert states.get_state("7", "cache") == "UNKNOWN TO SLURM"


def test_a_controller_that_does_not_answer_ends_nothing(answer: Answers) -> None:
    states = states_of("7")
    assert [done(states) for _ in range(4)] == [[False]] * 4


def test_the_line_says_which_job_and_where_its_output_is() -> None:
    error = RuntimeError(
        "Job 7_0 (task: 0) with path /a b/7_0_0_result.pkl\nhas not produced any output (state: FAILED)"
    )
    vanished = "job 7_0 (seed=0) has ended as FAILED"
    line = str(launchers.explained(error, ["hydra/launcher=slurm"], vanished))
    assert line.startswith(f"hydra/launcher=slurm: {vanished}; what it printed: /a b/7_0_0_log.err; the runs that have")


# -- in a job ---


def requeued(folder: Path) -> bool:
    calls = folder / "scontrol.called"
    return calls.is_file() and "requeue 7" in calls.read_text().splitlines()


@pytest.mark.parametrize(
    ("said", "leaves", "asks"),
    [
        ("JobState=PENDING PreemptTime=None", True, False),  # Slurm has put it back already
        ("JobState=COMPLETING PreemptTime=None", True, False),
        ("JobState=CANCELLED PreemptTime=None", True, False),
        ("JobState=RUNNING PreemptTime=2026-11-25T09:15:55", True, True),  # it has been given a time of grace
        ("JobState=RUNNING PreemptTime=None", False, False),  # somebody has sent the signal by hand
    ],
)
def test_a_job_that_got_sigterm_leaves_no_result_where_slurm_runs_it_again(
    said: str, leaves: bool, asks: bool, answer: Answers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    answer("scontrol", f"JobId=7 {said}")
    if leaves:
        with pytest.raises(SystemExit) as end:
            launchers.put_back(Interrupted("saved", "SIGTERM"))
        assert end.value.code == INTERRUPTED
    else:
        assert launchers.put_back(Interrupted("saved", "SIGTERM")) == "saved"
    assert requeued(tmp_path) == asks


@pytest.mark.parametrize(("state", "leaves"), [("PENDING", True), ("RUNNING", False)])
def test_a_job_whose_request_is_killed_with_it_has_been_put_back(
    state: str, leaves: bool, answer: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm kills all processes of a job that it puts back, also the one that has just asked for it."""

    def killed(number: int, frame: object) -> None:
        raise subprocess.CalledProcessError(-signal.SIGTERM, ["scontrol", "requeue", "7"])

    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    answer("scontrol", f"JobId=7 JobState={state} PreemptTime=None")
    before = signal.signal(signal.SIGUSR2, killed)
    try:
        if leaves:
            with pytest.raises(SystemExit):
                launchers.put_back(Interrupted("saved", "SIGUSR2"))
        else:
            assert launchers.put_back(Interrupted("saved", "SIGUSR2")).startswith("saved (")
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_a_job_that_cannot_ask_leaves_no_result(answer: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(command: list[str], **options: object) -> None:
        raise subprocess.TimeoutExpired(command, 60)

    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr("subprocess.run", slow)
    with pytest.raises(SystemExit):
        leave_to_slurm()
