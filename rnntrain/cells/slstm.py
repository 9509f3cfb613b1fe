"""The LSTM of xLSTM with exponential gates and a normaliser, and recurrent weights within heads."""

# B batch, T time, D input, H hidden, N heads, K = H / N width of a head, G = 4H: i, f, z and o

from __future__ import annotations

from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.base import Recurrent, select_rows, zero_padding
from rnntrain.cells.heads import check_heads
from rnntrain.cells.init import fill_gate_, orthogonal_, xavier_
from rnntrain.cells.scan import in_full_precision
from rnntrain.native import library, recurrence
from rnntrain.ranges import PositiveInt

# Far below any log i: the empty past then weighs exactly nothing. Within float16, which ends at -65504.
NOTHING = -1e4

ScalarMemory: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]


class SLSTM(Recurrent):
    """i_t = exp(W_i x_t + R_i h_{t-1} + b_i)
    f_t = σ(W_f x_t + R_f h_{t-1} + b_f)
    z_t = tanh(W_z x_t + R_z h_{t-1} + b_z)
    o_t = σ(W_o x_t + R_o h_{t-1} + b_o)
    c_t = f_t ⊙ c_{t-1} + i_t ⊙ z_t
    n_t = f_t ⊙ n_{t-1} + i_t
    h_t = o_t ⊙ c_t / n_t

    Beck et al. 2024, arXiv:2405.04517, eqs. 8 to 17, with the forget gate a sigmoid. exp would overflow, so c and n
    are held divided by exp(m_t), m_t = max(log f_t + m_{t-1}, log i_t) (their eq. 15), which leaves h as it is. Each R
    is block-diagonal: a unit sees the units of its own head alone.

    The state is ``(h_BH, c_BH, n_BH, m_BH)``; h, c and n start at zero and m at -10⁴, since an empty past has no
    weight. n_t is then at least 1 from the first step on, and is taken as at least 1. Each W starts Xavier
    uniform, the blocks of each R orthogonal, b_f at `forget_bias`, the other biases zero.

    Args:
        input_size: width D of the input.
        hidden_size: width H of each part of the state and of the output.
        num_heads: heads N; must divide `hidden_size`.
        forget_bias: where b_f starts.

    Raises:
        ValueError: if `num_heads` does not divide `hidden_size`.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        num_heads: PositiveInt = 1,
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__()
        check_heads(num_heads, hidden_size)
        self.input_size, self.output_size = input_size, hidden_size
        self.num_heads, self.head_size = num_heads, hidden_size // num_heads
        self.from_input = nn.Linear(input_size, 4 * hidden_size)
        # One matrix [K, K] for each head and gate: heads first, so that all are one batched product.
        self.from_hidden = nn.Parameter(torch.empty(num_heads, 4, self.head_size, self.head_size))
        xavier_(self.from_input.weight, 4)
        nn.init.zeros_(self.from_input.bias)
        fill_gate_(self.from_input.bias, 1, 4, forget_bias)
        orthogonal_(self.from_hidden.detach().view(-1, self.head_size), 4 * num_heads)

    def initial_state(self, batch_size: int) -> ScalarMemory:
        h_BH = self.from_hidden.new_zeros(batch_size, self.output_size)
        return h_BH, torch.zeros_like(h_BH), torch.zeros_like(h_BH), torch.full_like(h_BH, NOTHING)

    def forward(
        self, x_BTD: Tensor, state: ScalarMemory | None = None, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, ScalarMemory]:
        if state is None:
            state = self.initial_state(x_BTD.shape[0])
        if library.usable(x_BTD, *state, *self.parameters()):
            return self._native(x_BTD, state, lengths_B)
        if lengths_B is not None:
            x_BTD = zero_padding(x_BTD, lengths_B)
        weight_NKG = self._recurrent_weight()
        outputs: list[Tensor] = []
        for t, x_BG in enumerate(self.from_input(x_BTD).unbind(1)):
            new_state = self._advance(x_BG, state, weight_NKG)
            state = new_state if lengths_B is None else select_rows(t < lengths_B, new_state, state)
            outputs.append(new_state[0])
        y_BTH = torch.stack(outputs, 1)
        return (y_BTH if lengths_B is None else zero_padding(y_BTH, lengths_B)), state

    def _kernel(self) -> recurrence.Kernel:
        # The kernel knows no heads: what lies between them is zero.
        blocks_4 = [torch.block_diag(*of_gate.unbind()) for of_gate in self.from_hidden.unbind(1)]
        return recurrence.Kernel(recurrence.SLSTM, self.from_input.weight, torch.cat(blocks_4), self.from_input.bias)

    def _native(self, x_BTD: Tensor, state: ScalarMemory, lengths_B: Tensor | None) -> tuple[Tensor, ScalarMemory]:
        h_BH, *cells = state
        y_BTH, h_BH, cells_BC = recurrence.recur(self._kernel(), x_BTD, (h_BH, torch.cat(cells, 1)), lengths_B)
        c_BH, n_BH, m_BH = cells_BC.chunk(3, 1)
        return y_BTH, (h_BH, c_BH, n_BH, m_BH)

    def step(self, x_BD: Tensor, state: ScalarMemory) -> tuple[Tensor, ScalarMemory]:
        if library.usable_for_step(x_BD):
            found = recurrence.step(self._kernel(), x_BD, (state[0], torch.cat(state[1:], 1)))
            if found is not None:
                h_BH, cells_BC = found
                c_BH, n_BH, m_BH = cells_BC.chunk(3, 1)
                return h_BH, (h_BH, c_BH, n_BH, m_BH)
        state = self._advance(self.from_input(x_BD), state, self._recurrent_weight())
        return state[0], state

    def gate_values(self, x_BD: Tensor, state: ScalarMemory) -> dict[str, Tensor]:
        _, f, _, o = self._sums(self.from_input(x_BD), state[0], self._recurrent_weight())
        return {"f": torch.sigmoid(f), "o": torch.sigmoid(o)}

    def _recurrent_weight(self) -> Tensor:
        """Return ``[N, K, 4K]``, by which ``h_NBK`` is multiplied."""
        return self.from_hidden.permute(0, 3, 1, 2).flatten(2)

    def _advance(self, x_BG: Tensor, state: ScalarMemory, weight_NKG: Tensor) -> ScalarMemory:
        h_BH, c_BH, n_BH, m_BH = state
        log_i, f, z, o = self._sums(x_BG, h_BH, weight_NKG)
        log_f = F.logsigmoid(f) + m_BH
        new_m_BH = torch.maximum(log_f, log_i)
        f, i = torch.exp(log_f - new_m_BH), torch.exp(log_i - new_m_BH)
        c_BH = f * c_BH + i * torch.tanh(z)
        n_BH = f * n_BH + i
        h_BH = torch.sigmoid(o) * c_BH / n_BH.clamp(min=1)
        new_h, new_c, new_n, new_m = (new.to(m_BH.dtype) for new in (h_BH, c_BH, n_BH, new_m_BH))
        return new_h, new_c, new_n, new_m

    def _sums(self, x_BG: Tensor, h_BH: Tensor, weight_NKG: Tensor) -> tuple[Tensor, ...]:
        """Return what i, f, z and o are functions of."""
        h_NBK = h_BH.unflatten(1, (self.num_heads, -1)).transpose(0, 1)
        from_hidden_NBG = torch.bmm(h_NBK, weight_NKG)
        from_hidden_BG = from_hidden_NBG.unflatten(-1, (4, -1)).permute(1, 2, 0, 3).flatten(1)
        return in_full_precision(x_BG + from_hidden_BG).chunk(4, -1)
