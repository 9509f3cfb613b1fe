"""Forecasting: the next steps of one or many series, as points or as distributions."""

# B batch, T time of the window, S steps of the horizon, C targets, P parameters, Q quantiles

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from rnntrain.batch import Batch
from rnntrain.cells.base import State
from rnntrain.data.base import Codec, DataSet
from rnntrain.data.forecast.series import Series
from rnntrain.data.forecast.series_codec import SeriesCodec
from rnntrain.errors import UserError
from rnntrain.metrics import Metrics, Picture
from rnntrain.models.sequence import SequenceModel, evaluating
from rnntrain.ranges import DropoutRate, PositiveInt
from rnntrain.tasks.base import Task
from rnntrain.tasks.forecast.heads import DirectHead, RecursiveHead, SegmentHead, WindowInput, WindowNorm
from rnntrain.tasks.forecast.metrics import ForecastMetrics
from rnntrain.tasks.forecast.outputs import (
    Forecast,
    Loss,
    Output,
    PointOutput,
    QuantileOutput,
    StudentTOutput,
    forecast_loss,
)
from rnntrain.tasks.forecast.units import Units

if TYPE_CHECKING:
    from rnntrain.predicting.predictor import Predictor

HeadKind = Literal["direct", "recursive", "segments"]
OutputKind = Literal["point", "quantiles", "student_t"]
SHOWN_WINDOWS = 4  # in the picture
SHOWN_STEPS = 12  # of the horizon, in the text


class Forecasting(Task):
    """Forecast the horizon from the window.

    Metrics, over all windows, steps and targets of a split: `loss`; `scaled_mse` and `scaled_mae` on the scale that
    was fitted on train, as papers give them; and in measured units `mae`, `rmse`, `smape` and `mape` in percent (the
    latter only where all values are above 0), `mase` (over the error of the value one season before, in train),
    `mae_hN` of step N alone, and `skill` = 1 - mae / (mae of the last value): above 0 if the model knows more than
    that. With quantiles or Student's t also `pinball`, the mean over the levels, and `coverage_N`, the share of values
    within the band of nominally N percent.

    The evaluation of a split is a backtest over rolling origins, `data.eval_stride` steps apart.

    Args:
        head: how the steps of the horizon are told: "direct" gives all from the last output; "recursive" is trained
            one step ahead over the window, and for a forecast run on over what it said itself; "segments" reads and
            tells `segment` steps at a time (Lin et al. 2023, arXiv:2308.11200).
        output: "point", "quantiles" (of `quantiles`), or "student_t".
        loss: of points.
        quantiles: ascending, symmetric about 0.5: those that are forecast, or drawn from Student's t for bands.
        window_norm: what each window is relative to: its "mean", its "last" value, its last "season" (each step of the
            horizon then to the value one season before), its "deviation" alone (for returns, whose deviation comes and
            goes), mean and deviation ("standard", the reversible instance normalisation of Kim et al. 2022), or nothing
            ("none").
        segment: steps in a segment.
        decoder: what tells a segment from the last state.
        size: width of the direct head's inner layer.
        dropout: share dropped before the last layer of the head.

    Raises:
        UserError: if the options do not go together.
    """

    codec_type = SeriesCodec

    def __init__(
        self,
        head: HeadKind = "direct",
        output: OutputKind = "point",
        loss: Loss = "mse",
        quantiles: list[float] | None = None,
        window_norm: WindowNorm = "none",
        segment: PositiveInt = 8,
        decoder: Literal["gru", "mlp"] = "gru",
        size: PositiveInt = 64,
        dropout: DropoutRate = 0.0,
    ) -> None:
        levels = [0.1, 0.25, 0.5, 0.75, 0.9] if quantiles is None else quantiles
        _check_levels(levels)
        if head == "recursive" and output != "point":
            raise UserError(
                f"task.output={output}: task.head=recursive runs on over points, which say nothing of how far they "
                "may be wrong; set task.output=point or task.head=direct"
            )
        if head == "recursive" and window_norm != "none":
            raise UserError(
                f"task.window_norm={window_norm}: task.head=recursive is trained on every step of the window, and "
                "would read from its norm what comes later; set task.window_norm=none, or data.transform=returns"
            )
        self.head_kind, self.causal = head, head == "recursive"
        self.window_norm, self.segment, self.decoder = window_norm, segment, decoder
        self.size, self.dropout = size, dropout
        self.output: Output = PointOutput(loss)
        if output != "point":
            self.output = QuantileOutput(levels) if output == "quantiles" else StudentTOutput(levels)

    def input_layer(self, codec: Codec, size: int) -> nn.Module:
        assert isinstance(codec, SeriesCodec)
        season = codec.layout.season
        if self.window_norm == "season" and (season is None or season > codec.layout.window):
            raise UserError(
                f"task.window_norm=season: a window of data.window={codec.layout.window} must hold a season of "
                f"{season or 'unknown'} steps; set data.season, or raise data.window"
            )
        segment = self.segment if self.head_kind == "segments" else None
        if segment is not None and codec.layout.window % segment:
            raise UserError(
                f"task.segment={segment}: data.window={codec.layout.window} is no multiple of it; change one of them"
            )
        return WindowInput(codec.layout, size, self.window_norm, segment)

    def head(self, codec: Codec, input_size: int) -> nn.Module:
        assert isinstance(codec, SeriesCodec)
        layout = codec.layout
        if self.head_kind == "direct":
            return DirectHead(layout, self.output, self.window_norm, input_size, self.size, self.dropout)
        if self.head_kind == "segments":
            return SegmentHead(
                layout, self.output, self.window_norm, input_size, self.segment, self.decoder, self.dropout
            )
        if layout.observed:
            raise UserError(
                f"data.observed={layout.observed}: task.head=recursive would have to know them ahead; leave them out, "
                "or set task.head=direct"
            )
        return RecursiveHead(layout, self.output, self.window_norm, input_size)

    def loss(self, output: Forecast, batch: Batch) -> tuple[Tensor, Tensor]:
        return forecast_loss(self.output, output, batch)

    def metrics(self, codec: Codec) -> Metrics:
        assert isinstance(codec, SeriesCodec)
        return ForecastMetrics(codec, self.output)

    def infer(self, model: nn.Module, batch: Batch, state: State) -> tuple[Any, State]:
        output, state = model(batch, state)
        if not output.one_step:
            return output, state
        assert isinstance(model, SequenceModel)
        assert batch.context is not None
        num_targets = batch.targets.shape[-1]
        calendars = batch.context[..., 1 + num_targets :].unbind(1)
        steps = [output.params_BSCP[:, -1:]]
        # What is said of one step is read at the next, with the calendar of that step.
        for calendar_BF in calendars[: batch.targets.shape[1] - 1]:
            said_BC = steps[-1][:, 0, :, 0]
            told, state = model.step(torch.cat([said_BC, calendar_BF], -1), state)
            steps.append(told.params_BSCP)
        return Forecast(torch.cat(steps, 1)), state

    def decode(self, output: Forecast, batch: Batch, codec: Codec) -> list[str]:
        """Return the steps of each row in measured units; several targets of one step are joined by a slash."""
        assert isinstance(codec, SeriesCodec)
        rows_BSC = Units(codec).measured(self.output.point(output.params_BSCP), batch).tolist()
        return [", ".join("/".join(f"{value:.5g}" for value in step) for step in row) for row in rows_BSC]

    def predictor(self, codec: Codec, model: SequenceModel, reading: Mapping[str, Any] | None = None) -> Predictor:
        assert isinstance(codec, SeriesCodec)
        from rnntrain.predicting.forecasts import ForecastPredictor  # only to predict

        return ForecastPredictor(self, codec, model, reading or {})

    def illustrate(self, model: nn.Module, data: DataSet, seed: int) -> dict[str, str | Picture]:
        """Return the last forecast of val as a table, and a few over all of it as a picture."""
        if not isinstance(data, Series):  # `debug=overfit` wraps it
            return {}
        last = data.num_windows("val") - 1
        numbers = sorted({last * part // max(SHOWN_WINDOWS - 1, 1) for part in range(SHOWN_WINDOWS)})
        device = next(model.parameters()).device
        rows, told, batches = [], [], []
        with evaluating(model):
            for number in numbers:
                batch, row = data.window_of("val", number)
                batch = batch.to(device)
                output, _ = self.infer(model, batch, None)
                rows.append(row)
                told.append(output.params_BSCP)
                batches.append(batch)
        from rnntrain.tasks.forecast.examples import as_picture, as_table, in_units

        examples = [
            in_units(self.output, params_BSCP, batch, data, row)
            for params_BSCP, batch, row in zip(told, batches, rows, strict=True)
        ]
        return {
            "last forecast of val": as_table(examples[-1], SHOWN_STEPS),
            "forecasts of val": lambda: as_picture(examples),
        }

    def baselines(self, data: DataSet, split: str) -> dict[str, dict[str, float]]:
        if not isinstance(data, Series):
            return {}
        from rnntrain.tasks.forecast.baselines import baselines

        return baselines(data, split)


def _check_levels(levels: list[float]) -> None:
    symmetric = all(abs(low + high - 1) < 1e-9 for low, high in zip(levels, reversed(levels), strict=True))
    inside = all(0 < level < 1 for level in levels)
    if not levels or not len(levels) % 2 or not symmetric or not inside or any(a >= b for a, b in pairwise(levels)):
        raise UserError(
            f"task.quantiles={levels}: must ascend within 0 and 1, with 0.5 in the middle and each below it matched by "
            "one above, such as [0.1, 0.5, 0.9]"
        )
