"""What a model reads: the shapes and types of its inputs, and made-up examples of them to trace and compare with."""

# B batch, T time, F features, S steps of a horizon, C targets

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rnntrain.data.spelt_words import FIRST_CHAR, SHAPES
from rnntrain.errors import UserError
from rnntrain.models.sequence import RawInput, SequenceModel
from rnntrain.models.word_input import WordInput
from rnntrain.tasks.forecast.heads import WindowInput

LONGEST_WORD = 9  # characters, in examples


@dataclass(frozen=True)
class Reading:
    """The inputs of one model, from its input layer.

    Attributes:
        unit: the number of steps is a multiple of it.
        least_steps: and at least so many.
        lengths: whether rows may be of unequal length.
        context: whether the head reads what is known of the horizon.
        chunks: whether a sequence may come in pieces, as far as the input layer goes.
        dims: of the inputs, by name or size.
    """

    layer: nn.Module
    unit: int = 1
    least_steps: int = 1
    lengths: bool = True
    context: bool = False
    chunks: bool = True
    dims: tuple[str | int, ...] = ("batch", "time")

    def steps(self, wanted: int) -> int:
        """Return the least possible number of steps from the wanted one on."""
        return -(-max(wanted, self.least_steps) // self.unit) * self.unit

    def inputs(self, batch_size: int, num_steps: int, generator: torch.Generator) -> Tensor:
        """Return made-up inputs: indices over the whole vocabulary, or numbers of mean 0 and deviation 1."""
        rows = (batch_size, num_steps)
        if isinstance(self.layer, WordInput):
            return _words(self.layer, rows, generator)
        if isinstance(self.layer, nn.Embedding):
            return torch.randint(self.layer.num_embeddings, rows, generator=generator)
        return torch.randn(*rows, int(self.dims[-1]), generator=generator)

    def horizon(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Return made-up context of a forecast: the number of the series, the last values, the calendar."""
        assert isinstance(self.layer, WindowInput)
        layout = self.layer.layout
        shape = (batch_size, layout.horizon)
        series = torch.randint(len(layout.series), (batch_size, 1, 1), generator=generator).expand(*shape, 1)
        level = 1 + torch.rand(batch_size, 1, layout.num_targets, generator=generator)
        calendar = torch.randn(*shape, layout.num_calendar, generator=generator)
        return torch.cat([series.float(), level.expand(*shape, -1), calendar], -1)


def reading_of(model: SequenceModel) -> Reading:
    """Return what a model reads.

    Raises:
        UserError: if its input layer is of a kind that is not known here.
    """
    layer = model.input
    if isinstance(layer, WordInput):
        return Reading(layer, dims=("batch", "time", "features"))
    if isinstance(layer, WindowInput):
        season = layer.layout.season if layer.norm == "season" else None
        # A trace of torch takes the shape of one segment alone for another than that of several.
        least = min(2 * layer.segment, layer.layout.window) if layer.segment else 1
        return Reading(
            layer,
            unit=layer.segment or 1,
            least_steps=max(season or 1, least),
            lengths=False,
            context=True,
            chunks=layer.norm == "none",
            dims=("batch", "time", layer.layout.num_inputs),
        )
    for part in layer.modules():
        if isinstance(part, nn.Embedding):
            return Reading(part)
        if isinstance(part, nn.Linear | RawInput):
            return Reading(part, dims=("batch", "time", part.in_features))
    raise UserError(
        f"export: the input layer {type(layer).__name__} is of a kind whose inputs are not known; "
        "export takes layers that begin with an embedding or a linear layer"
    )


def _words(layer: WordInput, rows: tuple[int, int], generator: torch.Generator) -> Tensor:
    def draw(below: int, *more: int, start: int = 0) -> Tensor:
        return torch.randint(start, below, (*rows, *more), generator=generator)

    characters = 2 if layer.spelling is None else layer.spelling.num_chars
    assert isinstance(characters, int)
    counts_BT1 = draw(LONGEST_WORD + 1, 1, start=1)
    chars_BTC = draw(characters, LONGEST_WORD)
    words_BTF = torch.cat([draw(layer.word.num_embeddings, 1), draw(len(SHAPES), 1), counts_BT1, chars_BTC], -1)
    assert words_BTF.shape[-1] == FIRST_CHAR + LONGEST_WORD
    return words_BTF
