"""A whole model: input layer, recurrent backbone, head."""

# B batch, T time, D embedding, H hidden

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from rnntrain.batch import Batch
from rnntrain.cells.base import Recurrent, State, select_rows
from rnntrain.errors import UserError
from rnntrain.models.backbone import Backbone
from rnntrain.models.pooling import Pooling
from rnntrain.ranges import DropoutRate, PositiveInt


class SequenceModel(nn.Module):
    """Input layer → dropout → backbone → dropout → head.

    Args:
        input_layer: given the width D, builds the module from a batch's inputs to ``x_BTD``; the task's.
        head: given the backbone's width, builds the module from ``y_BTH`` and the batch to the output, or from
            ``y_BH`` alone where the model runs step by step; the task's.
        cell: builds one recurrence from ``(input_size, hidden_size)``.
        hidden_size: width H of each recurrence.
        num_layers: depth of the stack.
        embedding_size: width D of what the input layer gives; `hidden_size` where None.
        dropout: share dropped between layers.
        input_dropout: share dropped of the input layer's output.
        output_dropout: share dropped before the head.
        residual: add each layer's input to its output, where their widths agree.
        norm: layer norm between layers and on the output.
        bidirectional: read in both directions; such a model cannot generate.
        tie_embeddings: one matrix for input embedding and output layer.
    """

    def __init__(
        self,
        input_layer: Callable[[int], nn.Module],
        head: Callable[[int], nn.Module],
        cell: Callable[[int, int], Recurrent],
        hidden_size: PositiveInt = 256,
        num_layers: PositiveInt = 1,
        embedding_size: PositiveInt | None = None,
        dropout: DropoutRate = 0.0,
        input_dropout: DropoutRate = 0.0,
        output_dropout: DropoutRate = 0.0,
        residual: bool = False,
        norm: bool = False,
        bidirectional: bool = False,
        tie_embeddings: bool = False,
    ) -> None:
        super().__init__()
        embedding_size = embedding_size or hidden_size
        self.input = input_layer(embedding_size)
        self.backbone = Backbone(
            embedding_size,
            hidden_size,
            cell,
            num_layers=num_layers,
            dropout=dropout,
            residual=residual,
            norm=norm,
            bidirectional=bidirectional,
        )
        self.head = head(self.backbone.output_size)
        for part in self.head.modules():
            if isinstance(part, Pooling):
                part.bidirectional = bidirectional
        self.input_dropout = nn.Dropout(input_dropout)
        self.output_dropout = nn.Dropout(output_dropout)
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
        x_BTD = self.input_dropout(self.input(batch.inputs))
        y_BTH, state = self.backbone(x_BTD, state, batch.lengths_B)
        return self.head(self.output_dropout(y_BTH), batch), state

    def step(self, inputs_B: Tensor, state: State) -> tuple[Any, State]:
        """Return the head's output for one time step and the next state."""
        x_BD = self.input_dropout(self.input(inputs_B))
        y_BH, state = self.backbone.step(x_BD, state)
        return self.head(self.output_dropout(y_BH)), state
