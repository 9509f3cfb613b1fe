"""Weights of eight bits in an ONNX file, activations quantised as it runs (dynamic quantisation by onnxruntime)."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

from rnntrain.checkpoints.durable import one_line, replace_file
from rnntrain.data.base import Codec
from rnntrain.exporting.onnx_file import METADATA, write_onnx
from rnntrain.exporting.onnx_kernels import quantised_kernel
from rnntrain.models.sequence import SequenceModel
from rnntrain.tasks.base import Task


def write_int8(model: SequenceModel, task: Task, codec: Codec, path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Write a model as ONNX with weights of eight bits; return its description.

    Products become products of integers and embeddings take a byte a number; convolutions, norms and the states stay
    in float32, also of a model that would else be written in float64. Of ONNX's recurrent operators only the LSTM has
    such a form; the others run as loops.

    Raises:
        UserError: if the model cannot be traced, or the file not be written.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        whole, small = Path(folder) / "whole.onnx", Path(folder) / "small.onnx"
        description = write_onnx(model, task, codec, whole, facts, "float32", quantised_kernel)
        description["precision"] = "int8"
        handlers, level = list(logging.root.handlers), logging.root.level
        logging.root.setLevel(logging.ERROR)  # it advises steps that a graph with loops does not survive
        try:
            options = {"EnableSubgraph": True, "MatMulConstBOnly": True}
            operators = ["MatMul", "Gemm", "Gather", "LSTM"]
            quantize_dynamic(
                whole, small, op_types_to_quantize=operators, weight_type=QuantType.QInt8, extra_options=options
            )
        finally:
            logging.root.handlers[:] = handlers
            logging.root.setLevel(level)
        proto = onnx.load(small)
    del proto.metadata_props[:]
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(description)
    with one_line(path):
        replace_file(path, proto.SerializeToString())
    return description
