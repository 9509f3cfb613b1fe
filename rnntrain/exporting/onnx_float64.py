"""What an ONNX graph in float64 needs beyond one in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

# Onnxruntime has these in float32 alone, on the processor: gelu, and the convolutions of a TCN.
MISSING = ("Erf", "Conv")
SMALL = 64  # numbers; fewer are not worth an operator


def exact_scalars() -> dict[Any, Callable[..., Any]]:
    """Return translations of torch's operators that keep a number such as 0.05 as it is in float64.

    Torch's own translation takes it through float32, whatever the type it is for.
    """
    import numpy as np
    import torch
    from onnxscript import ir
    from onnxscript import opset18 as op

    def scalar_tensor(s: Any, dtype: int = -1, layout: str = "", device: str = "", pin_memory: bool = False) -> Any:
        kind = ir.DataType.FLOAT if dtype == -1 else ir.DataType(dtype)
        if isinstance(s, int | float):
            value: Any = ir.tensor(np.array(s, dtype=kind.numpy()))
            return op.Constant(value=value)
        return op.Cast(s, to=kind)  # a number that the graph computes, such as a size

    return {torch.ops.aten.scalar_tensor.default: scalar_tensor}


def without_missing_operators(graph: Any) -> None:
    """Let operators that have no float64 run in float32, between casts."""
    from onnx import TensorProto, helper

    for part in graphs(graph):
        nodes = list(part.node)
        del part.node[:]
        for node in nodes:
            if node.op_type in MISSING:
                for place, name in enumerate(node.input):
                    node.input[place] = f"{node.output[0]}_single_{place}"
                    part.node.append(helper.make_node("Cast", [name], [node.input[place]], to=TensorProto.FLOAT))
                wanted = node.output[0]
                node.output[0] = f"{wanted}_single"
                part.node.append(node)
                part.node.append(helper.make_node("Cast", [node.output[0]], [wanted], to=TensorProto.DOUBLE))
            else:
                part.node.append(node)


def store_in_float32(graph: Any) -> None:
    """Store weights that are numbers of float32 as such, and cast them: the file is half as large.

    Onnxruntime casts them once, as it loads the file.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.DOUBLE:
            continue
        exact = numpy_helper.to_array(weight)
        single = exact.astype("float32")
        if exact.size < SMALL or (single != exact).any():
            continue
        casts.append(helper.make_node("Cast", [f"{weight.name}_single"], [weight.name], to=TensorProto.DOUBLE))
        weight.CopyFrom(numpy_helper.from_array(single, f"{weight.name}_single"))
    for cast in reversed(casts):
        graph.node.insert(0, cast)


def graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and all within it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)
