"""What TensorBoard's HParams tab shows of a run, while it trains and at its end.

TensorBoard keeps the first word it reads of a run's hyperparameters and status, whatever comes later. What may still
change therefore stands in an event file of its own, the session, which sorts before the others, is replaced where a run
goes on, and goes when it finishes: the run's own events then say all, once.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnntrain.checkpoints import durable

SESSION = "events.out.tfevents.0.session"


def plain(hyperparameters: Mapping[str, Any]) -> dict[str, int | float | str]:
    """Return values as HParams takes them: numbers and texts."""
    # Of a type itself, not of one below it: PyTorch would write True as the number 1.
    return {key: value if type(value) in (int, float, str) else str(value) for key, value in hyperparameters.items()}


def write_session(folder: Path, hyperparameters: Mapping[str, Any], *, failed: bool = False) -> None:
    """Write the session of a run that has not finished; in TensorBoard's words its status is "unknown".

    Args:
        folder: of the run's events.
        failed: it ended early and does not go on by itself: pruned, or not finite.

    Raises:
        OSError: it cannot be written.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
    from tensorboard.summary.writer.record_writer import RecordWriter
    from torch.utils.tensorboard.summary import hparams

    _, start, end = hparams(plain(hyperparameters), {})
    values = list(start.value)
    if failed:
        plugin_data = end.value[0].metadata.plugin_data
        content = HParamsPluginData.FromString(plugin_data.content)
        content.session_end_info.status = STATUS_FAILURE
        plugin_data.content = content.SerializeToString()
        values += end.value
    file, now = io.BytesIO(), time.time()
    records = RecordWriter(file)
    for what in ({"file_version": "brain.Event:2"}, {"summary": Summary(value=values)}):
        records.write(Event(wall_time=now, **what).SerializeToString())
    folder.mkdir(exist_ok=True)
    durable.replace_file(folder / SESSION, file.getvalue())


def final_summaries(hyperparameters: Mapping[str, Any], metrics: Mapping[str, float], monitor: str) -> tuple[Any, ...]:
    """Return what a finished run writes among its events: the columns of the tab, its values, and that it succeeded.

    Args:
        metrics: by name, each written as a scalar too.
        monitor: the scalar beside them whose last value runs have that have not finished.
    """
    from torch.utils.tensorboard.summary import hparams

    summaries: tuple[Any, ...] = hparams(plain(hyperparameters), {**metrics, monitor: 0.0})
    return summaries


def end_session(folder: Path) -> None:
    """Take the session away: the run's own events say all."""
    (folder / SESSION).unlink(missing_ok=True)
