"""Write a model as a program of `torch.export`, which needs torch and no rnntrain, and run one to compare."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rnntrain.checkpoints.durable import one_line, replace_file
from rnntrain.data.base import Codec
from rnntrain.exporting.asked import Precision
from rnntrain.exporting.description import as_described, describe
from rnntrain.exporting.precision import computes_in_float64
from rnntrain.exporting.program import Program, quiet
from rnntrain.models.sequence import SequenceModel
from rnntrain.tasks.base import Task

DESCRIPTION = "rnntrain.json"  # the name of the description in the file itself


def write_torch(
    model: SequenceModel,
    task: Task,
    codec: Codec,
    path: Path,
    facts: dict[str, Any],
    precision: Precision = "auto",
) -> dict[str, Any]:
    """Write a model as a ``.pt2`` file; return its description, which also stands in the file.

    One program serves any batch size and any number of steps, one step among them.

    Args:
        facts: added to the description: what run and step the weights are from.
        precision: what it computes in; "auto" for float32, or float64 where the model needs it.

    Raises:
        UserError: if the model cannot be traced, or the file not be written.
    """
    program = Program(model, task, codec, precise=computes_in_float64(model, precision))
    traced = program.trace()
    description = facts | describe(program, task, codec)
    for module in traced.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)  # tells only of the machine that wrote the file
    file = io.BytesIO()
    with quiet():
        torch.export.save(traced, file, extra_files={DESCRIPTION: json.dumps(description)})
    with one_line(path):
        replace_file(path, file.getvalue())
    return description


class TorchModel:
    """A ``.pt2`` file that runs."""

    def __init__(self, path: Path) -> None:
        files = {DESCRIPTION: ""}
        with quiet():
            self._module = torch.export.load(path, extra_files=files).module()
        self.description = json.loads(files[DESCRIPTION])
        self._names = [
            *(each["name"] for each in self.description["outputs"]),
            *(each["output"] for each in self.description["state"]),
        ]

    def run(self, arguments: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return all outputs by name; parts of the state are taken in either precision."""
        with torch.no_grad():
            given = as_described(arguments, self.description)
            return dict(zip(self._names, self._module(*given.values()), strict=True))
