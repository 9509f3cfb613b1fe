"""The training loop: what a step computes, when a run ends, which weights it keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training import (
    Clock,
    Notes,
    Scripted,
    all_equal,
    differences,
    make_config,
    make_experiment,
    weights,
    write_documents,
    write_text,
)

from rnntrain import commands, using
from rnntrain.batch import Batch
from rnntrain.build import Experiment
from rnntrain.data.first_batches import FirstBatches
from rnntrain.errors import NonFiniteError
from rnntrain.metrics import Metrics
from rnntrain.optim import load_weights
from rnntrain.trainer import Trainer
from rnntrain.watching.window import StepResult, Window

SGD = {"_target_": "torch.optim.SGD", "lr": 1.0}
COLD_DOCUMENTS = {"task.carry": False, "data.contiguous": False, "data.documents": True, "data.bptt": 24}


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write_text(tmp_path)


@pytest.fixture
def build(text: Path) -> Callable[..., Experiment]:
    """Build an experiment whose trainer tells a `Notes`."""

    def build(changes: dict[str, Any] | None = None, path: Path = text, notes: Notes | None = None) -> Experiment:
        experiment = make_experiment(path, changes)
        experiment.trainer.watcher = notes or Notes()
        return experiment

    return build


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("rnntrain.trainer.time", clock)
    monkeypatch.setattr("rnntrain.data.prefetch.time", clock)
    return clock


def script_metric(trainer: Trainer, values: list[float]) -> list[list[Tensor]]:
    """Let evaluations give these values in turn; return the list that collects the weights they see."""
    seen: list[list[Tensor]] = []

    def measure(split: str, carry: Any) -> Metrics:
        seen.append(weights(trainer.model))
        return Scripted({"loss": values[min(len(seen), len(values)) - 1]})

    trainer.measure = measure  # type: ignore[method-assign]
    return seen


# -- a step ---


@pytest.mark.parametrize("accumulate", [2, 3])
@pytest.mark.parametrize("clip", ["norm", "value", "none"])
def test_accumulated_batches_equal_one_batch_of_all(build, tmp_path: Path, accumulate: int, clip: str) -> None:
    """Windows differ in length and the last batch of the epoch is short, so a mean of means would be wrong."""
    folder = write_documents(tmp_path / "documents")
    changes = {**COLD_DOCUMENTS, "optimizer": SGD, "trainer.grad_clip_mode": clip, "trainer.grad_clip": 0.01}
    results = []
    for batch_size, parts in ((4 * accumulate, 1), (4, accumulate)):
        more = {"data.batch_size": batch_size, "trainer.accumulate": parts, "data.val_fraction": 0.2}
        trainer = build(changes | more, folder).trainer
        trainer.model.double()
        padded = next(trainer.data.train_batches(0, 0))
        assert padded.lengths_B is not None
        results.append(([trainer.train_step() for _ in range(2)], weights(trainer.model)))
        assert trainer.epoch == 0
    (steps, theirs), (parts_of_steps, ours) = results
    for one, accumulated in zip(steps, parts_of_steps, strict=True):
        assert accumulated.count == one.count
        torch.testing.assert_close(accumulated.loss_sum, one.loss_sum)
        assert accumulated.grad_norm == pytest.approx(one.grad_norm, rel=1e-5)
        assert accumulated.clipped == one.clipped
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


def test_short_last_batch_weighs_by_its_tokens(build, tmp_path: Path) -> None:
    """An accumulation may cross the end of an epoch, where batches have other sizes."""
    changes = {**COLD_DOCUMENTS, "optimizer": SGD, "data.batch_size": 5, "trainer.grad_clip_mode": "none"}
    folder = write_documents(tmp_path / "documents")
    number = build(changes, folder).trainer.data.num_train_batches(0, 0)
    experiment = build(changes | {"trainer.accumulate": number + 1}, folder)
    trainer = experiment.trainer
    trainer.model.double()
    batches = [*trainer.data.train_batches(0, 0), next(trainer.data.train_batches(0, 1))]
    assert len({batch.num_steps for batch in batches}) > 1
    losses = [experiment.task.loss(trainer.model(batch)[0], batch) for batch in batches]
    mean = sum(loss for loss, _ in losses) / sum(batch.num_steps for batch in batches)
    grads = torch.autograd.grad(mean, trainer.parameters)
    before = weights(trainer.model)
    result = trainer.train_step()
    torch.testing.assert_close(result.loss_sum / result.count, mean.detach())
    for weight, start, grad in zip(trainer.parameters, before, grads, strict=True):
        torch.testing.assert_close(start - weight, grad, rtol=1e-6, atol=1e-9)
    assert (trainer.epoch, trainer.offset) == (1, 1)


def gradients_of_first_step(build, mode: str, limit: float) -> tuple[list[Tensor], StepResult]:
    trainer = build({"optimizer": SGD, "trainer.grad_clip_mode": mode, "trainer.grad_clip": limit}).trainer
    before = weights(trainer.model)
    result = trainer.train_step()
    return [start - weight for start, weight in zip(before, weights(trainer.model), strict=True)], result


def norm_of(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors]).norm()


def test_norm_is_clipped_and_logged_as_before(build) -> None:
    free, unclipped = gradients_of_first_step(build, "none", 0.05)
    clipped, result = gradients_of_first_step(build, "norm", 0.05)
    assert norm_of(free) > 0.1
    assert result.grad_norm == pytest.approx(float(norm_of(free)), rel=1e-5)
    assert unclipped.grad_norm == pytest.approx(float(norm_of(free)), rel=1e-5)
    torch.testing.assert_close(norm_of(clipped), torch.tensor(0.05), rtol=1e-4, atol=0)
    for a, b in zip(clipped, free, strict=True):
        torch.testing.assert_close(a, b * 0.05 / norm_of(free), rtol=1e-3, atol=1e-7)
    assert (bool(result.clipped), bool(unclipped.clipped)) == (True, False)


def test_values_are_clipped_and_the_norm_logged_as_before(build) -> None:
    free, _ = gradients_of_first_step(build, "none", 1.0)
    limit = float(max(tensor.abs().max() for tensor in free)) / 2
    clipped, result = gradients_of_first_step(build, "value", limit)
    assert result.grad_norm == pytest.approx(float(norm_of(free)), rel=1e-5)
    for a, b in zip(clipped, free, strict=True):
        torch.testing.assert_close(a, b.clamp(-limit, limit), rtol=1e-3, atol=1e-7)
    assert bool(result.clipped)


@pytest.mark.parametrize(("mode", "share"), [("norm", 1.0), ("value", 1.0), ("none", 0.0)])
def test_clipped_share_tells_what_was_clipped(build, mode: str, share: float) -> None:
    """Above every norm but in the mode "none"; "value" compares single values, not the norm."""
    experiment = build({"trainer.grad_clip_mode": mode, "trainer.grad_clip": 1e-5})
    experiment.trainer.fit()
    lines = [scalars for _, scalars in experiment.trainer.watcher.lines if "train/clipped" in scalars]
    assert [line["train/clipped"] for line in lines] == [share] * len(lines)
    loose = build({"trainer.grad_clip_mode": mode, "trainer.grad_clip": 1e3})
    loose.trainer.fit()
    assert all(scalars.get("train/clipped", 0) == 0 for _, scalars in loose.trainer.watcher.lines)


def test_value_mode_counts_single_values(build) -> None:
    free, result = gradients_of_first_step(build, "none", 1.0)
    between = (float(max(tensor.abs().max() for tensor in free)) + float(result.grad_norm)) / 2
    assert not gradients_of_first_step(build, "value", between)[1].clipped
    assert gradients_of_first_step(build, "norm", between)[1].clipped


def test_logged_loss_is_the_mean_over_tokens(build, tmp_path: Path) -> None:
    notes = Notes()
    changes = {**COLD_DOCUMENTS, "trainer.log_every_steps": 4, "trainer.max_steps": 8, "trainer.accumulate": 2}
    experiment = build(changes, write_documents(tmp_path / "documents"), notes)
    experiment.trainer.fit()
    lines = [scalars for _, scalars in notes.lines if "train/loss" in scalars]
    assert len(lines) == 2
    for line, results in zip(lines, (notes.results[:4], notes.results[4:]), strict=True):
        counts = [float(result.count) for result in results]
        assert len(set(counts)) > 1
        assert line["train/loss"] == pytest.approx(sum(float(r.loss_sum) for r in results) / sum(counts), rel=1e-12)
        assert line["train/grad_norm"] == pytest.approx(sum(float(r.grad_norm) for r in results) / 4, rel=1e-12)


def test_window_sums_do_not_depend_on_when_they_are_read() -> None:
    results = [
        StepResult(torch.rand(()) * 99, torch.tensor(7.0), float(torch.rand(())), i % 3 == 0) for i in range(200)
    ]
    whole, parts = Window(), Window()
    for result in results:
        whole.add(result)
    for number, result in enumerate(results):
        parts.add(result)
        if number % 9 == 0:
            parts = Window(parts.sums())
    assert whole.sums() == parts.sums()
    assert whole.sums()["steps"] == 200
    assert whole.sums()["clipped"] == 67


# -- what is not finite ---


def poison(trainer: Trainer, where: str, value: float, step: int) -> None:
    """Make a gradient or the loss of one step not finite."""
    if where == "gradient":
        trainer.parameters[2].register_hook(lambda grad: grad * value if trainer.step + 1 == step else grad)
        return
    loss = trainer.task.loss

    def poisoned(output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        loss_sum, count = loss(output, batch)
        return (loss_sum * value if trainer.step + 1 == step else loss_sum), count

    trainer.task.loss = poisoned  # type: ignore[method-assign]


@pytest.mark.parametrize("clip", ["norm", "value", "none"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["gradient", "loss"])
def test_non_finite_is_caught_before_the_update(build, where: str, value: float, clip: str) -> None:
    kept: dict[str, Any] = {}

    def keep(trainer: Trainer) -> None:
        if trainer.step == 6:
            kept["weights"] = weights(trainer.model)
            kept["optimizer"] = [part.clone() for state in trainer.optimizer.state.values() for part in state.values()]
            kept["average"] = [part.clone() for part in trainer.average.average]

    changes = {"trainer.grad_clip_mode": clip, "trainer.average_decay": 0.9}
    trainer = build(changes, notes=Notes(keep)).trainer
    poison(trainer, where, value, step=7)
    with pytest.raises(NonFiniteError, match=r"step 7: .* the weights are those of step 6"):
        trainer.fit()
    assert trainer.step == 6
    assert all_equal(weights(trainer.model), kept["weights"])
    optimizer = [part for state in trainer.optimizer.state.values() for part in state.values()]
    assert all_equal(optimizer, kept["optimizer"])
    assert all_equal(trainer.average.average, kept["average"])
    assert all(step <= 6 for step, _ in trainer.watcher.saves)


def test_run_with_a_non_finite_step_keeps_its_last_checkpoint(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Trainer.train_step

    def poisoned(self: Trainer) -> StepResult:
        if self.step == 9:
            self.parameters[0].register_hook(lambda grad: grad * math.nan)
        return step(self)

    monkeypatch.setattr(Trainer, "train_step", poisoned)
    with pytest.raises(NonFiniteError, match="step 10"):
        commands.train(make_config(text), quiet=True)
    [run] = (text.parent / "outputs" / "test").iterdir()
    assert sorted(path.name for path in (run / "checkpoints").iterdir() if path.is_dir()) == [
        "step-000000005",
        "step-000000007",
    ]
    assert using.load(run).step == 5


def test_infinite_evaluation_is_no_best(build) -> None:
    trainer = build().trainer
    script_metric(trainer, [math.inf, math.nan, 3.0, math.nan])
    trainer.fit()
    assert vars(trainer.best) == {"value": 3.0, "step": 15, "evaluations_since": 1}
    assert [step for step, reason in trainer.watcher.saves if reason == "best"] == [15]


# -- where a run ends ---


def test_ends_after_max_steps(build) -> None:
    experiment = build({"trainer.max_steps": 13})
    assert experiment.trainer.fit() == "max_steps"
    assert experiment.trainer.step == 13
    assert experiment.trainer.watcher.saves[-1] == (13, "max_steps")


@pytest.mark.parametrize("accumulate", [1, 2])
def test_ends_after_max_epochs(build, accumulate: int) -> None:
    limits = {"trainer.max_steps": None, "trainer.max_epochs": 2}
    trainer = build({**limits, "data.batch_size": 16, "trainer.accumulate": accumulate}).trainer
    assert trainer.fit() == "max_epochs"
    assert trainer.step == -(-2 * trainer.data.num_train_batches(0, 0) // accumulate)
    assert trainer.epochs_done() == pytest.approx(2, abs=0.2)


def test_ends_after_max_minutes(build, clock: Clock) -> None:
    notes = Notes(lambda trainer: clock.advance(7.0))
    trainer = build({"trainer.max_steps": None, "trainer.max_minutes": 1.0}, notes=notes).trainer
    assert trainer.fit() == "max_minutes"
    assert trainer.step == 9
    assert trainer.seconds() == 63.0
    clock.advance(1000)
    assert trainer.seconds() == 63.0  # no time passes outside of `fit`


def test_first_limit_ends_the_run(build, clock: Clock) -> None:
    notes = Notes(lambda trainer: clock.advance(60.0))
    changes = {"trainer.max_steps": 12, "trainer.max_epochs": 5, "trainer.max_minutes": 10.0}
    assert build(changes, notes=notes).trainer.fit() == "max_minutes"
    assert build(changes | {"trainer.max_minutes": 100.0}).trainer.fit() == "max_steps"


def test_ends_when_asked_and_saves(build) -> None:
    experiment = build()
    trainer = experiment.trainer
    assert trainer.fit(lambda: "SIGTERM" if trainer.step == 4 else None) == "SIGTERM"
    assert trainer.step == 4
    assert trainer.watcher.saves == [(4, "SIGTERM")]


def test_does_not_step_beyond_a_limit_already_reached(build) -> None:
    trainer = build({"trainer.max_steps": 3}).trainer
    trainer.fit()
    before = weights(trainer.model)
    assert trainer.fit() == "max_steps"
    assert trainer.step == 3
    assert all_equal(weights(trainer.model), before)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0.0, 0.05, 0.1]),
        ({"trainer.max_steps": None, "trainer.max_epochs": 3}, [0.0, 1 / 132, 2 / 132]),
        ({"trainer.max_steps": None, "trainer.max_minutes": 10.0}, [0.0, 0.1, 0.2]),
        ({"trainer.max_epochs": 1}, [0.0, 0.05, 0.1]),  # of several limits, that which is nearer
        ({"trainer.max_steps": 100, "trainer.max_epochs": 1}, [0.0, 1 / 44, 2 / 44]),
        ({"trainer.max_minutes": 2.0}, [0.0, 0.05, 0.1]),  # the clock only where there is no other
    ],
    ids=["steps", "epochs", "clock", "steps_first", "epochs_first", "clock_and_steps"],
)
def test_progress_follows_the_first_limit(build, clock: Clock, changes: dict[str, Any], expected: list[float]) -> None:
    seen: list[float] = []

    def note(trainer: Trainer) -> None:
        clock.advance(60.0)
        seen.append(trainer.progress())

    experiment = build(changes, notes=Notes(note))
    trainer = experiment.trainer
    assert trainer.data.num_train_batches(0, 0) == 44
    seen.append(trainer.progress())
    trainer.fit(lambda: "enough" if trainer.step == 2 else None)
    assert seen == pytest.approx(expected)


def test_schedule_reaches_its_end_with_the_run(build) -> None:
    rates: list[float] = []
    notes = Notes(lambda trainer: rates.append(trainer.learning_rate))
    build({"schedule": {"_target_": "rnntrain.optim.Linear"}, "trainer.max_steps": 10}, notes=notes).trainer.fit()
    assert rates == pytest.approx([0.01 * (1 - i / 10) for i in range(10)])


# -- evaluation and the weights that are kept ---


def test_evaluates_every_so_many_steps(build) -> None:
    trainer = build({"trainer.eval_every_steps": 6}).trainer
    trainer.fit()
    assert trainer.watcher.steps_with("val/loss") == [6, 12, 18]


def test_evaluates_at_the_end_of_each_epoch_by_default(build) -> None:
    trainer = build({"trainer.eval_every_steps": None, "data.batch_size": 16}).trainer
    number = trainer.data.num_train_batches(0, 0)
    assert 20 // number >= 1
    trainer.fit()
    assert trainer.watcher.steps_with("val/loss") == list(range(number, 21, number))


def test_last_weights_get_their_chance(build) -> None:
    """The run ends between two evaluations; what it logs then says that only the end gave rise to it."""
    trainer = build({"trainer.max_steps": 7}).trainer
    script_metric(trainer, [2.0, 1.0])
    trainer.fit()
    assert (trainer.best.step, trainer.watcher.final) == (5, [])
    trainer.finish()
    assert (trainer.best.step, trainer.watcher.final) == (7, [7])
    trainer.finish()
    assert trainer.watcher.steps_with("val/loss") == [5, 7]


def test_end_that_was_evaluated_is_not_evaluated_again(build) -> None:
    trainer = build({"trainer.max_steps": 10}).trainer
    trainer.fit()
    other = build({"trainer.max_steps": 10}).trainer
    other.load_state_dict(trainer.state_dict())  # as after a kill between the last save and the end
    for each in (trainer, other):
        each.finish()
    assert trainer.watcher.steps_with("val/loss") == [5, 10]
    assert other.watcher.steps_with("val/loss") == []


def test_stops_early_after_so_many_evaluations_without_improvement(build) -> None:
    trainer = build({"trainer.max_steps": 100, "trainer.early_stopping": 3}).trainer
    script_metric(trainer, [3.0, 2.0, 2.5, 1.0, 1.5, 1.0, math.nan, 0.5])
    assert trainer.fit() == "early_stopping"
    assert trainer.step == 35
    assert vars(trainer.best) == {"value": 1.0, "step": 20, "evaluations_since": 3}


def test_larger_is_better_where_the_task_says_so(build) -> None:
    trainer = build().trainer
    trainer.task.larger_is_better = True
    script_metric(trainer, [1.0, 3.0, 2.0, 2.5])
    trainer.fit()
    assert (trainer.best.value, trainer.best.step) == (3.0, 10)


@pytest.mark.parametrize("average", [None, 0.9])
@pytest.mark.parametrize("restore_best", [True, False])
def test_run_ends_with_the_weights_it_is_judged_by(
    text: Path, monkeypatch: pytest.MonkeyPatch, restore_best: bool, average: float | None
) -> None:
    """The best of the evaluations, or the last; averaged where the run averages."""
    evaluated: dict[int, list[Tensor]] = {}
    values = {4: 3.0, 8: 1.0, 12: 2.0, 16: 2.5, 18: 2.2}
    measure = Trainer.measure

    def scripted(self: Trainer, split: str, carry: Any) -> Metrics:
        metrics = measure(self, split, carry)
        if self.watcher is not None and self.step not in evaluated:
            evaluated[self.step] = weights(self.model)
            return Scripted({"loss": values[self.step]}, metrics)
        return metrics

    monkeypatch.setattr(Trainer, "measure", scripted)
    changes = {
        "trainer.max_steps": 18,
        "trainer.eval_every_steps": 4,
        "trainer.keep_checkpoints": 1,
        "trainer.average_decay": average,
        "trainer.restore_best": restore_best,
    }
    trained = commands.train(make_config(text, changes), quiet=True)
    assert list(evaluated) == [4, 8, 12, 16, 18]
    assert not all_equal(evaluated[8], evaluated[18])
    assert all_equal(weights(trained.experiment.model), evaluated[8 if restore_best else 18])
    assert all_equal(weights(using.load(trained.run.path).model), evaluated[8])
    assert (trained.summary.best_value, trained.summary.best_step) == (1.0, 8)


def test_average_is_evaluated_and_the_weights_train_on(build) -> None:
    """Against a run without an average, whose weights must be the same, and the average of these weights."""
    plain = build().trainer
    history: list[list[Tensor]] = []
    plain.watcher.at_step = lambda trainer: history.append(weights(trainer.model))
    start = weights(plain.model)
    plain.fit()
    averaged = build({"trainer.average_decay": 0.6}).trainer
    seen = script_metric(averaged, [1.0])
    averaged.fit()
    assert all_equal(weights(averaged.model), weights(plain.model))
    expected = start
    for number, now in enumerate(history, 1):
        decay = min(0.6, (1 + number) / (10 + number))
        expected = [decay * a + (1 - decay) * w for a, w in zip(expected, now, strict=True)]
        if number % 5 == 0:
            for a, b in zip(seen[number // 5 - 1], expected, strict=True):
                torch.testing.assert_close(a, b)
    assert len(seen) == 4


def test_average_swaps_back_when_an_evaluation_fails(build) -> None:
    trainer = build({"trainer.average_decay": 0.9}).trainer
    for _ in range(3):
        trainer.train_step()
    before, average = weights(trainer.model), [part.clone() for part in trainer.average.average]

    def fail(split: str, carry: Any) -> dict[str, float]:
        assert all_equal(weights(trainer.model), average)
        raise KeyboardInterrupt

    trainer.measure = fail  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.finish()
    assert all_equal(weights(trainer.model), before)
    assert all_equal(trainer.average.average, average)


def test_average_that_was_not_kept_before_begins_at_the_loaded_weights(build) -> None:
    """As when a run goes on with `trainer.average_decay`, which it had not."""
    trainer = build().trainer
    trainer.fit()
    other = build({"trainer.average_decay": 0.9}).trainer
    other.load_state_dict(trainer.state_dict())
    assert all_equal(other.average.average, weights(trainer.model))


def test_averaged_weights_are_those_that_are_loaded(build) -> None:
    trainer = build({"trainer.average_decay": 0.9}).trainer
    trainer.fit()
    model = build().model
    load_weights(model, trainer.state_dict())
    assert all_equal(weights(model), trainer.average.average)


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_mode_weights_and_generators_alone(build, training: bool) -> None:
    experiment = build({"model.dropout": 0.5, "model.output_dropout": 0.5, "model.num_layers": 2})
    trainer = experiment.trainer
    trainer.model.train(training)
    before, state = weights(trainer.model), torch.get_rng_state()
    [way, *_] = experiment.task.evaluations().values()
    assert trainer.evaluate("val", way) == trainer.evaluate("val", way)
    assert trainer.model.training is training
    assert all_equal(weights(trainer.model), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in trainer.parameters)


def test_evaluation_that_fails_leaves_the_mode_alone(build, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = build()
    monkeypatch.setattr(experiment.task, "loss", lambda output, batch: 1 / 0)
    experiment.model.train()
    [way, *_] = experiment.task.evaluations().values()
    with pytest.raises(ZeroDivisionError):
        experiment.trainer.evaluate("val", way)
    assert experiment.model.training


def test_evaluation_reads_as_many_batches_as_asked(build) -> None:
    experiment = build({"trainer.eval_batches": 1})
    [way, *_] = experiment.task.evaluations().values()
    first = next(experiment.data.eval_batches("val"))
    with torch.no_grad():
        loss_sum, count = experiment.task.loss(experiment.model(first)[0], first)
    assert experiment.trainer.evaluate("val", way)["loss"] == pytest.approx(float(loss_sum / count))


def test_texts_come_with_each_evaluation(build) -> None:
    trainer = build({"task.sample_length": 12}).trainer
    trainer.fit()
    assert [step for step, _ in trainer.watcher.shown] == [5, 10, 15, 20]
    assert {len(shown["sample"]) for _, shown in trainer.watcher.shown} == {12}


# -- precision and determinism ---


def test_bfloat16_trains(build) -> None:
    """Weights, gradients' sums and the optimizer stay float32, and the loss falls as in float32."""
    losses = {}
    for precision in ("float32", "bfloat16"):
        notes = Notes()
        changes = {"precision": precision, "trainer.max_steps": 60, "trainer.log_every_steps": 20}
        trainer = build(changes, notes=notes).trainer
        trainer.fit()
        assert {parameter.dtype for parameter in trainer.parameters} == {torch.float32}
        assert {result.loss_sum.dtype for result in notes.results} == {torch.float32}
        losses[precision] = [scalars["train/loss"] for _, scalars in notes.lines if "train/loss" in scalars]
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)
    assert losses["bfloat16"][-1] < 0.9 * losses["bfloat16"][0]


def test_bfloat16_computes_in_bfloat16(build) -> None:
    trainer = build({"precision": "bfloat16"}).trainer
    trainer.train_step()
    states = [part.dtype for layer in trainer.state for part in layer]
    assert torch.bfloat16 in states


def half_precision(build, **changes: Any) -> Trainer:
    """Return a trainer in float16 on the processor, where no config gets it, for the sake of its scaler."""
    experiment = build({"model.cell": {"_target_": "rnntrain.cells.vanilla.Vanilla"}, **changes})
    parts = (experiment.task, experiment.data, experiment.trainer.optimizer, experiment.trainer.schedule)
    settings = experiment.config.trainer
    device = torch.device("cpu")
    return Trainer(experiment.model, *parts, settings, device=device, precision="float16", watcher=Notes())


def test_float16_skips_what_overflows_when_scaled_and_then_trains(build) -> None:
    trainer = half_precision(build)
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    before = weights(trainer.model)
    result = trainer.train_step()
    assert not math.isfinite(float(result.grad_norm))
    assert all_equal(weights(trainer.model), before)
    assert trainer.scaler.get_scale() == 2.0**39
    for _ in range(40):
        trainer.train_step()
    assert trainer.scaler.get_scale() < 2.0**39
    assert not all_equal(weights(trainer.model), before)
    assert all(weight.isfinite().all() for weight in trainer.parameters)


def test_float16_scaled_gradients_equal_plain_ones(build) -> None:
    updates = []
    for make in (half_precision, lambda build, **changes: build(changes).trainer):
        cell = {"_target_": "rnntrain.cells.vanilla.Vanilla"}
        trainer = make(build, **{"optimizer": SGD, "model.cell": cell, "trainer.accumulate": 2})
        before = weights(trainer.model)
        trainer.train_step()
        updates.append([a - b for a, b in zip(before, weights(trainer.model), strict=True)])
    for a, b in zip(*updates, strict=True):
        torch.testing.assert_close(a, b, rtol=0.02, atol=2e-3)


def test_float16_loss_that_is_not_finite_is_caught(build) -> None:
    trainer = half_precision(build)
    trainer.train_step()
    before = weights(trainer.model)
    poison(trainer, "loss", math.nan, step=2)
    with pytest.raises(NonFiniteError, match="step 2"):
        trainer.train_step()
    assert all_equal(weights(trainer.model), before)


@pytest.fixture
def _deterministic_off() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False


@pytest.mark.usefixtures("_deterministic_off")
def test_deterministic_mode_trains_and_repeats(build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    states = []
    for _ in range(2):
        trainer = build({"deterministic": True, "model.dropout": 0.3, "model.num_layers": 2}).trainer
        assert torch.are_deterministic_algorithms_enabled()
        trainer.fit()
        states.append({key: value for key, value in trainer.state_dict().items() if key != "seconds"})
    assert differences(*states) == []
    build({"deterministic": False})
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("seed", [0, 7])
def test_same_seed_gives_the_same_run(build, seed: int) -> None:
    changes = {"seed": seed, "model.input_dropout": 0.2, "data.random_bptt": True}
    runs = [build(changes).trainer for _ in range(2)] + [build(changes | {"seed": 3}).trainer]
    for trainer in runs:
        build(changes | {"seed": trainer.seed})  # seeds the generators once more
        trainer.fit()
    first, second, other = (trainer.model.state_dict() for trainer in runs)
    assert differences(first, second) == []
    assert differences(first, other) != []


# -- what is logged of the cost ---


class SlowData(FirstBatches):
    """All batches of another data set, each after a wait."""

    def __init__(self, data: Any, clock: Clock, seconds: float) -> None:
        super().__init__(data, 10**6)
        self.clock, self.seconds = clock, seconds

    def train_batches(self, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        for batch in super().train_batches(seed, epoch, start):
            self.clock.advance(self.seconds)
            yield batch


def test_data_wait_and_speed_are_logged(build, clock: Clock) -> None:
    """Three seconds for a batch and one for a step; evaluations and saves do not slow the speeds that are logged."""
    notes = Notes(lambda trainer: clock.advance(1.0))
    experiment = build({"trainer.log_every_steps": 4, "trainer.accumulate": 2}, notes=notes)
    trainer = experiment.trainer
    trainer.data = SlowData(experiment.data, clock, 1.5)
    measure, notes.save = trainer.measure, lambda trainer, reason: clock.advance(500)  # type: ignore[method-assign]
    trainer.measure = lambda *ways: (clock.advance(1000), measure(*ways))[1]  # type: ignore[method-assign]
    trainer.fit()
    lines = [scalars for _, scalars in notes.lines if "train/loss" in scalars]
    assert len(lines) == 5
    for line in lines:
        assert line["cost/data_wait"] == pytest.approx(0.75)
        assert line["cost/steps_per_second"] == pytest.approx(0.25)
        assert line["cost/units_per_second"] == pytest.approx(2 * 4 * 8 / 4)
        assert line["cost/memory_mebibytes"] > 10


def test_state_that_is_carried_keeps_no_history(build) -> None:
    trainer = build().trainer
    for _ in range(2):
        trainer.train_step()
    parts = [part for layer in trainer.state for part in layer]
    assert all(part.grad_fn is None and not part.requires_grad for part in parts)


def test_first_batches_train_and_evaluate_the_same(build) -> None:
    """Whatever the seed, or an evaluation would not show what was learnt by heart."""
    changes = {"trainer.overfit_batches": 2, "data.random_bptt": True, "seed": 5}
    data = build(changes).trainer.data
    assert data.num_train_batches(5, 0) == 2
    trained = [list(data.train_batches(5, epoch)) for epoch in (0, 1)]
    for batches in (*trained, list(data.eval_batches("val"))):
        assert [batch.inputs.tolist() for batch in batches] == [batch.inputs.tolist() for batch in trained[0]]
    assert [batch.inputs.tolist() for batch in data.train_batches(5, 0, 1)] == [trained[0][1].inputs.tolist()]


def test_position_beyond_the_data_is_refused(build) -> None:
    trainer = build().trainer
    trainer.fit()
    with pytest.raises(ValueError, match="the data is shorter"):
        build({"data.batch_size": 64}).trainer.load_state_dict(trainer.state_dict())


def test_every_parameter_that_trains_is_watched(build) -> None:
    """Frozen parameters have no gradient, no average and no part in the norm."""
    experiment = build({"trainer.average_decay": 0.9})
    nn.Module.requires_grad_(experiment.model.input, False)
    trainer = Trainer(
        experiment.model,
        experiment.task,
        experiment.data,
        torch.optim.SGD([p for p in experiment.model.parameters() if p.requires_grad], lr=0.1),
        experiment.trainer.schedule,
        experiment.config.trainer,
        device=torch.device("cpu"),
    )
    frozen = experiment.model.input.weight.clone()
    trainer.train_step()
    assert torch.equal(experiment.model.input.weight, frozen)
    assert len(trainer.average.average) == len(trainer.parameters) == len(list(experiment.model.parameters())) - 1


def test_penalty_is_trained_on_but_not_logged(build) -> None:
    """A penalty moves the weights as a loss does, and stays out of what is logged as one."""
    plain = build({"optimizer": SGD}).trainer
    penalised = build({"optimizer": SGD, "model.activation_penalty": 5.0}).trainer
    first, second = plain.train_step(), penalised.train_step()
    assert float(first.loss_sum) == float(second.loss_sum)
    assert first.grad_norm != second.grad_norm
    assert not all_equal(weights(plain.model), weights(penalised.model))
