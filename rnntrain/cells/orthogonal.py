"""The simple recurrent network with a recurrent matrix that is and stays orthogonal."""

# B batch, T time, D input, H hidden, P = H (H - 1) / 2 pairs of units

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.init import xavier_
from rnntrain.cells.projected import ProjectedCell
from rnntrain.cells.simple_scan import Nonlinearity, activate, simple_scan
from rnntrain.cells.skew import OrthogonalMap, orthogonal, start_rotating_
from rnntrain.ranges import PositiveInt


class Orthogonal(ProjectedCell):
    """h_t = φ(W_xh x_t + b + Q h_{t-1}),  Q Qᵀ = I

    Q is a function of a skew-symmetric S = -Sᵀ, so that whatever an optimizer does to S leaves Q orthogonal and the
    product with it neither grows nor fades, over any number of steps:

    Q = (I + S)⁻¹ (I - S)    ``map="cayley"``, Helfrich et al. 2018, arXiv:1707.09520, without their signs D
    Q = exp(S)               ``map="exp"``, Lezcano-Casado and Martínez-Rubio 2019, arXiv:1901.08428

    Both reach rotations alone, the Cayley map those without a half turn (the eigenvalue -1), and it is the cheaper one.
    Q is computed once a sequence. The numbers above the diagonal of S are the parameter; as a vector, it is spared
    weight decay, which would draw Q towards the identity.

    With φ = modrelu, sign(a) max(|a| + c, 0) (Arjovsky et al. 2016, arXiv:1511.06464), gradients pass
    wherever a unit is not cut off; c is learnt and starts uniform in ±0.01. tanh lets them fade more slowly than
    elsewhere, but it does let them.

    The state is ``h_BH`` and starts at zero. Q starts as rotations of pairs of units (`start_rotating_`), W_xh Xavier
    uniform and b zero.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the state and of the output.
        nonlinearity: the function φ.
        map: the function from S to Q.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        nonlinearity: Nonlinearity = "modrelu",
        map: OrthogonalMap = "cayley",
    ) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.nonlinearity: Nonlinearity = nonlinearity
        self.map: OrthogonalMap = map
        self.from_input = nn.Linear(input_size, hidden_size)
        xavier_(self.from_input.weight)
        nn.init.zeros_(self.from_input.bias)
        self.skew_P = nn.Parameter(torch.empty(hidden_size * (hidden_size - 1) // 2))
        start_rotating_(self.skew_P, hidden_size, map)
        self.cutoff_H: Tensor | None = None
        if nonlinearity == "modrelu":
            self.cutoff_H = nn.Parameter(torch.empty(hidden_size).uniform_(-0.01, 0.01))

    def recurrent_matrix(self) -> Tensor:
        """Return Q."""
        return orthogonal(self.skew_P, self.output_size, self.map)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.from_input.weight.new_zeros(batch_size, self.output_size)

    def prepare(self) -> Tensor:
        return self.recurrent_matrix()

    def project(self, x: Tensor, weights: Tensor) -> Tensor:
        return self.from_input(x)

    def advance(self, products_BG: Tensor, state: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        h_BH = activate(products_BG + F.linear(state, weights), self.nonlinearity, self.cutoff_H)
        return h_BH, h_BH

    def scan(
        self, products_TBG: Tensor, state: Tensor, weights: Tensor, valid_TB: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        gain_TBH = None if valid_TB is None else valid_TB[..., None].to(weights.dtype).expand(products_TBG.shape)
        y_TBH = simple_scan(products_TBG, state, weights, self.nonlinearity, gain_TBH=gain_TBH, bias_H=self.cutoff_H)
        return y_TBH, y_TBH[-1]
