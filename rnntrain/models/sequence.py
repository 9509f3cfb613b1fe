"""A whole model: input layer, recurrent backbone, head."""

# B batch, T time, D embedding, H hidden

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rnntrain.batch import Batch
from rnntrain.cells.base import State, select_rows, zero_padding
from rnntrain.errors import UserError
from rnntrain.models.backbone import Backbone, CellFactory, Residual, drop
from rnntrain.models.pooling import Pooling
from rnntrain.ranges import DropoutRate, LayerCount, NonNegativeFloat, PositiveFloat, PositiveInt


class SequenceModel(nn.Module):
    """Input layer → dropout → backbone → dropout → head.

    Args:
        input_layer: given the width D, builds the module from a batch's inputs to ``x_BTD``; the task's.
        head: given the backbone's width, builds the module from ``y_BTH`` and the batch to the output, or from
            ``y_BH`` alone where the model runs step by step; the task's.
        cell: builds one recurrence from ``(input_size, hidden_size)``; a sequence has one for each layer.
        hidden_size: width H of each recurrence.
        num_layers: depth of the stack.
        embedding_size: width D of what the input layer gives; `hidden_size` where None.
        raw_inputs: give the first recurrence the numbers as they are, without a linear layer before it. That layer
            mixes the features: where one of them is rare, such as a mark, its gradient is lost in those of the others.
        dropout: share dropped between layers.
        input_dropout: share dropped of the input layer's output.
        output_dropout: share dropped before the head.
        residual: add each layer's input to its output, where their widths agree; "highway" weighs the two by a gate.
        norm: layer norm between layers and on the output.
        bidirectional: read in both directions; such a model cannot generate.
        tie_embeddings: one matrix for input embedding and output layer.
        feed_forward: width of a feed-forward part after each layer, in multiples of the layer's; null for none.
        dense: let the output read every layer, not the last alone.
        activation_penalty: α of α·mean(y²) over the outputs after dropout, added to the training loss.
        change_penalty: β of β·mean((y_{t+1} - y_t)²) over the outputs before dropout, added to the training loss
            (Merity, McCann and Socher 2017, arXiv:1708.01009, call them AR and TAR).
    """

    def __init__(
        self,
        input_layer: Callable[[int], nn.Module],
        head: Callable[[int], nn.Module],
        cell: CellFactory | Sequence[CellFactory],
        hidden_size: PositiveInt = 256,
        num_layers: LayerCount = 1,
        embedding_size: PositiveInt | None = None,
        raw_inputs: bool = False,
        dropout: DropoutRate = 0.0,
        input_dropout: DropoutRate = 0.0,
        output_dropout: DropoutRate = 0.0,
        residual: Residual = False,
        norm: bool = False,
        bidirectional: bool = False,
        tie_embeddings: bool = False,
        feed_forward: PositiveFloat | None = None,
        dense: bool = False,
        activation_penalty: NonNegativeFloat = 0.0,
        change_penalty: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__()
        width = embedding_size or hidden_size
        self.input = input_layer(width)
        if raw_inputs:
            self.input = raw_input(self.input, embedding_size)
            width = self.input.in_features
        self.backbone = Backbone(
            width,
            hidden_size,
            cell,
            num_layers=num_layers,
            dropout=dropout,
            residual=residual,
            norm=norm,
            bidirectional=bidirectional,
            feed_forward=feed_forward,
            dense=dense,
        )
        self.head = head(self.backbone.output_size)
        for part in self.head.modules():
            if isinstance(part, Pooling):
                part.backward_H = self.backbone.backward_H
        self.input_dropout = nn.Dropout(input_dropout)
        self.output_dropout = nn.Dropout(output_dropout)
        self.activation_penalty, self.change_penalty = activation_penalty, change_penalty
        self.penalty: Tensor | None = None
        if tie_embeddings:
            tie = getattr(self.head, "tie", None)
            if tie is None:
                raise UserError(
                    f"model.tie_embeddings=true: {type(self.head).__name__} has no embedding to share; use false"
                )
            tie(self.input)

    def initial_state(self, batch_size: int) -> State:
        return self.backbone.initial_state(batch_size)

    def forward(self, batch: Batch, state: State = None) -> tuple[Any, State]:
        """Return the head's output for a batch and the state after it; rows marked fresh start from the initial one."""
        if state is not None and batch.fresh_B is not None:
            state = select_rows(batch.fresh_B, self.initial_state(batch.batch_size), state)
        x_BTD = drop(self.input_dropout, self.input(batch.inputs))
        y_BTH, state = self.backbone(x_BTD, state, batch.lengths_B)
        dropped_BTH = drop(self.output_dropout, y_BTH)
        self.penalty = self._penalty(y_BTH, dropped_BTH, batch) if self.training else None
        return self.head(dropped_BTH, batch), state

    def _penalty(self, y_BTH: Tensor, dropped_BTH: Tensor, batch: Batch) -> Tensor | None:
        """Return what regularisation adds to the mean loss of the batch, None for nothing; padding does not count."""
        if not self.activation_penalty and not self.change_penalty:
            return None
        penalty = self.activation_penalty * dropped_BTH.float().square().sum() / (batch.num_steps * y_BTH.shape[-1])
        if self.change_penalty and y_BTH.shape[1] > 1:
            change_BTH = y_BTH[:, 1:].float() - y_BTH[:, :-1].float()
            if batch.lengths_B is not None:
                change_BTH = zero_padding(change_BTH, batch.lengths_B - 1)
            penalty = penalty + self.change_penalty * change_BTH.square().sum() / (batch.num_steps * y_BTH.shape[-1])
        return penalty

    def step(self, inputs_B: Tensor, state: State) -> tuple[Any, State]:
        """Return the head's output for one time step and the next state."""
        x_BD = drop(self.input_dropout, self.input(inputs_B))
        y_BH, state = self.backbone.step(x_BD, state)
        return self.head(drop(self.output_dropout, y_BH)), state


class RawInput(nn.Identity):
    """Gives the numbers of a step as they are."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.in_features = in_features


def raw_input(layer: nn.Module, embedding_size: int | None) -> RawInput:
    """Return what takes the place of a task's input layer.

    Raises:
        UserError: if that is no linear layer over numbers, or a width is asked for.
    """
    if not isinstance(layer, nn.Linear):
        raise UserError(f"model.raw_inputs=true: {type(layer).__name__} reads what are not plain numbers; use false")
    if embedding_size is not None:
        raise UserError(f"model.embedding_size={embedding_size}: raw inputs are as wide as they are; set it to null")
    return RawInput(layer.in_features)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch dropout and the like off within the context, and gradients too; afterwards the model is as it was."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
