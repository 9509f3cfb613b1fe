"""Follow a run that is being written, line by line, until it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rnntrain.comparing.records import read_run
from rnntrain.runs.lock import is_held
from rnntrain.runs.metrics_file import open_metrics
from rnntrain.runs.run import RunDir, open_run

POLL_SECONDS = 0.5
FIRST_LINES = 10
SHOWN = ("train/loss", "train/lr", "cost/units_per_second")


def follow(path: Path, poll_seconds: float = POLL_SECONDS) -> Iterator[str]:
    """Yield the last lines that a run logged, then those that come, then how it ended.

    Raises:
        UserError: there is no such run.
    """
    run = open_run(path)
    file, held = None, b""
    while True:
        ends = not is_held(run.lock_file)  # asked before the file is read: what was written until then is read
        if file is None and run.metrics.exists():
            file = open_metrics(run.metrics)
            lines = file.read().splitlines(keepends=True)
            held = b"".join(lines[-FIRST_LINES:])
        if file is not None:
            held += file.read()
            *whole, held = held.split(b"\n")
            yield from filter(None, map(_shown, whole))
        if ends:
            break
        time.sleep(poll_seconds)
    if file is not None:
        file.close()
    yield _ending(run)


def _shown(line: bytes) -> str | None:
    try:
        record: dict[str, Any] = json.loads(line)
        step = record["step"]
    except (ValueError, KeyError, TypeError):
        return None
    names = [name for name in record if name.startswith(("val/", "test/")) or name in SHOWN]
    values = ", ".join(f"{name} {_number(record[name])}" for name in names)
    return f"step {step:,}: {values}" if values and isinstance(step, int) else None


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else str(value)


def _ending(run: RunDir) -> str:
    record = read_run(run.path)
    return f"{record.status}{f' ({record.reason})' if record.reason else ''}: {run.path}"
