"""A stack of recurrences: depth, direction, residual connections, normalisation and dropout."""

# B batch, T time, D input, H hidden

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from rnntrain.batch import flip_by_length
from rnntrain.cells.base import Recurrent, State, zero_padding
from rnntrain.errors import UserError
from rnntrain.ranges import DropoutRate, LayerCount, PositiveFloat, PositiveInt

# Builds one recurrence from (input_size, hidden_size): a cell's class, or a partial of one.
CellFactory: TypeAlias = Callable[[int, int], Recurrent]
Residual: TypeAlias = bool | Literal["highway"]

CARRY_BIAS = -1.0  # where the gates of a highway start: σ(-1) = 0.27 of the layer, the rest of its input


class Backbone(Recurrent):
    """Layers of recurrences, each reading the one below.

    With all options on, layer l reads ``dropout(norm(s_{l-1}))`` and adds to the stream,
    ``s_l = s_{l-1} + layer(...)``, then ``s_l = s_l + feed_forward(s_l)``; the output is ``norm(s_L)``. One by one:

    - Dropout falls on what one layer reads from another (Zaremba et al. 2014, arXiv:1409.2329): not on the first
      layer's input nor on the output, which belong to `SequenceModel`, and not between time steps.
    - A residual connection passes each layer whose input is as wide as its output. Where the first layer changes
      the width it has none: nothing is projected, so no weights appear that nobody asked for.
    - A highway (Srivastava et al. 2015, arXiv:1505.00387) weighs the two in place of adding them,
      ``s_l = t ⊙ layer(...) + (1 - t) ⊙ s_{l-1}`` with t = σ(W s_{l-1} + b), b starting at -1.
    - One layer norm stands after each layer. With residual connections this is pre-norm: the next layer, or the
      output, reads the normalised stream and the stream itself stays untouched, so that gradients reach every
      layer through an unbroken sum (Xiong et al. 2020, arXiv:2002.04745). The first layer reads its input as it
      is: its scale is the input layer's choice, and a norm over one or two features would erase them.
    - A feed-forward part after each layer makes it the block of a Transformer with a recurrence for its attention:
      ``W_2 gelu(W_1 norm(s))``, W_2 starting at zero.
    - Bidirectional layers read both directions of the layer below (Schuster and Paliwal 1997).
    - With `dense`, the output is what every layer gives, side by side (Graves 2013, arXiv:1308.0850).

    The state is a tuple with one entry a layer.

    Attributes:
        backward_H: True for the outputs that read a row from its end, and have read all of it at its first step.

    Args:
        input_size: width D of the input.
        hidden_size: width H of each recurrence.
        cell: builds one recurrence from ``(input_size, hidden_size)``; a sequence has one for each layer.
        num_layers: depth of the stack.
        dropout: share dropped between layers.
        residual: add each layer's input to its output, or weigh the two ("highway").
        norm: layer norm between layers and on the output.
        bidirectional: two recurrences a layer, one for each direction; `output_size` is the sum of theirs.
            Chunks then do not equal the whole, and there is no `step`.
        feed_forward: width of a feed-forward part after each layer, in multiples of the layer's; None for none.
        dense: let the output read every layer.

    Raises:
        UserError: if `residual` is set and no layer's input is as wide as its output, or `feed_forward` is set
            without `residual`, or a sequence of cells is not as long as `num_layers`.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        cell: CellFactory | Sequence[CellFactory],
        num_layers: LayerCount = 1,
        dropout: DropoutRate = 0.0,
        residual: Residual = False,
        norm: bool = False,
        bidirectional: bool = False,
        feed_forward: PositiveFloat | None = None,
        dense: bool = False,
    ) -> None:
        super().__init__()
        self.backward_H: Tensor
        cells = list(cell) if isinstance(cell, Sequence) else [cell] * num_layers
        if len(cells) != num_layers:
            raise UserError(
                f"model.num_layers={num_layers}: there are {len(cells)} cells, one a layer; set it to {len(cells)}"
            )
        layers: list[Recurrent] = []
        for build in cells:
            width = layers[-1].output_size if layers else input_size
            ahead = build(width, hidden_size)
            # What reads both directions by itself, as an encoder does, is not taken twice.
            twice = bidirectional and not ahead.bidirectional
            layers.append(Bidirectional(ahead, build(width, hidden_size)) if twice else ahead)
        widths = [layer.output_size for layer in layers]
        self.input_size, self.output_size = input_size, sum(widths) if dense else widths[-1]
        self.bidirectional = any(layer.bidirectional for layer in layers)
        backward = [_is_backward(layer) for layer in layers]
        self.register_buffer("backward_H", torch.cat(backward if dense else backward[-1:]), persistent=False)
        passed = [layer.output_size if layer.input_size == layer.output_size else 0 for layer in layers]
        if residual and not any(passed):
            raise UserError(
                f"model.residual={str(residual).lower()} adds nothing: the one layer takes {input_size} to "
                f"{widths[-1]}; set model.embedding_size={widths[-1]} or model.residual=false"
            )
        if feed_forward is not None and not residual:
            raise UserError(
                f"model.feed_forward={feed_forward:g}: is added to a stream, which needs model.residual=true; set it"
            )
        self.residual, self.norm, self.dense = residual, norm, dense
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(nn.LayerNorm(width) if norm else nn.Identity() for width in widths)
        self.carries = nn.ModuleList(map(_carry_gate, passed)) if residual == "highway" else None
        self.feed_forwards: nn.ModuleList | None = None
        if feed_forward is not None:
            self.feed_forwards = nn.ModuleList(FeedForward(width, feed_forward, dropout) for width in widths)
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
        if (self.norm or self.feed_forwards is not None) and lengths_B is not None:
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
        tops: list[Tensor] = []
        after: list[State] = []
        for number, (layer, before) in enumerate(zip(self._layers(), state, strict=True)):
            y, layer_state = run(layer, drop(self.dropout, x) if number else x, before)
            stream = self._join(number, layer, stream, y)
            if self.feed_forwards is not None:
                stream = stream + self.feed_forwards[number](stream)
            x = self.norms[number](stream) if self.norm else stream
            tops.append(x)
            after.append(layer_state)
        return torch.cat(tops, -1) if self.dense else x, tuple(after)

    def _join(self, number: int, layer: Recurrent, stream: Tensor, y: Tensor) -> Tensor:
        """Return the stream above a layer: what it gives, and what passes it by."""
        if not self.residual or layer.input_size != layer.output_size:
            return y
        if self.carries is None:
            return stream + y
        return stream + torch.sigmoid(self.carries[number](stream)) * (y - stream)

    def _layers(self) -> Iterator[Recurrent]:
        return (cast(Recurrent, layer) for layer in self.layers)


class FeedForward(nn.Module):
    """``dropout(W_2 gelu(W_1 norm(s)))``, the same at every step; W_2 and the biases start at zero."""

    def __init__(self, size: int, multiple: float, dropout: float) -> None:
        super().__init__()
        inner_size = max(1, round(multiple * size))
        self.norm = nn.LayerNorm(size)
        self.inner, self.outer = nn.Linear(size, inner_size), nn.Linear(inner_size, size)
        nn.init.xavier_uniform_(self.inner.weight)
        for start in (self.inner.bias, self.outer.weight, self.outer.bias):
            nn.init.zeros_(start)
        self.dropout = nn.Dropout(dropout)

    def forward(self, stream: Tensor) -> Tensor:
        return drop(self.dropout, self.outer(nn.functional.gelu(self.inner(self.norm(stream)))))


def _is_backward(layer: Recurrent) -> Tensor:
    """Say of each output of a layer whether it reads from the end."""
    backward_H = torch.zeros(layer.output_size, dtype=torch.bool)
    if isinstance(layer, Bidirectional):
        backward_H[layer.ahead.output_size :] = True
    return backward_H


def _carry_gate(size: int) -> nn.Module:
    """Build the gate of a highway past a layer; nothing where the layer changes the width."""
    if not size:
        return nn.Identity()
    gate = nn.Linear(size, size)
    nn.init.zeros_(gate.weight)
    nn.init.constant_(gate.bias, CARRY_BIAS)
    return gate


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
