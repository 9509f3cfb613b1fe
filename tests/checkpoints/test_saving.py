"""Checkpoints are written beside the training, and hold what it was when they were asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from training import differences, make_config, write_text

from rnntrain import commands
from rnntrain.checkpoints import saving
from rnntrain.checkpoints.beside import Beside
from rnntrain.checkpoints.checkpoint import checkpoint_step, find_checkpoints, load_checkpoint, save_checkpoint
from rnntrain.checkpoints.snapshot import Snapshots
from rnntrain.trainer import Trainer
from rnntrain.watching.recorder import Recorder, checkpoint_tree


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


class Gate:
    """Holds up every write until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.waiting = threading.Event(), threading.Event()
        self.written: list[str] = []
        write = saving.write_checkpoint

        def held(folder: Path, name: str, *args: Any, **kwargs: Any) -> Path:
            self.waiting.set()
            assert self.open.wait(60)
            path = write(folder, name, *args, **kwargs)
            self.written.append(name)
            return path

        monkeypatch.setattr(saving, "write_checkpoint", held)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open.set()


def test_training_goes_on_while_a_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    """What is written then is the state of the step that was saved, to the bit; the next save waits for it."""
    expected: dict[int, Any] = {}
    steps: list[int] = []
    save, stepped = Recorder.save, Recorder.stepped

    def kept(self: Recorder, trainer: Trainer, reason: str) -> None:
        if trainer.step == 10:
            gate.open.set()  # else it would wait for that of step 5 for ever
        expected.setdefault(trainer.step, checkpoint_copy(trainer))
        save(self, trainer, reason)

    def watched(self: Recorder, trainer: Trainer, result: Any) -> None:
        stepped(self, trainer, result)
        if gate.waiting.is_set() and not gate.open.is_set():
            steps.append(trainer.step)
            assert gate.written == []

    monkeypatch.setattr(Recorder, "save", kept)
    monkeypatch.setattr(Recorder, "stepped", watched)
    changes = {"run.dir": str(tmp_path / "run"), "trainer.checkpoint_every_steps": 10, "trainer.keep_checkpoints": 9}
    commands.train(make_config(write_text(tmp_path), {**changes, "trainer.max_steps": 13}), quiet=True)
    assert steps
    assert set(steps) <= {6, 7, 8, 9, 10}
    for checkpoint in find_checkpoints(tmp_path / "run/checkpoints"):
        tree = load_checkpoint(checkpoint)
        asked_for = expected[tree["trainer"]["step"]]
        assert differences({**tree["trainer"], "seconds": 0.0}, {**asked_for, "seconds": 0.0}) == []
    assert [name[-2:] for name in gate.written] == ["05", "10", "13"]


@pytest.mark.parametrize("most", [1, 2, 3, 5, 6])
def test_training_waits_where_one_step_more_would_be_lost_to_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate, most: int
) -> None:
    """At exactly so many steps that do not stand on the disk, and not before; from the start of a run and a resume."""
    taken: list[int] = []
    waited: list[int] = []
    stepped, wait = Recorder.stepped, Beside.wait

    def watched(self: Recorder, trainer: Trainer, result: Any) -> None:
        stepped(self, trainer, result)
        taken.append(trainer.step)
        assert trainer.step - max([began, *(checkpoint_step(name) for name in gate.written)]) <= most

    def noted(self: Beside) -> None:
        if not self.idle():
            waited.append(taken[-1])
            gate.open.set()
        wait(self)
        gate.open.clear()

    monkeypatch.setattr(Recorder, "stepped", watched)
    monkeypatch.setattr(Beside, "wait", noted)
    began, path = 0, tmp_path / "run"
    changes = {"trainer.checkpoint_every_steps": most, "trainer.eval_every_steps": 1000, "trainer.max_steps": 13}
    commands.train(make_config(write_text(tmp_path), {**changes, "run.dir": str(path)}), quiet=True)
    assert waited[0] == most
    began, waited[:] = 13, []
    commands.resume(path, ["trainer.max_steps=26"], quiet=True)
    assert waited[0] <= 13 + most


def checkpoint_copy(trainer: Trainer) -> Any:
    text, tensors = Snapshots().take(checkpoint_tree(trainer))
    from rnntrain.checkpoints.state_tree import decode_tree

    return decode_tree(text, tensors)["trainer"]


def test_run_ends_when_its_last_checkpoint_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate) -> None:
    finish = Trainer.finish

    def looked(self: Trainer) -> None:
        assert gate.written == ["step-000000003"]
        finish(self)

    monkeypatch.setattr(Trainer, "finish", looked)
    threading.Thread(target=lambda: gate.waiting.wait() and gate.open.set()).start()
    changes = {"run.dir": str(tmp_path / "run"), "trainer.max_steps": 3}
    commands.train(make_config(write_text(tmp_path), changes), quiet=True)


def test_copy_is_the_tree_to_the_bit_and_uses_its_memory_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weight = torch.randn(5, 7)
    tree = {
        "a": {"weight": weight, "tied": weight, "view": weight[:, ::2], "t": weight.t(), "none": None},
        "complex": torch.randn(3, dtype=torch.complex64),
        "empty": torch.empty(0),
        "number": 0.1,
    }
    snapshots = Snapshots()
    text, tensors = snapshots.take(tree)
    saving.write_checkpoint(tmp_path, "step-000000001", text, tensors, reason="test")
    places = {name: tensor.data_ptr() for name, tensor in tensors.items()}
    save_checkpoint(tmp_path, "step-000000002", tree)
    first, second = (load_checkpoint(path) for path in find_checkpoints(tmp_path))
    assert differences(first, second) == []
    assert first["a"]["weight"] is first["a"]["tied"]
    weight += 1
    tree["a"]["view"], tree["empty"] = torch.zeros(2), torch.ones(4)
    _, again = snapshots.take(tree)
    assert torch.equal(again["a.weight"], weight)
    assert {name for name in places if again[name].data_ptr() == places[name]} >= {"a.weight", "a.t", "complex"}
    assert again["empty"].shape == (4,)


# -- jobs beside ---


@pytest.mark.parametrize("call", ["wait", "start"])
def test_error_of_a_job_comes_out_once_at_the_next_call(call: str) -> None:
    beside = Beside()
    beside.start(lambda: 1 / 0)
    done: list[int] = []
    with pytest.raises(ZeroDivisionError):
        beside.wait() if call == "wait" else beside.start(lambda: done.append(1))
    assert done == []
    beside.check()
    beside.start(lambda: done.append(2))
    beside.wait()
    assert done == [2]


def test_end_waits_for_the_job_and_ctrl_c_only_a_moment() -> None:
    release, done = threading.Event(), threading.Event()

    def job() -> None:
        release.wait(60)
        done.set()

    with pytest.raises(KeyboardInterrupt), Beside(moment_seconds=0.01) as beside:  # noqa: PT012
        beside.start(job)
        raise KeyboardInterrupt
    assert not done.is_set()
    release.set()
    assert done.wait(60)
    release.clear()
    done.clear()
    with pytest.raises(ValueError, match="mine"), Beside() as beside:  # noqa: PT012
        beside.start(job)
        release.set()
        raise ValueError("mine")
    assert done.is_set()
    with pytest.raises(ZeroDivisionError), Beside() as beside:
        beside.start(lambda: 1 / 0)
