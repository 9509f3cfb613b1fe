"""DeltaNet, plain or gated: a matrix memory that overwrites what it holds under a key, trained chunk by chunk."""

# B batch, T time, L steps of a chunk, D input, H hidden, N heads, K = H / N width of a head

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.base import Recurrent, zero_padding
from rnntrain.cells.heads import CHUNK, check_heads, log_decays, padded_steps
from rnntrain.cells.init import xavier_
from rnntrain.cells.scan import in_full_precision
from rnntrain.ranges import PositiveInt

EPSILON = 1e-6  # in the norm of an output, and below the length of a key


class DeltaNet(Recurrent):
    """For each of N heads, with q, k, v of width K and scalars α, β:

    q_t = W_q x_t / |W_q x_t|,  k_t = W_k x_t / |W_k x_t|,  v_t = W_v x_t
    α_t = exp(-exp(a) softplus(w_α x_t + b_α))  where `gated`, else 1
    β_t = σ(w_β x_t + b_β), twice that where `negative`
    S_t = α_t S_{t-1} (I - β_t k_t k_tᵀ) + β_t v_t k_tᵀ
    h_t = rmsnorm(S_t q_t) ⊙ silu(W_g x_t)

    Yang et al. 2024, arXiv:2412.06464, section 3.1, without the short convolutions and SiLU before q, k and v;
    without gates,
    Yang et al. 2024, arXiv:2406.06484. With `negative`, an eigenvalue of I - β k kᵀ may lie in (-1, 1) in place of
    (0, 1) (Grazzi et al. 2024, arXiv:2411.12537), so that one head can swap two values.

    `step` computes the equations as they stand. `forward` takes chunks of 64 steps: with u_t = β_t (v_t - α_t S_{t-1}
    k_t), S_t = α_t S_{t-1} + u_t k_tᵀ is a decaying sum, and all u of a chunk are the solution of one triangular system
    (their chunkwise form).

    The state is ``S_BNKK`` and starts at zero. Each W starts Xavier uniform, w_α, w_β and b_β zero, exp(a) uniform in
    [1, 16] and softplus(b_α) log-uniform in [0.001, 0.1] as in Mamba-2, the weights of the norm 1.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the output.
        num_heads: heads N; must divide `hidden_size`.
        gated: let the memory decay by α_t.
        negative: let the eigenvalues be negative.

    Raises:
        ValueError: if `num_heads` does not divide `hidden_size`.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        num_heads: PositiveInt = 1,
        gated: bool = True,
        negative: bool = False,
    ) -> None:
        super().__init__()
        check_heads(num_heads, hidden_size)
        self.input_size, self.output_size = input_size, hidden_size
        self.num_heads, self.head_size = num_heads, hidden_size // num_heads
        self.gated, self.negative = gated, negative
        self.from_input = nn.Linear(input_size, 4 * hidden_size, bias=False)
        self.beta = nn.Linear(input_size, num_heads)
        self.norm_weight = nn.Parameter(torch.ones(self.head_size))
        xavier_(self.from_input.weight, 4)
        nn.init.zeros_(self.beta.weight)
        nn.init.zeros_(self.beta.bias)
        if gated:
            self.alpha = nn.Linear(input_size, num_heads)
            self.log_rate = nn.Parameter(torch.empty(num_heads).uniform_(1, 16).log())
            nn.init.zeros_(self.alpha.weight)
            with torch.no_grad():
                rate_N = torch.exp(torch.empty(num_heads).uniform_(-6.9, -2.3))
                self.alpha.bias.copy_(torch.log(torch.expm1(rate_N)))  # the inverse of softplus

    def initial_state(self, batch_size: int) -> Tensor:
        return self.beta.weight.new_zeros(batch_size, self.num_heads, self.head_size, self.head_size)

    def forward(
        self, x_BTD: Tensor, state: Tensor | None = None, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if state is None:
            state = self.initial_state(x_BTD.shape[0])
        if lengths_B is not None:
            x_BTD = zero_padding(x_BTD, lengths_B)
        q, k, v, gate_BTNK, log_alpha, beta = self._project(x_BTD)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        log_alpha, beta = log_alpha.mT, beta.mT
        if lengths_B is not None:
            # Padded steps forget nothing and write nothing.
            padded_B1T = padded_steps(lengths_B, x_BTD.shape[1])
            log_alpha, beta = log_alpha.masked_fill(padded_B1T, 0), beta.masked_fill(padded_B1T, 0)
        S_BNKK = in_full_precision(state)
        outputs: list[Tensor] = []
        with torch.autocast(x_BTD.device.type, enabled=False):
            for chunk in zip(*(part.split(CHUNK, 2) for part in (q, k, v, log_alpha, beta)), strict=True):
                read_BNLK, S_BNKK = _run_chunk(chunk, S_BNKK)
                outputs.append(read_BNLK)
            read_BTNK = torch.cat(outputs, 2).transpose(1, 2)
            y_BTH = self._normalize(read_BTNK, gate_BTNK).to(state.dtype)
        if lengths_B is not None:
            y_BTH = zero_padding(y_BTH, lengths_B)
        return y_BTH, S_BNKK.to(state.dtype)

    def step(self, x_BD: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v, gate_BNK, log_alpha, beta = self._project(x_BD)
        with torch.autocast(x_BD.device.type, enabled=False):
            S_BNKK = torch.exp(log_alpha)[..., None, None] * in_full_precision(state)
            held_BNK = (S_BNKK @ k[..., None]).squeeze(-1)
            u_BNK = beta[..., None] * (v - held_BNK)
            S_BNKK = S_BNKK + u_BNK[..., None] * k[..., None, :]
            read_BNK = (S_BNKK @ q[..., None]).squeeze(-1)
            y_BH = self._normalize(read_BNK, gate_BNK).to(state.dtype)
        return y_BH, S_BNKK.to(state.dtype)

    def gate_values(self, x_BD: Tensor, state: Tensor) -> dict[str, Tensor]:
        log_alpha, beta = self._project(x_BD)[-2:]
        beta = 0.5 * beta if self.negative else beta
        return {"alpha": log_alpha.exp(), "beta": beta} if self.gated else {"beta": beta}

    def _project(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return q, k, v and the gate, ``[..., N, K]``, and log α and β, ``[..., N]``."""
        parts = in_full_precision(self.from_input(x)).unflatten(-1, (4, self.num_heads, self.head_size))
        q, k, v, gate = parts.unbind(-3)
        q, k = F.normalize(q, dim=-1, eps=EPSILON), F.normalize(k, dim=-1, eps=EPSILON)
        beta = torch.sigmoid(in_full_precision(self.beta(x)))
        if not self.gated:
            return q, k, v, gate, torch.zeros_like(beta), 2 * beta if self.negative else beta
        rate_N = torch.exp(in_full_precision(self.log_rate))
        log_alpha = -rate_N * F.softplus(in_full_precision(self.alpha(x)))
        return q, k, v, gate, log_alpha, 2 * beta if self.negative else beta

    def _normalize(self, read: Tensor, gate: Tensor) -> Tensor:
        """Return the output, ``[..., H]``, of what was read from the memory, ``[..., N, K]``."""
        return (F.rms_norm(read, (self.head_size,), self.norm_weight.to(read.dtype), EPSILON) * F.silu(gate)).flatten(
            -2
        )


def _run_chunk(chunk: tuple[Tensor, ...], S_BNKK: Tensor) -> tuple[Tensor, Tensor]:
    """Run one chunk: return what each step reads, ``[B, N, L, K]``, and the memory after its last step.

    With γ_t = Π_{r≤t} α_r and Γ_ts = Π_{s<r≤t} α_r: (I + tril(β_t Γ_ts k_tᵀk_s, -1)) U = β (V - γ K S₀ᵀ).
    """
    q, k, v, log_alpha, beta = chunk
    decays_BNLL = torch.exp(log_decays(log_alpha))
    decay_BNL1 = torch.exp(log_alpha.cumsum(-1))[..., None]
    system_BNLL = (beta[..., None] * decays_BNLL * (k @ k.mT)).tril(-1)
    u_BNLK = torch.linalg.solve_triangular(
        system_BNLL, beta[..., None] * (v - decay_BNL1 * (k @ S_BNKK.mT)), upper=False, unitriangular=True
    )
    read_BNLK = (decays_BNLL * (q @ k.mT)) @ u_BNLK + decay_BNL1 * (q @ S_BNKK.mT)
    kept_BNLK = decays_BNLL[..., -1, :, None] * k
    return read_BNLK, decay_BNL1[..., -1:, :] * S_BNKK + u_BNLK.mT @ kept_BNLK
