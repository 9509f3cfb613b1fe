"""Small tables of series that several tests read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rnntrain.data.forecast.series import Series
from rnntrain.errors import UserError

START = datetime(2024, 1, 1)


def hourly(rows: int, names: Sequence[str] = ("a",), skip: Sequence[int] = ()) -> list[list[str]]:
    """Return rows of a wide table: a wave of a day for each name, each with its own height, from START on."""
    table = [["date", *names]]
    for row in range(rows):
        if row not in skip:
            moment = (START + timedelta(hours=row)).isoformat(" ")
            values = [10 * (n + 1) + 3 * math.sin(2 * math.pi * row / 24) + 0.01 * row for n in range(len(names))]
            table.append([moment, *(f"{value:.4f}" for value in values)])
    return table


def long_table(sizes: dict[str, int]) -> list[list[str]]:
    """Return rows of a long table, day by day, the series one after the other."""
    table = [["shop", "day", "sales"]]
    for number, (name, size) in enumerate(sizes.items()):
        for row in range(size):
            day = (START + timedelta(days=row)).date().isoformat()
            table.append([name, day, f"{100 * (number + 1) + row % 7 + 0.1 * row:.2f}"])
    return table


def write(folder: Path, table: list[list[str]], name: str = "series.csv", delimiter: str = ",") -> Path:
    """Write rows as CSV; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("\n".join(delimiter.join(row) for row in table) + "\n", encoding="utf-8")
    return path


def load(path: Path | str, **options: Any) -> Series:
    """Load a file with small windows."""
    data = Series(str(path), **{"window": 12, "horizon": 4, "batch_size": 8} | options)
    data.load()
    return data


def refused(path: Path | str, **options: Any) -> str:
    """Return the one line with which a file is refused."""
    with pytest.raises(UserError) as error:
        load(path, **options)
    message = str(error.value)
    assert "\n" not in message
    return message
