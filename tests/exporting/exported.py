"""Models written to a file and run again, for the tests of what is exported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tasks.cases import TASKS
from training import make_config, with_cells, write_text

from rnntrain.build import Experiment, build
from rnntrain.exporting.comparison import Difference
from rnntrain.exporting.onnx_file import OnnxModel, write_onnx
from rnntrain.exporting.torch_file import TorchModel, write_torch
from rnntrain.exporting.verify import verify
from rnntrain.models.sequence import SequenceModel


class Exported(NamedTuple):
    """An experiment, its model with random weights, and the file that the model was written to."""

    experiment: Experiment
    model: SequenceModel
    path: Path
    description: dict[str, Any]
    file: OnnxModel | TorchModel

    def difference(self, lengths: tuple[int, ...] = (1, 7), **options: Any) -> Difference:
        """Return the largest difference between the file and the model."""
        codec = self.experiment.data.codec
        return verify(self.model, self.experiment.task, codec, self.file.run, lengths, **options)


def language_model(folder: Path, *cells: str, **model: Any) -> tuple[Experiment, SequenceModel]:
    """Return a small language model of some cells."""
    experiment = build(make_config(write_text(folder)))
    made = with_cells(experiment, *cells, **model)
    return replace(experiment, model=made), made


def task_model(folder: Path, task: str) -> tuple[Experiment, SequenceModel]:
    """Return the model of a task of the contract tests."""
    experiment = TASKS[task](folder / "data").experiment
    return experiment, experiment.model.eval()


def exported(
    folder: Path, made: tuple[Experiment, SequenceModel], form: str = "onnx", write: Callable[..., Any] | None = None
) -> Exported:
    """Write a model and open the file."""
    experiment, model = made
    path = folder / ("model.onnx" if form == "onnx" else "model.pt2")
    write = write or (write_onnx if form == "onnx" else write_torch)
    description = write(model, experiment.task, experiment.data.codec, path, {"run": "test"})
    file = OnnxModel(path, threads=1) if form == "onnx" else TorchModel(path)
    return Exported(experiment, model, path, description, file)
