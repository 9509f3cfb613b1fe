"""LSTM with layer norm within the recurrence, and the noise of `RegularizedLSTM`."""

# B batch, T time, D input, O = 14H, H hidden, G = 4H: output, input, forget gate and candidate

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.noisy_lstm_scan import EPSILON, NoisyWeights
from rnntrain.cells.regularized_lstm import RegularizedLSTM
from rnntrain.native import recurrence


class LayerNormLSTM(RegularizedLSTM):
    """i_t, f_t, o_t, g_t = σ, σ, σ, tanh (norm_1(W x_t) + norm_2(U h_{t-1}) + b)
    c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t
    h_t = o_t ⊙ tanh(norm_3(c_t))

    Ba, Kiros and Hinton 2016, arXiv:1607.06450, supplement: norm_1 and norm_2 run over all four gates together. Each
    has a gain, started at 1; their biases and b would be one, and are b. norm_3 has gain and bias of its own.

    Zoneout, recurrent dropout, weight drop, state, start and arguments are those of `RegularizedLSTM`. Zoneout acts
    on c and h as there, after the equations above.
    """

    def add_norms(self, hidden_size: int) -> None:
        self.input_gain_G = nn.Parameter(torch.ones(4 * hidden_size))
        self.hidden_gain_G = nn.Parameter(torch.ones(4 * hidden_size))
        self.cell_norm = nn.LayerNorm(hidden_size, EPSILON)

    def prepare(self) -> NoisyWeights:
        hidden_GH = super().prepare().hidden_GH
        return NoisyWeights(hidden_GH, self.hidden_gain_G, self.cell_norm.weight, self.cell_norm.bias)

    def project(self, x: Tensor, weights: NoisyWeights) -> Tensor:
        products = F.linear(x, self.from_input.weight)
        return F.layer_norm(products, self.input_gain_G.shape, self.input_gain_G, self.from_input.bias, EPSILON)

    def kernel(self) -> recurrence.Kernel:
        norm, linear = self.cell_norm, self.from_input
        options_O = torch.cat([self.hidden_gain_G, norm.weight, norm.bias, self.input_gain_G, linear.bias])
        hidden_GH = self.prepare().hidden_GH
        return recurrence.Kernel(recurrence.LAYER_NORM_LSTM, linear.weight, hidden_GH, options_O=options_O)
