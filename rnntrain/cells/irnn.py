"""The IRNN: rectified linear units that start by remembering everything."""

# H hidden, D input

from __future__ import annotations

import torch
from torch import nn

from rnntrain.cells.rnn import RNN
from rnntrain.ranges import PositiveFloat, PositiveInt


class IRNN(RNN):
    """h_t = relu(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), W_hh starts as `scale` times the identity

    Le, Jaitly and Hinton 2015, arXiv:1504.00941: with nothing read, the state stays, and so does the
    gradient. W_ih starts N(0, 0.001²) as there, and the biases zero. The start is all that tells it from `RNN`; it
    wants a small learning rate and clipped gradients, since nothing bounds a rectified state.

    The state is ``h_BH`` and starts at zero.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the state and of the output.
        scale: what W_hh holds on its diagonal; below 1 for tasks of short memory (the paper's 0.01 for speech).
        input_std: standard deviation of W_ih.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        scale: PositiveFloat = 1.0,
        input_std: PositiveFloat = 0.001,
    ) -> None:
        super().__init__(input_size, hidden_size, nonlinearity="relu")
        weight_ih, weight_hh, _, _ = self.rnn.all_weights[0]
        nn.init.normal_(weight_ih, std=input_std)
        with torch.no_grad():
            nn.init.eye_(weight_hh).mul_(scale)
