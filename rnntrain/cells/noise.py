"""The noise that regularises a recurrence: zoneout, and dropout with one mask a sequence."""

# B batch, T time, H hidden

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from torch import Tensor

Dropped: TypeAlias = Literal["update", "state"]


class Noise(NamedTuple):
    """What is drawn for one sequence; None where there is none of its kind.

    Attributes:
        state_BH: factors of the state where it enters the recurrent product.
        update_BH: factors of the update (the candidate g of an LSTM, n of a GRU).
        zone_cell_TBH: the share of the last cell that each unit keeps at each step: 0 or 1, or in evaluation its
            expectation.
        zone_hidden_TBH: likewise of the last output.
    """

    state_BH: Tensor | None = None
    update_BH: Tensor | None = None
    zone_cell_TBH: Tensor | None = None
    zone_hidden_TBH: Tensor | None = None


def draw_noise(
    num_steps: int,
    like_BH: Tensor,
    *,
    training: bool,
    dropout: float,
    dropped: Dropped,
    zoneout_hidden: float,
    zoneout_cell: float = 0.0,
) -> Noise:
    """Draw from torch's generator of the device; in evaluation, nothing is drawn."""
    mask_BH = None
    if training and dropout:
        mask_BH = like_BH.new_empty(like_BH.shape).bernoulli_(1 - dropout).div_(1 - dropout)
    return Noise(
        mask_BH if dropped == "state" else None,
        mask_BH if dropped == "update" else None,
        _zone(num_steps, like_BH, zoneout_cell, training),
        _zone(num_steps, like_BH, zoneout_hidden, training),
    )


def _zone(num_steps: int, like_BH: Tensor, rate: float, training: bool) -> Tensor | None:
    if not rate:
        return None
    if not training:
        return like_BH.new_full((), rate).expand(num_steps, *like_BH.shape)
    return like_BH.new_empty(num_steps, *like_BH.shape).bernoulli_(rate)
