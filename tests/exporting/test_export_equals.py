"""An exported model is the model: every cell, every task, any length and batch size, whole and in chunks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from exported import Exported, exported, language_model, task_model, with_cells
from tasks.cases import TASKS
from training import CELLS

from rnntrain.cells.antisymmetric import Antisymmetric
from rnntrain.cells.base import Recurrent
from rnntrain.cells.cornn import CoRNN
from rnntrain.eager import load_compiler
from rnntrain.evaluation import evaluate_all
from rnntrain.exporting.measured import measure
from rnntrain.exporting.replacing import exportable
from rnntrain.exporting.verify import GOAL, LENGTHS

# One of each way from a recurrence to a graph, and of each output.
STACK = ("skip", "janet", "mingru", "transformer")
QUICK_TASKS = (
    "language_modeling",
    "ctc",
    "regression",
    "tagging_crf",
    "forecasting_recursive",
    "forecasting_segments",
)
CLOSE = 1e-5
STRETCHED = (
    ("layernorm_lstm", "ctc"),
    ("janet", "music"),
    ("cornn", "forecasting"),
    ("cornn", "forecasting_recursive"),
)


@pytest.fixture(scope="module")
def of_task(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """Export the model of a task to ONNX, once."""
    made: dict[str, Exported] = {}

    def export(task: str) -> Exported:
        if task not in made:
            folder = tmp_path_factory.mktemp(task)
            made[task] = exported(folder, task_model(folder, task))
        return made[task]

    return export


def tasks(*quick: str) -> list[object]:
    return [task if task in quick else pytest.param(task, marks=pytest.mark.slow) for task in TASKS]


@pytest.mark.parametrize("task", tasks(*QUICK_TASKS))
def test_onnx_equals_the_model(task: str, of_task: Callable[[str], Exported]) -> None:
    found = of_task(task).difference()
    assert found.largest < CLOSE, found
    assert found.labels == 0
    assert found.cases >= 4


@pytest.mark.parametrize("task", tasks("language_modeling", "tagging_crf", "forecasting_recursive"))
def test_metrics_of_onnx_are_those_of_the_model(task: str, of_task: Callable[[str], Exported]) -> None:
    case = of_task(task)
    trained, _ = evaluate_all(case.experiment, "val")
    for name, value in measure(case.experiment, case.file.run, "val").items():
        assert value == pytest.approx(trained[f"val/{name}"], rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize(("cell", "task"), [("skip", "ctc"), ("orthogonal", "forecasting_recursive")])
def test_a_state_of_many_parts_and_a_matrix_in_the_making_go_through_any_loop(
    cell: str, task: str, tmp_path: Path
) -> None:
    experiment, _ = task_model(tmp_path, task)
    found = exported(tmp_path, (experiment, with_cells(experiment, cell))).difference()
    assert found.largest < CLOSE, found


def test_a_thousand_steps_of_a_cell_that_forgets_nothing_equal_the_model(tmp_path: Path) -> None:
    found = exported(tmp_path, language_model(tmp_path, "antisymmetric")).difference((1000,))
    assert found.good, found
    assert found.rounding is None or found.rounding.of_file < GOAL, found


@pytest.mark.parametrize("kind", [Antisymmetric, CoRNN])
def test_where_rounding_is_stretched_the_layer_is_nearer_to_float64_than_the_cell(kind: type[Recurrent]) -> None:
    load_compiler()
    torch.manual_seed(0)
    cell = kind(8, 32).requires_grad_(False)
    x_BTD = torch.randn(2, 1000, 8)
    exact_BTH, _ = copy.deepcopy(cell).double()(x_BTD.double())
    of_layer, of_cell = (float((layer(x_BTD)[0] - exact_BTH).abs().max()) for layer in (exportable(cell), cell))
    assert of_layer < of_cell / 3


def test_every_kind_of_layer_equals_the_model_in_onnx(tmp_path: Path) -> None:
    case = exported(tmp_path, language_model(tmp_path, *STACK))
    assert len(case.description["cells"]) == len(STACK)
    found = case.difference()
    assert found.largest < CLOSE, found


@pytest.mark.parametrize(
    "options", [{"residual": "highway", "norm": True}, pytest.param({"dense": True}, marks=pytest.mark.slow)]
)
def test_whatever_stands_between_layers_equals_the_model(tmp_path: Path, options: dict[str, object]) -> None:
    found = exported(tmp_path, language_model(tmp_path, "gru", "gru", **options)).difference()
    assert found.largest < CLOSE, found


def test_what_reads_raw_numbers_equals_the_model(tmp_path: Path) -> None:
    experiment, _ = task_model(tmp_path, "regression")
    model = with_cells(experiment, "lstm", raw_inputs=True, embedding_size=None)
    found = exported(tmp_path, (replace(experiment, model=model), model)).difference()
    assert found.largest < CLOSE, found


def test_torch_export_equals_the_model(tmp_path: Path) -> None:
    case = exported(tmp_path, language_model(tmp_path, "lstm", "mingru", "leaky"), "torch")
    found = case.difference()
    assert found.largest < CLOSE, found


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_torch_export_of_a_task_equals_the_model(task: str, tmp_path: Path) -> None:
    found = exported(tmp_path, task_model(tmp_path, task), "torch").difference((1, 7, 64))
    assert found.largest < CLOSE, found
    assert found.labels == 0


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_torch_export_of_a_cell_equals_the_model(cell: str, tmp_path: Path) -> None:
    found = exported(tmp_path, language_model(tmp_path, cell), "torch").difference((1, 7, 64))
    assert found.largest < CLOSE, found


def every_cell_in_every_task() -> list[object]:
    stretched = "with these random weights, rounding grows over 1,000 steps, and the file's more than PyTorch's"
    return [
        pytest.param(cell, task, marks=[pytest.mark.xfail(reason=stretched)] if (cell, task) in STRETCHED else [])
        for cell in CELLS
        for task in TASKS
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "task"), every_cell_in_every_task())
def test_onnx_of_every_cell_in_every_task_equals_the_model(cell: str, task: str, tmp_path: Path) -> None:
    """Or is as near to the model in float64 as PyTorch is, where that is further off than the goal."""
    experiment, _ = task_model(tmp_path, task)
    found = exported(tmp_path, (experiment, with_cells(experiment, cell))).difference(LENGTHS)
    assert found.good, found
    assert found.labels == 0 or (found.rounding is not None and found.rounding.of_torch > GOAL)


def test_a_difference_is_found(of_task: Callable[[str], Exported]) -> None:
    case = of_task("language_modeling")

    class Off:
        def run(self, arguments: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            said = case.file.run(arguments)
            return said | {"logits": said["logits"] + 2 * GOAL}

    found = case._replace(file=Off()).difference()  # type: ignore[arg-type]
    assert not found.good
    assert found.where.startswith("logits")
    assert found.rounding is not None
    assert found.rounding.of_torch < found.rounding.of_file


def test_a_state_that_stands_still_is_found(of_task: Callable[[str], Exported]) -> None:
    case = of_task("language_modeling")

    class Forgets:
        def run(self, arguments: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return case.file.run(arguments) | {"next_state_0_0": arguments["state_0_0"]}

    found = case._replace(file=Forgets()).difference()  # type: ignore[arg-type]
    assert not found.good
