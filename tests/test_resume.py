"""A run that was stopped and resumed is, to the bit, the run that never stopped."""

from __future__ import annotations

import itertools
import json
import math
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training import CELLS, Clock, Scripted, differences, make_config, make_experiment, write_documents, write_text

from rnntrain import commands
from rnntrain.checkpoints import saving
from rnntrain.checkpoints.checkpoint import find_checkpoints, latest_valid, load_checkpoint, verify_checkpoint
from rnntrain.checkpoints.generators import capture_generators, restore_generators
from rnntrain.checkpoints.manifest import TENSORS
from rnntrain.checkpoints.saving import Saver
from rnntrain.errors import Interrupted, UserError
from rnntrain.metrics import Metrics
from rnntrain.models.sequence import SequenceModel
from rnntrain.processes import distributed
from rnntrain.running import Trained
from rnntrain.runs.run import RunDir
from rnntrain.trainer import Trainer
from rnntrain.watching.logger import Logger
from rnntrain.watching.recorder import Recorder

MAX_STEPS = 24
MODES: dict[str, dict[str, Any]] = {
    "streams": {},
    "random_bptt": {"data.random_bptt": True},
    "documents": {"data.documents": True},
    "shuffled": {"data.contiguous": False, "task.carry": False},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dropout": {"model.dropout": 0.3, "model.input_dropout": 0.2, "model.output_dropout": 0.1, "model.num_layers": 2},
    "accumulate": {"trainer.accumulate": 3},
    "average": {"trainer.average_decay": 0.9},
    "plateau": {"schedule": {"_target_": "rnntrain.optim.Plateau", "gamma": 0.5}, "optimizer.lr": 0.1},
    "early_stopping": {"trainer.early_stopping": 2, "trainer.eval_every_steps": 3, "optimizer.lr": 0.5},
    "bfloat16": {"precision": "bfloat16"},
    "cosine": {"schedule": {"_target_": "rnntrain.optim.Cosine", "warmup_steps": 9}},
    "momentum": {"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.5, "momentum": 0.9}},
}
EVERYTHING: dict[str, Any] = {
    **OPTIONS["dropout"],
    **OPTIONS["plateau"],
    "trainer.accumulate": 2,
    "trainer.average_decay": 0.8,
    "trainer.early_stopping": 50,
    "precision": "bfloat16",
}
OPTIONS["everything"] = EVERYTHING


class Crash(Exception):
    """Ends a run as a kill would: nothing is saved."""


@dataclass
class Stop:
    """Where a run is broken off; by a signal, that lets it save, or by a crash."""

    step: int
    crash: bool = False


@dataclass
class Outcome:
    """What a run leaves behind, less what tells of time."""

    tree: dict[str, Any]
    weights: dict[str, torch.Tensor]
    lines: list[dict[str, Any]]
    summary: dict[str, Any]
    best: dict[str, Any]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call no real fsync; name event files of one second in their order."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    seconds = itertools.count(2_000_000_000)
    clock = Clock(time=lambda: next(seconds))
    monkeypatch.setattr("tensorboard.summary.writer.event_file_writer.time", clock)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    write_text(folder, 120)
    write_documents(folder / "documents")
    return folder


def changes_of(mode: str, option: str) -> dict[str, Any]:
    return {"trainer.max_steps": MAX_STEPS, **MODES[mode], **OPTIONS[option]}


def data_of(folder: Path, changes: dict[str, Any]) -> Path:
    return folder / "documents" if changes.get("data.documents") else folder / "text.txt"


def break_off(monkeypatch: pytest.MonkeyPatch, stops: list[Stop]) -> None:
    """Break the run off at each of these steps, once."""
    left, stepped = list(stops), Recorder.stepped

    def stepped_and_stopped(self: Recorder, trainer: Trainer, result: Any) -> None:
        stepped(self, trainer, result)
        if left and trainer.step == left[0].step:
            if left.pop(0).crash:
                raise Crash
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Recorder, "stepped", stepped_and_stopped)


def carry_out(start: Callable[[], Trained], path: Path, overrides: tuple[str, ...] = ()) -> Trained:
    """Start a run and resume it as often as it is broken off."""
    while True:
        try:
            return start()
        except (Interrupted, Crash):
            start = lambda: commands.resume(path, overrides, quiet=True)  # noqa: E731


def train(
    folder: Path,
    changes: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    stops: list[Stop] | None = None,
    cell: str = "lstm",
    overrides: tuple[str, ...] = (),
) -> tuple[RunDir, Outcome]:
    """Train a run that is broken off and resumed; return it with what it leaves behind."""
    path = folder / f"run{next(NUMBERS)}"
    config = make_config(data_of(folder, changes), {**changes, "run.dir": str(path)}, cell=cell)
    with monkeypatch.context() as patch:
        break_off(patch, stops or [])
        trained = carry_out(lambda: commands.train(config, quiet=True), path, overrides)
    return trained.run, outcome(trained)


NUMBERS = itertools.count()


def outcome(trained: Trained) -> Outcome:
    run = trained.run
    tree = load_checkpoint(latest_valid(run.checkpoints))
    summary = json.loads(run.summary.read_text())
    for name in ("minutes", "units_per_second"):
        del summary[name]
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return Outcome(
        tree,
        trained.experiment.model.state_dict(),
        [{name: value for name, value in line.items() if not name.startswith("cost/")} for line in lines],
        summary,
        json.loads((run.checkpoints / "best.json").read_text()),
    )


def different(a: Outcome, b: Outcome, *, with_seconds: bool = False) -> list[str]:
    """Return where two outcomes differ."""
    trees = [{**vars(each), "tree": {**each.tree, "trainer": dict(each.tree["trainer"])}} for each in (a, b)]
    if not with_seconds:
        for tree in trees:
            del tree["tree"]["trainer"]["seconds"]
    return differences(*trees)


# Runs that never stop, each trained once.
UNBROKEN: dict[tuple[str, str, str], Outcome] = {}


def unbroken(folder: Path, cell: str, mode: str, option: str, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    key = (cell, mode, option)
    if key not in UNBROKEN:
        _, UNBROKEN[key] = train(folder, changes_of(mode, option), monkeypatch, cell=cell)
    return UNBROKEN[key]


def cases() -> Iterator[Any]:
    for cell, mode, option in itertools.product(CELLS, MODES, OPTIONS):
        # Cells differ in their weights, their state and whether they draw noise: one run of each tells, quickly.
        thorough = cell in ("rnn", "vanilla", "lstm", "gru")
        quick = (option == "everything" and mode == "documents") or (thorough and option in ("plain", "everything"))
        quick = quick or (cell == "lstm" and mode in ("streams", "documents"))
        marks = () if quick else pytest.mark.slow
        yield pytest.param(cell, mode, option, id=f"{cell}-{mode}-{option}", marks=marks)


@pytest.mark.parametrize(("cell", "mode", "option"), list(cases()))
def test_resume_is_bitwise(folder: Path, monkeypatch: pytest.MonkeyPatch, cell: str, mode: str, option: str) -> None:
    """Stopped anywhere: in the midst of an epoch, of a line's mean, between evaluations."""
    whole = unbroken(folder, cell, mode, option, monkeypatch)
    last = whole.summary["step"]
    assert last == MAX_STEPS or option == "early_stopping"
    assert whole.tree["trainer"]["epoch"] >= 1 or option == "early_stopping"
    step = random.Random(f"{cell} {mode} {option}").randrange(1, last)
    _, resumed = train(folder, changes_of(mode, option), monkeypatch, [Stop(step)], cell)
    assert different(whole, resumed) == []


@pytest.mark.parametrize("cell", ["layernorm_lstm", "layernorm_gru"])
def test_resume_is_bitwise_under_the_noise_of_a_cell(folder: Path, monkeypatch: pytest.MonkeyPatch, cell: str) -> None:
    """Zoneout, recurrent dropout and weight drop go on where the generator stood."""
    zoneout = {"zoneout": 0.3} if cell == "layernorm_gru" else {"zoneout_cell": 0.3, "zoneout_hidden": 0.1}
    noisy = {**CELLS[cell], **zoneout, "recurrent_dropout": 0.2, "weight_drop": 0.3}
    changes = {**changes_of("streams", "plain"), "model.cell": noisy}
    _, whole = train(folder, changes, monkeypatch)
    _, resumed = train(folder, changes, monkeypatch, [Stop(13)])
    assert different(whole, resumed) == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("option", ["plain", "everything"])
def test_resume_five_times_is_bitwise(folder: Path, monkeypatch: pytest.MonkeyPatch, mode: str, option: str) -> None:
    whole = unbroken(folder, "lstm", mode, option, monkeypatch)
    steps = sorted(random.Random(f"{mode} {option}").sample(range(1, MAX_STEPS), 5))
    _, resumed = train(folder, changes_of(mode, option), monkeypatch, [Stop(step) for step in steps])
    assert different(whole, resumed) == []


@pytest.mark.parametrize("step", [1, MAX_STEPS - 1, MAX_STEPS])
def test_resume_is_bitwise_at_either_end(folder: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    whole = unbroken(folder, "lstm", "streams", "everything", monkeypatch)
    _, resumed = train(folder, changes_of("streams", "everything"), monkeypatch, [Stop(step)])
    assert different(whole, resumed) == []


@pytest.mark.parametrize("mode", MODES)
def test_resume_after_crashes_is_bitwise(folder: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """The steps since the last save are taken again, and their lines stand once."""
    whole = unbroken(folder, "gru", mode, "everything", monkeypatch)
    stops = [Stop(8, crash=True), Stop(8, crash=True), Stop(13, crash=True), Stop(16), Stop(23, crash=True)]
    run, resumed = train(folder, changes_of(mode, "everything"), monkeypatch, stops, "gru")
    assert different(whole, resumed) == []
    assert len(json.loads(run.info.read_text())["resumed"]) == 5


@pytest.mark.parametrize("option", ["plain", "plateau", "average", "bfloat16", "everything"])
@pytest.mark.parametrize("first", [10, 13])
def test_raised_limit_is_bitwise(folder: Path, monkeypatch: pytest.MonkeyPatch, option: str, first: int) -> None:
    """A run that had come to its end, at an evaluation or between two, is as one with the limit from the start."""
    whole = unbroken(folder, "lstm", "streams", option, monkeypatch)
    run, ended = train(folder, {**changes_of("streams", option), "trainer.max_steps": first}, monkeypatch)
    assert ended.summary["step"] == first
    assert ended.lines[-1].get("final", False) is (first == 13)
    assert ended.lines[-1]["step"] == first
    raised = commands.resume(run.path, [f"trainer.max_steps={MAX_STEPS}"], quiet=True)
    assert different(whole, outcome(raised)) == []


def test_best_of_an_end_that_was_none_is_forgotten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last weights were the best, but a run that had gone on would not have evaluated them.

    Nor is the best before them lost, though but one checkpoint is kept.
    """
    values = {5: 1.0, 10: 2.0, 12: 0.5, 15: 2.0, 20: 2.0, 24: 3.0}
    measure = Trainer.measure

    def scripted(self: Trainer, split: str, carry: Any) -> Metrics:
        return Scripted({"loss": values[self.step]}, measure(self, split, carry))

    monkeypatch.setattr(Trainer, "measure", scripted)
    changes = {**changes_of("streams", "plain"), "trainer.keep_checkpoints": 1, "trainer.eval_every_steps": 5}
    _, whole = train(folder, changes, monkeypatch)
    run, ended = train(folder, {**changes, "trainer.max_steps": 12}, monkeypatch)
    assert (whole.best["step"], ended.best["step"]) == (5, 12)
    raised = commands.resume(run.path, [f"trainer.max_steps={MAX_STEPS}"], quiet=True)
    assert different(whole, outcome(raised)) == []


def test_end_that_was_cut_short_is_made_up_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash after the last save, before or after the last evaluation."""
    whole = unbroken(folder, "lstm", "streams", "plain", monkeypatch)
    for place in ("finish", "measure"):
        path = folder / f"cut_{place}"
        config = make_config(folder / "text.txt", {**changes_of("streams", "plain"), "run.dir": str(path)})
        with monkeypatch.context() as patch:
            crash_at_the_end(patch, place)
            with pytest.raises(Crash):
                commands.train(config, quiet=True)
        assert different(whole, outcome(commands.resume(path, quiet=True))) == []


def crash_at_the_end(patch: pytest.MonkeyPatch, place: str) -> None:
    original = getattr(Trainer, place)
    ended: list[bool] = []

    def finish(self: Trainer) -> None:
        if place == "finish":
            raise Crash
        ended.append(True)
        original_finish(self)

    def measure(self: Trainer, split: str, carry: Any) -> Metrics:
        if ended and split == "val" and self._evaluated_at == self.step:
            raise Crash
        return original(self, split, carry)

    original_finish = Trainer.finish
    patch.setattr(Trainer, "finish", finish)
    if place == "measure":
        patch.setattr(Trainer, "measure", measure)


# -- nothing may be left out ---

TRAINER_STATE = (
    "model",
    "optimizer",
    "schedule",
    "scaler",
    "average",
    "step",
    "epoch",
    "offset",
    "units_seen",
    "state",
    "best",
    "evaluated_at",
    "window",
    "guard",
    "seconds",
)
GENERATORS = ("torch", "python", "numpy")
# Broken off at step 22: after evaluations that improved and that did not, two steps after a line, with none to come
# that would make up for what was lost.
TELLING: dict[str, Any] = {
    **changes_of("random_bptt", "everything"),
    "model.cell": dict(CELLS["vanilla"]),
    "precision": "float16",
    "optimizer.lr": 0.2,
    "trainer.eval_every_steps": 5,
    "trainer.log_every_steps": 10,
    "trainer.max_steps": 24,
    "trainer.max_minutes": 100.0,
    "trainer.spike_factor": 1000.0,
}


@pytest.fixture
def _telling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use everything that is saved: every generator, a scaler, which no config gets on a processor, and the clock."""
    forward, clock = SequenceModel.forward, Clock()

    def noisy(self: SequenceModel, batch: Any, state: Any = None) -> Any:
        output, state = forward(self, batch, state)
        if self.training:
            clock.advance(1.0)
            noise = 1 + 0.01 * (random.random() + np.random.random() + float(torch.rand(())))
            output = output._replace(hidden=output.hidden * noise)
        return output, state

    monkeypatch.setattr(SequenceModel, "forward", noisy)
    monkeypatch.setattr("rnntrain.clock.time", clock)
    monkeypatch.setattr("rnntrain.build.choose_device", lambda settings, precision: torch.device("cpu"))


@pytest.fixture
def told(_telling: None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    key = ("vanilla", "random_bptt", "telling")
    if key not in UNBROKEN:
        _, UNBROKEN[key] = train(folder, TELLING, monkeypatch)
    return UNBROKEN[key]


def test_state_that_matters_is_listed(folder: Path) -> None:
    """A new item of state needs its line above, and with it the tests that leave it out."""
    assert tuple(make_experiment(folder / "text.txt").trainer.state_dict()) == TRAINER_STATE
    assert set(capture_generators()) == {*GENERATORS, "cuda"}


def test_telling_run_uses_all_of_its_state(told: Outcome) -> None:
    state = told.tree["trainer"]
    assert state["schedule"]["reductions"] > 0
    assert 0 < state["best"]["step"] <= 20
    assert 0 < state["window"]["steps"] < 10
    assert state["scaler"]["_growth_tracker"] > 1
    assert state["epoch"] >= 1
    assert state["offset"] > 0


@pytest.mark.usefixtures("_telling")
def test_telling_run_resumes_to_the_bit(folder: Path, monkeypatch: pytest.MonkeyPatch, told: Outcome) -> None:
    _, resumed = train(folder, TELLING, monkeypatch, [Stop(22)])
    assert different(told, resumed, with_seconds=True) == []


@pytest.mark.usefixtures("_telling")
@pytest.mark.parametrize("key", TRAINER_STATE)
def test_each_item_of_state_is_needed(folder: Path, monkeypatch: pytest.MonkeyPatch, told: Outcome, key: str) -> None:
    """Left as it is in a new trainer, each makes the resumed run another one."""
    load = Trainer.load_state_dict
    monkeypatch.setattr(
        Trainer, "load_state_dict", lambda self, saved: load(self, {**saved, key: self.state_dict()[key]})
    )
    _, resumed = train(folder, TELLING, monkeypatch, [Stop(22)])
    assert different(told, resumed, with_seconds=True) != []


@pytest.mark.usefixtures("_telling")
@pytest.mark.parametrize("key", GENERATORS)
def test_each_generator_is_needed(folder: Path, monkeypatch: pytest.MonkeyPatch, told: Outcome, key: str) -> None:
    monkeypatch.setattr(
        distributed, "restore_generators", lambda tree: restore_generators({**tree, key: capture_generators()[key]})
    )
    _, resumed = train(folder, TELLING, monkeypatch, [Stop(22)])
    assert different(told, resumed, with_seconds=True) != []


@pytest.mark.parametrize("key", ["trainer", "generators", "codec"])
def test_each_part_of_a_checkpoint_is_needed(folder: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    load = load_checkpoint
    monkeypatch.setattr(
        commands, "load_checkpoint", lambda path: {name: part for name, part in load(path).items() if name != key}
    )
    with pytest.raises((KeyError, UserError)):
        train(folder, changes_of("streams", "plain"), monkeypatch, [Stop(11)])


def test_time_before_a_resume_counts_towards_the_limit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stepped = Clock(), Trainer.train_step
    monkeypatch.setattr("rnntrain.clock.time", clock)
    monkeypatch.setattr(Trainer, "train_step", lambda self: (clock.advance(10.0), stepped(self))[1])
    changes = {"trainer.max_steps": None, "trainer.max_minutes": 3.0, "schedule": OPTIONS["cosine"]["schedule"]}
    _, whole = train(folder, changes, monkeypatch)
    _, resumed = train(folder, changes, monkeypatch, [Stop(4), Stop(11)])
    assert whole.summary["step"] == 18
    assert different(whole, resumed, with_seconds=True) == []


# -- what stands in the run's files ---


def points(run: RunDir) -> dict[tuple[str, int], Any]:
    """Return all points of TensorBoard; fail where one stands twice."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    found = [((tag, event.step), event.value) for tag in events.Tags()["scalars"] for event in events.Scalars(tag)]
    found += [
        ((tag, event.step), event.tensor_proto.string_val[0])
        for tag in events.Tags()["tensors"]
        for event in events.Tensors(tag)
    ]
    twice = [place for place, number in Counter(place for place, _ in found).items() if number > 1]
    assert twice == []
    return {place: value for place, value in found if not place[0].startswith("cost/")}


def written(run: RunDir, tag: str) -> Iterator[int]:
    """Yield the steps of all points of one tag, those that were written in vain included."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    for path in sorted(run.tensorboard.glob("*tfevents*")):
        for event in LegacyEventFileLoader(str(path)).Load():
            yield from (event.step for value in event.summary.value if value.tag == tag)


def test_tensorboard_and_metrics_have_each_step_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten resumes, four of them after crashes that left points which the next process writes again."""
    changes = {**changes_of("streams", "everything"), "task.sample_length": 15}
    run, _ = train(folder, changes, monkeypatch)
    stops = [Stop(step, crash=step in (4, 10, 13, 19)) for step in (2, 4, 6, 10, 8, 13, 16, 19, 17, 23)]
    broken, _ = train(folder, changes, monkeypatch, stops)
    expected = points(run)
    assert {tag for tag, _ in expected} >= {"train/loss", "val/loss", "sample/text_summary", "final/val/loss"}
    assert points(broken) == expected
    assert sum(1 for _ in written(broken, "train/loss")) > sum(tag == "train/loss" for tag, _ in expected)
    lines = [json.loads(line) for line in broken.metrics.read_text().splitlines()]
    places = Counter((line["step"], name) for line in lines for name in line if name != "step")
    assert max(places.values()) == 1


def test_points_are_on_the_disk_before_the_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a kill after the save would leave a gap that no resume fills."""
    path = folder / "flushed"
    seen: list[tuple[int, int]] = []
    events: list[str] = []
    save, flush, sync = Saver.save, Logger.flush, Logger.sync
    write = saving.write_checkpoint
    monkeypatch.setattr(Logger, "flush", lambda self: (flush(self), events.append("flush")))
    monkeypatch.setattr(Logger, "sync", lambda self: (sync(self), events.append("sync")))
    monkeypatch.setattr(saving, "write_checkpoint", lambda *a, **k: (events.append("write"), write(*a, **k))[1])

    def look_and_save(*args: Any, **kwargs: Any) -> None:
        assert events.count("flush") == len(seen) + 1
        lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        steps = [step for tag, step in points(RunDir(path)) if tag == "train/loss"]
        assert steps == [line["step"] for line in lines if "train/loss" in line]
        seen.append((len(lines), len(steps)))
        save(*args, **kwargs)

    monkeypatch.setattr(Saver, "save", look_and_save)
    commands.train(make_config(folder / "text.txt", {"run.dir": str(path)}), quiet=True)
    assert len(seen) >= 4
    assert min(seen) > (0, 0)
    assert [event for event in events if event != "flush"] == ["sync", "write"] * len(seen)


def test_raised_limit_adds_to_tensorboard_what_was_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = train(folder, {**changes_of("streams", "plain"), "trainer.max_steps": 13}, monkeypatch)
    commands.resume(run.path, ["trainer.max_steps=20"], quiet=True)
    steps = sorted(step for tag, step in points(run) if tag == "val/loss")
    assert steps == [5, 10, 13, 15, 20]
    for tag in ("final/val/loss", "_hparams_/session_start_info"):
        assert list(written(run, tag)) == [13, 20]


# -- damaged checkpoints ---


def damage(checkpoint: Path) -> None:
    """Change one bit of a tensor."""
    with (checkpoint / TENSORS).open("r+b") as file:
        file.seek(-9, 2)
        byte = file.read(1)[0]
        file.seek(-9, 2)
        file.write(bytes([byte ^ 4]))


@pytest.mark.parametrize(("step", "what"), [(13, "alone"), (14, "interval"), (15, "best")])
def test_damaged_newest_checkpoint_is_passed_over_and_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], step: int, what: str
) -> None:
    """Also where it was the best, and where the run saves at that step again."""
    whole = unbroken(folder, "lstm", "streams", "everything", monkeypatch)
    path = folder / f"damaged_{what}"
    changes = {**changes_of("streams", "everything"), "run.dir": str(path)}
    with monkeypatch.context() as patch:
        break_off(patch, [Stop(step)])
        with pytest.raises(Interrupted):
            commands.train(make_config(folder / "text.txt", changes), quiet=True)
    run = RunDir(path)
    newest = latest_valid(run.checkpoints)
    before = [each.name for each in find_checkpoints(run.checkpoints)]
    assert newest.name == f"step-{step:09}"
    assert len(before) >= 2
    damage(newest)
    trained = commands.resume(path, quiet=True)
    assert f"{newest.name}: " in capsys.readouterr().err
    assert different(whole, outcome(trained)) == []
    for checkpoint in find_checkpoints(run.checkpoints):
        verify_checkpoint(checkpoint)


def test_damaged_best_that_is_passed_over_becomes_the_best_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`best.json` names it at once; before it stands again, an interruption must not leave a run without a best."""
    path = folder / "damaged_and_best"
    changes = {**changes_of("streams", "plain"), "trainer.eval_every_steps": 4, "trainer.checkpoint_every_steps": 6}
    whole = train(folder, changes, monkeypatch)[1]
    config = make_config(folder / "text.txt", {**changes, "run.dir": str(path)})
    with monkeypatch.context() as patch:
        break_off(patch, [Stop(8), Stop(7)])
        with pytest.raises(Interrupted):
            commands.train(config, quiet=True)
        run = RunDir(path)
        assert json.loads((run.checkpoints / "best.json").read_text())["step"] == 8
        damage(run.checkpoints / "step-000000008")
        with pytest.raises(Interrupted, match="step 7"):
            commands.resume(path, quiet=True)
        assert (run.checkpoints / json.loads((run.checkpoints / "best.json").read_text())["name"]).is_dir()
    assert different(whole, outcome(commands.resume(path, quiet=True))) == []


def test_all_checkpoints_damaged_is_refused_and_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "all_damaged"
    with monkeypatch.context() as patch:
        break_off(patch, [Stop(13)])
        with pytest.raises(Interrupted):
            commands.train(make_config(folder / "text.txt", {"run.dir": str(path)}), quiet=True)
    for checkpoint in find_checkpoints(path / "checkpoints"):
        damage(checkpoint)
    before = contents(path)
    with pytest.raises(UserError, match="none of its 2 checkpoints can be used"):
        commands.resume(path, quiet=True)
    assert contents(path) == before


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


# -- what cannot go on ---


def test_finished_run_says_so_and_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = train(folder, changes_of("streams", "plain"), monkeypatch)
    before = contents(run.path)
    with pytest.raises(UserError, match=r"by max_steps; .*trainer\.max_steps="):
        commands.resume(run.path, quiet=True)
    assert contents(run.path) == before


def test_interrupted_run_says_how_to_go_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "interrupted"
    break_off(monkeypatch, [Stop(11)])
    with pytest.raises(Interrupted, match=rf"SIGTERM: saved at step 11; go on with: rnntrain resume {path}"):
        commands.train(make_config(folder / "text.txt", {"run.dir": str(path)}), quiet=True)
    summary = json.loads((path / "summary.json").read_text())
    assert (summary["status"], summary["reason"], summary["step"]) == ("interrupted", "SIGTERM", 11)


def test_run_with_a_non_finite_step_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rnntrain.errors import NonFiniteError

    path, step = folder / "not_finite", Trainer.train_step

    def poisoned(self: Trainer) -> Any:
        if self.step == 9:
            self.parameters[0].register_hook(lambda grad: grad * math.nan)
        return step(self)

    monkeypatch.setattr(Trainer, "train_step", poisoned)
    with pytest.raises(NonFiniteError, match="step 10"):
        commands.train(make_config(folder / "text.txt", {"run.dir": str(path)}), quiet=True)
    summary = json.loads((path / "summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("failed", 9)
