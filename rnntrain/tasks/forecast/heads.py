"""The two ends of a forecasting model: the window as it is read, and the steps of the horizon as they are told."""

# B batch, T time of the window, D inputs, C targets, F features of the calendar, H hidden, S steps of the horizon,
# K width of a decoder, G segments of W steps, P parameters of a value

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.batch import Batch
from rnntrain.data.forecast.series_codec import Layout
from rnntrain.tasks.forecast.outputs import Forecast, Output

WindowNorm = Literal["none", "mean", "last", "season", "deviation", "standard"]
MIN_WIDTH = 1e-3  # of a window that hardly moves, in units of the training scale


class WindowScale(NamedTuple):
    """What a window is relative to, and its forecast; the centre of the forecast may differ from step to step."""

    centre_B1C: Tensor
    width_B1C: Tensor
    forecast_centre_BSC: Tensor


def window_scale(targets_BTC: Tensor, norm: WindowNorm, layout: Layout) -> WindowScale:
    """Return the scale of each window.

    The width is 1 except for "deviation", and for "standard", the reversible instance normalisation of Kim et al. 2022
    (ICLR). Its affine map is left out: the linear layers that follow and precede it hold one already. With "season"
    the window is relative to the mean of its last season, and each step of the horizon to the value one season before.
    """
    one_B1C = torch.ones_like(targets_BTC[:, :1])
    if norm == "season":
        assert layout.season is not None
        season_BMC = targets_BTC[:, -layout.season :]
        place_S = torch.arange(layout.horizon, device=targets_BTC.device) % layout.season
        return WindowScale(season_BMC.mean(1, keepdim=True), one_B1C, season_BMC[:, place_S])
    centre_B1C, width_B1C = torch.zeros_like(one_B1C), one_B1C
    if norm == "last":
        centre_B1C = targets_BTC[:, -1:]
    elif norm in ("mean", "standard"):
        centre_B1C = targets_BTC.mean(1, keepdim=True)
    if norm in ("deviation", "standard"):
        width_B1C = targets_BTC.std(1, keepdim=True, unbiased=False).clamp(min=MIN_WIDTH)
    return WindowScale(centre_B1C, width_B1C, centre_B1C)


class WindowInput(nn.Module):
    """The window relative to its centre and width, a linear layer from each step, or from each segment of steps.

    With segments the backbone runs over T / W steps, each the rectified map of all values of W steps (Lin et al. 2023,
    arXiv:2308.11200, section 4.2).
    """

    def __init__(self, layout: Layout, size: int, norm: WindowNorm, segment: int | None) -> None:
        super().__init__()
        self.layout, self.norm, self.segment = layout, norm, segment
        self.linear = nn.Linear(layout.num_inputs * (segment or 1), size)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``[B, T, D]``, or one step ``[B, D]`` of a forecast that goes on, which has no window to relate to."""
        if inputs.dim() == 2:
            return self._linear(inputs)
        targets_BTC, others_BTD = inputs.tensor_split([self.layout.num_targets], -1)
        scale = window_scale(targets_BTC, self.norm, self.layout)
        x_BTD = torch.cat([(targets_BTC - scale.centre_B1C) / scale.width_B1C, others_BTD], -1)
        if self.segment is None:
            return self._linear(x_BTD)
        return F.relu(self._linear(x_BTD.unflatten(1, (-1, self.segment)).flatten(2)))

    def _linear(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x)
        return out


class Head(nn.Module):
    """What all heads share: the size of their output, and how it becomes a forecast."""

    def __init__(self, layout: Layout, output: Output, norm: WindowNorm) -> None:
        super().__init__()
        self.layout, self.output, self.norm = layout, output, norm

    def told(self, raw_BSCP: Tensor, batch: Batch) -> Tensor:
        """Return parameters on the scale of the targets; in float32, whatever the precision of the products."""
        count = self.layout.num_targets
        scale = window_scale(batch.inputs[..., :count], self.norm, self.layout)
        exact = torch.promote_types(raw_BSCP.dtype, torch.float32)
        return self.output.params(raw_BSCP.to(exact), scale.forecast_centre_BSC, scale.width_B1C)

    @property
    def value_size(self) -> int:
        """Numbers that are needed for one step."""
        return self.layout.num_targets * self.output.num_params

    def shape(self, flat: Tensor) -> Tensor:
        """Split the last dimension into targets and parameters."""
        return flat.unflatten(-1, (self.layout.num_targets, self.output.num_params))


def horizon_of(batch: Batch, num_targets: int) -> tuple[Tensor, Tensor]:
    """Return the numbers of the series ``[B]`` and the calendar of the horizon ``[B, S, F]`` from a batch's context."""
    assert batch.context is not None
    return batch.context[:, 0, 0].long(), batch.context[..., 1 + num_targets :]


class DirectHead(Head):
    """All steps at once from the last output: a linear map, and what the step, its calendar and the series add.

    ŷ_s = A_s y + V relu(W y + U c_s + e_s + n), with the calendar c_s of the step, an embedding e_s of its place and
    one, n, of the series; the second part starts at zero.
    """

    def __init__(
        self, layout: Layout, output: Output, norm: WindowNorm, input_size: int, size: int, dropout: float
    ) -> None:
        super().__init__(layout, output, norm)
        self.linear = nn.Linear(input_size, layout.horizon * self.value_size)
        self.state = nn.Linear(input_size, size)
        self.calendar = nn.Linear(layout.num_calendar, size, bias=False) if layout.num_calendar else None
        self.place = nn.Parameter(torch.randn(layout.horizon, size) * 0.1)
        self.series = nn.Embedding(len(layout.series), size) if len(layout.series) > 1 else None
        self.last = nn.Linear(size, self.value_size, bias=False)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.last.weight)

    def forward(self, y_BTH: Tensor, batch: Batch) -> Forecast:
        y_BH = y_BTH[:, -1]
        number_B, calendar_BSF = horizon_of(batch, self.layout.num_targets)
        z_BSK = self.state(y_BH)[:, None] + self.place
        if self.calendar is not None:
            z_BSK = z_BSK + self.calendar(calendar_BSF)
        if self.series is not None:
            z_BSK = z_BSK + self.series(number_B)[:, None]
        flat_BSX = self.last(self.dropout(F.relu(z_BSK)))
        flat_BSX = flat_BSX + self.linear(self.dropout(y_BH)).unflatten(1, (self.layout.horizon, -1))
        return Forecast(self.told(self.shape(flat_BSX), batch))


class RecursiveHead(Head):
    """The value one step ahead, from each step; for the horizon the model is run on over its own forecasts."""

    def __init__(self, layout: Layout, output: Output, norm: WindowNorm, input_size: int) -> None:
        super().__init__(layout, output, norm)
        self.linear = nn.Linear(input_size, self.value_size)

    def forward(self, y: Tensor, batch: Batch | None = None) -> Forecast:
        """Map ``[B, T, H]``, or one step ``[B, H]`` without a batch; that gives ``[B, 1, C, P]``."""
        steps = y[:, None] if y.dim() == 2 else y
        raw_BTCP = self.shape(self.linear(steps))
        return Forecast(raw_BTCP.to(torch.promote_types(raw_BTCP.dtype, torch.float32)), one_step=True)


class SegmentHead(Head):
    """All segments of the horizon at once, each in one step from the last state (Lin et al. 2023, section 4.3).

    Each segment g of W steps starts from the last output y and reads an embedding of its place beside one of its
    series, and the calendar of its steps: one step of a GRU, or relu(W [y, x_g]); a linear layer gives its W steps.
    A last segment that reaches beyond the horizon is cut.
    """

    def __init__(
        self,
        layout: Layout,
        output: Output,
        norm: WindowNorm,
        input_size: int,
        segment: int,
        decoder: Literal["gru", "mlp"],
        dropout: float,
    ) -> None:
        super().__init__(layout, output, norm)
        self.segment, self.num_segments = segment, -(-layout.horizon // segment)
        many = len(layout.series) > 1
        half = input_size // 2 if many else 0
        self.place = nn.Parameter(torch.randn(self.num_segments, input_size - half))
        self.series = nn.Parameter(torch.randn(len(layout.series), half)) if many else None
        width = segment * layout.num_calendar
        self.calendar = nn.Linear(width, input_size, bias=False) if width else None
        self.cell = nn.GRUCell(input_size, input_size) if decoder == "gru" else None
        self.mlp = nn.Linear(2 * input_size, input_size) if decoder == "mlp" else None
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(input_size, segment * self.value_size)

    def forward(self, y_BTH: Tensor, batch: Batch) -> Forecast:
        number_B, calendar_BSF = horizon_of(batch, self.layout.num_targets)
        shape_BG = (batch.batch_size, self.num_segments)
        x_BGK = self.place.expand(*shape_BG, -1)
        if self.series is not None:
            x_BGK = torch.cat([x_BGK, self.series[number_B][:, None].expand(*shape_BG, -1)], -1)
        if self.calendar is not None:
            beyond = self.num_segments * self.segment - self.layout.horizon
            padded_BSF = F.pad(calendar_BSF, (0, 0, 0, beyond))
            x_BGK = x_BGK + self.calendar(padded_BSF.unflatten(1, shape_BG[1:] + (self.segment,)).flatten(2))
        y_BGH = y_BTH[:, -1:].expand(*shape_BG, -1)
        z_NH = self._decode(x_BGK.flatten(0, 1), y_BGH.flatten(0, 1))
        flat_BSX = self.last(self.dropout(z_NH)).view(*shape_BG, self.segment, -1).flatten(1, 2)
        return Forecast(self.told(self.shape(flat_BSX[:, : self.layout.horizon]), batch))

    def _decode(self, x_NK: Tensor, y_NH: Tensor) -> Tensor:
        if self.cell is not None:
            z_NH: Tensor = self.cell(x_NK, y_NH.to(x_NK.dtype))
            return z_NH
        assert self.mlp is not None
        return F.relu(self.mlp(torch.cat([x_NK, y_NH], -1)))
