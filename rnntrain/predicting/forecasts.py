"""Answers of forecasting models: the steps to come in measured units, with bands and dates."""

# B batch, T time, S steps of the horizon, C targets, Q quantiles

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnntrain.batch import Batch
from rnntrain.data.forecast.series_codec import SeriesCodec
from rnntrain.errors import UserError
from rnntrain.models.sequence import SequenceModel, evaluating
from rnntrain.predicting.history import History, Windows
from rnntrain.predicting.paths import bands_beyond
from rnntrain.predicting.predictor import MOST_ROWS, Example, Predictor, Record
from rnntrain.tasks.forecast.outputs import Forecast
from rnntrain.tasks.forecast.units import Units
from rnntrain.tasks.forecasting import Forecasting

MOST_NAMED = 40
DIGITS = 7  # that a record shows


class Told(NamedTuple):
    """Forecasts of a batch in measured units; quantiles are None for points."""

    points_BSC: np.ndarray
    quantiles_BSCQ: np.ndarray | None


class ForecastPredictor(Predictor):
    """`series`, the `dates` of the steps (numbers of rows where there are no times), and `targets`: by name the
    `forecast`, and of distributions the `quantiles` by level and the widest band, `lower` and `upper`, of the share
    `band`.

    A raw input is a `History`, or `{"values": rows, "times": texts, "series": name}`, of which the last two may be left
    out where the model needs no times and knows one series.

    Beyond the trained horizon a model goes on from what it said itself: the recursive head step by step, the others
    block by block; those that say how far they may be wrong, along many paths that are drawn from it (see `paths`).

    Args:
        horizon: steps to forecast; those of training where None.
        seed: of the paths.
    """

    kind = "series"
    task: Forecasting
    codec: SeriesCodec
    fields = ("series", "dates", "targets")

    def __init__(
        self,
        task: Forecasting,
        codec: SeriesCodec,
        model: SequenceModel,
        reading: Mapping[str, Any],
        horizon: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(task, codec, model)
        self.layout, self.reading = codec.layout, reading
        self.windows = Windows(codec, reading)
        self.horizon, self.seed = horizon or codec.layout.horizon, seed
        self.units = Units(codec)
        recursive = task.head_kind == "recursive"
        self._block = self.horizon if recursive else codec.layout.horizon
        if self.horizon > self._block and codec.layout.observed:
            raise UserError(
                f"--horizon {self.horizon}: beyond {self._block} steps the model would have to know "
                f"{', '.join(codec.layout.observed)} ahead; lower it, or train with data.horizon={self.horizon}"
            )

    @property
    def draws_paths(self) -> bool:
        """Whether a forecast goes on along paths, which takes hundreds of times as long as its first block."""
        return self.horizon > self._block and bool(self.task.output.bands)

    def ahead(self, horizon: int, seed: int = 0) -> ForecastPredictor:
        """Return the predictor of another horizon."""
        return ForecastPredictor(self.task, self.codec, self.model, self.reading, horizon, seed)

    def example(self, raw: Any, where: str = "input") -> Example:
        return self._example(self.windows.history(raw, where))

    def _example(self, history: History) -> Example:
        inputs_TD, context = self.windows.encode(history, self._block)
        return Example(inputs_TD, detail=history, context=context)

    def labelled(self, raw: Any, truth: Any, where: str = "input") -> Example:
        """As `Predictor.labelled`; the truth is the rows of targets ``[S, C]`` that came, as measured."""
        example = self.example(raw, where)
        return example._replace(target=self.target(truth, example, where))

    def target(self, raw: Any, example: Example, where: str = "input") -> np.ndarray:
        values_SC = np.asarray(raw, np.float64).reshape(-1, self.layout.num_targets)
        if len(values_SC) != self._block:
            raise UserError(f"{where}: {len(values_SC)} rows came, and the model forecasts {self._block}")
        batch = super().batch([example._replace(target=self.no_target(example))])
        scaled_BSC = self.units.scaled(torch.from_numpy(values_SC)[None], batch)
        return scaled_BSC[0].numpy().astype(np.float32)

    def no_target(self, example: Example) -> np.ndarray:
        return np.zeros((self._block, self.layout.num_targets), np.float32)

    def run(self, examples: Sequence[Example]) -> list[Record]:
        with evaluating(self.model):
            output, batch = self._told(examples)
            told = [self.tell(output, batch)]
            later = -(-self.horizon // self._block) - 1  # blocks after the first
            if self.draws_paths:
                told.append(self._along_paths(output, batch, examples, later))
            elif later:
                told += self._along_points(told[0], [example.detail for example in examples], later)
        records = self._records(_joined(told, self.horizon), examples)
        return [{**each.shown, **record} for each, record in zip(examples, records, strict=True)]

    def block(self, histories: Sequence[History]) -> tuple[Forecast, Batch]:
        """Return what the model says of the next block after each history, and the batch that it read."""
        return self._told([self._example(history) for history in histories])

    def _told(self, examples: Sequence[Example]) -> tuple[Forecast, Batch]:
        batch = self.batch(examples).to(self.device)
        output, _ = self.task.infer(self.model, batch, None)
        return output, batch

    def _along_paths(self, output: Forecast, batch: Batch, examples: Sequence[Example], later: int) -> Told:
        """Return the blocks after the first, where the model says how far it may be wrong."""
        rows = torch.arange(len(examples), device=self.device)[:, None]
        quantiles = [
            bands_beyond(self, example.detail, output.params_BSCP[row], batch.take(row), later)
            for row, example in zip(rows, examples, strict=True)
        ]
        quantiles_BSCQ = np.stack(quantiles)
        return Told(quantiles_BSCQ[..., len(self.task.output.levels) // 2], quantiles_BSCQ)

    def _along_points(self, told: Told, histories: Sequence[History], later: int) -> list[Told]:
        """Return the blocks after the first, each going on from the points of the one before."""
        blocks = [told]
        for _ in range(later):
            histories = [
                history.after(points_SC, self.windows.frequency).last(self.windows.rows)
                for history, points_SC in zip(histories, blocks[-1].points_BSC, strict=True)
            ]
            blocks.append(self.tell(*self.block(histories)))
        return blocks[1:]

    def limits(self) -> list[str]:
        layout = self.layout
        limits = [
            f"It reads {layout.window} steps of 1 {layout.step} and forecasts {layout.horizon}; beyond that it goes on "
            + ("along paths drawn from its own forecasts." if self.task.output.bands else "from its own forecasts.")
        ]
        if len(layout.series) > 1:
            limits.append(f"It knows {len(layout.series)} series: {', '.join(layout.series[:MOST_NAMED])}.")
        if layout.observed:
            limits.append(f"It needs {', '.join(layout.observed)} beside what it forecasts.")
        return limits

    def judging(self, examples: Iterable[Example]) -> Iterator[Batch]:
        """As `Predictor.judging`, in the order of time, so that windows that overlap stay neighbours."""
        examples = iter(examples)
        while held := list(islice(examples, MOST_ROWS)):
            yield self.batch(held)

    def lines(self, record: Record) -> list[str]:
        title = record.get("series") or record.get("source") or ""
        lines = [title] if title else []
        for row in self.rows(record):
            named = f"{row['target']}  " if len(self.layout.targets) > 1 else ""
            band = f"  {row['lower']:>12g} to {row['upper']:<12g}" if "lower" in row else ""
            lines.append(f"{row['date']}  {named}{row['forecast']:>12g}{band}".rstrip())
        return lines

    def rows(self, record: Record) -> list[Record]:
        """Return one row for each target and step, as a table of series has them."""
        rows: list[Record] = []
        for target, told in record["targets"].items():
            bands = ("lower", "upper") if "lower" in told else ()
            for step, date in enumerate(record["dates"]):
                row = {"series": record["series"], "date": date, "target": target, "forecast": told["forecast"][step]}
                rows.append(row | {name: told[name][step] for name in bands})
        return rows

    def records(self, output: Forecast, batch: Batch, examples: Sequence[Example]) -> list[Record]:
        return self._records(self.tell(output, batch), examples)

    def tell(self, output: Forecast, batch: Batch) -> Told:
        """Return an output in measured units."""
        params_BSCP, kind = output.params_BSCP, self.task.output
        points_BSC = self.units.measured(kind.point(params_BSCP), batch).cpu().numpy()
        if not kind.levels:
            return Told(points_BSC, None)
        quantiles: Tensor = self.units.measured_quantiles(kind.quantiles(params_BSCP), batch)
        return Told(points_BSC, quantiles.cpu().numpy())

    def _records(self, told: Told, examples: Sequence[Example]) -> list[Record]:
        steps = told.points_BSC.shape[1]
        bands = self.task.output.bands
        answers = []
        for row, example in enumerate(examples):
            history = example.detail
            record: Record = {}
            if isinstance(history, History):
                record = {"series": history.name, "dates": history.labels(steps, self.windows.frequency)}
            record["targets"] = {name: self._target(told, row, c) for c, name in enumerate(self.layout.targets)}
            if bands:
                record["band"] = round(bands[0][2], 6)
            answers.append(record)
        return answers

    def _target(self, told: Told, row: int, column: int) -> Record:
        record: Record = {"forecast": _numbers(told.points_BSC[row, :, column])}
        if told.quantiles_BSCQ is not None:
            values_SQ = told.quantiles_BSCQ[row, :, column]
            low, high, _ = self.task.output.bands[0] if self.task.output.bands else (0, 0, 0.0)
            record |= {"lower": _numbers(values_SQ[:, low]), "upper": _numbers(values_SQ[:, high])}
            levels = self.task.output.levels
            record["quantiles"] = {f"{level:g}": _numbers(values_SQ[:, q]) for q, level in enumerate(levels)}
        return record


def _joined(told: Sequence[Told], horizon: int) -> Told:
    points = np.concatenate([each.points_BSC for each in told], 1)[:, :horizon]
    quantiles = [each.quantiles_BSCQ for each in told if each.quantiles_BSCQ is not None]
    return Told(points, np.concatenate(quantiles, 1)[:, :horizon] if quantiles else None)


def _numbers(values: np.ndarray) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values.tolist()]
