"""Curves as PNG files, and copies of what the runs drew, in one folder: for slides and papers."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import matplotlib

from rnntrain.checkpoints.durable import one_line
from rnntrain.comparing.records import RunRecord
from rnntrain.reporting.pictures import picture_files
from rnntrain.watching.pictures import COLOURS, STYLE, new_figure

DASHES = ("-", "--", ":", "-.")
MOST_NAMED = 12  # runs, beyond which a legend would hide the curves


def write_pictures(records: Sequence[RunRecord], folder: Path) -> int:
    """Write one picture a scalar over all runs, and each run's own pictures beside them; return how many.

    Raises:
        UserError: the folder cannot be written.
    """
    names = dict.fromkeys(name for record in records for name in record.curves)
    shown = [name for name in names if name.startswith(("train/", "val/", "cost/")) and name != "train/epoch"]
    written = 0
    with one_line(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in shown:
            _draw(name, records, folder / f"curve_{_file_name(name)}.png")
            written += 1
        for record in records:
            for path in picture_files(record.path / "pictures"):
                prefix = f"{_file_name(record.name)}_" if len(records) > 1 else ""
                shutil.copyfile(path, folder / f"{prefix}{path.name}")
                written += 1
    return written


def _draw(name: str, records: Sequence[RunRecord], path: Path) -> None:
    figure = new_figure()
    with matplotlib.rc_context(STYLE):
        axes = figure.subplots()
    with_it = [record for record in records if name in record.curves]
    for number, record in enumerate(with_it):
        steps, values = zip(*record.curves[name], strict=True)
        axes.plot(
            steps,
            [value if math.isfinite(value) else math.nan for value in values],
            label=record.name,
            color=COLOURS[number % len(COLOURS)],
            linestyle=DASHES[number // len(COLOURS) % len(DASHES)],
        )
    axes.set_xlabel("step")
    axes.set_ylabel(name)
    if 1 < len(with_it) <= MOST_NAMED:
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=150)


def _file_name(name: str) -> str:
    return re.sub("[^A-Za-z0-9.-]+", "_", name)
