"""A stack of recurrences: depth, direction, residual connections, normalisation and dropout."""

# B batch, T time, D input, H hidden

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn

from rnntrain.batch import flip_by_length
from rnntrain.cells.base import Recurrent, State, zero_padding
from rnntrain.errors import UserError
from rnntrain.ranges import DropoutRate, PositiveInt

# Builds one recurrence from (input_size, hidden_size): a cell's class, or a partial of one.
CellFactory: TypeAlias = Callable[[int, int], Recurrent]


class Backbone(Recurrent):
    """Layers of one kind of recurrence, each reading the one below.

    With all options on, layer l reads ``dropout(norm(s_{l-1}))`` and adds to the stream,
    ``s_l = s_{l-1} + layer(...)``; the output is ``norm(s_L)``. One by one:

    - Dropout falls on what one layer reads from another (Zaremba et al. 2014, arXiv:1409.2329): not on the first
      layer's input nor on the output, which belong to `SequenceModel`, and not between time steps.
    - A residual connection passes each layer whose input is as wide as its output. Where the first layer changes
      the width it has none: nothing is projected, so no weights appear that nobody asked for.
    - One layer norm stands after each layer. With residual connections this is pre-norm: the next layer, or the
      output, reads the normalised stream and the stream itself stays untouched, so that gradients reach every
      layer through an unbroken sum (Xiong et al. 2020, arXiv:2002.04745). The first layer reads its input as it
      is: its scale is the input layer's choice, and a norm over one or two features would erase them.
    - Bidirectional layers read both directions of the layer below (Schuster and Paliwal 1997).

    The state is a tuple with one entry a layer.

    Args:
        input_size: width D of the input.
        hidden_size: width H of each recurrence.
        cell: builds one recurrence from ``(input_size, hidden_size)``.
        num_layers: depth of the stack.
        dropout: share dropped between layers.
        residual: add each layer's input to its output.
        norm: layer norm between layers and on the output.
        bidirectional: two recurrences a layer, one for each direction; `output_size` is the sum of theirs.
            Chunks then do not equal the whole, and there is no `step`.

    Raises:
        UserError: if `residual` is set and no layer's input is as wide as its output.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        cell: CellFactory,
        num_layers: PositiveInt = 1,
        dropout: DropoutRate = 0.0,
        residual: bool = False,
        norm: bool = False,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        layers: list[Recurrent] = []
        for _ in range(num_layers):
            width = layers[-1].output_size if layers else input_size
            ahead = cell(width, hidden_size)
            layers.append(Bidirectional(ahead, cell(width, hidden_size)) if bidirectional else ahead)
        self.input_size, self.output_size = input_size, layers[-1].output_size
        self.bidirectional = any(layer.bidirectional for layer in layers)
        if residual and not any(layer.input_size == layer.output_size for layer in layers):
            raise UserError(
                f"model.residual=true adds nothing: the one layer takes {input_size} to {self.output_size}; "
                f"set model.embedding_size={self.output_size} or model.residual=false"
            )
        self.residual, self.norm = residual, norm
        self.layers = nn.ModuleList(layers)
        widths = [layer.output_size for layer in layers]
        self.norms = nn.ModuleList(nn.LayerNorm(width) if norm else nn.Identity() for width in widths)
        self.dropout = nn.Dropout(dropout)

    def initial_state(self, batch_size: int) -> State:
        return tuple(layer.initial_state(batch_size) for layer in self._layers())

    def forward(self, x_BTD: Tensor, state: State = None, lengths_B: Tensor | None = None) -> tuple[Tensor, State]:
        if state is None:
            state = self.initial_state(x_BTD.shape[0])
        if self.residual and lengths_B is not None:
            # A layer cleans what it reads itself, but the stream passes it by.
            x_BTD = zero_padding(x_BTD, lengths_B)
        y_BTH, state = self.climb(x_BTD, state, lambda layer, x, before: layer(x, before, lengths_B))
        if self.norm and lengths_B is not None:
            # The norm of zeros is its bias.
            y_BTH = zero_padding(y_BTH, lengths_B)
        return y_BTH, state

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        return self.climb(x_BD, state, lambda layer, x, before: layer.step(x, before))

    def climb(
        self, x: Tensor, state: State, run: Callable[[Recurrent, Tensor, State], tuple[Tensor, State]]
    ) -> tuple[Tensor, State]:
        """Pass `x` through all layers; `run` takes each of them over a sequence, or over one step."""
        stream = x
        after: list[State] = []
        for layer, norm, before in zip(self._layers(), self.norms, state, strict=True):
            y, layer_state = run(layer, drop(self.dropout, x) if after else x, before)
            stream = stream + y if self.residual and layer.input_size == layer.output_size else y
            x = norm(stream) if self.norm else stream
            after.append(layer_state)
        return x, tuple(after)

    def _layers(self) -> Iterator[Recurrent]:
        return (cast(Recurrent, layer) for layer in self.layers)


def drop(dropout: nn.Dropout, x: Tensor) -> Tensor:
    """Apply a dropout, unless it drops nothing: a small model would notice the call."""
    return x if dropout.p == 0.0 else dropout(x)


class Bidirectional(Recurrent):
    """Two recurrences over one sequence, one from each end; outputs are concatenated, the state is a pair.

    The second starts at each row's last valid step: rows are reversed within their own lengths.
    """

    bidirectional = True

    def __init__(self, ahead: Recurrent, back: Recurrent) -> None:
        super().__init__()
        self.input_size, self.output_size = ahead.input_size, ahead.output_size + back.output_size
        self.ahead, self.back = ahead, back

    def initial_state(self, batch_size: int) -> State:
        return self.ahead.initial_state(batch_size), self.back.initial_state(batch_size)

    def forward(self, x_BTD: Tensor, state: State = None, lengths_B: Tensor | None = None) -> tuple[Tensor, State]:
        ahead_state, back_state = self.initial_state(x_BTD.shape[0]) if state is None else state
        ahead_BTH, ahead_state = self.ahead(x_BTD, ahead_state, lengths_B)
        back_BTH, back_state = self.back(flip_by_length(x_BTD, lengths_B), back_state, lengths_B)
        y_BTH = torch.cat([ahead_BTH, flip_by_length(back_BTH, lengths_B)], -1)
        return y_BTH, (ahead_state, back_state)

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        raise NotImplementedError(
            "a bidirectional model cannot run step by step, its outputs depend on later inputs; "
            "set model.bidirectional=false"
        )
