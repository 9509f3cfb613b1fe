"""Forecasts in the units that were measured, and back: on tensors, each row with the scale of its own series."""

# P series, C targets, B batch, S steps of the horizon, Q quantiles

from __future__ import annotations

import torch
from torch import Tensor

from rnntrain.batch import Batch
from rnntrain.data.forecast.series_codec import SeriesCodec

ROUNDING = 1e-6  # of float32, in which scaled values are kept, with room for a few operations


class Units:
    """Undoes, and does, what a codec does to targets."""

    def __init__(self, codec: SeriesCodec) -> None:
        self.num_targets = codec.layout.num_targets
        self.transform = codec.layout.transform
        self._shift_PC = torch.from_numpy(codec.shift_PD[:, : self.num_targets].copy())
        self._scale_PC = torch.from_numpy(codec.scale_PD[:, : self.num_targets].copy())
        self._naive_error_PC = torch.from_numpy(codec.naive_error_PC.copy())

    def series(self, batch: Batch) -> Tensor:
        """Return the number of the series of each row."""
        assert batch.context is not None
        return batch.context[:, 0, 0].long()

    def level(self, batch: Batch) -> Tensor:
        """Return the last values before the horizon, ``[B, 1, C]``, as measured."""
        assert batch.context is not None
        return batch.context[:, :1, 1 : 1 + self.num_targets].to(torch.float64)

    def naive_error(self, batch: Batch) -> Tensor:
        """Return the scale of MASE, ``[B, 1, C]``."""
        return self._rows(self._naive_error_PC, batch)

    def rounding(self, batch: Batch) -> Tensor:
        """Return how far from 0 a value of 0 may come back from the scale of the model, ``[B, 1, C]``."""
        if self.transform != "none":  # of positive values alone
            return torch.zeros_like(self.naive_error(batch))
        shift_B1C, scale_B1C = self._rows(self._shift_PC, batch), self._rows(self._scale_PC, batch)
        return ROUNDING * (shift_B1C.abs() + scale_B1C)

    def measured(self, scaled_BSC: Tensor, batch: Batch) -> Tensor:
        """Return values as measured, in float64."""
        values_BSC = self._unscaled(scaled_BSC, batch)
        if self.transform == "log":
            return values_BSC.exp()
        if self.transform == "returns":
            return self.level(batch) * values_BSC.cumsum(1).exp()
        return values_BSC

    def measured_quantiles(self, scaled_BSCQ: Tensor, batch: Batch) -> Tensor:
        """Return quantiles as measured.

        Those of a sum of returns are more than the sums of theirs would be: the distances from the median are added as
        their squares, as if the steps were independent.
        """
        sizes = scaled_BSCQ.shape[1], scaled_BSCQ.shape[-1]
        values_BSCQ = self._unscaled(scaled_BSCQ.movedim(-1, 2).flatten(1, 2), batch).unflatten(1, sizes).movedim(2, -1)
        if self.transform != "returns":
            return values_BSCQ.exp() if self.transform == "log" else values_BSCQ
        middle = values_BSCQ.shape[-1] // 2
        median_BSC1 = values_BSCQ[..., middle : middle + 1]
        distance_BSCQ = values_BSCQ - median_BSC1
        spread_BSCQ = distance_BSCQ.sign() * distance_BSCQ.square().cumsum(1).sqrt()
        return self.level(batch)[..., None] * (median_BSC1.cumsum(1) + spread_BSCQ).exp()

    def scaled(self, measured_BSC: Tensor, batch: Batch) -> Tensor:
        """Return measured values as the model would give them; NaN where the transform has none."""
        values_BSC = measured_BSC
        if self.transform == "log":
            values_BSC = measured_BSC.log()
        elif self.transform == "returns":
            before_BSC = torch.cat([self.level(batch), measured_BSC[:, :-1]], 1)
            values_BSC = (measured_BSC / before_BSC).log()
        return (values_BSC - self._rows(self._shift_PC, batch)) / self._rows(self._scale_PC, batch)

    def _unscaled(self, scaled_BSC: Tensor, batch: Batch) -> Tensor:
        scale_B1C, shift_B1C = self._rows(self._scale_PC, batch), self._rows(self._shift_PC, batch)
        return scaled_BSC.to(torch.float64) * scale_B1C + shift_B1C

    def _rows(self, values_PC: Tensor, batch: Batch) -> Tensor:
        return values_PC.to(batch.inputs.device)[self.series(batch)][:, None]
