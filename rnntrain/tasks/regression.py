"""Regression: numbers for a whole sequence, or at every step of one."""

# B batch, T time, H hidden, K targets, N what is counted

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from rnntrain.batch import Batch
from rnntrain.data.base import Codec, DataSet
from rnntrain.data.numbers.sequences import NumbersCodec, SequenceData
from rnntrain.metrics import Metrics, Picture, Sum
from rnntrain.models.pooling import PooledLinear, PoolingKind
from rnntrain.tasks.base import Task
from rnntrain.tasks.counted import PerStep, counted_steps, of_each_length
from rnntrain.tasks.inputs import make_input_layer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rnntrain.models.sequence import SequenceModel
    from rnntrain.predicting.predictor import Predictor

SHOWN_STEPS = 8
MOST_DRAWN = 2000  # points of a picture


class Regression(Task):
    """Give numbers, by the mean squared error; the data says whether one set a sequence or one a step.

    Metrics: `loss`, the mean squared error on the scale on which the training targets have mean 0 and deviation 1,
    a mean over the K targets; on the original scale `mse`, `mae` and `r2` = 1 - Σ(y - ŷ)² / Σ(y - ȳ)², taken of each
    target and then averaged; ȳ is the mean of the split itself, and `r2` of a target that is constant there is 0.
    Where the data has several test lengths, `mse_len_64` and the like are of the sequences of one length.

    Args:
        pooling: how a sequence becomes one vector, where it has one set of targets.
    """

    codec_type = NumbersCodec

    def __init__(self, pooling: PoolingKind = "last") -> None:
        self.pooling: PoolingKind = pooling

    def input_layer(self, codec: Codec, size: int) -> nn.Module:
        assert isinstance(codec, NumbersCodec)
        return make_input_layer(codec.inputs, size)

    def head(self, codec: Codec, input_size: int) -> nn.Module:
        assert isinstance(codec, NumbersCodec)
        if codec.per_step:
            return PerStep(input_size, codec.num_targets)
        return PooledLinear(input_size, codec.num_targets, self.pooling)

    def loss(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        error_NK = _counted(output, batch).float() - _counted(batch.targets, batch)
        return error_NK.square().mean(1).sum(), torch.tensor(float(len(error_NK)), device=error_NK.device)

    def metrics(self, codec: Codec) -> Metrics:
        assert isinstance(codec, NumbersCodec)
        return RegressionMetrics(codec)

    def decode(self, output: Tensor, batch: Batch, codec: Codec) -> list[str]:
        """Return each row's numbers on the original scale; of steps, the first few."""
        assert isinstance(codec, NumbersCodec)
        return [" ".join(f"{value:.4g}" for value in row) for row in _first_values(output, batch, codec)]

    def predictor(self, codec: Codec, model: SequenceModel, reading: Mapping[str, Any] | None = None) -> Predictor:
        assert isinstance(codec, NumbersCodec)
        from rnntrain.predicting.values import NumbersPredictor  # only to predict

        return NumbersPredictor(self, codec, model, reading or {})

    def baselines(self, data: DataSet, split: str) -> dict[str, dict[str, float]]:
        return data.trivial(split) if isinstance(data, SequenceData) else {}


class RegressionMetrics(Metrics):
    """Sums from which the errors follow."""

    def __init__(self, codec: NumbersCodec) -> None:
        self._codec = codec
        self._scale_K = torch.from_numpy(codec.targets.scale_D)
        self._loss, self._count = Sum(), Sum()
        self._squares, self._absolute = Sum(), Sum()
        self._y, self._y_squares = Sum(), Sum()
        self._by_length = {length: (Sum(), Sum()) for length in codec.lengths.values()}
        self._drawn: list[tuple[Tensor, Tensor]] = []
        self._num_drawn = 0

    def update(self, output: Tensor, batch: Batch, loss_sum: Tensor, count: Tensor) -> None:
        self._scale_K = self._scale_K.to(output.device)
        error_NK = (_counted(output, batch).double() - _counted(batch.targets, batch).double()) * self._scale_K
        # About the training mean, which is 0 on this scale: the sums stay small, whatever the mean.
        y_NK = _counted(batch.targets, batch).double() * self._scale_K
        self._loss.add(loss_sum)
        self._count.add(count)
        self._squares.add(error_NK.square().sum(0))
        self._absolute.add(error_NK.abs().sum(0))
        self._y.add(y_NK.sum(0))
        self._y_squares.add(y_NK.square().sum(0))
        if self._num_drawn < MOST_DRAWN:
            self._drawn.append(
                (y_NK[: MOST_DRAWN - self._num_drawn], (y_NK + error_NK)[: MOST_DRAWN - self._num_drawn])
            )
            self._num_drawn += len(self._drawn[-1][0])
        for steps, length in self._codec.lengths.items():
            chosen_N = of_each_length(batch, steps, per_step=self._codec.per_step)
            squares, number = self._by_length[length]
            squares.add((error_NK.square().mean(1) * chosen_N).sum())
            number.add(chosen_N.sum())

    def sums(self) -> list[Sum]:
        errors = [self._squares, self._absolute, self._y, self._y_squares]
        return [self._loss, self._count, *errors, *chain(*self._by_length.values())]

    def compute(self) -> dict[str, float]:
        count = self._count.value()
        squares_K = self._squares.array()
        spread_K = self._y_squares.array() - self._y.array().square() / count
        # What rounding leaves of a constant target's spread is no spread.
        varied_K = spread_K > 1e-12 * self._y_squares.array()
        r2_K = torch.where(varied_K, 1 - squares_K / torch.where(varied_K, spread_K, 1.0), 0.0)
        metrics = {
            "loss": self._loss.value() / count,
            "mse": float(squares_K.mean()) / count,
            "mae": float(self._absolute.array().mean()) / count,
            "r2": float(r2_K.mean()),
        }
        for length, (squares, number) in self._by_length.items():
            if seen := number.value():
                metrics[f"mse_len_{length}"] = squares.value() / seen
        return metrics

    def rows(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        mask_BT = None
        if output.dim() == 3:
            mask_BT = counted_steps(batch)
            mask_BT = (
                torch.ones(output.shape[:2], dtype=torch.bool, device=output.device) if mask_BT is None else mask_BT
            )
        scale_K = torch.from_numpy(self._codec.targets.scale_D).to(output.device)
        scaled = output.double() - batch.targets.double()
        y = batch.targets.double() * scale_K
        count_B = torch.ones(len(output), device=output.device) if mask_BT is None else mask_BT.sum(1)
        parts = {
            "loss": scaled.square().mean(-1, keepdim=True),
            "squares": (scaled * scale_K).square(),
            "absolute": (scaled * scale_K).abs(),
            "y": y,
            "y_squares": y.square(),
        }
        if mask_BT is not None:
            parts = {name: (part * mask_BT[..., None]).sum(1) for name, part in parts.items()}
        return {"count": count_B, **parts}

    def scores(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        count = max(float(sums["count"]), 1.0)
        spread_K = sums["y_squares"] - sums["y"] ** 2 / count
        varied_K = spread_K > 1e-12 * sums["y_squares"]
        r2_K = np.where(varied_K, 1 - sums["squares"] / np.where(varied_K, spread_K, 1.0), 0.0)
        return {
            "loss": float(sums["loss"].sum()) / count,
            "mse": float(sums["squares"].mean()) / count,
            "mae": float(sums["absolute"].mean()) / count,
            "r2": float(r2_K.mean()),
        }

    def pictures(self) -> dict[str, Picture]:
        true_NK, said_NK = (torch.cat(parts).cpu().numpy() for parts in zip(*self._drawn, strict=True))
        mean_K = self._codec.targets.mean_D
        return {"predictions": partial(draw_predictions, true_NK + mean_K, said_NK + mean_K)}


def _counted(part: Tensor, batch: Batch) -> Tensor:
    """Return what counts of outputs or targets, ``[N, K]``: all rows, or the counted steps of all rows."""
    if part.dim() == 2:
        return part
    mask_BT = counted_steps(batch)
    return part.flatten(0, 1) if mask_BT is None else part[mask_BT]


def _first_values(output: Tensor, batch: Batch, codec: NumbersCodec) -> list[list[float]]:
    values = output.double().cpu() * torch.from_numpy(codec.targets.scale_D) + torch.from_numpy(codec.targets.mean_D)
    if values.dim() == 2:
        return [row.tolist() for row in values]
    lengths = [values.shape[1]] * len(values) if batch.lengths_B is None else batch.lengths_B.tolist()
    return [row[: min(length, SHOWN_STEPS)].flatten().tolist() for row, length in zip(values, lengths, strict=True)]


def draw_predictions(true_NK: np.ndarray, said_NK: np.ndarray) -> Figure:
    """Draw each prediction above the number that it is for; on the diagonal both agree."""
    import matplotlib

    from rnntrain.watching.pictures import COLOURS, STYLE, new_figure

    figure = new_figure(4.8, 4.8)
    with matplotlib.rc_context(STYLE):
        axes = figure.subplots()
    low, high = (float(bound(each)) for bound, each in ((np.min, true_NK), (np.max, true_NK)))
    axes.plot([low, high], [low, high], color="black", linewidth=0.8, zorder=1)
    for target in range(min(true_NK.shape[1], len(COLOURS))):
        label = f"target {target}" if true_NK.shape[1] > 1 else None
        axes.scatter(true_NK[:, target], said_NK[:, target], s=6, alpha=0.5, color=COLOURS[target], label=label)
    axes.set_xlabel("true")
    axes.set_ylabel("predicted")
    if true_NK.shape[1] > 1:
        axes.legend()
    return figure
