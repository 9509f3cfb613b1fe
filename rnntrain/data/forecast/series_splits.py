"""Which rows of a series belong to which split, and which windows lie in one."""

# T time, C targets, W windows

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnntrain.data.forecast.panels import Panel
from rnntrain.data.forecast.series_codec import Layout
from rnntrain.errors import UserError


@dataclass(frozen=True)
class Sizes:
    """How the rows of each series are shared out: in fractions, or in rows where those are given."""

    val_fraction: float
    test_fraction: float
    train_size: int | None = None
    val_size: int | None = None
    test_size: int | None = None


def split_bounds(sizes: Sizes, num_rows: int, name: str) -> tuple[int, int, int]:
    """Return the rows before which train, val and test end.

    Raises:
        UserError: the series has fewer rows than the sizes ask for.
    """
    val = round(sizes.val_fraction * num_rows) if sizes.val_size is None else sizes.val_size
    test = round(sizes.test_fraction * num_rows) if sizes.test_size is None else sizes.test_size
    train = num_rows - val - test if sizes.train_size is None else sizes.train_size
    if train < 1 or train + val + test > num_rows:
        keys = (
            "data.val_size and data.test_size" if sizes.train_size is None else "data.train_size, val_size, test_size"
        )
        raise UserError(f"{_which(name)} has {num_rows:,} rows, too few for {keys} ({val:,} and {test:,}); lower them")
    return train, train + val, train + val + test


def check_panel(panel: Panel, bounds: tuple[int, int, int], layout: Layout) -> None:
    """Refuse a series that gives no window, or of which the transform or the scale makes nothing.

    Raises:
        UserError: names the series or the row.
    """
    train_end, val_end, test_end = bounds
    which, needed = _which(panel.name), layout.window + layout.horizon
    if train_end < needed:
        raise UserError(
            f"{which} has {train_end:,} rows to train on ({len(panel):,} in all), and a window of "
            f"data.window={layout.window} and data.horizon={layout.horizon} needs {needed}; lower these"
        )
    for split, rows in (("val", val_end - train_end), ("test", test_end - val_end)):
        if rows < layout.horizon and not (split == "test" and rows == 0):
            raise UserError(
                f"{which} has {rows:,} rows for {split}, and data.horizon={layout.horizon} needs as many; raise "
                f"data.{split}_size, or lower data.horizon"
            )
    train_TC = panel.values_TD[:train_end, : layout.num_targets][panel.valid_T[:train_end]]
    for column, name in enumerate(layout.targets):
        values_T = train_TC[:, column]
        if not len(values_T) or values_T.min() == values_T.max():
            value = f"{values_T[0]:g} in all" if len(values_T) else "missing in all"
            raise UserError(
                f"{which}: {name if name != 'value' else 'it'} is {value} rows to train on, so that there is nothing "
                "to learn; name the others in data.target=[…]"
            )
    if layout.transform != "none":
        low_T = (panel.values_TD[:, : layout.num_targets] <= 0).any(1) & panel.valid_T
        if low_T.any():
            raise UserError(
                f"{panel.places(int(low_T.argmax()))}: a value is not above 0, and data.transform={layout.transform} "
                "takes its logarithm; set data.transform=none"
            )


def window_starts(layout: Layout, low: int, high: int, stride: int, valid_T: np.ndarray) -> np.ndarray:
    """Return where windows begin whose horizon lies in rows `low` to `high`, and that reach over no missing row."""
    first = max(low - layout.window, 0)
    last = high - layout.window - layout.horizon
    starts_W = np.arange(first, last + 1, stride)
    missing_T = np.concatenate([[0], np.cumsum(~valid_T)])
    whole_W = missing_T[starts_W] == missing_T[starts_W + layout.window + layout.horizon]
    return starts_W[whole_W]


def _which(name: str) -> str:
    return f"data: the series {name}" if name else "data: the series"
