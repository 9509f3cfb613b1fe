"""What several processes that train one model tell each other at every step, in one message."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

from rnntrain.interrupt import SIGNALS
from rnntrain.processes.distributed import rank, world_size

# What may be asked for; requests of any other name are told as the last.
_REASONS = (*(number.name for number in SIGNALS), "stop_after_minutes", "asked")


class Agreement:
    """What all processes must decide alike: that one of them was asked to stop, and how late it is.

    Both travel with the sums of each batch, so that they cost no exchange of their own. What comes after that waits for
    the next batch.
    """

    def __init__(self) -> None:
        self._numbers: Tensor | None = None

    def add_up(self, loss_sum: Tensor, count: Tensor, asked: str | None, seconds: float) -> tuple[Tensor, Tensor]:
        """Return loss and count of all processes, as values of this process's own device."""
        if world_size() == 1:
            return loss_sum.detach(), count
        own = torch.tensor([*_one_hot(asked), seconds if rank() == 0 else 0.0], dtype=torch.float64)
        sums = torch.stack([loss_sum.detach().double(), count.to(loss_sum.device).double()])
        numbers = torch.cat([sums, own.to(loss_sum.device)])
        dist.all_reduce(numbers)
        self._numbers = numbers
        loss, total = numbers[:2].to(loss_sum.dtype).unbind()
        return loss, total

    def asked(self, asked: Callable[[], str | None]) -> str | None:
        """Return the request to stop that any process got before the last exchange."""
        if world_size() == 1:
            return asked()
        flags = [] if self._numbers is None else self._numbers[2:-1].tolist()
        return next((name for name, flag in zip(_REASONS, flags, strict=False) if flag), None)

    def seconds(self, own: float, at_start: float) -> float:
        """Return the first process's clock at the last exchange, `at_start` before the first; alone, `own`."""
        if world_size() == 1:
            return own
        return at_start if self._numbers is None else float(self._numbers[-1])


def _one_hot(asked: str | None) -> list[float]:
    place = None if asked is None else _REASONS.index(asked) if asked in _REASONS else len(_REASONS) - 1
    return [float(place == number) for number in range(len(_REASONS))]
