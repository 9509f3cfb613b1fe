"""The first signal saves within a step and leaves a run that can go on; the second stops at once; a time limit too."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commandline import TINY, Answer
from training import Clock, make_config, write_text

from rnntrain import commands, running
from rnntrain.build import Experiment
from rnntrain.checkpoints.checkpoint import find_checkpoints
from rnntrain.errors import Interrupted
from rnntrain.interrupt import SIGNALS, StopRequests
from rnntrain.metrics import Picture
from rnntrain.runs.summary import Summary
from rnntrain.trainer import Trainer


@pytest.fixture(autouse=True)
def _no_fsync_and_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    for variable in ("SLURM_JOB_ID", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(variable, raising=False)


def test_the_signals_of_people_and_clusters_are_known() -> None:
    assert {signal.Signals(number).name for number in SIGNALS} == {"SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"}


@pytest.mark.parametrize("place", ["_next_batch", "_update", "_log", "_evaluate_and_keep_best"])
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: signal.Signals(number).name)
def test_signal_anywhere_in_a_step_saves_that_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, place: str
) -> None:
    """Whatever the trainer is doing, the step comes to its end, and its state stands before the run stops."""
    at = random.Random(f"{number} {place}").choice([3, 6, 9, 12]) if place == "_log" else 10
    method = getattr(Trainer, place)

    def signalled(self: Trainer, *args: Any) -> Any:
        if self.step + (place in ("_next_batch", "_update")) == at:
            signal.raise_signal(number)
        return method(self, *args)

    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, place, signalled)
        with pytest.raises(Interrupted, match=rf"{signal.Signals(number).name}: saved at step {at};"):
            commands.train(make_config(write_text(tmp_path), {"run.dir": str(path)}), quiet=True)
    assert find_checkpoints(path / "checkpoints")[-1].name == f"step-{at:09}"
    assert commands.resume(path, quiet=True).summary.step == 20


@pytest.mark.parametrize("second", SIGNALS)
def test_second_signal_stops_at_once_and_handlers_come_back(second: int) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(KeyboardInterrupt), StopRequests() as requests:  # noqa: PT012
        signal.raise_signal(signal.SIGTERM)
        assert requests.reason() == "SIGTERM"
        signal.raise_signal(second)
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize("variable", ["SLURM_JOB_ID", "TORCHELASTIC_RUN_ID"])
def test_what_engines_say_twice_is_one_wish_and_ctrl_c_is_another(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm tells every process of a job, and srun and torchrun tell theirs once more: the run must still be saved."""
    monkeypatch.setenv(variable, "7")
    with StopRequests() as requests:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGUSR1):
            signal.raise_signal(number)
        assert requests.reason() == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_notice_of_slurm_before_training_ends_with_the_code_that_says_again(
    workspace: Path, run_cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(commands, "build", lambda config: signal.raise_signal(signal.SIGUSR1))
    answer = run_cli("train", *TINY)
    assert answer.code == 75
    assert answer.err == "rnntrain: SIGUSR1: came before training; the same command begins anew, or goes on\n"
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_time_limit_of_a_scheduler_stops_each_process_and_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts anew after each resume; the run comes to its end as one without it."""
    clock, step = Clock(), Trainer.train_step
    monkeypatch.setattr("rnntrain.interrupt.time", clock)
    monkeypatch.setattr(Trainer, "train_step", lambda self: (clock.advance(10.0), step(self))[1])
    path = tmp_path / "run"
    changes = {"run.dir": str(path), "trainer.stop_after_minutes": 1.5}
    with pytest.raises(Interrupted, match="stop_after_minutes: saved at step 9"):
        commands.train(make_config(write_text(tmp_path), changes), quiet=True)
    assert json.loads((path / "summary.json").read_text())["status"] == "interrupted"
    with pytest.raises(Interrupted, match="stop_after_minutes: saved at step 18"):
        commands.resume(path, quiet=True)
    assert commands.resume(path, quiet=True).summary.status == "finished"


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_in_the_last_evaluation_ends_with_the_code_that_says_go_on(
    run_cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    evaluate = running.evaluate_finally

    def signalled(experiment: Experiment, summary: Summary) -> dict[str, Picture]:
        signal.raise_signal(getattr(signal, name))
        return evaluate(experiment, summary)

    with monkeypatch.context() as patch:
        patch.setattr(running, "evaluate_finally", signalled)
        answer = run_cli("train", *TINY, "run.name=run", "--quiet")
    assert answer.code == 75
    assert f"{name}: saved at step 4; go on with: rnntrain resume" in answer.err
    assert run_cli("resume").code == 0  # the run that was stopped last
    assert run_cli("resume", "outputs/language_modeling/run").code == 2  # it has ended
