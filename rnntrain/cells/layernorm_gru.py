"""GRU with layer norm within the recurrence, and the noise of `RegularizedGRU`."""

# B batch, T time, D input, O = 10H, H hidden, G = 3H: reset, update and new gate

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.noisy_gru_scan import NoisyGRUWeights, gated_norm
from rnntrain.cells.regularized_gru import RegularizedGRU
from rnntrain.native import recurrence


class LayerNormGRU(RegularizedGRU):
    """r_t, z_t = σ(norm_1(W_rz x_t) + norm_2(U_rz h_{t-1}) + b_rz)
    n_t = tanh(norm_3(W_n x_t) + b_n + r_t ⊙ (norm_4(U_n h_{t-1}) + c_n))
    h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}

    Ba, Kiros and Hinton 2016, arXiv:1607.06450, supplement, which norm r and z together and n apart; their z is
    1 - z here. Each norm has a gain, started at 1; their biases would be one with b and c, and are.

    Zoneout, recurrent dropout, weight drop, state, start and arguments are those of `RegularizedGRU`.
    """

    def add_norms(self, hidden_size: int) -> None:
        self.input_gain_G = nn.Parameter(torch.ones(3 * hidden_size))
        self.hidden_gain_G = nn.Parameter(torch.ones(3 * hidden_size))

    def prepare(self) -> NoisyGRUWeights:
        return super().prepare()._replace(gain_G=self.hidden_gain_G)

    def project(self, x: Tensor, weights: NoisyGRUWeights) -> Tensor:
        return gated_norm(F.linear(x, self.from_input.weight), self.input_gain_G) + self.from_input.bias

    def kernel(self) -> recurrence.Kernel:
        linear, hidden_GH = self.from_input, self.prepare().hidden_GH
        options_O = torch.cat([self.reset_bias_H, self.hidden_gain_G, self.input_gain_G, linear.bias])
        return recurrence.Kernel(recurrence.LAYER_NORM_GRU, linear.weight, hidden_GH, options_O=options_O)
