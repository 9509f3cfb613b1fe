"""Compare an exported model with the one it came from: over lengths, batch sizes, padding, and in chunks."""

# B batch, T time

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from rnntrain.batch import Batch
from rnntrain.cells.base import State
from rnntrain.data.base import Codec
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
GOAL = 1e-4
# Runs an exported model on named arguments.
Run: TypeAlias = Callable[[dict[str, Tensor]], dict[str, Tensor]]


class Rounding(NamedTuple):
    """How far both are from the model in float64, where they are further apart than the goal."""

    of_file: float
    of_torch: float


class Difference(NamedTuple):
    """The largest difference found.

    Attributes:
        largest: of two numbers; where a tensor holds numbers above 1, in units of the largest of them.
        where: the output and the case.
        labels: share of whole numbers, such as tags, that differ.
        cases: how many were compared.
        rounding: None where the goal is met.
    """

    largest: float
    where: str
    labels: float
    cases: int
    rounding: Rounding | None = None

    @property
    def good(self) -> bool:
        """Whether the goal is met, or what exceeds it is PyTorch's own rounding and not the file's."""
        if self.rounding is None:
            return self.largest <= GOAL
        return self.rounding.of_file <= max(GOAL, self.rounding.of_torch)

    def __str__(self) -> str:
        text = f"largest difference {self.largest:.1e} ({self.where}) over {self.cases} cases"
        if self.labels:
            text += f"; {self.labels:.2%} of labels differ"
        if self.rounding is not None:
            text += f"; from float64, the file {self.rounding.of_file:.1e} and PyTorch {self.rounding.of_torch:.1e}"
        return text


def verify(
    model: SequenceModel,
    task: Task,
    codec: Codec,
    run: Run,
    lengths: Sequence[int] = LENGTHS,
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> Difference:
    """Return the largest difference between a model and its export, over every length, batch size, and in chunks.

    Inputs are made up, with rows of unequal length.
    """
    program = Program(model, task, codec)
    comparison = _Comparison()
    rounding: Rounding | None = None
    with evaluating(model):
        for num_steps, batch_size in product(lengths, batch_sizes):
            arguments = program.example(batch_size, num_steps, seed=num_steps)
            true, state = _reference(model, task, codec, program, arguments)
            case = f"{batch_size} x {arguments[0].shape[1]}"
            said = run(dict(zip(program.arguments, arguments, strict=True)))
            here = _Comparison()
            for name, each in true.items():
                here.add(f"{name}, {case}", said[name], each.tensor)
            here.add_state(case, program, said, state)
            if program.stateful and program.reading.chunks and len(_chunks(arguments[0].shape[1], program.reading)) > 1:
                _compare_chunks(here, f"{case} in chunks", program, arguments, true, state, run)
            if here.result().largest > GOAL:
                off = _rounding(model, task, codec, program, arguments, said)
                rounding = off if rounding is None else Rounding(*map(max, rounding, off))
            comparison.take(here)
    return comparison.result()._replace(rounding=rounding)


def _rounding(
    model: SequenceModel, task: Task, codec: Codec, program: Program, arguments: list[Tensor], said: dict[str, Tensor]
) -> Rounding:
    """Return how far the file and the model are from the model in float64."""
    doubled = [part.double() if part.is_floating_point() else part for part in arguments]
    exact = _reference(copy.deepcopy(model).double(), task, codec, program, doubled)
    plain = _reference(model, task, codec, program, arguments)
    of_file, of_torch = _Comparison(), _Comparison()
    for name, each in exact[0].items():
        of_file.add(name, said[name], each.tensor)
        of_torch.add(name, plain[0][name].tensor, each.tensor)
    of_file.add_state("", program, said, exact[1])
    after = {f"next_{name}": part for name, part in zip(program.state_names, plain[1], strict=True)}
    of_torch.add_state("", program, after, exact[1])
    return Rounding(of_file.result().largest, of_torch.result().largest)


def _reference(
    model: SequenceModel, task: Task, codec: Codec, program: Program, arguments: list[Tensor]
) -> tuple[dict[str, Named], list[Tensor]]:
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
    return named, tensors_of(after) if program.stateful else []


def _compare_chunks(
    comparison: _Comparison,
    case: str,
    program: Program,
    arguments: list[Tensor],
    true: dict[str, Named],
    state: list[Tensor],
    run: Run,
) -> None:
    named = dict(zip(program.arguments, arguments, strict=True))
    num_steps = named["inputs"].shape[1]
    parts: list[dict[str, Tensor]] = []
    for start, stop in _chunks(num_steps, program.reading):
        chunk = named | {"inputs": named["inputs"][:, start:stop].contiguous()}
        if "lengths" in named:
            chunk["lengths"] = (named["lengths"] - start).clamp(0, stop - start)
        parts.append(run(chunk))
        named |= {name: parts[-1][f"next_{name}"] for name in program.state_names}
    whole_B = named["lengths"] == num_steps if "lengths" in named else slice(None)
    for name, each in true.items():
        if each.in_chunks == "join":
            comparison.add(f"{name}, {case}", torch.cat([part[name] for part in parts], 1), each.tensor)
        elif each.in_chunks == "last":  # of the rows that reach into the last chunk
            comparison.add(f"{name}, {case}", parts[-1][name][whole_B], each.tensor[whole_B])
    comparison.add_state(case, program, parts[-1], state)


def _chunks(num_steps: int, reading: Reading) -> list[tuple[int, int]]:
    """Return starts and stops of up to three chunks, of which none is too short for the model."""
    size = reading.steps(-(-num_steps // NUM_CHUNKS))
    starts = range(0, max(1, num_steps - reading.least_steps + 1), size)
    return list(zip(starts, [*starts[1:], num_steps], strict=True))


class _Comparison:
    """The largest difference so far."""

    def __init__(self) -> None:
        self._largest, self._where, self._cases = 0.0, "none", 0
        self._labels, self._wrong = 0, 0

    def add(self, where: str, said: Tensor, true: Tensor) -> None:
        assert said.shape == true.shape, f"{where}: {tuple(said.shape)} and {tuple(true.shape)}"
        self._cases += 1
        if not true.is_floating_point():
            self._labels += true.numel()
            self._wrong += int((said != true).sum())
            return
        scale = max(1.0, float(true.abs().max())) if true.numel() else 1.0
        largest = float((said - true).abs().max()) / scale if true.numel() else 0.0
        # What is not a number is further off than any number.
        largest = torch.inf if largest != largest else largest
        if largest > self._largest or self._cases == 1:
            self._largest, self._where = largest, where

    def add_state(self, case: str, program: Program, said: dict[str, Tensor], true: list[Tensor]) -> None:
        for name, part in zip(program.state_names, true, strict=True):
            self.add(f"{name}, {case}", said[f"next_{name}"], part)

    def take(self, other: _Comparison) -> None:
        """Add what another has compared."""
        if other._largest > self._largest or not self._cases:
            self._largest, self._where = other._largest, other._where
        self._cases += other._cases
        self._labels += other._labels
        self._wrong += other._wrong

    def result(self) -> Difference:
        return Difference(self._largest, self._where, self._wrong / max(self._labels, 1), self._cases)
