"""What the trainer and the reports rely on, over every task: sums and counts, padding, rows of their own, learning."""

# B batch, T time

from __future__ import annotations

import json
import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training import differences

from rnntrain import commands
from rnntrain.batch import Batch, length_mask
from rnntrain.checkpoints.checkpoint import latest_valid, load_checkpoint
from rnntrain.config import check
from rnntrain.errors import Interrupted
from rnntrain.runs.run import RunDir
from rnntrain.trainer import Trainer
from rnntrain.watching.recorder import Recorder
from tasks.cases import FIXED_LENGTH, TASKS, Case


@pytest.fixture(params=TASKS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return TASKS[request.param](tmp_path)


@pytest.fixture(params=[name for name in TASKS if name not in FIXED_LENGTH])
def ragged(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """Return the case of a task whose rows have lengths of their own."""
    case = TASKS[request.param](tmp_path)
    assert case.batch.lengths_B is not None
    assert len(set(case.batch.lengths_B.tolist())) > 2
    return case


def gradients(case: Case, batch: Batch) -> list[Tensor]:
    case.model.zero_grad()
    case.loss(batch)[0].backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in case.model.parameters()]


def close(a: Any, b: Any, **tolerance: float) -> None:
    torch.testing.assert_close(a, b, **(tolerance or {"rtol": 1e-4, "atol": 1e-5}))


def test_initial_loss_is_that_of_knowing_nothing(case: Case) -> None:
    loss_sum, count = case.loss(case.batch)
    mean = float(loss_sum.detach() / count)
    assert math.isfinite(mean)
    if case.initial_loss is not None:
        assert mean == pytest.approx(case.initial_loss, rel=0.05)


def test_overfits_one_batch(case: Case) -> None:
    """Model, loss and optimizer fit together: nothing that is wrong in their midst lets the loss go to nothing."""
    case.model.train()
    optimizer = torch.optim.Adam(case.model.parameters(), lr=0.02)
    first = None
    for _ in range(case.overfit_steps):
        loss_sum, count = case.loss(case.batch)
        first = float(loss_sum.detach() / count) if first is None else first
        optimizer.zero_grad()
        (loss_sum / count).backward()
        optimizer.step()
    assert float(loss_sum.detach() / count) < case.overfit_loss < first


def test_padding_is_inert(ragged: Case) -> None:
    """What stands in padded places reaches neither loss, count, metrics nor gradients."""
    batch = ragged.batch
    padded_BT = ~length_mask(batch.lengths_B, batch.inputs.shape[1])
    changed = {name: part.clone() for name in ragged.timed() if (part := getattr(batch, name)) is not None}
    for part in changed.values():
        part[padded_BT] = 1
    garbage = replace(batch, **changed)
    assert not torch.equal(garbage.inputs, batch.inputs)
    close(ragged.loss(garbage), ragged.loss(batch), rtol=0, atol=0)
    assert ragged.metrics(garbage) == ragged.metrics(batch)
    for a, b in zip(gradients(ragged, garbage), gradients(ragged, batch), strict=True):
        close(a, b, rtol=0, atol=0)


def test_longer_padding_changes_nothing(ragged: Case) -> None:
    longer = ragged.padded(ragged.batch, 5)
    close(ragged.loss(longer), ragged.loss(ragged.batch))
    for a, b in zip(gradients(ragged, longer), gradients(ragged, ragged.batch), strict=True):
        close(a, b)


def test_rows_do_not_depend_on_what_they_were_batched_with(case: Case) -> None:
    """Loss and count are the sums of those of each row alone, and so are gradients and metrics."""
    rows = [case.row(index) for index in range(case.batch.batch_size)]
    losses, counts = zip(*map(case.loss, rows), strict=True)
    loss_sum, count = case.loss(case.batch)
    close(torch.stack(losses).sum(), loss_sum)
    assert float(sum(counts)) == pytest.approx(float(count))
    alone = [torch.stack(parts).sum(0) for parts in zip(*(gradients(case, each) for each in rows), strict=True)]
    for a, b in zip(alone, gradients(case, case.batch), strict=True):
        close(a, b, rtol=1e-3, atol=3e-5 * max(1.0, float(b.abs().max())))
    assert case.metrics(*rows) == pytest.approx(case.metrics(case.batch), rel=1e-4)


def test_order_of_rows_does_not_matter(case: Case) -> None:
    turned = case.batch.take(torch.arange(case.batch.batch_size).flip(0))
    close(case.loss(turned), case.loss(case.batch))
    assert case.metrics(turned) == pytest.approx(case.metrics(case.batch), rel=1e-5)


def test_loss_is_a_sum_over_what_is_counted(case: Case) -> None:
    loss_sum, count = case.loss(case.batch)
    assert loss_sum.shape == count.shape == ()
    assert loss_sum.requires_grad
    assert not count.requires_grad
    twice = case.batch.take(torch.arange(case.batch.batch_size).repeat(2))
    close(case.loss(twice), (2 * loss_sum, 2 * count))


def test_metrics_name_what_is_monitored(case: Case) -> None:
    metrics = case.metrics(case.batch)
    assert case.experiment.task.monitor in metrics
    assert all(isinstance(value, float) and math.isfinite(value) for value in metrics.values())
    loss_sum, count = case.loss(case.batch)
    assert metrics["loss"] == pytest.approx(float(loss_sum.detach() / count), rel=1e-6)


def test_every_way_to_evaluate_goes_through_a_split(case: Case) -> None:
    ways = case.experiment.task.evaluations()
    values = [case.experiment.trainer.evaluate("val", carry) for carry in ways.values()]
    assert len(values) >= 1
    assert all(value.keys() == values[0].keys() for value in values)


def test_each_row_is_decoded_to_what_a_person_reads(case: Case) -> None:
    case.model.eval()
    with torch.no_grad():
        output, _ = case.experiment.task.infer(case.model, case.batch, None)
    texts = case.experiment.task.decode(output, case.batch, case.experiment.data.codec)
    assert [type(text) for text in texts] == [str] * case.batch.batch_size


def test_texts_are_drawn_from_a_generator_of_their_own(case: Case) -> None:
    task, data = case.experiment.task, case.experiment.data
    state = torch.get_rng_state()
    shown = [task.illustrate(case.model, data, seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    first, again, _ = ({title: each for title, each in texts.items() if isinstance(each, str)} for texts in shown)
    assert first == again
    assert shown[0].keys() == shown[2].keys()


def test_codec_comes_back_from_its_state(case: Case) -> None:
    """Through JSON, as in a checkpoint: the same sizes, and the same loss of the same weights."""
    codec = case.experiment.data.codec
    again = case.experiment.task.codec_type.from_state(json.loads(json.dumps(codec.state_dict())))
    assert again.state_dict() == codec.state_dict()


def test_order_of_batches_is_a_function_of_seed_and_epoch(case: Case) -> None:
    data = case.experiment.data
    whole = list(data.train_batches(3, 2))
    assert len(whole) == data.num_train_batches(3, 2)
    assert_equal_batches(list(data.train_batches(3, 2, start=1)), whole[1:])
    assert_equal_batches(list(data.train_batches(3, 2)), whole)


def test_every_split_is_evaluated_and_in_one_order(case: Case) -> None:
    data = case.experiment.data
    for split in data.splits:
        once = list(data.eval_batches(split))
        assert once, split
        assert_equal_batches(list(data.eval_batches(split)), once)


def assert_equal_batches(these: list[Batch], those: list[Batch]) -> None:
    for a, b in zip(these, those, strict=True):
        assert differences(vars(a), vars(b)) == []


@pytest.mark.parametrize("task", TASKS)
def test_resume_is_bitwise(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of six steps that is stopped after the third, and goes on, is the run that was never stopped."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    plain = TASKS[task](tmp_path / "data").experiment.config.plain
    limits = {"max_steps": 6, "eval_every_steps": 2, "log_every_steps": 1}

    def train(name: str) -> RunDir:
        run = {**plain["run"], "dir": str(tmp_path / name)}
        return commands.train(check({**plain, "trainer": limits, "run": run}), quiet=True).run

    whole = train("whole")
    stepped = Recorder.stepped

    def stepped_and_stopped(self: Recorder, trainer: Trainer, result: Any) -> None:
        stepped(self, trainer, result)
        if trainer.step == 3:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "stepped", stepped_and_stopped)
        with pytest.raises(Interrupted):
            train("stopped")
    stopped = commands.resume(tmp_path / "stopped", quiet=True).run
    assert differences(state_of(whole), state_of(stopped)) == []
    assert lines_of(whole) == lines_of(stopped)


def state_of(run: RunDir) -> dict[str, Any]:
    tree = load_checkpoint(latest_valid(run.checkpoints))
    del tree["trainer"]["seconds"]
    return tree


def lines_of(run: RunDir) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("cost/")} for line in lines]


def test_sums_of_rows_make_the_metrics_of_the_whole(case: Case) -> None:
    """So that metrics of resampled rows, or of those of one length, are metrics of the same kind."""
    task, batch = case.experiment.task, case.batch
    measured = task.metrics(case.experiment.data.codec)
    with torch.no_grad():
        output, _ = task.infer(case.model.eval(), batch, None)
        measured.update(output, batch, *task.loss(output, batch))
        rows = measured.rows(output, batch)
    assert {len(part) for part in rows.values()} == {batch.batch_size}
    sums = {name: part.double().sum(0).numpy() for name, part in rows.items()}
    whole, scores = measured.compute(), measured.scores(sums)
    assert scores.keys() <= whole.keys()
    assert "loss" in scores
    for name, value in scores.items():
        assert value == pytest.approx(whole[name], rel=1e-4, abs=1e-6), name
    for table in measured.tables(sums).values():
        assert all(isinstance(value, float | int) for row in table.values() for value in row.values())
