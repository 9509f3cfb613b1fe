"""LSTM with a projection: a large cell behind a narrow output."""

# B batch, T time, H hidden, D input, G = 4H, P projection

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.base import last_valid
from rnntrain.cells.custom_lstm import CustomLSTM
from rnntrain.cells.init import Init, uniform_
from rnntrain.cells.lstm_scan import LSTMWeights
from rnntrain.errors import UserError
from rnntrain.native import library, recurrence
from rnntrain.ranges import MemorySpan, PositiveInt


class ProjectedLSTM(CustomLSTM):
    """i_t, f_t, o_t = σ(W x_t + U h_{t-1} + b), each gate with its own
    g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)
    c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t
    h_t = P (o_t ⊙ tanh(c_t))

    LSTMP of Sak, Senior and Beaufays 2014, arXiv:1402.1128, without peepholes and non-recurrent
    projection, as `torch.nn.LSTM` has it with `proj_size`: the state of H units costs products of P units alone.

    The state is the tuple ``(h_BP, c_BH)`` and starts at zero. Each U starts with orthonormal columns, P with
    orthonormal rows, each W Xavier uniform and the biases zero, or all of them U(-1/√H, 1/√H) with ``init="uniform"``;
    then b_f is set.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the cell.
        projection_size: width P of the output; half of H where None.
        init: how the weights start.
        forget_bias: where b_f starts; None leaves it as `init` has it.
        t_max: chrono initialisation for memories of up to so many steps, in place of `forget_bias`
            (`rnntrain.cells.init.start_memory_`).
        uniform_gates: uniform gate initialisation, in place of `forget_bias`.

    Raises:
        UserError: if the projection is wider than the cell, or both `t_max` and `uniform_gates` are given.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        projection_size: PositiveInt | None = None,
        init: Init = "orthogonal",
        forget_bias: float | None = 1.0,
        t_max: MemorySpan | None = None,
        uniform_gates: bool = False,
    ) -> None:
        if projection_size is None:
            projection_size = max(1, hidden_size // 2)
        if projection_size > hidden_size:
            raise UserError(
                f"model.cell.projection_size={projection_size}: larger than hidden_size={hidden_size}; "
                f"a projection narrows, so give at most {hidden_size}"
            )
        super().__init__(input_size, hidden_size, projection_size, 4, init, forget_bias, t_max, uniform_gates)
        self.projection_PH = nn.Parameter(torch.empty(projection_size, hidden_size))
        if init == "orthogonal":
            nn.init.orthogonal_(self.projection_PH)
        else:
            uniform_(self.projection_PH, hidden_size)

    def prepare(self) -> LSTMWeights:
        return LSTMWeights(self.from_hidden.weight, projection_PH=self.projection_PH)

    def run_native(
        self, x_BTD: Tensor, state: tuple[Tensor, Tensor], lengths_B: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]] | None:
        """Run it as an LSTM over m_t = o_t ⊙ tanh(c_t) with recurrent weights U P; all h_t = P m_t are one product.

        The first step reads h_0, which is no P m_0, so it is taken apart. A much narrower projection takes the plain
        path, since U P costs H² where U and P cost H·P each.
        """
        h_BP, c_BH = state
        wide_enough = self.hidden_size <= 2 * self.output_size
        if not wide_enough or not library.usable(x_BTD, *state, *self.parameters()):
            return None
        linear, recurrent_GP = self.from_input, self.from_hidden.weight
        is_run_B1 = None if lengths_B is None else (lengths_B > 0)[:, None]
        x_BD = x_BTD[:, 0] if is_run_B1 is None else torch.where(is_run_B1, x_BTD[:, 0], 0)
        o, i, f, g = (linear(x_BD) + F.linear(h_BP, recurrent_GP)).chunk(4, -1)
        c_1BH = torch.sigmoid(f) * c_BH + torch.sigmoid(i) * torch.tanh(g)
        m_1BH = torch.sigmoid(o) * torch.tanh(c_1BH)
        if is_run_B1 is not None:
            c_1BH, m_1BH = torch.where(is_run_B1, c_1BH, c_BH), torch.where(is_run_B1, m_1BH, 0)
        outputs_BTH, last_c_BH = m_1BH[:, None], c_1BH
        if x_BTD.shape[1] > 1:
            m_BTH, _, last_c_BH = recurrence.recur(
                recurrence.NOISY_LSTM,
                x_BTD[:, 1:],
                (m_1BH, c_1BH),
                linear.weight,
                recurrent_GP @ self.projection_PH,
                linear.bias,
                lengths_B=None if lengths_B is None else (lengths_B - 1).clamp(min=0),
            )
            outputs_BTH = torch.cat([outputs_BTH, m_BTH], 1)
        y_BTP = F.linear(outputs_BTH, self.projection_PH)
        last_h_BP = y_BTP[:, -1] if lengths_B is None else last_valid(y_BTP, lengths_B, h_BP)
        return y_BTP, (last_h_BP, last_c_BH)
