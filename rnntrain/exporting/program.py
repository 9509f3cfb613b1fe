"""A model as a function of named tensors, the state among them, that torch can trace for any batch size and length."""

# B batch, T time

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rnntrain.batch import Batch
from rnntrain.cells.base import Recurrent, State
from rnntrain.data.base import Codec
from rnntrain.data.spelt_words import FIRST_CHAR
from rnntrain.eager import load_compiler
from rnntrain.errors import UserError
from rnntrain.exporting.layers import like, tensors_of
from rnntrain.exporting.outputs import GRAPH, InChunks, Named, named_outputs
from rnntrain.exporting.reading import Reading, reading_of
from rnntrain.exporting.replacing import make_exportable
from rnntrain.models.sequence import SequenceModel
from rnntrain.tasks.base import Task

# Of the example that is traced: no two alike, and none 0 or 1, which a trace takes for numbers that never change.
EXAMPLE_BATCH, EXAMPLE_STEPS = 3, 5


class Kind(NamedTuple):
    """An output of a program: its type, its dimensions by name or size, and the rest of `Named`."""

    dtype: torch.dtype
    shape: tuple[str | int, ...]
    in_chunks: InChunks
    meaning: str


class _Told:
    """What a trace found out: a trace puts a module's own attributes back as they were."""

    def __init__(self) -> None:
        self.outputs: dict[str, Kind] = {}


class Program(nn.Module):
    """``(inputs, lengths, context, *state) -> (*outputs, *state)``, of what the model has.

    A model whose outputs depend on later inputs starts from its initial state and gives none, as no chunk goes on
    from another.

    Args:
        model: trained; it is copied, and stays as it is.
        kernel: gives what a format has of its own for a recurrence, or None.
        precise: compute in float64 throughout, the state too, so that chunks lose nothing either; inputs and outputs
            are what they are in float32.
    """

    def __init__(
        self,
        model: SequenceModel,
        task: Task,
        codec: Codec,
        kernel: Callable[[Recurrent], Recurrent | None] = lambda _: None,
        precise: bool = False,
    ) -> None:
        super().__init__()
        load_compiler()
        self.precise = precise
        self.model = copy.deepcopy(model).cpu().to(torch.float64 if precise else torch.float32)
        self.model.eval().requires_grad_(False)
        self.reading: Reading = reading_of(self.model)
        self.stateful = not self.model.backbone.bidirectional
        self._pattern = self.model.initial_state(1)
        make_exportable(self.model, kernel)
        self._task, self._codec = task, codec
        self._told = _Told()

    @property
    def outputs(self) -> dict[str, Kind]:
        """What the program gives beside the state, by name and in order, once it has been traced."""
        return self._told.outputs

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs that the model has, in order, without the state."""
        named = {"inputs": True, "lengths": self.reading.lengths, "context": self.reading.context}
        return [name for name, has in named.items() if has]

    @property
    def state_names(self) -> list[str]:
        """Names of the tensors of the state: the layer, then the places within its state."""
        return [f"state_{name}" for name in _places(self._pattern)] if self.stateful else []

    @property
    def arguments(self) -> list[str]:
        """Names of all inputs in order."""
        return [*self.input_names, *self.state_names]

    def initial_state(self, batch_size: int) -> list[Tensor]:
        """Return the tensors of the state before the first step, none of them twice."""
        return [part.clone() for part in tensors_of(self.model.initial_state(batch_size))] if self.stateful else []

    def example(self, batch_size: int = EXAMPLE_BATCH, num_steps: int = EXAMPLE_STEPS, seed: int = 0) -> list[Tensor]:
        """Return made-up arguments, from the initial state; rows end anywhere, the first at the last step."""
        generator = torch.Generator().manual_seed(seed)
        num_steps = self.reading.steps(num_steps)
        arguments = [self.reading.inputs(batch_size, num_steps, generator)]
        if self.reading.lengths:
            lengths_B = torch.randint(num_steps + 1, (batch_size,), generator=generator)
            lengths_B[0] = num_steps
            arguments.append(lengths_B)
        if self.reading.context:
            arguments.append(self.reading.horizon(batch_size, generator))
        return [*arguments, *self.initial_state(batch_size)]

    def batch(self, arguments: list[Tensor]) -> Batch:
        """Return the batch that some arguments make."""
        named = dict(zip(self.input_names, arguments, strict=False))
        return Batch(named["inputs"], named["inputs"], named.get("lengths"), context=named.get("context"))

    def state(self, arguments: list[Tensor]) -> State:
        """Return the state among some arguments, nested as the model has it; None where there is none."""
        return like(self._pattern, iter(arguments[len(self.input_names) :])) if self.stateful else None

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        given = [part.double() if self.precise and part.is_floating_point() else part for part in arguments]
        batch = self.batch(given)
        output, state = self.model(batch, self.state(given))
        named = named_outputs(output, state, batch, self.model, self._task, self._codec, GRAPH)
        if self.precise:
            named = {name: each.single() for name, each in named.items()}
        self._told.outputs = {name: _kind(each) for name, each in named.items()}
        return *(each.tensor for each in named.values()), *(tensors_of(state) if self.stateful else [])

    def trace(self) -> torch.export.ExportedProgram:
        """Return the traced program, for any batch size and number of steps; `outputs` then says what it gives.

        Raises:
            UserError: if torch cannot trace it, as it may be with a cell of one's own.
        """
        batch = torch.export.Dim("batch")
        dims: dict[str | int, Any] = {"batch": batch, "features": torch.export.Dim("features", min=FIRST_CHAR + 2)}
        dims["time"] = torch.export.Dim("time")
        if self.reading.unit > 1:
            dims["time"] = self.reading.unit * torch.export.Dim("pieces")
        elif self.reading.least_steps > 1:
            dims["time"] = torch.export.Dim("time", min=self.reading.least_steps)
        inputs = {axis: dims[dim] for axis, dim in enumerate(self.reading.dims) if isinstance(dim, str)}
        shapes = [inputs, *({0: batch} for _ in self.arguments[1:])]
        example = self.example(num_steps=max(EXAMPLE_STEPS, 2 * self.reading.unit, self.reading.least_steps + 1))
        with quiet(), torch.no_grad():
            try:
                return torch.export.export(self, tuple(example), dynamic_shapes=(tuple(shapes),))
            except UserError:
                raise
            except Exception as error:
                raise untraceable(self.model, error) from error


def _kind(output: Named) -> Kind:
    shape = (*output.dims, *output.tensor.shape[len(output.dims) :])
    return Kind(output.tensor.dtype, shape, output.in_chunks, output.meaning)


def _places(state: State, place: str = "") -> list[str]:
    if not isinstance(state, tuple):
        return [place]
    return [name for number, part in enumerate(state) for name in _places(part, f"{place}_{number}".lstrip("_"))]


def untraceable(model: SequenceModel, error: Exception) -> UserError:
    """Return one line that names the cells and what the exporter said of them."""
    cells = sorted({type(getattr(layer, "cell", layer)).__name__ for layer in model.backbone.layers})
    cause: BaseException = error
    while cause.__cause__ is not None:  # exporters wrap what went wrong in advice on how to report it
        cause = cause.__cause__
    said = " ".join(str(cause).split())
    said = said.partition("Got graph break/error: ")[2] or said
    return UserError(
        f"export: {', '.join(cells)} cannot be exported ({said[:200]}); its `step` must be made of tensor operations "
        "alone, without branches on their values"
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what torch's exporters say of their own workings."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.__trace", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        # A graph that cannot be traced is printed too.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            # Of weights that share memory; the file holds each of them.
            warnings.filterwarnings("ignore", message="No complete tensor found in the group")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
