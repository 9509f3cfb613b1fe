"""Series to forecast: tables of one or many series, split by time and read in windows."""

# N rows of all series, T time of a window, S steps of the horizon, C targets, D values, F features of the calendar,
# B batch, W windows

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rnntrain.data.base import Codec, DataSet
from rnntrain.data.forecast.calendar import Cycle, calendar_features, cycles_of
from rnntrain.data.forecast.panels import Gaps, Missing, Panel, channels_of, choose_columns, read_panels
from rnntrain.data.forecast.series_codec import Layout, Scaling, SeriesCodec, Transform, difference
from rnntrain.data.forecast.series_splits import Sizes, check_panel, split_bounds, window_starts
from rnntrain.data.forecast.series_tables import read_table
from rnntrain.data.forecast.time_index import Frequency
from rnntrain.data.fractions import check_fractions
from rnntrain.data.places import resolve
from rnntrain.errors import UserError
from rnntrain.ranges import Fraction, NonNegativeInt, PositiveInt

if TYPE_CHECKING:
    from rnntrain.batch import Batch

AT_ONCE = 8  # training batches that are gathered together, of which each is a stretch
EXAMPLE_VALUES = 4  # shown of each end of an example


class Series(DataSet):
    """Windows of `window` steps, each with the `horizon` steps after it as its target.

    Inputs are ``[B, T, D + F]``: targets and observed columns, scaled, then the calendar of their own times.
    Targets are ``[B, S, C]``, scaled. The context is ``[B, S, 1 + C + F]``: the number of the series, the last values
    of the targets in their own units, and the calendar of the horizon, which is known ahead.

    A table is long, with a column that names the series, or wide, with several targets. Columns that are not given
    are guessed, and `describe` says how. Splits follow each other in time: train, val, test. What is forecast lies
    within its split; what is read may lie in the rows before, which are known by then. All windows of val and test
    are evaluated, also those of a last, short batch.

    Args:
        path: a CSV file (`.csv`, `.csv.gz`, any of `,;|` or tabs between cells) or a Parquet file; `@NAME/FILE` is
            one of a known data set.
        time: the column of times; guessed where null. Rows must be in their order.
        target: the columns to forecast; guessed where null.
        series: the column that names the series of a long table.
        observed: columns that are read and not forecast, such as the rain where the temperature is asked for.
        window: steps that are read.
        horizon: steps that are forecast.
        stride: steps from one training window to the next.
        eval_stride: steps from one origin to the next in val and test.
        channels: "joint" forecasts all targets of a row together; "independent" makes each a series of its own,
            with one model for all (Nie et al. 2023, arXiv:2211.14730, section 3.1).
        val_fraction: share of the rows of each series for validation, where no size is given.
        test_fraction: share of the rows of each series for the test, where no size is given.
        train_size: rows of each series to train on; the rows after those of val and test then stay unused.
        val_size: rows of each series for validation.
        test_size: rows of each series for the test.
        train_on_val: train on the rows of val too, for the last fit once all has been chosen. The metrics of val then
            say nothing, and the weights of the end are to be kept: `trainer.restore_best=false`.
        scaling: fitted on the training rows of each series: "standard" (mean and deviation), "minmax", "robust" (median
            and quartiles) or "none".
        transform: of the targets before that: "log", "returns" (the log of the ratio to the row before) or "none".
        gaps: times that are left out: "refuse" them, fill them "forward" or "interpolate", "drop" windows over them,
            or "ignore" times and count rows. A line drawn over the edge of a split takes a value from behind it.
        missing: values that are empty, NaN or infinite: the same choices.
        calendar: cycles to read; "auto" takes what the step allows, "none" nothing.
        season: steps after which things come again, for baselines and MASE; from the step where null.
        time_format: of times that are not in ISO format, such as '%d.%m.%Y'.
        time_zone: an IANA name; times with an offset are then read in it.
        batch_size: windows in a batch.
        eval_batch_size: windows in a batch of evaluation; `batch_size` if null.
    """

    unit = "steps"

    def __init__(
        self,
        path: str,
        time: str | None = None,
        target: list[str] | str | None = None,
        series: str | None = None,
        observed: list[str] | None = None,
        window: PositiveInt = 48,
        horizon: PositiveInt = 12,
        stride: PositiveInt = 1,
        eval_stride: PositiveInt = 1,
        channels: Literal["joint", "independent"] = "joint",
        val_fraction: Fraction = 0.1,
        test_fraction: Fraction = 0.2,
        train_size: PositiveInt | None = None,
        val_size: PositiveInt | None = None,
        test_size: NonNegativeInt | None = None,
        train_on_val: bool = False,
        scaling: Scaling = "standard",
        transform: Transform = "none",
        gaps: Gaps = "refuse",
        missing: Missing = "refuse",
        calendar: list[Cycle] | Literal["auto", "none"] = "auto",
        season: PositiveInt | None = None,
        time_format: str | None = None,
        time_zone: str | None = None,
        batch_size: PositiveInt = 64,
        eval_batch_size: PositiveInt | None = None,
    ) -> None:
        check_fractions(val_fraction, test_fraction)
        if train_size is not None and (val_size is None or test_size is None):
            raise UserError("data.train_size needs data.val_size and data.test_size, also in rows; set these")
        self.path, self.time, self.series = path, time, series
        self.target = [target] if isinstance(target, str) else target
        self.observed = observed or []
        self.window, self.horizon, self.stride, self.eval_stride = window, horizon, stride, eval_stride
        self.independent = channels == "independent"
        self.sizes = Sizes(val_fraction, test_fraction, train_size, val_size, test_size)
        self.train_on_val = train_on_val
        self.scaling, self.transform = scaling, transform
        self.gaps, self.missing, self.calendar, self.season = gaps, missing, calendar, season
        self.time_format, self.time_zone = time_format, time_zone
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size

    def load(self, codec: Codec | None = None) -> None:
        if codec is not None and not isinstance(codec, SeriesCodec):
            raise UserError(f"the model reads no series ({type(codec).__name__}); give it the data of its kind")
        table = read_table(resolve(self.path, "data.path"), "data.path")
        columns, self._guessed = choose_columns(table, self.time, self.series, self.target, self.observed)
        panels, frequency, self._repairs = read_panels(
            table,
            columns,
            time_format=self.time_format,
            time_zone=self.time_zone,
            gaps=self.gaps,
            missing=self.missing,
        )
        if self.independent:
            panels = [alone for panel in panels for alone in channels_of(panel, columns.targets)]
        layout = self._layout(panels, columns.targets if not self.independent else ["value"], frequency)
        self._name, self._sha256 = Path(table.path).name, table.sha256
        self._take(panels, layout, codec)

    def _layout(self, panels: list[Panel], targets: list[str], frequency: Frequency) -> Layout:
        cycles = cycles_of(frequency) if self.calendar == "auto" else self.calendar
        if cycles == "none":
            cycles = []
        if cycles and panels[0].times is None:
            raise UserError(f"data.calendar={cycles}: the rows have no times; name their column: data.time=…")
        return Layout(
            series=[panel.name for panel in panels],
            targets=targets,
            observed=self.observed,
            cycles=list(cycles),
            window=self.window,
            horizon=self.horizon,
            season=self.season or frequency.season,
            transform=self.transform,
            scaling=self.scaling,
            step=str(frequency),
        )

    def _take(self, panels: list[Panel], layout: Layout, codec: SeriesCodec | None) -> None:
        """Split the series, fit or check the codec, and find the windows of each split."""
        bounds = [split_bounds(self.sizes, len(panel), panel.name) for panel in panels]
        for panel, its in zip(panels, bounds, strict=True):
            check_panel(panel, its, layout)
        # With train_on_val the training rows reach to the end of val.
        ends = [its[1] if self.train_on_val else its[0] for its in bounds]
        if codec is None:
            train = [(p.values_TD[:end], p.valid_T[:end]) for p, end in zip(panels, ends, strict=True)]
            codec = SeriesCodec.fit(layout, train)
        elif codec.layout != layout:
            raise UserError(difference(codec.layout, layout))
        self.codec: SeriesCodec = codec
        valid = self._lay_end_to_end(panels)
        self._windows = {
            "train": self._starts([(0, end) for end in ends], valid, self.stride),
            "val": self._starts([its[:2] for its in bounds], valid, self.eval_stride),
        }
        if any(its[2] > its[1] for its in bounds):
            self._windows["test"] = self._starts([its[1:] for its in bounds], valid, self.eval_stride)
        self.splits = tuple(self._windows)
        for split, starts_W in self._windows.items():
            if not len(starts_W):
                raise UserError(
                    f"data.path={self.path}: no window of {split} is without a missing value; lower data.window, or "
                    "set data.missing=interpolate and data.gaps=interpolate"
                )

    def _lay_end_to_end(self, panels: list[Panel]) -> list[np.ndarray]:
        """Put the rows of all series into one array each of inputs and of measured targets; return which are valid."""
        cycles: list[Any] = self.codec.layout.cycles
        encoded = [self.codec.encode(number, p.values_TD, p.valid_T) for number, p in enumerate(panels)]
        calendars = [
            np.zeros((len(p), 0)) if p.times is None else calendar_features(p.times.local_T, cycles) for p in panels
        ]
        self._panels = panels
        self.first_row_P = np.concatenate([[0], np.cumsum([len(panel) for panel in panels])])
        num_targets = self.codec.layout.num_targets
        self.measured_NC = np.concatenate([panel.values_TD[:, :num_targets] for panel in panels])
        calendar_NF = np.concatenate(calendars).astype(np.float32)
        values_ND = np.concatenate([values_TD for values_TD, _ in encoded]).astype(np.float32)
        self._inputs_ND = np.concatenate([values_ND, calendar_NF], 1)
        # The number of a row's series, room for a level, and its calendar.
        number_N1 = self.series_of(np.arange(len(calendar_NF)))[:, None]
        level_NC = np.zeros_like(self.measured_NC)
        self._context_NF = np.concatenate([number_N1, level_NC, calendar_NF], 1, dtype=np.float32)
        return [valid_T for _, valid_T in encoded]

    def _starts(self, rows: list[tuple[int, int]], valid: list[np.ndarray], stride: int) -> np.ndarray:
        """Return the rows at which windows begin whose horizon lies within those given of each series."""
        layout = self.codec.layout
        parts = [
            first + window_starts(layout, low, high, stride, valid_T)
            for first, (low, high), valid_T in zip(self.first_row_P[:-1], rows, valid, strict=True)
        ]
        return np.concatenate(parts)

    def train_batches(self, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        starts_W = self._windows["train"]
        order_W = np.random.default_rng([seed, epoch]).permutation(len(starts_W))
        for at in range(start * self.batch_size, len(starts_W), AT_ONCE * self.batch_size):
            several = self._batch(starts_W[order_W[at : at + AT_ONCE * self.batch_size]])
            for row in range(0, several.batch_size, self.batch_size):
                yield several.stretch(row, row + self.batch_size)

    def num_train_batches(self, seed: int, epoch: int) -> int:
        return -(-len(self._windows["train"]) // self.batch_size)

    def eval_batches(self, split: str) -> Iterator[Batch]:
        return (batch for batch, _ in self.rolling_origins(split))

    def rolling_origins(self, split: str) -> Iterator[tuple[Batch, np.ndarray]]:
        """Yield a split's batches in order, each with the row at which the horizon of each window begins."""
        for starts_B in np.split(
            self._windows[split], range(self.eval_batch_size, len(self._windows[split]), self.eval_batch_size)
        ):
            yield self._batch(starts_B), starts_B + self.window

    def series_of(self, row_B: np.ndarray) -> np.ndarray:
        """Return the number of the series to which rows belong."""
        return np.searchsorted(self.first_row_P, row_B, side="right") - 1

    def label(self, row: int) -> str:
        """Return when a row is, as short as its step allows."""
        number = int(self.series_of(np.array(row)))
        times, place = self._panels[number].times, row - int(self.first_row_P[number])
        if times is None:
            return f"row {place + 1}"
        whole = str(times.local_T[place]).replace("T", " ")
        return whole.removesuffix(":00").removesuffix(" 00:00")

    def window_of(self, split: str, number: int) -> tuple[Batch, int]:
        """Return one window as a batch, and the row at which its horizon begins."""
        starts_W = self._windows[split]
        return self._batch(starts_W[number : number + 1]), int(starts_W[number]) + self.window

    def num_windows(self, split: str) -> int:
        return len(self._windows[split])

    def _batch(self, starts_B: np.ndarray) -> Batch:
        import torch  # here, since a config is checked without it

        from rnntrain.batch import Batch

        index_BT = starts_B[:, None] + np.arange(self.window)
        index_BS = starts_B[:, None] + np.arange(self.window, self.window + self.horizon)
        num_targets = self.measured_NC.shape[1]
        context = self._context_NF[index_BS]
        context[..., 1 : 1 + num_targets] = self.measured_NC[index_BT[:, -1:]]
        return Batch(
            torch.from_numpy(self._inputs_ND[index_BT]),
            torch.from_numpy(self._inputs_ND[index_BS, :num_targets]),
            context=torch.from_numpy(context),
        )

    def fingerprint(self) -> dict[str, Any]:
        return {
            "file": self._name,
            "sha256": self._sha256,
            "rows": {panel.name: len(panel) for panel in self._panels[:100]},
            "splits": {split: len(starts_W) for split, starts_W in self._windows.items()},
        }

    def describe(self) -> str:
        layout = self.codec.layout
        sizes = ", ".join(f"{split} {len(starts_W):,}" for split, starts_W in self._windows.items())
        number = len(layout.series)
        what = f"{number} series" if number > 1 else ", ".join(layout.targets)
        text = f"{sizes} windows of {self.window} + {self.horizon} steps of 1 {layout.step}; {what} of {self._name}"
        if self._guessed:
            text += f"; guessed {', '.join(self._guessed)}"
        return text + self._repairs.said(self.gaps, self.missing)

    def examples(self, split: str, number: int) -> list[str]:
        lines = []
        for window in range(min(number, self.num_windows(split))):
            _, row = self.window_of(split, window)
            name = self.codec.layout.series[int(self.series_of(np.array(row)))]
            before, after = (
                ", ".join(f"{value:g}" for value in part)
                for part in (
                    self.measured_NC[row - min(EXAMPLE_VALUES, self.window) : row, 0],
                    self.measured_NC[row : row + min(EXAMPLE_VALUES, self.horizon), 0],
                )
            )
            lines.append(f"{name} {self.label(row)}: … {before} | {after} …".lstrip())
        return lines
