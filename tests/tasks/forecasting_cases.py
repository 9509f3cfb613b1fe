"""Small forecasting experiments on waves, for the contract tests and those of the task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data.series_files import hourly, long_table, write
from training import make_config

from rnntrain.build import Experiment, build

TASK: dict[str, Any] = {"_target_": "rnntrain.tasks.forecasting.Forecasting"}
DATA: dict[str, Any] = {"_target_": "rnntrain.data.forecast.series.Series", "window": 24, "horizon": 6, "batch_size": 8}


def sections(folder: Path, task: dict[str, Any], data: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the two sections of a config over a table of two waves, or over that of `data`."""
    path = data.get("path") or str(write(folder, hourly(160, ("a", "b"))))
    return TASK | task, DATA | {"path": path, "stride": 3} | data


def make(folder: Path, task: dict[str, Any] | None = None, data: dict[str, Any] | None = None) -> Experiment:
    """Build an experiment with a small GRU."""
    its_task, its_data = sections(folder, task or {}, data or {})
    changes: dict[str, Any] = {"task": its_task, "data": its_data, "model.hidden_size": 16}
    return build(make_config(folder / "none.txt", changes, cell="gru"))


def shops(folder: Path, sizes: dict[str, int] | None = None) -> dict[str, Any]:
    """Return the data section's path to a long table of two shops."""
    return {"path": str(write(folder, long_table(sizes or {"north": 120, "south": 100}), "shops.csv"))}
