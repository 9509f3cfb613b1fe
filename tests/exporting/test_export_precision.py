"""A file computes in float64 where rounding would grow too large in float32, and is then right to float64's own."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from exported import Exported, exported, language_model, task_model
from torch import Tensor, nn
from training import with_cells

from rnntrain.cells.base import Cell
from rnntrain.cells.cornn import CoRNN
from rnntrain.exporting.comparison import GOAL
from rnntrain.exporting.onnx_file import write_onnx
from rnntrain.exporting.precision import LIMIT, drift
from rnntrain.exporting.torch_file import write_torch
from rnntrain.models.sequence import SequenceModel

FINE = 1e-6  # what float32 leaves of a number in float64


def in_precision(folder: Path, cell: str, precision: str, form: str = "onnx", **model: Any) -> Exported:
    write = write_onnx if form == "onnx" else write_torch
    made = language_model(folder, cell, **model)
    return exported(folder, made, form, lambda *given: write(*given, precision))  # type: ignore[arg-type]


@pytest.mark.parametrize("cell", ["lstm", "mingru", "transformer"])
def test_rounding_does_not_grow_in_a_model_that_forgets(cell: str, tmp_path: Path) -> None:
    assert drift(language_model(tmp_path, cell)[1]) < LIMIT / 10


@pytest.mark.parametrize(
    ("cell", "task"), [("antisymmetric", "step_regression"), ("layernorm_lstm", "classification"), ("cornn", "music")]
)
def test_rounding_grows_in_a_model_that_stretches_it(cell: str, task: str, tmp_path: Path) -> None:
    experiment, _ = task_model(tmp_path, task)
    assert drift(with_cells(experiment, cell)) > 10 * LIMIT


def test_a_model_that_forgets_is_written_in_float32_and_is_no_smaller_for_it(tmp_path: Path) -> None:
    single = exported(tmp_path, language_model(tmp_path, "janet", hidden_size=64))
    assert single.description["precision"] == "float32"
    assert {each["dtype"] for each in single.description["state"]} == {"float32"}
    size = single.path.stat().st_size
    assert in_precision(tmp_path, "janet", "float64", hidden_size=64).path.stat().st_size < 1.1 * size


def test_a_model_that_feeds_its_forecast_back_is_right_in_float64_and_not_in_float32(tmp_path: Path) -> None:
    experiment, _ = task_model(tmp_path, "forecasting_recursive")
    made = experiment, with_cells(experiment, "cornn")
    right = exported(tmp_path, made)
    assert right.description["precision"] == "float64"
    assert {each["dtype"] for each in right.description["state"]} == {"float64"}
    found = right.difference((1000,))
    assert found.rounding is not None
    assert found.rounding.of_file < FINE, found
    assert found.rounding.of_torch > GOAL, found
    wrong = exported(tmp_path, made, write=lambda *given: write_onnx(*given, "float32")).difference((1000,))
    assert not wrong.right, wrong


def test_a_file_in_float64_keeps_all_digits_of_weights_numbers_and_state(tmp_path: Path) -> None:
    experiment, model = language_model(tmp_path, "cornn")
    cell = model.backbone.layers[0]
    assert isinstance(cell, CoRNN)
    cell.step_size = 0.1  # no number of float32
    case = exported(tmp_path, (experiment, model), write=lambda *given: write_onnx(*given, "float64"))
    state = [torch.rand(2, 12, dtype=torch.float64) for _ in range(2)]
    inputs_BT = torch.randint(10, (2, 30), generator=torch.Generator().manual_seed(0))
    said = case.file.run(
        {"inputs": inputs_BT, "lengths": torch.tensor([30, 30]), "state_0_0": state[0], "state_0_1": state[1]}
    )
    exact = copy.deepcopy(case.model).double()
    with torch.no_grad():
        _, after = exact.backbone(exact.input(inputs_BT), (tuple(state),), None)
    for place, part in enumerate(after[0]):
        torch.testing.assert_close(said[f"next_state_0_{place}"], part, rtol=0, atol=1e-13)
    assert said["logits"].dtype == torch.float32


@pytest.mark.parametrize(
    "cell", ["transformer", *(pytest.param(cell, marks=pytest.mark.slow) for cell in ("lstm", "mlstm", "tcn"))]
)
def test_any_model_can_be_written_in_float64(cell: str, tmp_path: Path) -> None:
    case = in_precision(tmp_path, cell, "float64")
    assert case.description["precision"] == "float64"
    assert case.difference().largest < 1e-5


def test_a_torch_program_in_float64_equals_the_model(tmp_path: Path) -> None:
    case = in_precision(tmp_path, "antisymmetric", "float64", "torch")
    assert {each["dtype"] for each in case.description["state"]} == {"float64"}
    assert case.difference().largest < 1e-5


@pytest.mark.slow
def test_words_spelt_by_a_convolution_are_read_in_float64(tmp_path: Path) -> None:
    experiment, _ = task_model(tmp_path, "tagging_crf")
    assert any(isinstance(part, nn.Conv1d) for part in experiment.model.input.modules())
    found = exported(tmp_path, (experiment, with_cells(experiment, "cornn"))).difference((1000,))
    assert found.rounding is not None
    assert found.rounding.of_file < FINE < found.rounding.of_torch, found
    assert found.rounding.labels == 0


class InFloat32(Cell):
    """A cell of someone's own that knows no other type."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, self.output_size)

    def step(self, x_BD: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y_BH = torch.tanh(x_BD @ torch.ones(self.input_size, self.output_size) + state)
        return y_BH, y_BH


def test_a_cell_that_runs_in_float32_alone_is_written_so(tmp_path: Path) -> None:
    _, model = language_model(tmp_path, "vanilla")
    model.backbone.layers[0] = InFloat32(12, 12)
    assert isinstance(model, SequenceModel)
    assert drift(model) == 0
