"""How far back gradients reach: against a cell whose gradient is known, and as a user sees it."""

# B batch, T time, H hidden

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commandline import TINY, Answer
from torch import Tensor, nn
from training import differences, make_experiment, write_documents

from rnntrain import commands
from rnntrain.batch import Batch
from rnntrain.build import Experiment
from rnntrain.cells.base import Cell
from rnntrain.cells.lstm import LSTM
from rnntrain.watching.diagnosis import LayerDiagnosis, diagnose, verdict
from rnntrain.watching.recorder import Recorder


class Decay(Cell):
    """h_t = a h_{t-1} + W x_t: each step back multiplies a gradient by a."""

    def __init__(self, size: int, a: float) -> None:
        super().__init__()
        self.input_size = self.output_size = size
        self.read, self.a = nn.Linear(size, size), a

    def initial_state(self, batch_size: int) -> Tensor:
        return self.read.weight.new_zeros(batch_size, self.output_size)

    def step(self, x_BD: Tensor, h_BH: Tensor) -> tuple[Tensor, Tensor]:
        h_BH = self.a * h_BH + self.read(x_BD)
        return h_BH, h_BH


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    changes = {"data.documents": True, "data.contiguous": False, "data.bptt": 60, "task.carry": False}
    return make_experiment(write_documents(tmp_path / "text", (40, 20, 30) * 5), changes | {"data.batch_size": 6})


def ragged(experiment: Experiment) -> Batch:
    return next(b for b in experiment.data.train_batches(0, 0) if b.lengths_B is not None)


def with_cell(experiment: Experiment, cell: Cell) -> Experiment:
    experiment.model.backbone.layers[0] = cell
    return experiment


@pytest.mark.parametrize("a", [0.5, 0.9, 1.0, 1.02])
def test_a_known_decay_is_measured(experiment: Experiment, a: float) -> None:
    with_cell(experiment, Decay(12, a))
    [found] = diagnose(experiment.model, experiment.task, ragged(experiment))
    assert found.factor_per_step == pytest.approx(a, rel=1e-4)
    assert found.spectral_radius == pytest.approx(a, rel=1e-5)
    if a < 1:
        assert found.half_life == pytest.approx(math.log(0.5) / math.log(a), rel=1e-3)
        assert found.memory == (math.ceil(math.log(0.01) / math.log(a)) if a == 0.5 else None)
    else:
        assert (found.half_life, found.memory) == (math.inf, None)


def test_lags_count_from_each_rows_last_valid_step(experiment: Experiment) -> None:
    """What was measured of a batch is the mean of what is measured of its longer rows alone."""
    batch = ragged(experiment)
    [together] = diagnose(experiment.model, experiment.task, batch)
    curves = []
    for index, length in enumerate(batch.lengths_B.tolist()):
        row = batch.take(torch.tensor([index]))
        row = replace(row, inputs=row.inputs[:, :length], targets=row.targets[:, :length], lengths_B=None)
        [alone] = diagnose(experiment.model, experiment.task, row)
        curves.append(alone.gradient_K)
    lags = len(together.gradient_K)
    longer = [curve[:lags] for curve in curves if len(curve) >= lags]
    assert len(curves) > len(longer) > 1
    torch.testing.assert_close(together.gradient_K, torch.stack(longer).mean(0), rtol=1e-4, atol=1e-9)


def test_gradient_at_lag_zero_is_that_of_the_last_output(experiment: Experiment) -> None:
    batch = ragged(experiment).take(torch.tensor([0]))
    length = int(batch.lengths_B)
    row = replace(batch, inputs=batch.inputs[:, :length], targets=batch.targets[:, :length], lengths_B=None)
    model = with_cell(experiment, Decay(12, 0.7)).model.eval()
    [found] = diagnose(model, experiment.task, row)
    y_BTH, _ = model.backbone(model.input(row.inputs))
    last_BH = y_BTH[:, -1:].detach().requires_grad_()
    loss_sum, _ = experiment.task.loss(model.head(last_BH), Batch(row.inputs[:, -1:], row.targets[:, -1:]))
    [grad] = torch.autograd.grad(loss_sum, last_BH)
    torch.testing.assert_close(found.gradient_K[0], grad.norm(), rtol=1e-4, atol=0)


def test_diagnosis_leaves_everything_as_it_was(experiment: Experiment) -> None:
    model, state = experiment.model.train(), torch.get_rng_state()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    diagnose(model, experiment.task, ragged(experiment))
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert differences(before, dict(model.state_dict())) == []


def test_gates_that_stand_at_an_end_are_saturated(experiment: Experiment) -> None:
    layer = experiment.model.backbone.layers[0]
    assert isinstance(layer, LSTM)
    with torch.no_grad():
        layer.lstm.bias_ih_l0[:24] = torch.tensor([0.0, 50.0]).repeat_interleave(12)
    [found] = diagnose(experiment.model, experiment.task, ragged(experiment))
    assert found.saturation["f"] == 1.0
    assert found.saturation["i"] < 0.5
    assert set(found.saturation) == {"i", "f", "o"}


def test_units_that_say_nothing_are_dead(experiment: Experiment) -> None:
    cell = Decay(12, 0.5)
    with torch.no_grad():
        cell.read.weight[:3] = cell.read.bias[:3] = 0.0
    [found] = diagnose(with_cell(experiment, cell).model, experiment.task, ragged(experiment))
    assert found.dead == pytest.approx(3 / 12)


@pytest.mark.parametrize(("factor", "word"), [(0.8, "vanishing"), (1.1, "exploding"), (1.0, "steady")])
def test_verdict_says_what_it_is(factor: float, word: str) -> None:
    found = LayerDiagnosis(factor ** torch.arange(80.0), factor, {}, 0.0)
    line = verdict(1, found)
    assert line.startswith(f"layer 1: {word}: ")
    assert "\n" not in line


def test_verb_writes_a_picture_and_changes_nothing_else(
    trained_run: Path, run_cli: Callable[..., Answer], tmp_path: Path
) -> None:
    before = sorted(trained_run.rglob("*"))
    answer = run_cli("diagnose", trained_run, "--out", tmp_path / "pictures")
    assert answer.code == 0, answer.err
    assert "layer 1: " in answer.out
    assert (tmp_path / "pictures" / "gradients_by_lag.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(trained_run.rglob("*")) == before


def test_bidirectional_model_is_refused(experiment: Experiment, tmp_path: Path) -> None:
    experiment.model.backbone.bidirectional = True
    with pytest.raises(Exception, match="bidirectional model cannot run step by step"):
        diagnose(experiment.model, experiment.task, ragged(experiment))


@pytest.mark.usefixtures("workspace")
def test_diagnosed_run_logs_the_same_numbers_when_it_was_stopped(
    run_cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, workspace: Path
) -> None:
    words = [*TINY, "diagnose=gradients", "model.num_layers=2", "data.eval_bptt=8", "--quiet"]
    assert run_cli("train", *words, "run.dir=whole").code == 0
    stepped = Recorder.stepped

    def stopped(self, trainer, result) -> None:
        stepped(self, trainer, result)
        if trainer.step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "stepped", stopped)
        run_cli("train", *words, "run.dir=stopped")
    commands.resume(workspace / "stopped", quiet=True)
    whole, resumed = (lines(workspace / name) for name in ("whole", "stopped"))
    assert whole == resumed
    logged = next(line for line in whole if "memory/steps_layer2" in line)
    assert {"gradient_norm/head.weight", "update_share/head.weight", "units/dead_layer1"} <= logged.keys()


def lines(run: Path) -> list[dict[str, object]]:
    parsed = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("cost/")} for line in parsed]
