"""A run trained anew from what it recorded gives the same numbers, or it is said what differs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commandline import Answer, listing
from training import make_config, write_text

from rnntrain import commands
from rnntrain.errors import Interrupted, UserError
from rnntrain.runs.record import read_start, write_start
from rnntrain.runs.reproduce import reproduce
from rnntrain.runs.run import RunDir
from rnntrain.trainer import Trainer
from rnntrain.watching.recorder import Recorder

Cli = Callable[..., Answer]


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write_text(tmp_path)


def train(text: Path, name: str, changes: dict[str, Any] | None = None) -> Path:
    path = text.parent / name
    commands.train(make_config(text, {"run.dir": str(path), **(changes or {})}), quiet=True)
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model.dropout": 0.3, "model.num_layers": 2, "trainer.average_decay": 0.9, "data.random_bptt": True},
        {"schedule": {"_target_": "rnntrain.optim.Cosine"}, "trainer.early_stopping": 1, "optimizer.lr": 0.5},
        {"diagnose": "gradients", "task.sample_length": 10},
    ],
    ids=["plain", "noise", "early_stopping", "diagnosed"],
)
def test_run_is_reproduced_and_left_as_it_is(text: Path, changes: dict[str, Any]) -> None:
    path = train(text, "run", changes)
    before = listing(path)
    done = reproduce(path, quiet=True)
    assert done.same, list(done.lines())
    assert done.compared >= 10
    assert done.changed == {}
    assert listing(path) == before


def stop_at(patch: pytest.MonkeyPatch, steps: list[int]) -> None:
    import signal

    stepped = Recorder.stepped

    def stepped_and_stopped(self: Recorder, trainer: Trainer, result: Any) -> None:
        stepped(self, trainer, result)
        if steps and trainer.step == steps[0]:
            steps.pop(0)
            signal.raise_signal(signal.SIGTERM)

    patch.setattr(Recorder, "stepped", stepped_and_stopped)


def test_run_that_was_resumed_is_reproduced_whole(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, [4, 11])
        with pytest.raises(Interrupted):
            train(text, "run")
        with pytest.raises(Interrupted):
            commands.resume(text.parent / "run", quiet=True)
        commands.resume(text.parent / "run", quiet=True)
    done = reproduce(text.parent / "run", quiet=True)
    assert (done.same, done.steps) == (True, 20)


def test_run_whose_limit_was_raised_is_compared_up_to_there(text: Path) -> None:
    """Its schedule followed the first limit."""
    path = train(text, "run", {"schedule": {"_target_": "rnntrain.optim.Cosine"}})
    commands.resume(path, ["trainer.max_steps=30"], quiet=True)
    commands.resume(path, ["trainer.max_steps=40"], quiet=True)
    done = reproduce(path, quiet=True)
    assert (done.same, done.steps) == (True, 20)


def test_skipped_and_undone_steps_are_reproduced(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accumulate = Trainer._accumulate_gradients

    def spoiled(self: Trainer) -> Any:
        sums = accumulate(self)
        if self.step + 1 == 9:
            self.parameters[1].grad.fill_(float("nan"))
        return sums

    monkeypatch.setattr(Trainer, "_accumulate_gradients", spoiled)
    for policy in ("skip", "rollback"):
        assert reproduce(train(text, policy, {"trainer.on_nonfinite": policy}), quiet=True).same


def test_first_difference_is_named_with_what_changed(text: Path) -> None:
    path = train(text, "run")
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    at = next(number for number, line in enumerate(lines) if line["step"] == 9)
    lines[at]["train/loss"] = 1.25
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    start = read_start(RunDir(path))
    start["bits_depend_on"]["instruction set"] = "AVX1024"
    start["environment"]["numpy"] = "0.1"
    start["data"] = {"sha256": "another"}
    write_start(RunDir(path), start)
    done = reproduce(path, quiet=True)
    assert (done.differing, done.first[:3]) == (1, (9, "train/loss", 1.25))
    assert {name: then for name, (then, _) in done.changed.items()} == {
        "instruction set": "AVX1024",
        "numpy": "0.1",
        "data": "its fingerprint in run.json",
    }
    text_of_it = "\n".join(done.lines())
    assert "first at step 9: train/loss was 1.25 and is " in text_of_it
    assert "AVX1024 -> " in text_of_it


def test_other_code_is_caught(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = train(text, "run")
    update = Trainer._update
    monkeypatch.setattr(Trainer, "_update", lambda self: (update(self), self.parameters[0].data.mul_(1 + 1e-6))[0])
    done = reproduce(path, quiet=True)
    assert not done.same
    assert done.first[0] == 3
    assert "as they were" in list(done.lines())[-1]


def test_steps_say_how_far(text: Path) -> None:
    path = train(text, "run")
    assert reproduce(path, 6, quiet=True).steps == 6
    with pytest.raises(UserError, match="nothing was logged up to step 2"):
        reproduce(path, 2, quiet=True)


def test_verb_prints_it_and_exits_2_on_a_difference(trained_run: Path, workspace: Path, run_cli: Cli) -> None:
    run = Path(shutil.copytree(trained_run, workspace / "run"))
    answer = run_cli("reproduce", run, "--quiet")
    assert (answer.code, answer.out.partition(":")[0]) == (0, "Reproduced")
    assert json.loads(run_cli("reproduce", run, "--json", "--steps", 2).out)["steps"] == 2
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(text.replace('"train/loss": ', '"train/loss": 1', 1))
    answer = run_cli("reproduce", run, "--quiet")
    assert (answer.code, answer.out.partition(":")[0]) == (2, "Not reproduced")


@pytest.mark.parametrize("part", ["environment", "bits_depend_on"])
def test_record_of_a_start_that_is_none_is_refused(text: Path, part: str) -> None:
    path = train(text, "run")
    start = read_start(RunDir(path))
    write_start(RunDir(path), {**start, part: ["nothing", 1]})
    with pytest.raises(UserError, match="does not describe a run"):
        reproduce(path, 6, quiet=True)


def test_records_that_hold_something_else_are_passed_over(text: Path) -> None:
    path = train(text, "run")
    start = read_start(RunDir(path))
    start["environment"] |= {"cpu": [], "git": {"rnntrain": 3}}
    write_start(RunDir(path), {**start, "resumed": ["nothing", {"config_before": 4}]})
    assert reproduce(path, 6, quiet=True).same


# -- strict ---


def test_strict_refuses_where_bits_would_differ(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = text.parent / "run"
    with monkeypatch.context() as patch:
        stop_at(patch, [8])
        with pytest.raises(Interrupted):
            train(text, "run")
    run = RunDir(path)
    start = read_start(run)
    bits = start["bits_depend_on"]
    assert bits.keys() == {"torch", "threads", "kernels", "instruction set", "device", "world size"}
    for name in bits:
        write_start(run, {**start, "bits_depend_on": {**bits, name: "another"}})
        before = listing(path)
        with pytest.raises(UserError, match=rf"--strict: {name} was another"):
            commands.resume(path, quiet=True, strict=True)
        assert listing(path) == before
    write_start(run, start)
    assert commands.resume(path, quiet=True, strict=True).summary.step == 20


def test_strict_refuses_what_follows_the_clock(text: Path) -> None:
    path = train(text, "run", {"trainer.max_steps": None, "trainer.max_minutes": 0.001})
    with pytest.raises(UserError, match=r"--strict: its only limit is trainer\.max_minutes"):
        commands.resume(path, ["trainer.max_minutes=5"], quiet=True, strict=True)


def test_change_is_warned_of_where_nobody_is_strict(
    text: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, [8])
        with pytest.raises(Interrupted):
            train(text, "run")
    run = RunDir(text.parent / "run")
    start = read_start(run)
    start["bits_depend_on"]["threads"] = 64
    write_start(run, start)
    commands.resume(text.parent / "run", ["threads=1"], quiet=True)
    assert "threads was 64 and is 1: the last bits" in capsys.readouterr().err
