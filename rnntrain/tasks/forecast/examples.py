"""Single forecasts as a person reads them: a table of steps, or a picture, in measured units and with their times."""

# B batch (of one), S steps of the horizon, C targets, P parameters, Q quantiles

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from rnntrain.batch import Batch
from rnntrain.data.forecast.series import Series
from rnntrain.tasks.forecast.outputs import Output
from rnntrain.tasks.forecast.units import Units

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Example:
    """One forecast of the first target of a series; the band is the widest, or None for points."""

    name: str
    labels: list[str]
    history_T: np.ndarray
    truth_S: np.ndarray
    forecast_S: np.ndarray
    low_S: np.ndarray | None
    high_S: np.ndarray | None
    share: float


def in_units(output: Output, params_BSCP: Tensor, batch: Batch, data: Series, row: int) -> Example:
    """Return the forecast of a batch of one window, whose horizon begins at `row`."""
    units, layout = Units(data.codec), data.codec.layout
    low_S = high_S = None
    share = 0.0
    if output.bands:
        low, high, share = output.bands[0]
        quantiles_SQ = units.measured_quantiles(output.quantiles(params_BSCP), batch)[0, :, 0].cpu().numpy()
        low_S, high_S = quantiles_SQ[:, low], quantiles_SQ[:, high]
    number = int(data.series_of(np.array(row)))
    parts = [layout.series[number], *([layout.targets[0]] if layout.targets != ["value"] else [])]
    return Example(
        " ".join(part for part in parts if part),
        [data.label(row + step) for step in range(layout.horizon)],
        data.measured_NC[row - layout.window : row, 0],
        data.measured_NC[row : row + layout.horizon, 0],
        units.measured(output.point(params_BSCP), batch)[0, :, 0].cpu().numpy(),
        low_S,
        high_S,
        share,
    )


def as_table(example: Example, most_steps: int) -> str:
    """Return one line a step: when, what was forecast, its band, what came."""
    width = max(map(len, example.labels[:most_steps]))
    band = f"{100 * example.share:.3g} % band" if example.low_S is not None else ""
    lines = [f"{example.name:<{width}}  {'forecast':>10}  {'came':>10}  {band:>23}".rstrip()]
    for step, label in enumerate(example.labels[:most_steps]):
        line = f"{label:<{width}}  {example.forecast_S[step]:>10.5g}  {example.truth_S[step]:>10.5g}"
        if example.low_S is not None and example.high_S is not None:
            line += f"  {example.low_S[step]:>10.5g} to {example.high_S[step]:<9.5g}"
        lines.append(line.rstrip())
    left_out = len(example.labels) - most_steps
    return "\n".join([*lines, *([f"… and {left_out} steps more"] if left_out > 0 else [])])


def as_picture(examples: Sequence[Example]) -> Figure:
    """Draw forecasts over their history."""
    from rnntrain.tasks.forecast.pictures import Shown, forecasts  # brings matplotlib

    return forecasts(
        [
            Shown(
                f"{each.name} {each.labels[0]}".strip(),
                each.history_T,
                each.truth_S,
                each.forecast_S,
                each.low_S,
                each.high_S,
                f"{100 * each.share:.3g} % band",
            )
            for each in examples
        ]
    )
