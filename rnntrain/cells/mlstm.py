"""The LSTM of xLSTM with a matrix for a memory, trained chunk by chunk of time."""

# B batch, T time, L steps of a chunk, D input, H hidden, N heads, K = H / N width of a head

from __future__ import annotations

from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.base import Recurrent, zero_padding
from rnntrain.cells.heads import CHUNK, check_heads, join_heads, log_decays, padded_steps, split_heads
from rnntrain.cells.init import xavier_
from rnntrain.cells.scan import in_full_precision
from rnntrain.ranges import PositiveInt

# exp(-m) bounds a denominator from below. Beyond this exponent it would overflow, and the quotient is zero anyway.
LARGEST_EXPONENT = 60.0

MatrixMemory: TypeAlias = tuple[Tensor, Tensor, Tensor]


class MLSTM(Recurrent):
    """For each of N heads, with q, k, v of width K and scalars i, f:

    q_t = W_q x_t + b_q,  k_t = (W_k x_t + b_k) / √K,  v_t = W_v x_t + b_v
    i_t = exp(w_i x_t + b_i),  f_t = σ(w_f x_t + b_f),  o_t = σ(W_o x_t + b_o)
    C_t = f_t C_{t-1} + i_t v_t k_tᵀ
    n_t = f_t n_{t-1} + i_t k_t
    h_t = o_t ⊙ C_t q_t / max(|n_tᵀ q_t|, 1)

    Beck et al. 2024, arXiv:2405.04517, eqs. 19 to 27, with the forget gate a sigmoid. exp would overflow, so C and n
    are held divided by exp(m_t), m_t = max(log f_t + m_{t-1}, log i_t) (their eq. 15), and the 1 in
    the denominator becomes exp(-m_t): h does not change. `step` computes the equations as they stand; `forward`
    takes chunks of 64 steps, attends within a chunk and reads C once for all that came before it: the same numbers,
    and one product where the steps have 64.

    The state is ``(C_BNKK, n_BNK, m_BN)`` and starts at zero. Each W starts Xavier uniform, w_i and w_f zero,
    b_f spread evenly over [3, 6] and b_i at N(0, 0.1²) as in the authors' code, the other biases zero.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the output.
        num_heads: heads N; must divide `hidden_size`.

    Raises:
        ValueError: if `num_heads` does not divide `hidden_size`.
    """

    def __init__(self, input_size: PositiveInt, hidden_size: PositiveInt, num_heads: PositiveInt = 1) -> None:
        super().__init__()
        check_heads(num_heads, hidden_size)
        self.input_size, self.output_size = input_size, hidden_size
        self.num_heads, self.head_size = num_heads, hidden_size // num_heads
        self.from_input = nn.Linear(input_size, 4 * hidden_size)
        self.gates = nn.Linear(input_size, 2 * num_heads)
        xavier_(self.from_input.weight, 4)
        nn.init.zeros_(self.from_input.bias)
        nn.init.zeros_(self.gates.weight)
        with torch.no_grad():
            self.gates.bias[:num_heads].normal_(std=0.1)
            self.gates.bias[num_heads:] = torch.linspace(3, 6, num_heads)

    def initial_state(self, batch_size: int) -> MatrixMemory:
        new, N, K = self.gates.weight.new_zeros, self.num_heads, self.head_size
        return new(batch_size, N, K, K), new(batch_size, N, K), new(batch_size, N)

    def forward(
        self, x_BTD: Tensor, state: MatrixMemory | None = None, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, MatrixMemory]:
        if state is None:
            state = self.initial_state(x_BTD.shape[0])
        if lengths_B is not None:
            x_BTD = zero_padding(x_BTD, lengths_B)
        q, k, v, o_BTH, log_i, log_f = self._project(x_BTD)
        q, k, v = (split_heads(part, self.num_heads) for part in (q, k, v))
        log_i, log_f = log_i.mT, log_f.mT
        if lengths_B is not None:
            # Padded steps forget nothing and add nothing.
            padded_B1T = padded_steps(lengths_B, x_BTD.shape[1])
            log_i, log_f = log_i.masked_fill(padded_B1T, -torch.inf), log_f.masked_fill(padded_B1T, 0)
        memory = _in_full_precision(state)
        outputs: list[Tensor] = []
        with torch.autocast(x_BTD.device.type, enabled=False):
            chunks = zip(*(part.split(CHUNK, 2) for part in (q, k, v, log_i, log_f)), strict=True)
            for chunk in chunks:
                h_BNLK, memory = _attend(chunk, memory)
                outputs.append(h_BNLK)
        y_BTH = (o_BTH * join_heads(torch.cat(outputs, 2))).to(state[0].dtype)
        if lengths_B is not None:
            y_BTH = zero_padding(y_BTH, lengths_B)
        return y_BTH, _like(memory, state)

    def step(self, x_BD: Tensor, state: MatrixMemory) -> tuple[Tensor, MatrixMemory]:
        q, k, v, o_BH, log_i, log_f = self._project(x_BD)
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)) for part in (q, k, v))
        C_BNKK, n_BNK, m_BN = _in_full_precision(state)
        with torch.autocast(x_BD.device.type, enabled=False):
            new_m_BN = torch.maximum(log_f + m_BN, log_i)
            f_BN, i_BN = torch.exp(log_f + m_BN - new_m_BN), torch.exp(log_i - new_m_BN)
            i_k_BNK = i_BN[..., None] * k
            C_BNKK = f_BN[..., None, None] * C_BNKK + v[..., None] * i_k_BNK[..., None, :]
            n_BNK = f_BN[..., None] * n_BNK + i_k_BNK
            numerator_BNK = (C_BNKK @ q[..., None]).squeeze(-1)
            h_BNK = numerator_BNK / _denominator((n_BNK * q).sum(-1), new_m_BN)[..., None]
        return (o_BH * h_BNK.flatten(1)).to(state[0].dtype), _like((C_BNKK, n_BNK, new_m_BN), state)

    def gate_values(self, x_BD: Tensor, state: MatrixMemory) -> dict[str, Tensor]:
        _, _, _, o_BH, _, log_f_BN = self._project(x_BD)
        return {"f": log_f_BN.exp(), "o": o_BH}

    def _project(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return q, k, v and o, ``[..., H]``, and the logarithms of i and f, ``[..., N]``."""
        q, k, v, o = in_full_precision(self.from_input(x)).chunk(4, -1)
        i, f = in_full_precision(self.gates(x)).chunk(2, -1)
        return q, k * self.head_size**-0.5, v, torch.sigmoid(o), i, F.logsigmoid(f)


def _attend(chunk: tuple[Tensor, ...], memory: MatrixMemory) -> tuple[Tensor, MatrixMemory]:
    """Run one chunk: return ``h_BNLK`` before the output gate, and the memory after its last step.

    Unrolled, C_t exp(m_t) = Σ_s exp(log_i_s + Σ_{s<r≤t} log_f_r) v_s k_sᵀ and the same of what came before the chunk.
    """
    q, k, v, log_i, log_f = chunk
    C_BNKK, n_BNK, m_BN = memory
    log_weights_BNLL = log_decays(log_f) + log_i[..., None, :]
    log_before_BNL = log_f.cumsum(-1) + m_BN[..., None]
    m_BNL = torch.maximum(log_weights_BNLL.amax(-1), log_before_BNL)
    weights_BNLL = torch.exp(log_weights_BNLL - m_BNL[..., None])
    before_BNL1 = torch.exp(log_before_BNL - m_BNL)[..., None]
    scores_BNLL = (q @ k.mT) * weights_BNLL
    numerator_BNLK = scores_BNLL @ v + before_BNL1 * (q @ C_BNKK.mT)
    n_q_BNL = scores_BNLL.sum(-1) + (before_BNL1 * (q @ n_BNK[..., None])).squeeze(-1)
    h_BNLK = numerator_BNLK / _denominator(n_q_BNL, m_BNL)[..., None]
    i_k_BNLK = weights_BNLL[..., -1, :, None] * k
    before_BN1 = before_BNL1[..., -1, :]
    C_BNKK = before_BN1[..., None] * C_BNKK + v.mT @ i_k_BNLK
    return h_BNLK, (C_BNKK, before_BN1 * n_BNK + i_k_BNLK.sum(-2), m_BNL[..., -1])


def _denominator(n_q: Tensor, m: Tensor) -> Tensor:
    return torch.maximum(n_q.abs(), torch.exp((-m).clamp(max=LARGEST_EXPONENT)))


def _in_full_precision(state: MatrixMemory) -> MatrixMemory:
    C_BNKK, n_BNK, m_BN = map(in_full_precision, state)
    return C_BNKK, n_BNK, m_BN


def _like(memory: MatrixMemory, state: MatrixMemory) -> MatrixMemory:
    C_BNKK, n_BNK, m_BN = (part.to(given.dtype) for part, given in zip(memory, state, strict=True))
    return C_BNKK, n_BNK, m_BN
