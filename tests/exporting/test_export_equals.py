"""An exported model is the model: every cell, every task, any length and batch size, whole and in chunks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from exported import Exported, exported, language_model, task_model
from tasks.cases import TASKS
from tasks.forecasting_cases import make as forecasting
from training import CELLS, with_cells

from rnntrain.evaluation import evaluate_all
from rnntrain.exporting.comparison import GOAL
from rnntrain.exporting.measured import measure
from rnntrain.exporting.verify import LENGTHS

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


@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_a_file_gives_the_bands_of_students_t(form: str, tmp_path: Path) -> None:
    experiment = forecasting(tmp_path, {"output": "student_t", "quantiles": [0.01, 0.2, 0.5, 0.8, 0.99]})
    case = exported(tmp_path, (experiment, experiment.model.eval()), form)
    told = {each["name"]: each for each in case.description["outputs"]}["quantiles"]
    assert told["shape"][-1] == 5
    assert told["meaning"] == "of the horizon, as measured, at 0.01, 0.2, 0.5, 0.8, 0.99"
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


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("task", TASKS)
def test_onnx_of_every_cell_in_every_task_equals_the_model(cell: str, task: str, tmp_path: Path) -> None:
    """To 1e-4; or the model in float64, where it is PyTorch that is further off than that."""
    experiment, _ = task_model(tmp_path, task)
    found = exported(tmp_path, (experiment, with_cells(experiment, cell))).difference(LENGTHS)
    assert found.right, found
    assert found.labels == 0 or (found.rounding is not None and found.rounding.labels == 0), found


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
    assert found.rounding.of_torch < GOAL < found.rounding.of_file


def test_a_state_that_stands_still_is_found(of_task: Callable[[str], Exported]) -> None:
    case = of_task("language_modeling")

    class Forgets:
        def run(self, arguments: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return case.file.run(arguments) | {"next_state_0_0": arguments["state_0_0"]}

    found = case._replace(file=Forgets()).difference()  # type: ignore[arg-type]
    assert not found.good
