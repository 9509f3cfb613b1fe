"""ONNX's own LSTM, GRU and RNN for the recurrences that are exactly these: one kernel in place of a loop of small ones.

Their weights stand in another order than PyTorch's: gates i, o, f, g of an LSTM and z, r, n of a GRU, with a first
dimension for directions.
"""

# B batch, T time, D input, H hidden, G gates of a step

from __future__ import annotations

from typing import Any

import torch
import torch.onnx.ops
from torch import Tensor, nn

from rnntrain.cells.base import Recurrent, State
from rnntrain.cells.gru import GRU
from rnntrain.cells.lstm import LSTM
from rnntrain.cells.rnn import RNN
from rnntrain.exporting.layers import Exported, tensors_of

OPSET = 18


class Kernel(Exported):
    """A recurrence as one ONNX operator over the whole sequence.

    Args:
        operator: its name in ONNX.
        kernel: the torch module that holds the weights.
        order: of the gates, by their places in PyTorch.
        attributes: of the operator, beside its width.
    """

    weight_1GD: Tensor
    weight_1GH: Tensor
    bias_1G: Tensor

    def __init__(
        self, cell: Recurrent, operator: str, kernel: nn.RNNBase, order: tuple[int, ...], attributes: dict[str, Any]
    ) -> None:
        super().__init__(cell)
        self.operator = operator
        self.attributes = {"hidden_size": cell.output_size, **attributes}
        weight_ih, weight_hh, bias_ih, bias_hh = (_in_order(weight, order) for weight in kernel.all_weights[0])
        self.register_buffer("weight_1GD", weight_ih[None])
        self.register_buffer("weight_1GH", weight_hh[None])
        self.register_buffer("bias_1G", torch.cat([bias_ih, bias_hh])[None])

    def run(self, x_BTD: Tensor, state: State, lengths_B: Tensor) -> tuple[Tensor, State]:
        before = tensors_of(state)
        num_steps, batch_size, width = x_BTD.shape[1], x_BTD.shape[0], self.output_size
        # The operator takes no row without a step: such a row runs one, which is forgotten.
        run_B = lengths_B.clamp(min=1).to(torch.int32)
        y_T1BH, *last = torch.onnx.ops.symbolic_multi_out(
            self.operator,
            [x_BTD.transpose(0, 1), self.weight_1GD, self.weight_1GH, self.bias_1G, run_B, *(h[None] for h in before)],
            self.attributes,
            dtypes=[x_BTD.dtype] * (1 + len(before)),
            shapes=[(num_steps, 1, batch_size, width), *[(1, batch_size, width)] * len(before)],
            version=OPSET,
        )
        some_B1 = (lengths_B > 0)[:, None]
        after = [torch.where(some_B1, new[0], old) for new, old in zip(last, before, strict=True)]
        return y_T1BH[:, 0].transpose(0, 1), tuple(after) if isinstance(state, tuple) else after[0]


def _in_order(weight_G: Tensor, order: tuple[int, ...]) -> Tensor:
    gates = weight_G.detach().chunk(len(order))
    return torch.cat([gates[gate] for gate in order])


def with_kernel(layer: Recurrent) -> Recurrent | None:
    """Return a recurrence on ONNX's operator for it; None where there is none."""
    # Not their subclasses, whose equations may be others; IRNN starts otherwise and is an RNN.
    if type(layer) is LSTM:
        return Kernel(layer, "LSTM", layer.lstm, (0, 3, 1, 2), {})
    if type(layer) is GRU:
        return Kernel(layer, "GRU", layer.gru, (1, 0, 2), {"linear_before_reset": int(layer.reset_after)})
    if isinstance(layer, RNN):
        function = "Tanh" if layer.rnn.nonlinearity == "tanh" else "Relu"
        return Kernel(layer, "RNN", layer.rnn, (0,), {"activations": [function]})
    return None


def quantised_kernel(layer: Recurrent) -> Recurrent | None:
    """Return a recurrence on ONNX's operator, where that has a form with weights of eight bits."""
    return with_kernel(layer) if isinstance(layer, LSTM) else None
