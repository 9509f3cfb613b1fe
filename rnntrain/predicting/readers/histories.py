"""Series: tables of one or many, as histories to forecast from, or as windows whose outcome is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rnntrain.data.forecast.panels import Panel, channels_of, choose_columns, read_panels
from rnntrain.data.forecast.series_codec import Layout
from rnntrain.data.forecast.series_tables import Table, read_table
from rnntrain.data.forecast.time_index import Times, is_time
from rnntrain.errors import UserError, closest
from rnntrain.predicting.history import History
from rnntrain.predicting.readers.items import Item, Reading, check_file

ANY_INDEPENDENT = "value"  # the one target of a model whose columns are series of their own


def read_panels_of(path: str, layout: Layout, reading: Reading) -> list[Panel]:
    """Return the series of a table, in the columns that the model was trained on.

    Raises:
        UserError: names file, line and column.
    """
    place = Path(path).expanduser()
    if path == "-":
        raise UserError("-: a table of series is read from a file; save it to one")
    check_file(place, path)
    recorded = reading.recorded
    table = read_table(place, "FILE")
    independent = recorded.get("channels") == "independent"
    targets = _targets(layout, independent, recorded.get("target"), list(table.columns))
    missing = [name for name in [*(targets or []), *layout.observed] if name not in table.columns]
    if missing:
        near = closest(missing[0], list(table.columns))
        raise UserError(
            f"{path}: has no column {missing[0]}{near}, which the model reads; it has: {', '.join(table.columns)}"
        )
    time = recorded.get("time")
    series = recorded.get("series")
    if series is None and not independent and len(layout.series) > 1:
        series = _names_of_series(table, layout)
    columns, guessed = choose_columns(table, time, series, targets, layout.observed)
    if guessed:
        reading.note(f"{path}: guessed {', '.join(guessed)}")
    panels, _, repairs = read_panels(
        table,
        columns,
        time_format=recorded.get("time_format"),
        time_zone=recorded.get("time_zone"),
        gaps=recorded.get("gaps", "refuse"),
        missing=recorded.get("missing", "refuse"),
    )
    if repairs.gaps or repairs.missing_values:
        said = repairs.said(recorded.get("gaps", "refuse"), recorded.get("missing", "refuse"))
        reading.note(f"{path}{said}")
    if not independent:
        return panels
    alone = [each for panel in panels for each in channels_of(panel, columns.targets)]
    return [panel for panel in alone if panel.name in layout.series] or alone


def _names_of_series(table: Table, layout: Layout) -> str | None:
    """Return the column that names series of the model, else the one column of words; None where neither is.

    By what it holds: a table of one series of many has no time twice, by which a training file's column is known.
    """
    words = {name: table.texts("FILE", name) for name in table.columns if not table.is_numeric(name)}
    known = [name for name, texts in words.items() if not set(texts).isdisjoint(layout.series)]
    others = [name for name, texts in words.items() if not is_time(texts[0])]
    return next((found[0] for found in (known, others) if len(found) == 1), None)


def _targets(layout: Layout, independent: bool, asked: Any, there: list[str]) -> list[str] | None:
    """Return the columns to forecast: those of training, of which a model of single columns may get some."""
    if not independent:
        return layout.targets
    names = [asked] if isinstance(asked, str) else asked
    columns = names or list(dict.fromkeys(name.rpartition("/")[2] for name in layout.series))
    known = [name for name in columns if name in there]
    return known or columns


def read_histories(path: str, layout: Layout, reading: Reading) -> Iterator[Item]:
    """Yield each series of a table whole."""
    for panel in read_panels_of(path, layout, reading):
        where = f"{path}: {panel.name}" if panel.name else path
        yield Item(_history(panel, len(panel), reading), where, {"source": path})


def read_origins(path: str, layout: Layout, reading: Reading) -> Iterator[Item]:
    """Yield every window of every series with the rows that came after it: a backtest over rolling origins."""
    rows = layout.window + (layout.transform == "returns")
    stride = int(reading.recorded.get("eval_stride", 1))
    found = 0
    for panel in read_panels_of(path, layout, reading):
        for origin in range(rows, len(panel) - layout.horizon + 1, stride):
            if panel.valid_T[origin - rows : origin + layout.horizon].all():
                found += 1
                came_SC = panel.values_TD[origin : origin + layout.horizon, : layout.num_targets]
                where = panel.places(origin)
                history = _history(panel, origin, reading, since=origin - rows)
                yield Item(history, where, {"source": where, "series": panel.name}, came_SC)
    if not found:
        raise UserError(
            f"{path}: holds no {rows} rows with {layout.horizon} more after them, as one window takes; give more rows"
        )


def _history(panel: Panel, stop: int, reading: Reading, since: int = 0) -> History:
    times = panel.times
    if times is not None:
        times = Times(times.index_T[since:stop], times.local_T[since:stop])
    values_TD = np.where(panel.valid_T[since:stop, None], panel.values_TD[since:stop], np.nan)
    return History(panel.name, values_TD, times, since, reading.recorded.get("time_zone"))
