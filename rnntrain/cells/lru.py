"""The linear recurrent unit: a diagonal linear recurrence with fixed eigenvalues on a ring of the unit disc."""

# B batch, T time, D input, H hidden (also the number of eigenvalues), P = 2H where these are complex, else H

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.base import State
from rnntrain.cells.init import xavier_
from rnntrain.cells.scan import in_full_precision
from rnntrain.cells.scanned import Scanned
from rnntrain.native import library, lru
from rnntrain.ranges import PositiveInt, Range


class LRU(Scanned):
    """s_t = λ ⊙ s_{t-1} + γ ⊙ (B x_t)
    u_t = Re(C s_t) + D x_t + d
    h_t = (W_1 g(u_t) + b_1) ⊙ σ(W_2 g(u_t) + b_2)   with g = gelu
    λ = exp(-exp(ν) + i exp(θ)),  γ = exp(γ_log)

    Orvieto et al. 2023, arXiv:2303.06349, sections 3.2 and 3.3, with their normalisation γ; the gated linear
    unit of their block is part of the cell, without which a stack of these would be one linear map. The recurrence
    itself does not look at x_t.

    Eigenvalues:

    - ``complex``: anywhere in the unit disc. The state is the pair ``(re_BH, im_BH)``.
    - ``real``: in (-1, 1); every other one is negative, λ = -exp(-exp(ν)). The state is ``s_BH``.
    - ``positive``: in (0, 1), λ = exp(-exp(ν)). The state is ``s_BH``.

    Positive ones alone cannot count modulo two (Grazzi et al. 2024, arXiv:2411.12537).

    The state starts at zero. |λ| starts uniform by area in the ring between `min_radius` and `max_radius`, phases
    U(0, `max_phase`), γ = √(1 - |λ|²); B starts N(0, 1/2D) and C N(0, 1/H) for each of the real and imaginary parts
    (N(0, 1/D) and N(0, 1/H) where real), D, W_1 and W_2 Xavier uniform, d, b_1 and b_2 zero.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the state and of the output.
        eigenvalues: where λ may lie.
        min_radius: least |λ| at the start.
        max_radius: largest |λ| at the start, at least `min_radius`.
        max_phase: largest phase at the start, in radians.

    Raises:
        ValueError: if `min_radius` is larger than `max_radius`.
    """

    sign_H: Tensor

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        eigenvalues: Literal["complex", "real", "positive"] = "complex",
        min_radius: Annotated[float, Range(0, 1, high_open=True)] = 0.9,
        max_radius: Annotated[float, Range(0, 1, low_open=True, high_open=True)] = 0.999,
        max_phase: Annotated[float, Range(0, 2 * math.pi, low_open=True)] = 2 * math.pi,
    ) -> None:
        super().__init__()
        if min_radius > max_radius:
            raise ValueError(f"min_radius={min_radius:g} is larger than max_radius={max_radius:g}; make it smaller")
        self.input_size, self.output_size = input_size, hidden_size
        self.eigenvalues = eigenvalues
        parts = 2 if eigenvalues == "complex" else 1
        squared_H = torch.empty(hidden_size).uniform_(min_radius**2, max_radius**2).clamp_(min=1e-12)
        self.log_decay = nn.Parameter(torch.log(-0.5 * torch.log(squared_H)))
        self.log_scale = nn.Parameter(0.5 * torch.log1p(-squared_H))
        if eigenvalues == "complex":
            self.log_phase = nn.Parameter(torch.log(max_phase * torch.rand(hidden_size).clamp_(min=1e-6)))
        alternating_H = 1.0 - 2.0 * (torch.arange(hidden_size) % 2)
        sign_H = alternating_H if eigenvalues == "real" else torch.ones(hidden_size)
        self.register_buffer("sign_H", sign_H, persistent=False)
        # Real and imaginary parts lie side by side, row by row in B and column by column in C.
        self.to_state = nn.Parameter(torch.randn(parts * hidden_size, input_size) * (parts * input_size) ** -0.5)
        self.from_state = nn.Parameter(torch.randn(hidden_size, parts * hidden_size) * hidden_size**-0.5)
        self.past_state = nn.Linear(input_size, hidden_size)
        self.glu = nn.Linear(hidden_size, 2 * hidden_size)
        for linear, num_blocks in ((self.past_state, 1), (self.glu, 2)):
            xavier_(linear.weight, num_blocks)
            nn.init.zeros_(linear.bias)

    def initial_state(self, batch_size: int) -> State:
        s_BH = self.to_state.new_zeros(batch_size, self.output_size)
        return (s_BH, torch.zeros_like(s_BH)) if self.eigenvalues == "complex" else s_BH

    def forward(self, x_BTD: Tensor, state: State = None, lengths_B: Tensor | None = None) -> tuple[Tensor, State]:
        if state is None:
            state = self.initial_state(x_BTD.shape[0])
        parts = state if isinstance(state, tuple) else (state,)
        if library.usable(x_BTD, *parts, *self.parameters()):
            y_BTH, last_BP = lru.run(x_BTD, torch.cat(parts, 1), self._native_weights(), lengths_B)
            last = last_BP.chunk(len(parts), 1)
            return y_BTH, (last if isinstance(state, tuple) else last[0])
        return _as_given(super().forward(x_BTD, _as_number(state), lengths_B), state)

    def _native_weights(self) -> lru.Weights:
        """Return the weights as the kernel has them: real parts before imaginary ones."""
        H, scale_H = self.output_size, torch.exp(self.log_scale)
        radius_H = torch.exp(-torch.exp(self.log_decay))
        if self.eigenvalues == "complex":
            phase_H = torch.exp(self.log_phase)
            eigenvalues_P = torch.cat([radius_H * torch.cos(phase_H), radius_H * torch.sin(phase_H)])
        else:
            eigenvalues_P = self.sign_H * radius_H
        to_state = scale_H[:, None, None] * self.to_state.unflatten(0, (H, -1))
        from_state = self.from_state.unflatten(1, (H, -1))
        return lru.Weights(
            to_state.transpose(0, 1).flatten(0, 1),
            eigenvalues_P,
            from_state.transpose(1, 2).flatten(1),
            self.past_state.weight,
            self.past_state.bias,
            self.glu.weight,
            self.glu.bias,
        )

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        return _as_given(super().step(x_BD, _as_number(state)), state)

    def coefficients(self, x: Tensor) -> tuple[Tensor, ...]:
        scale_H = torch.exp(self.log_scale)
        radius_H = torch.exp(-torch.exp(in_full_precision(self.log_decay)))
        if self.eigenvalues == "complex":
            input_P = F.linear(x, scale_H.repeat_interleave(2)[:, None] * self.to_state)
            b = torch.view_as_complex(in_full_precision(input_P).unflatten(-1, (self.output_size, 2)))
            lambda_H = torch.polar(radius_H, torch.exp(in_full_precision(self.log_phase)))
        else:
            b = in_full_precision(F.linear(x, scale_H[:, None] * self.to_state))
            lambda_H = self.sign_H * radius_H
        return lambda_H.expand_as(b), b, x

    def readout(self, h: Tensor, *rest: Tensor) -> Tensor:
        (x,) = rest
        # Re(C s) as one real product: the columns of C hold Re C and -Im C in turn.
        states_P = torch.view_as_real(h).flatten(-2) if h.is_complex() else h
        u = F.linear(states_P.to(x.dtype), self.from_state) + self.past_state(x)
        return F.glu(self.glu(F.gelu(u)), -1)


def _as_number(state: State) -> Tensor:
    """Return the state as one tensor, complex where it is a pair."""
    return torch.complex(*map(in_full_precision, state)) if isinstance(state, tuple) else state


def _as_given(result: tuple[Tensor, Tensor], state: State) -> tuple[Tensor, State]:
    """Return output and next state with the parts and in the precision of the given state."""
    y, s = result
    if not isinstance(state, tuple):
        return y, s
    dtype = state[0].dtype  # a half precision has no complex numbers: the scan gave float32
    return y.to(dtype), (s.real.to(dtype), s.imag.to(dtype))
