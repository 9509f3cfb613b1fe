"""Write a model as an ONNX file that runs without rnntrain, and run one to compare."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from rnntrain.cells.base import Recurrent
from rnntrain.checkpoints.durable import one_line, replace_file
from rnntrain.data.base import Codec
from rnntrain.exporting.asked import Precision
from rnntrain.exporting.description import as_described, describe
from rnntrain.exporting.onnx_float64 import exact_scalars, graphs, store_in_float32, without_missing_operators
from rnntrain.exporting.onnx_kernels import OPSET, with_kernel
from rnntrain.exporting.precision import computes_in_float64
from rnntrain.exporting.program import Program, quiet, untraceable
from rnntrain.models.sequence import SequenceModel
from rnntrain.tasks.base import Task

METADATA = "rnntrain"  # the key of the description in the file itself


def write_onnx(
    model: SequenceModel,
    task: Task,
    codec: Codec,
    path: Path,
    facts: dict[str, Any],
    precision: Precision = "auto",
    kernel: Callable[[Recurrent], Recurrent | None] = with_kernel,
) -> dict[str, Any]:
    """Write a model as ONNX; return its description, which also stands in the file's metadata.

    Args:
        facts: added to the description: what run and step the weights are from.
        precision: what it computes in; "auto" for float32, or float64 where the model needs it.
        kernel: gives the operator that takes the place of a recurrence in float32, or None.

    Raises:
        UserError: if the model cannot be traced, or the file not be written.
    """
    precise = computes_in_float64(model, precision)
    program = Program(model, task, codec, (lambda _: None) if precise else kernel, precise)
    traced = program.trace()
    description = facts | describe(program, task, codec)
    names = [*program.outputs, *(f"next_{name}" for name in program.state_names)]
    with quiet(), torch.no_grad():
        try:
            graph = torch.onnx.export(
                traced,
                input_names=program.arguments,
                output_names=names,
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
                custom_translation_table=exact_scalars(),
            )
        except Exception as error:
            raise untraceable(program.model, error) from error
        assert graph is not None
        proto = graph.model_proto
    if precise:
        without_missing_operators(proto.graph)
        store_in_float32(proto.graph)
    _tidy(proto, description)
    with one_line(path):
        replace_file(path, proto.SerializeToString())
    return description


def _tidy(proto: Any, description: dict[str, Any]) -> None:
    """Name what varies, and leave out what tells only of the machine that wrote the file."""
    named: dict[str, str] = {}
    shapes = {part.get("name", part.get("input")): part["shape"] for kind in _KINDS for part in description[kind]}
    for value in proto.graph.input:
        for dim, name in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
            if isinstance(name, str) and dim.dim_param:
                named[dim.dim_param] = name
    for graph in graphs(proto.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param:  # setting it would clear a size
                    dim.dim_param = named.get(dim.dim_param, dim.dim_param)
            del value.metadata_props[:]
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
    del proto.graph.metadata_props[:]
    del proto.metadata_props[:]
    proto.doc_string = proto.graph.doc_string = ""
    proto.producer_name = "rnntrain"
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(description)


_KINDS = ("inputs", "outputs", "state")


class OnnxModel:
    """An ONNX file that runs on the processor.

    Args:
        threads: of one operator; None for onnxruntime's own choice.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.description = json.loads(self._session.get_modelmeta().custom_metadata_map[METADATA])
        self._inputs = {value.name for value in self._session.get_inputs()}
        self._outputs = [value.name for value in self._session.get_outputs()]

    def run(self, arguments: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return all outputs by name; parts of the state are taken in either precision."""
        # An input that changes nothing, such as lengths that a task ignores, is no part of the graph.
        given = as_described(arguments, self.description)
        feed = {name: value.numpy() for name, value in given.items() if name in self._inputs}
        values = self._session.run(self._outputs, feed)
        return {name: torch.from_numpy(value) for name, value in zip(self._outputs, values, strict=True)}
