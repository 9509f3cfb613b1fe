"""A disk that is full or fails: the checkpoints before stand, the run ends in one line and can go on."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commandline import TINY, Answer
from training import make_config, write_text

from rnntrain import commands
from rnntrain.checkpoints import durable, saving
from rnntrain.checkpoints.checkpoint import CheckpointWriteError, find_checkpoints, latest_valid, load_checkpoint
from rnntrain.checkpoints.saving import Mark, Saver, check_room
from rnntrain.errors import UserError
from rnntrain.runs.recorded import latest_interrupted
from rnntrain.runs.run import RunDir
from rnntrain.watching.logger import Logger

Cli = Callable[..., Answer]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call no real fsync, and wait for nothing."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    monkeypatch.setattr(saving, "PAUSES_SECONDS", (0.0, 0.0, 0.0))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write_text(tmp_path)


def failing(monkeypatch: pytest.MonkeyPatch, times: int, after: int = 0) -> list[str]:
    """Let writes of checkpoints fail so many times, after so many that do not; return the list of attempts."""
    write, attempts = durable.write_new, []

    def fail(path: Path, chunks: Any) -> Any:
        if path.name == "tensors.safetensors":
            attempts.append(path.parent.name)
            if after < len(attempts) <= after + times:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, chunks)

    monkeypatch.setattr(durable, "write_new", fail)
    return attempts


# -- what is free ---


def test_run_that_has_no_room_for_one_checkpoint_is_refused_before_it_begins(
    text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "free_bytes", lambda path: 1000)
    with pytest.raises(UserError, match=r"a checkpoint takes about 0\.0 MB and 0\.0 MB are free"):
        commands.train(make_config(text), quiet=True)
    assert not (text.parent / "outputs").exists()


def test_planned_checkpoints_that_do_not_fit_are_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "free_bytes", lambda path: 45_000_000)
    told: list[str] = []
    check_room(tmp_path, 10_000_000, 3, told.append)
    assert told == [
        f"{tmp_path}: trainer.keep_checkpoints=3 comes to 50.0 MB more and 45.0 MB are free; free space or keep fewer"
    ]
    (tmp_path / "step-000000001").mkdir()  # one that is there already needs no room
    check_room(tmp_path, 10_000_000, 3, told.append)
    assert len(told) == 1


def test_free_space_of_a_folder_to_come_is_that_of_its_parent(tmp_path: Path) -> None:
    assert durable.free_bytes(tmp_path / "a/b/c") > 0
    durable.require_room(tmp_path / "a/b", 1)
    with pytest.raises(OSError, match="No space left"):
        durable.require_room(tmp_path, 1 << 62)


def test_save_does_not_fill_the_disk_to_the_brim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "free_bytes", lambda path: 3_000_000)
    attempts = failing(monkeypatch, 0)
    with pytest.raises(CheckpointWriteError, match=r"write the 4\.0 MB of this: No space left on device"):
        saving.write_checkpoint(tmp_path, "step-000000001", b"", {"x": torch.zeros(1_000_000)}, reason="test")
    assert attempts == []


def test_next_checkpoint_that_will_not_fit_is_warned_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([10**9, 5_000, 10**9, 5_000, 10**9, 10**9, 10**9, 5_000])
    monkeypatch.setattr(durable, "free_bytes", lambda path: next(free))
    told: list[str] = []
    saver = Saver(tmp_path / "checkpoints", 1, told.append)
    for step in range(1, 5):
        saver.save(step, {"x": torch.zeros(10_000)}, "test", None, lambda: None)
        saver.settle()
    assert len(told) == 2
    assert "the next checkpoint takes about 0.0 MB" in told[0]


# -- writes that fail ---


def test_write_that_fails_is_tried_again(text: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    attempts = failing(monkeypatch, times=3, after=1)
    trained = commands.train(make_config(text), quiet=True)
    assert trained.summary.status == "finished"
    assert len(attempts) == 3 + len(set(attempts))
    assert capsys.readouterr().err.count("No space left on device; trying again in") == 3


def test_write_that_keeps_failing_ends_the_run_which_can_go_on(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the next step, with path and megabytes; the checkpoint before stands."""
    path = text.parent / "run"
    whole = commands.train(make_config(text, {"run.dir": str(text.parent / "whole")}), quiet=True)
    with monkeypatch.context() as patch:
        failing(patch, times=99, after=2)
        with pytest.raises(CheckpointWriteError, match=r"step-0000000\d\d: cannot write .* No space"):
            commands.train(make_config(text, {"run.dir": str(path)}), quiet=True)
    run = RunDir(path)
    summary = json.loads(run.summary.read_text())
    assert (summary["status"], summary["reason"]) == ("interrupted", "disk")
    assert [each.name[-2:] for each in find_checkpoints(run.checkpoints)] == ["05", "07"]
    assert not list(run.checkpoints.glob(".tmp-*"))
    assert latest_interrupted(text.parent) == path
    resumed = commands.resume(path, quiet=True)
    ours, theirs = (load_checkpoint(latest_valid(each.run.checkpoints)) for each in (resumed, whole))
    for name, weight in theirs["trainer"]["model"].items():
        assert torch.equal(weight, ours["trainer"]["model"][name])


def test_last_write_that_fails_ends_in_its_line(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, times=99, after=2)
    changes = {"trainer.max_steps": 9, "trainer.eval_every_steps": 5}
    with pytest.raises(CheckpointWriteError, match="step-000000009"):
        commands.train(make_config(text, changes), quiet=True)


def test_failure_to_mark_the_best_or_to_delete_is_tried_again_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = {"mark_best": 2, "rotate": 1}
    for name in failures:
        real = getattr(saving, name)

        def fail(*args: Any, name: str = name, real: Any = real) -> Any:
            failures[name] -= 1
            if failures[name] >= 0:
                raise CheckpointWriteError(tmp_path / name, 0, OSError(errno.EIO, "Input/output error"))
            return real(*args)

        monkeypatch.setattr(saving, name, fail)
    told: list[str] = []
    saver = Saver(tmp_path / "checkpoints", 1, told.append)
    saver.save(1, {"x": 1}, "best", Mark(1, "loss", 0.5), lambda: None)
    saver.settle()
    assert len(told) == 3
    assert (tmp_path / "checkpoints/best.json").is_file()


@pytest.mark.parametrize("name", ["scalars", "flush", "sync", "close"])
def test_logs_that_cannot_be_written_end_in_one_line(
    run_cli: Cli, workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    real, calls = getattr(Logger, name), []

    def fail(self: Logger, *args: Any) -> None:
        calls.append(name)
        if name == "close" or len(calls) < 3:
            real(self, *args)
        if name == "close" or len(calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Logger, name, fail)
    answer = run_cli("train", *TINY, "run.name=full", "--quiet")
    assert answer.code == 2
    assert answer.err.splitlines()[-1].startswith("rnntrain: error: ")
    assert "No space left on device" in answer.err
    monkeypatch.setattr(Logger, name, real)
    assert latest_valid(workspace / "outputs/language_modeling/full/checkpoints")


def test_what_crashes_left_goes_with_the_next_resume(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else crashes that come before the next save would fill the disk with halves of checkpoints."""
    path = text.parent / "run"
    commands.train(make_config(text, {"run.dir": str(path)}), quiet=True)
    left = [path / folder / ".tmp-step-000000099-999999999" for folder in ("checkpoints", "nonfinite", "")]
    for folder in left:
        folder.mkdir(parents=True)

    def look(*args: Any, **kwargs: Any) -> Any:
        assert not any(folder.exists() for folder in left)
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "load_checkpoint", look)
    with pytest.raises(KeyboardInterrupt):
        commands.resume(path, ["trainer.max_steps=30"], quiet=True)
