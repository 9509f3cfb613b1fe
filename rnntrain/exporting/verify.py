"""Compare an exported model with the one it came from: over lengths, batch sizes, padding, and in chunks."""

# B batch, T time

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from rnntrain.batch import Batch
from rnntrain.cells.base import State
from rnntrain.data.base import Codec
from rnntrain.exporting.comparison import GOAL, Comparison, Difference, Rounding
from rnntrain.exporting.layers import tensors_of
from rnntrain.exporting.outputs import Named, Ways, named_outputs
from rnntrain.exporting.program import Program
from rnntrain.exporting.reading import Reading
from rnntrain.models.sequence import SequenceModel, evaluating
from rnntrain.tasks.base import Task
from rnntrain.tasks.forecast.outputs import Forecast

LENGTHS = (1, 7, 64, 1000)
BATCH_SIZES = (1, 3)
NUM_CHUNKS = 3
# Runs an exported model on named arguments.
Run: TypeAlias = Callable[[dict[str, Tensor]], dict[str, Tensor]]


class _True(NamedTuple):
    """What a model gives for a case: its outputs, and its state after it by the names of what a file gives."""

    outputs: dict[str, Named]
    state: dict[str, Tensor]

    def plain(self) -> dict[str, Tensor]:
        return {name: each.tensor for name, each in self.outputs.items()} | self.state


class _Said(NamedTuple):
    """What a file gives for a case: in one piece, and chunk by chunk where it comes in several.

    Attributes:
        full_B: rows that reach into the last chunk; None for all.
    """

    case: str
    whole: dict[str, Tensor]
    parts: Sequence[dict[str, Tensor]] = ()
    full_B: Tensor | None = None

    def beside(self, true: _True) -> Comparison:
        """Compare it with what a model gives."""
        comparison = Comparison()
        for name, tensor in true.plain().items():
            comparison.add(f"{name.removeprefix('next_')}, {self.case}", self.whole[name], tensor)
        if not self.parts:
            return comparison
        where = f"{self.case} in chunks"
        rows = slice(None) if self.full_B is None else self.full_B
        for name, each in true.outputs.items():
            if each.in_chunks == "join":
                comparison.add(f"{name}, {where}", torch.cat([part[name] for part in self.parts], 1), each.tensor)
            elif each.in_chunks == "last":
                comparison.add(f"{name}, {where}", self.parts[-1][name][rows], each.tensor[rows])
        for name, tensor in true.state.items():
            comparison.add(f"{name.removeprefix('next_')}, {where}", self.parts[-1][name], tensor)
        return comparison


def verify(
    model: SequenceModel,
    task: Task,
    codec: Codec,
    run: Run,
    lengths: Sequence[int] = LENGTHS,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    always_exact: bool = False,
) -> Difference:
    """Return the largest difference between a model and its export, over every length, batch size, and in chunks.

    Inputs are made up, with rows of unequal length. Where the two are further apart than the goal, or name other
    labels, both are compared with the model in float64.

    Args:
        always_exact: compare with that one in any case.
    """
    program = Program(model, task, codec)
    comparison = Comparison()
    rounding: Rounding | None = None
    precise = functools.cache(lambda: copy.deepcopy(model).double())
    with evaluating(model):
        for num_steps, batch_size in product(lengths, batch_sizes):
            arguments = program.example(batch_size, num_steps, seed=num_steps)
            true = _true(model, task, codec, program, arguments)
            said = _said(program, arguments, run)
            here = said.beside(true)
            found = here.result()
            if found.largest > GOAL or found.labels or always_exact:
                doubled = [part.double() if part.is_floating_point() else part for part in arguments]
                exact = _true(precise(), task, codec, program, doubled)
                of_file, of_torch = (each.beside(exact).result() for each in (said, _Said("", true.plain())))
                off = Rounding(of_file.largest, of_torch.largest, of_file.labels)
                rounding = off if rounding is None else Rounding(*map(max, rounding, off))
            comparison.take(here)
    return comparison.result()._replace(rounding=rounding)


def _true(model: SequenceModel, task: Task, codec: Codec, program: Program, arguments: list[Tensor]) -> _True:
    """Return what the model itself gives, decoded by the task and not by loops of a graph."""
    batch, state = program.batch(arguments), program.state(arguments)
    output, after = model(batch, state)

    def run_on(output: Forecast, after: State, batch: Batch, model: SequenceModel) -> Tensor:
        # The task asks the targets for the number of steps and values to forecast.
        assert batch.context is not None
        targets_BSC = batch.inputs.new_zeros(*batch.context.shape[:2], output.params_BSCP.shape[2])
        told: Forecast = task.infer(model, replace(batch, targets=targets_BSC), state)[0]
        return told.params_BSCP

    ways = Ways(lambda scores, batch: scores.best(batch.lengths_B), run_on)
    named = named_outputs(output, after, batch, model, task, codec, ways)
    parts = tensors_of(after) if program.stateful else []
    return _True(named, {f"next_{name}": part for name, part in zip(program.state_names, parts, strict=True)})


def _said(program: Program, arguments: list[Tensor], run: Run) -> _Said:
    """Run a file over a case, whole and in chunks."""
    named = dict(zip(program.arguments, arguments, strict=True))
    batch_size, num_steps = named["inputs"].shape[:2]
    said = _Said(f"{batch_size} x {num_steps}", run(named))
    chunks = _chunks(num_steps, program.reading)
    if not program.stateful or not program.reading.chunks or len(chunks) == 1:
        return said
    full_B = named["lengths"] == num_steps if "lengths" in named else None
    parts: list[dict[str, Tensor]] = []
    for start, stop in chunks:
        chunk = named | {"inputs": named["inputs"][:, start:stop].contiguous()}
        if "lengths" in named:
            chunk["lengths"] = (named["lengths"] - start).clamp(0, stop - start)
        parts.append(run(chunk))
        named |= {name: parts[-1][f"next_{name}"] for name in program.state_names}
    return said._replace(parts=parts, full_B=full_B)


def _chunks(num_steps: int, reading: Reading) -> list[tuple[int, int]]:
    """Return starts and stops of up to three chunks, of which none is too short for the model."""
    size = reading.steps(-(-num_steps // NUM_CHUNKS))
    starts = range(0, max(1, num_steps - reading.least_steps + 1), size)
    return list(zip(starts, [*starts[1:], num_steps], strict=True))
