"""Errors on the original scale, at each length, and the training mean beside them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rnntrain.batch import Batch
from rnntrain.data.labelled.classes import FeatureInputs
from rnntrain.data.numbers.sequences import NumbersCodec, SymbolInputs
from rnntrain.errors import UserError
from rnntrain.tasks.regression import Regression
from rnntrain.watching.pictures import pixels
from tasks.cases import case_of

CODEC = NumbersCodec(FeatureInputs([0.0], [1.0]), FeatureInputs([10.0, -3.0], [2.0, 5.0]))


def measure(codec: NumbersCodec, *pairs: tuple[torch.Tensor, Batch]) -> dict[str, float]:
    task = Regression()
    metrics = task.metrics(codec)
    for output, batch in pairs:
        metrics.update(output, batch, *task.loss(output, batch))
    return metrics.compute()


def batch_of(targets: torch.Tensor, steps: int = 3, **more: torch.Tensor) -> Batch:
    return Batch(torch.zeros(len(targets), steps, 1), targets, **more)


def test_errors_are_on_the_original_scale() -> None:
    rng = np.random.default_rng(0)
    y, said = rng.normal(10, 2, (30, 2)), rng.normal(10, 2, (30, 2))
    scaled = [torch.from_numpy(CODEC.targets.encode(each)) for each in (y, said)]
    pairs = [(scaled[1][part], batch_of(scaled[0][part])) for part in (slice(0, 11), slice(11, 30))]
    found = measure(CODEC, *pairs)
    assert found["mse"] == pytest.approx(((y - said) ** 2).mean(), rel=1e-5)
    assert found["mae"] == pytest.approx(abs(y - said).mean(), rel=1e-5)
    assert found["loss"] == pytest.approx((((y - said) / [2, 5]) ** 2).mean(), rel=1e-5)
    r2 = 1 - ((y - said) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
    assert found["r2"] == pytest.approx(r2.mean(), rel=1e-5)


def test_r2_of_a_constant_is_nought() -> None:
    constant = torch.full((4, 2), 3.1)
    assert measure(CODEC, (torch.zeros(4, 2), batch_of(constant)))["r2"] == 0.0


def test_a_large_mean_costs_no_digits() -> None:
    codec = NumbersCodec(CODEC.inputs, FeatureInputs([1e9], [1.0]))
    targets = torch.arange(8.0)[:, None] - 3.5
    assert measure(codec, (targets * 0.9, batch_of(targets)))["r2"] == pytest.approx(0.99, rel=1e-6)


def test_steps_that_do_not_count_are_left_out() -> None:
    codec = NumbersCodec(FeatureInputs([0.0], [1.0]), FeatureInputs([0.0], [1.0]), per_step=True)
    counted = torch.tensor([[True, False, True], [True, True, True]])
    output = torch.tensor([[1.0, 99.0, 3.0], [4.0, 77.0, 88.0]])[..., None]
    batch = batch_of(torch.zeros(2, 3, 1), counted_BT=counted, lengths_B=torch.tensor([3, 1]))
    assert measure(codec, (output, batch))["mse"] == pytest.approx((1 + 9 + 16) / 3)


@pytest.mark.parametrize("per_step", [True, False])
def test_lengths_are_reported_apart(per_step: bool) -> None:
    codec = NumbersCodec(FeatureInputs([0.0], [1.0]), FeatureInputs([0.0], [1.0]), per_step, {4: 40, 2: 20, 9: 90})
    shape = (3, 4, 1) if per_step else (3, 1)
    output = torch.tensor([1.0, 2.0, 4.0]).view(-1, *[1] * (len(shape) - 1)).expand(shape)
    batch = batch_of(torch.zeros(shape), 4, lengths_B=torch.tensor([4, 2, 2]))
    found = measure(codec, (output, batch), (output, batch_of(torch.zeros(shape), 4)))
    assert found["mse_len_20"] == pytest.approx(10.0)
    assert found["mse_len_40"] == pytest.approx((1 + 1 + 4 + 16) / 4)
    assert "mse_len_90" not in found


def test_decoding_gives_the_original_scale() -> None:
    output = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    assert Regression().decode(output, batch_of(output), CODEC) == ["10 2", "8 -3"]


def test_predictions_are_drawn_against_the_truth() -> None:
    task = Regression()
    metrics = task.metrics(CODEC)
    output = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    metrics.update(output, batch_of(output * 0.9), *task.loss(output, batch_of(output)))
    assert pixels(metrics.pictures()["predictions"]()).std() > 1


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_every_pooling_learns(tmp_path: Path, pooling: str) -> None:
    data = {"_target_": "rnntrain.data.memory.adding.Adding", "length": 5, "batch_size": 8, "epoch_batches": 2}
    task = {"_target_": "rnntrain.tasks.regression.Regression", "pooling": pooling}
    case = case_of(tmp_path, task, data, initial_loss=None, overfit_loss=0.02)
    loss_sum, count = case.loss(case.batch)
    loss_sum.backward()
    assert float(count) == 8
    assert all(parameter.grad is not None for parameter in case.model.parameters())


def test_the_baseline_stands_beside_the_result(tmp_path: Path) -> None:
    data = {"_target_": "rnntrain.data.memory.adding.Adding", "length": 5, "epoch_batches": 2}
    task = {"_target_": "rnntrain.tasks.regression.Regression"}
    case = case_of(tmp_path, task, data, initial_loss=None, overfit_loss=0.02)
    found = case.experiment.task.baselines(case.experiment.data, "test")
    assert found["always 1"]["mse"] == pytest.approx(1 / 6)
    assert set(found["always 1"]) <= set(case.metrics(case.batch))


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": None},
        {"inputs": {"kind": "text"}},
        {"inputs": {"kind": "symbols", "vocab_size": 0}},
        {"targets": None},
        {"targets": {"mean": [0.0], "scale": [-1.0]}},
        {"per_step": 1},
        {"lengths": [[1]]},
        {"lengths": [[1, "2"]]},
        {"lengths": None},
    ],
)
def test_a_damaged_codec_is_refused(change: dict) -> None:
    with pytest.raises(UserError, match="damaged"):
        NumbersCodec.from_state(CODEC.state_dict() | change)


def test_symbols_are_embedded_and_numbers_projected() -> None:
    task = Regression()
    symbols = NumbersCodec(SymbolInputs(7), CODEC.targets)
    assert isinstance(task.input_layer(symbols, 4), torch.nn.Embedding)
    assert isinstance(task.input_layer(CODEC, 4), torch.nn.Linear)
