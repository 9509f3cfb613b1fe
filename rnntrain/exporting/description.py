"""What stands beside an exported model, so that whoever runs it needs neither rnntrain nor the run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnntrain.data.base import Codec
from rnntrain.errors import UserError
from rnntrain.exporting.program import Program
from rnntrain.tasks.base import Task

FORMAT = 1
_MEANING = {
    "inputs": "one entry of the vocabulary, or one row of numbers, for each step, as the codec encodes them",
    "lengths": "valid steps of each row; what stands beyond them counts for nothing",
    "context": "of each step of the horizon: number of the series, last values as measured, calendar",
}


def describe(program: Program, task: Task, codec: Codec) -> dict[str, Any]:
    """Return inputs, outputs and state of a traced program, how chunks go together, and all that was fitted on data."""
    arguments = dict(zip(program.arguments, program.example(), strict=True))
    chunks = program.stateful and program.reading.chunks
    return {
        "format": FORMAT,
        "precision": "float64" if program.precise else "float32",
        "task": type(task).__name__,
        "cells": [type(getattr(layer, "cell", layer)).__name__ for layer in program.model.backbone.layers],
        "chunks": chunks,
        "steps": {"multiple_of": program.reading.unit, "at_least": program.reading.least_steps},
        "inputs": [
            {"name": name, **_kind(arguments[name], _input_dims(name, program)), "meaning": _MEANING[name]}
            for name in program.input_names
        ],
        "outputs": [
            {
                "name": name,
                "dtype": _type(each.dtype),
                "shape": list(each.shape),
                "meaning": each.meaning,
                "in_chunks": each.in_chunks if chunks else "none",
            }
            for name, each in program.outputs.items()
        ],
        "state": [
            {
                "input": name,
                "output": f"next_{name}",
                **_kind(arguments[name], ("batch",)),
                "initial": _initial(arguments[name]),
            }
            for name in program.state_names
        ],
        "codec": codec.state_dict(),
    }


def as_described(arguments: dict[str, Tensor], description: dict[str, Any]) -> dict[str, Tensor]:
    """Return arguments with the parts of the state in the type that the description gives them."""
    types = {each["input"]: getattr(torch, each["dtype"]) for each in description["state"]}
    return {name: value.to(types.get(name, value.dtype)) for name, value in arguments.items()}


def _input_dims(name: str, program: Program) -> tuple[str | int, ...]:
    return program.reading.dims if name == "inputs" else ("batch",)


def _kind(tensor: Tensor, dims: tuple[str | int, ...]) -> dict[str, Any]:
    """Return type and shape; dimensions without a name have one size."""
    shape = [*dims, *tensor.shape[len(dims) :]]
    return {"dtype": _type(tensor.dtype), "shape": shape}


def _type(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _initial(state_B: Tensor) -> float:
    """Return the one number that a part of the state starts from."""
    first = state_B.flatten()[:1]
    if bool((state_B != first).any()):
        raise UserError(
            "export: a cell's initial state is not one number throughout, which the description cannot hold; "
            "let it start from zeros"
        )
    return float(first) if len(first) else 0.0
