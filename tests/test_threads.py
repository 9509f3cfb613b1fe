"""`threads=auto`: one thread or all, by a measurement that leaves no trace but the number itself."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from training import differences, make_config, make_experiment, write_text

from rnntrain import commands, threads
from rnntrain.runs.record import read_start
from rnntrain.runs.run import open_run
from rnntrain.threads import fastest_threads


@pytest.fixture(autouse=True)
def _threads_again(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def let_steps_take(monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float]) -> list[int]:
    """Let a step take so many seconds by number of threads, though it is still run; return where calls are noted."""
    calls: list[int] = []
    real = threads._Step.seconds

    def pretend(step: threads._Step, number: int) -> float:
        real(step, number)
        calls.append(number)
        return seconds[number]

    monkeypatch.setattr(threads._Step, "seconds", pretend)
    return calls


@pytest.mark.parametrize(("seconds", "expected"), [({1: 0.01, 2: 0.02}, 1), ({1: 0.02, 2: 0.01}, 2)])
def test_faster_number_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], expected: int
) -> None:
    let_steps_take(monkeypatch, seconds)
    trainer = make_experiment(write_text(tmp_path), {"threads": "auto"}).trainer
    assert fastest_threads(trainer, "float32") == torch.get_num_threads() == expected


def test_large_model_takes_all_after_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = let_steps_take(monkeypatch, {1: 0.0, 2: 9.0})
    trainer = make_experiment(write_text(tmp_path), {"threads": "auto"}).trainer
    assert fastest_threads(trainer, "float32") == 2
    assert calls == [2]


@pytest.mark.parametrize("reason", ["one core", "OMP_NUM_THREADS"])
def test_nothing_is_measured_where_there_is_no_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    calls = let_steps_take(monkeypatch, {1: 0.0, 2: 0.0})
    trainer = make_experiment(write_text(tmp_path), {"threads": "auto"}).trainer
    if reason == "one core":
        torch.set_num_threads(1)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert fastest_threads(trainer, "float32") == torch.get_num_threads()
    assert calls == []


def test_measurement_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With dropout, which draws: generators, weights, gradients and the run that follows are the same to the bit."""
    let_steps_take(monkeypatch, {1: 0.01, 2: 0.02})
    changes = {"model.dropout": 0.3, "model.num_layers": 2, "trainer.max_steps": 6}
    states = []
    for measure in (False, True):
        trainer = make_experiment(write_text(tmp_path), changes).trainer
        torch.set_num_threads(2)
        if measure:
            fastest_threads(trainer, "float32")
        torch.set_num_threads(1)
        assert all(parameter.grad is None for parameter in trainer.parameters)
        draws = [random.random(), float(np.random.random()), float(torch.rand(()))]
        trainer.fit()
        states.append([draws, {k: v for k, v in trainer.state_dict().items() if k != "seconds"}])
    assert differences(*states) == []


def test_choice_is_recorded_and_kept_by_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    let_steps_take(monkeypatch, {1: 0.01, 2: 0.02})
    config = make_config(write_text(tmp_path), {"threads": "auto", "run.dir": str(run)})
    assert commands.train(config, quiet=True).experiment.threads == 1
    assert read_start(open_run(run))["environment"]["threads"] == 1
    torch.set_num_threads(2)
    calls = let_steps_take(monkeypatch, {1: 0.02, 2: 0.01})
    assert commands.resume(run, ["trainer.max_steps=24"], quiet=True).experiment.threads == 1
    assert calls == []
    assert capsys.readouterr().err == ""
    assert commands.resume(run, ["trainer.max_steps=28", "threads=2"], quiet=True).experiment.threads == 2
    assert "threads was 1 and is 2" in capsys.readouterr().err
