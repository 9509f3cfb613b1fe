"""What is fitted on the training rows of series: transforms, scales, the seasons that errors are measured against."""

# P series, C targets, D = C + O: targets and observed columns, T time, B batch, S steps of the horizon

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import numpy as np

from rnntrain.data.base import Codec
from rnntrain.data.forecast.calendar import CYCLES
from rnntrain.errors import UserError

Scaling = Literal["standard", "minmax", "robust", "none"]
Transform = Literal["none", "log", "returns"]


@dataclass(frozen=True)
class Layout:
    """What a model of series was built for.

    Attributes:
        series: names of the series, whose places are their numbers.
        targets: names of what is forecast; one where the columns of a table are series of their own.
        observed: names of what is read beside the targets, and not forecast.
        cycles: of the calendar, two features each.
        window: steps that are read.
        horizon: steps that are forecast.
        season: steps after which things come again; None where unknown.
        transform: of the targets, before scaling.
        scaling: of targets, after the transform, and of observed columns.
        step: the time between rows, in words.
    """

    series: list[str]
    targets: list[str]
    observed: list[str]
    cycles: list[str]
    window: int
    horizon: int
    season: int | None
    transform: Transform
    scaling: Scaling
    step: str

    @property
    def num_targets(self) -> int:
        return len(self.targets)

    @property
    def num_values(self) -> int:
        return len(self.targets) + len(self.observed)

    @property
    def num_calendar(self) -> int:
        return 2 * len(self.cycles)

    @property
    def num_inputs(self) -> int:
        return self.num_values + self.num_calendar


class SeriesCodec(Codec):
    """Values as measured, and as the model meets them: ``(transform(x) - shift) / scale``, for each series its own.

    Args:
        shift_PD: what is subtracted.
        scale_PD: what is divided by; positive.
        naive_error_PC: mean absolute error, in units of the targets, of the value one season before (one step before
            where there is no season) over the training rows; the scale of MASE (Hyndman and Koehler 2006).
    """

    def __init__(self, layout: Layout, shift_PD: np.ndarray, scale_PD: np.ndarray, naive_error_PC: np.ndarray) -> None:
        self.layout = layout
        self.shift_PD, self.scale_PD, self.naive_error_PC = shift_PD, scale_PD, naive_error_PC

    @classmethod
    def fit(cls, layout: Layout, train: Sequence[tuple[np.ndarray, np.ndarray]]) -> SeriesCodec:
        """Fit on the training rows of each series: values ``[T, D]`` as measured, and which rows are valid."""
        shifts, scales, errors = [], [], []
        for values_TD, valid_T in train:
            transformed_TD, known_T = transform_values(layout, values_TD, valid_T)
            shift_D, scale_D = _shift_and_scale(layout.scaling, transformed_TD[known_T])
            shifts.append(shift_D)
            scales.append(scale_D)
            errors.append(_naive_error(values_TD[:, : layout.num_targets], valid_T, layout.season))
        return cls(layout, np.stack(shifts), np.stack(scales), np.stack(errors))

    def encode(self, number: int, values_TD: np.ndarray, valid_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the values of series `number` as the model meets them, and which rows are valid then."""
        transformed_TD, valid_T = transform_values(self.layout, values_TD, valid_T)
        return (transformed_TD - self.shift_PD[number]) / self.scale_PD[number], valid_T

    def state_dict(self) -> dict[str, Any]:
        arrays = {"shift": self.shift_PD, "scale": self.scale_PD, "naive_error": self.naive_error_PC}
        return asdict(self.layout) | {name: array.tolist() for name, array in arrays.items()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> SeriesCodec:
        layout = _layout_of(state)
        num_series = len(layout.series)
        shift_PD = _array(state, "shift", num_series, layout.num_values)
        scale_PD = _array(state, "scale", num_series, layout.num_values)
        error_PC = _array(state, "naive_error", num_series, layout.num_targets)
        if (scale_PD <= 0).any() or (error_PC < 0).any():
            raise _malformed("`scale` must be positive, and `naive_error` not negative")
        return cls(layout, shift_PD, scale_PD, error_PC)


def transform_values(layout: Layout, values_TD: np.ndarray, valid_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Apply the transform to the targets; a return needs the row before, so that the first row has none."""
    if layout.transform == "none":
        return values_TD, valid_T
    count = layout.num_targets
    logs_TC = np.log(np.where(valid_T[:, None], values_TD[:, :count], 1.0))
    if layout.transform == "returns":
        logs_TC = np.diff(logs_TC, axis=0, prepend=logs_TC[:1])
        valid_T = valid_T & np.concatenate([[False], valid_T[:-1]])
        logs_TC[~valid_T] = 0.0
    return np.concatenate([logs_TC, values_TD[:, count:]], 1), valid_T


def _shift_and_scale(scaling: Scaling, values_TD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what to subtract and what to divide by; 1 for what is constant."""
    if scaling == "none":
        return np.zeros(values_TD.shape[1]), np.ones(values_TD.shape[1])
    if scaling == "minmax":
        shift_D, scale_D = values_TD.min(0), np.ptp(values_TD, axis=0)
    elif scaling == "robust":
        low_D, shift_D, high_D = np.quantile(values_TD, [0.25, 0.5, 0.75], axis=0)
        # Where most values are one, as rain is on dry days, the quartiles say nothing of the others.
        scale_D = np.where(high_D > low_D, high_D - low_D, values_TD.std(0))
    else:
        shift_D, scale_D = values_TD.mean(0), values_TD.std(0)
    return shift_D, np.where(scale_D > 1e-12 * np.maximum(np.abs(shift_D), 1e-300), scale_D, 1.0)


def _naive_error(values_TC: np.ndarray, valid_T: np.ndarray, season: int | None) -> np.ndarray:
    lag = season if season is not None and season < len(values_TC) else 1
    both_T = valid_T[lag:] & valid_T[:-lag]
    if not both_T.any():
        return np.zeros(values_TC.shape[1])
    return np.abs(values_TC[lag:] - values_TC[:-lag])[both_T].mean(0)


def _layout_of(state: dict[str, Any]) -> Layout:
    if not isinstance(state, dict) or any(field.name not in state for field in fields(Layout)):
        raise _malformed("a part of the layout is missing")
    values = {field.name: state[field.name] for field in fields(Layout)}
    for name in ("series", "targets", "observed", "cycles"):
        if not isinstance(values[name], list) or not all(isinstance(text, str) for text in values[name]):
            raise _malformed(f"`{name}` must be a list of texts")
    if not values["series"] or not values["targets"] or not set(values["cycles"]) <= set(CYCLES):
        raise _malformed("`series` and `targets` must name something, and `cycles` known ones")
    for name in ("window", "horizon"):
        if type(values[name]) is not int or values[name] < 1:
            raise _malformed(f"`{name}` must be a positive whole number")
    if values["season"] is not None and (type(values["season"]) is not int or values["season"] < 1):
        raise _malformed("`season` must be a positive whole number or null")
    if values["transform"] not in get_args(Transform) or values["scaling"] not in get_args(Scaling):
        raise _malformed("`transform` and `scaling` must be known ones")
    if not isinstance(values["step"], str):
        raise _malformed("`step` must be a text")
    return Layout(**values)


def _array(state: dict[str, Any], name: str, rows: int, columns: int) -> np.ndarray:
    nested = state.get(name)
    fits = isinstance(nested, list) and len(nested) == rows
    fits = fits and all(isinstance(row, list) and len(row) == columns for row in nested or [])
    if not fits or not all(type(x) in (int, float) and math.isfinite(x) for row in nested or [] for x in row):
        raise _malformed(f"`{name}` must be {rows} rows of {columns} numbers")
    return np.array(nested, np.float64)


def _malformed(what: str) -> UserError:
    return UserError(f"the series codec's saved state is damaged: {what}; use another checkpoint")


def difference(model: Layout, data: Layout) -> str:
    """Say in what the layout of a model and that of its data differ."""
    for name, of_model, of_data in ((n, getattr(model, n), getattr(data, n)) for n in model.__dataclass_fields__):
        if of_model != of_data:
            return f"data: the model was trained with {name} {of_model}, and this data has {of_data}; give it such data"
    raise AssertionError("the layouts are equal")
