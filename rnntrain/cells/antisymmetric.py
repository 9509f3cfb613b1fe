"""The antisymmetric network: a stable differential equation, taken in small steps."""

# B batch, T time, D input, H hidden, P = H (H - 1) / 2 pairs of units

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.projected import ProjectedCell
from rnntrain.cells.simple_scan import simple_scan
from rnntrain.cells.skew import skew_symmetric
from rnntrain.native import recurrence
from rnntrain.ranges import NonNegativeFloat, PositiveFloat, PositiveInt


class Antisymmetric(ProjectedCell):
    """M = W - Wᵀ - γ I
    h_t = h_{t-1} + ε tanh(V_h x_t + b_h + M h_{t-1})
    h_t = h_{t-1} + ε σ(V_z x_t + b_z + M h_{t-1}) ⊙ tanh(V_h x_t + b_h + M h_{t-1})    with `gated`

    Chang et al. 2019, arXiv:1902.09689. The eigenvalues of W - Wᵀ are imaginary: the state turns but neither grows nor
    fades. The diffusion γ makes up for the error of steps of finite size ε, and forgets: half of a state is left after
    0.7 / (ε γ) steps. That is 700 as it stands, which suits long sequences that are read as a whole; text wants larger
    numbers, such as 0.5 for both.

    The numbers of W - Wᵀ above its diagonal are the parameter and start N(0, 2/H), as the difference of two N(0, 1/H);
    V starts N(0, 1/D) and b zero. The state is ``h_BH`` and starts at zero.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the state and of the output.
        step_size: ε; what a unit can change in one step.
        diffusion: γ.
        gated: let a gate with the same recurrent matrix scale the step.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        step_size: PositiveFloat = 0.1,
        diffusion: NonNegativeFloat = 0.01,
        gated: bool = False,
    ) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.step_size, self.diffusion, self.gated = step_size, diffusion, gated
        self.from_input = nn.Linear(input_size, (2 if gated else 1) * hidden_size)
        nn.init.normal_(self.from_input.weight, std=input_size**-0.5)
        nn.init.zeros_(self.from_input.bias)
        self.skew_P = nn.Parameter(torch.empty(hidden_size * (hidden_size - 1) // 2))
        nn.init.normal_(self.skew_P, std=(2 / hidden_size) ** 0.5)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_input.weight.new_zeros(batch_size, self.output_size)

    def prepare(self) -> Tensor:
        skew_HH = skew_symmetric(self.skew_P, self.output_size)
        return skew_HH - self.diffusion * torch.eye(self.output_size, dtype=skew_HH.dtype, device=skew_HH.device)

    def project(self, x: Tensor, weights: Tensor) -> Tensor:
        return self.from_input(x)

    def advance(self, products_BG: Tensor, state: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        from_hidden_BH = F.linear(state, weights)
        if self.gated:
            n_x, z_x = products_BG.chunk(2, -1)
            change_BH = torch.sigmoid(z_x + from_hidden_BH) * torch.tanh(n_x + from_hidden_BH)
        else:
            change_BH = torch.tanh(products_BG + from_hidden_BH)
        h_BH = state + self.step_size * change_BH
        return h_BH, h_BH

    def kernel(self) -> recurrence.Kernel:
        return recurrence.Kernel(
            recurrence.ANTISYMMETRIC_GATED if self.gated else recurrence.ANTISYMMETRIC,
            self.from_input.weight,
            self.prepare(),
            self.from_input.bias,
            options_O=self.skew_P.new_full((self.output_size,), self.step_size),
        )

    def gate_values(self, x_BD: Tensor, state: Tensor) -> dict[str, Tensor]:
        if not self.gated:
            return {}
        _, z_x = self.from_input(x_BD).chunk(2, -1)
        return {"z": torch.sigmoid(z_x + F.linear(state, self.prepare()))}

    def scan(
        self, products_TBG: Tensor, state: Tensor, weights: Tensor, valid_TB: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if self.gated:
            return super().scan(products_TBG, state, weights, valid_TB)
        gain = weights.new_full((1, 1, 1), self.step_size)
        if valid_TB is not None:
            gain = gain * valid_TB[..., None]
        y_TBH = simple_scan(
            products_TBG, state, weights, "tanh", gain_TBH=gain.expand(products_TBG.shape), residual=True
        )
        return y_TBH, y_TBH[-1]
