"""What is not finite, or far out of proportion, never reaches the weights; what then happens is exact under resume."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training import Notes, all_equal, differences, make_config, make_experiment, weights, write_text

from rnntrain import commands
from rnntrain.batch import Batch
from rnntrain.build import Experiment
from rnntrain.checkpoints.checkpoint import find_checkpoints, load_checkpoint
from rnntrain.checkpoints.generators import restore_generators
from rnntrain.data.shards import Shard
from rnntrain.errors import Interrupted, NonFiniteError, UserError
from rnntrain.guard import non_finite_values
from rnntrain.runs.run import RunDir
from rnntrain.trainer import Trainer
from rnntrain.watching.recorder import Recorder, checkpoint_tree

BAD_STEP = 12
POLICIES = ("stop", "skip", "rollback")
VANILLA = {"_target_": "rnntrain.cells.vanilla.Vanilla"}
VALUES = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write_text(tmp_path)


class Memory(Notes):
    """Keeps what is saved in memory, to be gone back to."""

    def __init__(self, at_step: Callable[[Trainer], None] = lambda trainer: None) -> None:
        super().__init__(at_step)
        self.trees: dict[int, Any] = {}
        self.incidents: list[Any] = []

    def save(self, trainer: Trainer, reason: str) -> None:
        super().save(trainer, reason)
        self.trees[trainer.step] = copy.deepcopy(checkpoint_tree(trainer))

    def recall(self, trainer: Trainer, step: int) -> dict[str, Any]:
        return copy.deepcopy(self.trees[step])

    def caught(self, trainer: Trainer, incident: Any) -> None:
        self.incidents.append(incident)


def build(text: Path, changes: dict[str, Any] | None = None, notes: Memory | None = None) -> Experiment:
    experiment = make_experiment(text, changes)
    experiment.trainer.watcher = notes or Memory()
    return experiment


def poison(trainer: Trainer, where: str, value: float, steps: tuple[int, ...] = (BAD_STEP,)) -> None:
    """Make gradient, loss or data of some steps, from 1, what they must not be."""
    if where == "gradient":
        trainer.parameters[2].register_hook(lambda grad: grad * value if trainer.step + 1 in steps else grad)
    elif where == "loss":
        loss = trainer.task.loss

        def poisoned(output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
            loss_sum, count = loss(output, batch)
            return (loss_sum * value if trainer.step + 1 in steps and trainer.model.training else loss_sum), count

        trainer.task.loss = poisoned  # type: ignore[method-assign]
    else:
        embed = trainer.model.input.forward
        trainer.model.input.forward = lambda x: embed(x) * (value if trainer.step + 1 in steps else 1.0)


# -- before the update ---


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("where", ["data", "loss", "gradient"])
@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_not_finite_is_caught_at_its_step_before_the_update(
    text: Path, policy: str, where: str, value: str
) -> None:
    kept: dict[int, list[Tensor]] = {}
    notes = Memory(lambda trainer: kept.update({trainer.step: [*weights(trainer.model), *moments(trainer)]}))
    changes = {"trainer.on_nonfinite": policy, "trainer.max_steps": 16, "model.norm": False}
    trainer = build(text, changes, notes).trainer
    poison(trainer, where, VALUES[value])
    if policy == "stop":
        with pytest.raises(NonFiniteError, match=rf"step {BAD_STEP}: .* the weights are those of step {BAD_STEP - 1}"):
            trainer.fit()
        assert all_equal([*weights(trainer.model), *moments(trainer)], kept[BAD_STEP - 1])
        assert trainer.step == BAD_STEP - 1
    else:
        assert trainer.fit() == "max_steps"
        before = BAD_STEP - 1 if policy == "skip" else 7  # the last multiple of half of checkpoint_every_steps
        assert all_equal(kept[BAD_STEP], kept[before])
        assert all(part.isfinite().all() for part in weights(trainer.model))
        assert [result.applied for result in notes.results] == [step != BAD_STEP for step in range(1, 17)]
    assert [incident.step for incident in notes.incidents] == [BAD_STEP]


def moments(trainer: Trainer) -> list[Tensor]:
    return [part.clone() for state in trainer.optimizer.state.values() for part in state.values()]


def test_skipped_step_counts_and_its_batch_is_passed(text: Path) -> None:
    """The stream goes on from the state before it, and the means of logged lines leave the step out."""
    notes = Memory()
    changes = {"trainer.on_nonfinite": "skip", "trainer.max_steps": 15, "trainer.average_decay": 0.9}
    trainer = build(text, changes, notes).trainer
    poison(trainer, "loss", math.nan)
    states: dict[int, Any] = {}
    notes.at_step = lambda trainer: states.update({trainer.step: copy.deepcopy(trainer.state)})
    trainer.fit()
    assert differences(states[BAD_STEP], states[BAD_STEP - 1]) == []
    assert trainer.offset + trainer.epoch * trainer.data.num_train_batches(0, 0) == 15
    assert trainer.average.updates == 14
    lines = [scalars for step, scalars in notes.lines if "train/loss" in scalars and step == BAD_STEP]
    good = [result for result in notes.results[9:12] if result.applied]
    assert len(good) == 2
    assert lines[0]["train/loss"] == pytest.approx(
        sum(float(r.loss_sum) for r in good) / sum(float(r.count) for r in good)
    )
    assert lines[0]["train/skips"] == 1.0


def test_rollback_goes_on_past_the_batch(text: Path) -> None:
    """Steps and data go on; what was learned since the checkpoint is gone, and so is the noise that was drawn."""
    notes = Memory()
    noise = {"model.dropout": 0.3, "model.num_layers": 2}
    changes = {"trainer.on_nonfinite": "rollback", "trainer.max_steps": 13, **noise}
    trainer = build(text, changes, notes).trainer
    poison(trainer, "gradient", math.inf)
    trainer.fit()
    anchor = notes.trees[7]
    by_hand = build(text, changes).trainer
    by_hand.load_state_dict(copy.deepcopy(anchor["trainer"]))
    by_hand.step, by_hand.offset = BAD_STEP, BAD_STEP
    by_hand._batches = None
    restore_generators(anchor["generators"])
    by_hand.train_step()
    assert all_equal(weights(trainer.model), weights(by_hand.model))


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_loss_scaler_goes_on_after_a_step_that_was_left_out(
    text: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    """It refuses new gradients before it was told what became of the last; no config gets one on a processor."""
    monkeypatch.setattr("rnntrain.build.choose_device", lambda settings, precision: torch.device("cpu"))
    notes = Memory()
    changes = {"precision": "float16", "trainer.on_nonfinite": policy, "trainer.max_steps": 15, "model.cell": VANILLA}
    trainer = build(text, changes, notes).trainer
    poison(trainer, "loss", math.nan)
    assert trainer.fit() == "max_steps"
    assert [incident.step for incident in notes.incidents] == [BAD_STEP]


def test_rollback_before_the_first_checkpoint_goes_back_to_the_start(text: Path) -> None:
    notes = Memory()
    trainer = build(text, {"trainer.on_nonfinite": "rollback", "trainer.max_steps": 6}, notes).trainer
    start = weights(trainer.model)
    poison(trainer, "loss", math.nan, (4,))
    kept: list[list[Tensor]] = []
    notes.at_step = lambda trainer: kept.append(weights(trainer.model)) if trainer.step == 4 else None
    trainer.fit()
    assert notes.saves[0] == (0, "start")
    assert all_equal(kept[0], start)


@pytest.mark.parametrize(("policy", "limit"), [("skip", "max_skips"), ("rollback", "max_rollbacks")])
def test_limit_ends_the_run_and_is_named(text: Path, policy: str, limit: str) -> None:
    trainer = build(text, {"trainer.on_nonfinite": policy, f"trainer.{limit}": 2}).trainer
    poison(trainer, "loss", math.nan, (3, 5, 9))
    with pytest.raises(NonFiniteError, match=rf"step 9: .*trainer\.{limit}=2 was reached"):
        trainer.fit()
    assert trainer.step == 8


def test_accumulated_batches_are_all_kept(text: Path) -> None:
    notes = Memory()
    trainer = build(text, {"trainer.accumulate": 3, "trainer.on_nonfinite": "skip"}, notes).trainer
    poison(trainer, "gradient", math.nan)
    trainer.fit()
    [incident] = notes.incidents
    position = 3 * (BAD_STEP - 1)
    length = trainer.data.num_train_batches(0, 0)
    assert (incident.origin.epoch, incident.origin.offset) == divmod(position, length)
    expected = list(itertools.islice(trainer.data.train_batches(0, position // length, position % length), 3))
    assert differences([vars(batch) for batch in incident.origin.batches], [vars(batch) for batch in expected]) == []


# -- spikes ---


@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize("policy", POLICIES)
def test_spike_is_treated_as_what_is_not_finite(text: Path, policy: str, where: str) -> None:
    notes = Memory()
    changes = {"trainer.on_nonfinite": policy, "trainer.max_steps": 32, "trainer.spike_factor": 30}
    trainer = build(text, changes, notes).trainer
    poison(trainer, where, 1e4, (30,))
    if policy == "stop":
        with pytest.raises(NonFiniteError, match=r"step 30: .* times the median of the last 29 steps"):
            trainer.fit()
    else:
        trainer.fit()
    assert [incident.step for incident in notes.incidents] == [30]


def test_spike_is_let_through_where_nobody_asked(text: Path) -> None:
    notes = Memory()
    trainer = build(text, {"trainer.on_nonfinite": "skip", "trainer.max_steps": 32}, notes).trainer
    poison(trainer, "loss", 1e4, (30,))
    trainer.fit()
    assert notes.incidents == []


def test_first_steps_and_losses_below_zero_are_no_spikes(text: Path) -> None:
    notes = Memory()
    changes = {"trainer.on_nonfinite": "skip", "trainer.max_steps": 30, "trainer.spike_factor": 1.5}
    trainer = build(text, changes, notes).trainer
    problem = trainer.guard.problem
    one = torch.tensor(1.0)
    assert [problem(torch.tensor(value), one, value, False) for value in (1.0, 100.0, 1e5)] == [None] * 3
    for _ in range(40):
        assert problem(torch.tensor(-3.0), one, 1.0, False) is None
    assert problem(torch.tensor(-1.0), one, 1.0, False) is None
    assert problem(torch.tensor(5.0), one, 1.0, False) is None
    assert "gradient norm is 1.6 times" in problem(torch.tensor(-3.0), one, 1.6, False)


# -- what holds it ---


def test_data_that_is_not_finite_is_named_and_padding_is_none() -> None:
    inputs = torch.zeros(2, 4, 3)
    inputs[1, 3, 0] = math.nan
    batch = Batch(inputs, torch.zeros(2, 4, dtype=torch.long), lengths_B=torch.tensor([4, 3]))
    assert non_finite_values([batch]) == []
    assert non_finite_values([batch, replace(batch, lengths_B=None)]) == [
        "inputs of batch 2 of 2: 1 of 24 values, the first at [1, 3, 0]"
    ]
    targets = torch.tensor([[1.0, math.inf], [math.nan, 2.0]])
    counted = torch.tensor([[True, True], [False, True]])
    batch = Batch(torch.zeros(2, 2, dtype=torch.long), targets, counted_BT=counted)
    assert non_finite_values([batch]) == ["targets: 1 of 4 values, the first at [0, 1]"]


# -- exact under resume ---


def spoil(patch: pytest.MonkeyPatch, steps: tuple[int, ...]) -> None:
    """Let the gradients of some steps, from 1, be NaN in every trainer."""
    update = Trainer._accumulate_gradients

    def spoiled(self: Trainer) -> tuple[Tensor, Tensor]:
        sums = update(self)
        if self.step + 1 in steps:
            self.parameters[1].grad.fill_(math.nan)
        return sums

    patch.setattr(Trainer, "_accumulate_gradients", spoiled)


def stop_at(patch: pytest.MonkeyPatch, step: int) -> None:
    import signal

    stepped = Recorder.stepped

    def stepped_and_stopped(self: Recorder, trainer: Trainer, result: Any) -> None:
        stepped(self, trainer, result)
        if trainer.step == step:
            signal.raise_signal(signal.SIGTERM)

    patch.setattr(Recorder, "stepped", stepped_and_stopped)


def outcome(run: RunDir) -> dict[str, Any]:
    newest = load_checkpoint(find_checkpoints(run.checkpoints)[-1])
    del newest["trainer"]["seconds"]
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return {"tree": newest, "lines": [{k: v for k, v in line.items() if "cost/" not in k} for line in lines]}


@pytest.mark.parametrize("policy", ["skip", "rollback"])
@pytest.mark.parametrize("stop", [6, 8, 11, 12, 14, 17])
def test_resume_is_bitwise_with_steps_left_out(
    text: Path, monkeypatch: pytest.MonkeyPatch, policy: str, stop: int
) -> None:
    """Stopped before, at and after the bad steps; one checkpoint is kept, and going back must not miss its own."""
    spoil(monkeypatch, (BAD_STEP, 16))
    changes: dict[str, Any] = {
        "trainer.on_nonfinite": policy,
        "trainer.keep_checkpoints": 1,
        "trainer.spike_factor": 100.0,
        "model.dropout": 0.2,
        "model.num_layers": 2,
    }
    path = text.parent
    whole = commands.train(make_config(text, {**changes, "run.dir": str(path / "whole")}), quiet=True)
    with monkeypatch.context() as patch:
        stop_at(patch, stop)
        with pytest.raises(Interrupted):
            commands.train(make_config(text, {**changes, "run.dir": str(path / "broken")}), quiet=True)
    broken = commands.resume(path / "broken", quiet=True)
    assert differences(outcome(whole.run), outcome(broken.run)) == []
    counts = outcome(whole.run)["tree"]["trainer"]["guard"]["counts"]
    assert counts[policy] == 2


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_counts_of_the_guard_are_needed(text: Path, monkeypatch: pytest.MonkeyPatch, policy: str) -> None:
    """Left out of the checkpoint, a limit would hold anew for each resume."""
    spoil(monkeypatch, (3, 9))
    changes = {"trainer.on_nonfinite": policy, "trainer.max_skips": 1, "trainer.max_rollbacks": 1}
    path = text.parent / "run"
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        with pytest.raises(Interrupted):
            commands.train(make_config(text, {**changes, "run.dir": str(path)}), quiet=True)
    with pytest.raises(NonFiniteError, match="step 9"):
        commands.resume(path, quiet=True)


# -- what is written aside ---


def test_step_is_written_aside_and_the_error_leads_to_it(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, (9,))
    path = text.parent / "run"
    with pytest.raises(NonFiniteError, match=rf"rnntrain replay {path}/nonfinite/step-000000009"):
        commands.train(make_config(text, {"run.dir": str(path)}), quiet=True)
    tree = load_checkpoint(path / "nonfinite/step-000000009")
    assert (tree["step"], tree["seed"], tree["epoch"], tree["offset"]) == (9, 0, 0, 8)
    assert len(tree["gradients"]) == 1
    assert tree["batches"][0]["inputs"].shape == (4, 8)
    assert (path / "summary.json").is_file()


def test_data_that_holds_it_is_said_to_at_once(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, (9,))
    following = Trainer._next_batch

    def holed(self: Trainer) -> Shard:
        shard = following(self)
        batch = replace(shard.batch, context=torch.tensor([1.0, math.nan]))
        self._origin.batches[-1] = batch
        return shard._replace(batch=batch)

    monkeypatch.setattr(Trainer, "_next_batch", holed)
    message = r"the data itself is not finite \(context: 1 of 2 values, the first at \[1\]\).* Mend the data"
    with pytest.raises(NonFiniteError, match=message):
        commands.train(make_config(text), quiet=True)


def test_only_the_first_few_are_written_aside(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, tuple(range(4, 14)))
    path = text.parent / "run"
    commands.train(make_config(text, {"run.dir": str(path), "trainer.on_nonfinite": "skip"}), quiet=True)
    assert [each.name[-2:] for each in find_checkpoints(path / "nonfinite")] == ["04", "05", "06", "07", "08"]


def test_rollback_to_a_damaged_checkpoint_stops_with_its_line(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, (BAD_STEP,))
    path = text.parent / "run"
    stepped = Recorder.stepped

    def damage(self: Recorder, trainer: Trainer, result: Any) -> None:
        stepped(self, trainer, result)
        if trainer.step == 9:
            self.settle(trainer)
            with (self.run.checkpoints / "step-000000007/tensors.safetensors").open("r+b") as file:
                file.truncate(100)

    monkeypatch.setattr(Recorder, "stepped", damage)
    with pytest.raises(UserError, match=r"step-000000007: tensors\.safetensors has 100 bytes"):
        commands.train(make_config(text, {"run.dir": str(path), "trainer.on_nonfinite": "rollback"}), quiet=True)
