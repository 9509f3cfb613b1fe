"""What the trainer and the reports rely on, over every task: sums and counts, padding, rows of their own, learning.

A new task is one line in `TASKS`.
"""

# B batch, T time

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training import make_experiment, write_documents

from rnntrain.batch import Batch, length_mask
from rnntrain.build import Experiment
from rnntrain.models.sequence import SequenceModel


@dataclass
class Case:
    """A task with a model and data that it understands.

    Attributes:
        batch: has rows of several lengths, and padding.
        initial_loss: the mean loss of a model that knows nothing.
    """

    experiment: Experiment
    batch: Batch
    initial_loss: float

    @property
    def model(self) -> SequenceModel:
        return self.experiment.model

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        output, _ = self.model(batch)
        return self.experiment.task.loss(output, batch)

    def metrics(self, *batches: Batch) -> dict[str, float]:
        metrics = self.experiment.task.metrics(self.experiment.data.codec)
        with torch.no_grad():
            for batch in batches:
                output, _ = self.model(batch)
                metrics.update(output, batch, *self.experiment.task.loss(output, batch))
        return metrics.compute()


def language_modeling(folder: Path) -> Case:
    changes = {"data.documents": True, "data.contiguous": False, "data.batch_size": 6, "data.bptt": 30}
    experiment = make_experiment(write_documents(folder), changes | {"task.carry": False, "model.hidden_size": 48})
    batch = next(batch for batch in experiment.data.train_batches(0, 0) if batch.lengths_B is not None)
    return Case(experiment, batch, math.log(experiment.data.codec.vocab_size))


TASKS: dict[str, Callable[[Path], Case]] = {
    "language_modeling": language_modeling,
}


@pytest.fixture(params=TASKS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    case = TASKS[request.param](tmp_path)
    assert case.batch.lengths_B is not None
    assert len(set(case.batch.lengths_B.tolist())) > 2
    return case


def gradients(case: Case, batch: Batch) -> list[Tensor]:
    case.model.zero_grad()
    case.loss(batch)[0].backward()
    return [parameter.grad.clone() for parameter in case.model.parameters()]


def row(batch: Batch, index: int) -> Batch:
    """Return one row as a batch of its own, without padding."""
    length = int(batch.lengths_B[index])
    return Batch(batch.inputs[index : index + 1, :length], batch.targets[index : index + 1, :length])


def close(a: Any, b: Any, **tolerance: float) -> None:
    torch.testing.assert_close(a, b, **(tolerance or {"rtol": 1e-4, "atol": 1e-5}))


def test_initial_loss_is_log_vocab(case: Case) -> None:
    loss_sum, count = case.loss(case.batch)
    assert float(loss_sum.detach() / count) == pytest.approx(case.initial_loss, rel=0.05)


def test_overfits_one_batch(case: Case) -> None:
    """Model, loss and optimizer fit together: nothing that is wrong in their midst lets the loss go to nothing."""
    optimizer = torch.optim.Adam(case.model.parameters(), lr=0.02)
    for _ in range(120):
        loss_sum, count = case.loss(case.batch)
        optimizer.zero_grad()
        (loss_sum / count).backward()
        optimizer.step()
    # The first step of a row cannot be known where several rows begin alike.
    assert float(loss_sum.detach() / count) < 0.12 * case.initial_loss


def test_padding_is_inert(case: Case) -> None:
    """What stands in padded places reaches neither loss, count, metrics nor gradients."""
    batch = case.batch
    padded_BT = ~length_mask(batch.lengths_B, batch.inputs.shape[1])
    garbage = replace(batch, inputs=batch.inputs.clone(), targets=batch.targets.clone())
    garbage.inputs[padded_BT] = 1
    garbage.targets[padded_BT] = 2
    assert not torch.equal(garbage.inputs, batch.inputs)
    close(case.loss(garbage), case.loss(batch), rtol=0, atol=0)
    assert case.metrics(garbage) == case.metrics(batch)
    for a, b in zip(gradients(case, garbage), gradients(case, batch), strict=True):
        close(a, b, rtol=0, atol=0)


def test_longer_padding_changes_nothing(case: Case) -> None:
    batch, more = case.batch, 5
    longer = replace(
        batch,
        inputs=torch.nn.functional.pad(batch.inputs, (0, more)),
        targets=torch.nn.functional.pad(batch.targets, (0, more)),
    )
    close(case.loss(longer), case.loss(batch))
    for a, b in zip(gradients(case, longer), gradients(case, batch), strict=True):
        close(a, b)


def test_rows_do_not_depend_on_what_they_were_batched_with(case: Case) -> None:
    """Loss and count are the sums of those of each row alone, and so are gradients and metrics."""
    rows = [row(case.batch, index) for index in range(case.batch.batch_size)]
    losses, counts = zip(*map(case.loss, rows), strict=True)
    loss_sum, count = case.loss(case.batch)
    close(torch.stack(losses).sum(), loss_sum)
    assert sum(counts) == count
    alone = [torch.stack(parts).sum(0) for parts in zip(*(gradients(case, each) for each in rows), strict=True)]
    for a, b in zip(alone, gradients(case, case.batch), strict=True):
        close(a, b)
    assert case.metrics(*rows) == pytest.approx(case.metrics(case.batch), rel=1e-5)


def test_row_without_steps_counts_nothing(case: Case) -> None:
    batch = case.batch
    emptied = replace(batch, lengths_B=batch.lengths_B.clone())
    emptied.lengths_B[0] = 0
    rest = Batch(batch.inputs[1:], batch.targets[1:], batch.lengths_B[1:])
    close(case.loss(emptied), case.loss(rest))
    assert case.metrics(emptied) == pytest.approx(case.metrics(rest), rel=1e-6)
    assert all(grad.isfinite().all() for grad in gradients(case, emptied))


def test_order_of_rows_does_not_matter(case: Case) -> None:
    batch = case.batch
    order = torch.arange(batch.batch_size).flip(0)
    turned = Batch(batch.inputs[order], batch.targets[order], batch.lengths_B[order])
    close(case.loss(turned), case.loss(batch))
    assert case.metrics(turned) == pytest.approx(case.metrics(batch), rel=1e-5)


def test_loss_is_a_sum_over_what_is_counted(case: Case) -> None:
    loss_sum, count = case.loss(case.batch)
    assert loss_sum.shape == count.shape == ()
    assert loss_sum.requires_grad
    assert not count.requires_grad
    twice = Batch(*(torch.cat([part, part]) for part in (case.batch.inputs, case.batch.targets, case.batch.lengths_B)))
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


def test_texts_are_drawn_from_a_generator_of_their_own(case: Case) -> None:
    task, data = case.experiment.task, case.experiment.data
    state = torch.get_rng_state()
    first, again, other = (task.illustrate(case.model, data, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert first == again
    assert first.keys() == other.keys()
