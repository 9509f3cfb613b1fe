"""Skew-symmetric and orthogonal matrices from a vector of free numbers."""

# H hidden, P = H (H - 1) / 2 pairs of units

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

OrthogonalMap: TypeAlias = Literal["cayley", "exp"]


def skew_symmetric(pairs_P: Tensor, hidden_size: int) -> Tensor:
    """Return S = -Sᵀ with the numbers, row by row, above its diagonal."""
    upper_HH = pairs_P.new_zeros(hidden_size, hidden_size)
    row_P, column_P = torch.triu_indices(hidden_size, hidden_size, 1, device=pairs_P.device)
    upper_HH = upper_HH.index_put((row_P, column_P), pairs_P)
    return upper_HH - upper_HH.t()


def orthogonal(pairs_P: Tensor, hidden_size: int, map: OrthogonalMap) -> Tensor:
    """Return the rotation (I + S)⁻¹ (I - S) (Cayley) or exp(S) of a skew-symmetric S."""
    with torch.autocast(pairs_P.device.type, enabled=False):
        skew_HH = skew_symmetric(pairs_P, hidden_size)
        if map == "exp":
            return torch.linalg.matrix_exp(skew_HH)
        eye_HH = torch.eye(hidden_size, dtype=skew_HH.dtype, device=skew_HH.device)
        return torch.linalg.solve(eye_HH + skew_HH, eye_HH - skew_HH)


@torch.no_grad()
def start_rotating_(pairs_P: Tensor, hidden_size: int, map: OrthogonalMap) -> None:
    """Start as rotations in the planes of units 2k and 2k + 1, by angles uniform in ±π/2.

    Henaff et al. 2016, arXiv:1602.06662; the Cayley map's number for an angle θ is tan(θ/2), as in Helfrich
    et al. 2018, arXiv:1707.09520.
    """
    rows = torch.arange(0, hidden_size - 1, 2)
    angles = (torch.rand(len(rows)) - 0.5) * torch.pi
    pairs_P.zero_()
    first_of_row = rows * (hidden_size - 1) - rows * (rows - 1) // 2  # the number beside the diagonal
    pairs_P[first_of_row] = (angles if map == "exp" else torch.tan(angles / 2)).to(pairs_P)
