"""One view of all runs of a sweep: lines that stay for what has ended, and what runs now below them."""

from __future__ import annotations

import math
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnntrain.comparing.writing import number
from rnntrain.sweeps.points import Point
from rnntrain.sweeps.space import as_override

REDRAW_SECONDS = 0.5
LINE_SECONDS = 30.0  # between two plain lines where there is no terminal


@dataclass(frozen=True)
class Snapshot:
    """How far a sweep is.

    Attributes:
        running: name, step and last value of each run.
    """

    total: int
    complete: int
    pruned: int
    failed: int
    running: list[tuple[str, int, float | None]]

    @property
    def done(self) -> int:
        return self.complete + self.pruned + self.failed


class View:
    """Shows a sweep on standard error.

    Args:
        metrics: by name, whose means are shown.
        maximize: the sense of the first.
        best: number and value of the best point so far, of a sweep that goes on.
        quiet: show nothing but failures.
    """

    def __init__(
        self, metrics: list[str], maximize: bool, best: tuple[int, float] | None = None, *, quiet: bool = False
    ) -> None:
        self.metrics, self._maximize, self._quiet = metrics, maximize, quiet
        self._best = best
        self._live = sys.stderr.isatty() and not quiet
        self._drawn = 0  # lines of the picture that is redrawn
        self._shown_at = time.monotonic()
        self._began = time.monotonic()
        self._done_at_first: int | None = None

    def due(self) -> bool:
        """Say whether it is time to show again."""
        every = REDRAW_SECONDS if self._live else LINE_SECONDS
        return not self._quiet and time.monotonic() - self._shown_at >= every

    def show(self, snapshot: Snapshot) -> None:
        """Show how far the sweep is."""
        self._shown_at = time.monotonic()
        if self._done_at_first is None:
            self._done_at_first = snapshot.done
        head = self._headline(snapshot)
        runs = [f"  {name}  step {step:,}{self._value(value)}" for name, step, value in snapshot.running]
        if not self._live:
            print(f"{head}; {', '.join(text.strip() for text in runs)}" if runs else head, file=sys.stderr, flush=True)
            return
        columns, rows = shutil.get_terminal_size()
        lines = [line[: columns - 1] for line in (head, *runs)][: max(1, rows - 1)]
        sys.stderr.write(self._cleared() + "".join(line + "\n" for line in lines))
        sys.stderr.flush()
        self._drawn = len(lines)

    def ended(self, point: Point, verdict: str, means: list[float] | None, log: Path) -> None:
        """Tell what a point came to."""
        values = " ".join(as_override(key, _short(value)) for key, value in point.values.items())
        if verdict == "fail":
            self.event(f"{point.number:04} failed  {values}: {point.error()} (see {log})", always=True)
            return
        if verdict == "pruned" or means is None:
            last = point.runs[0].progress
            self.event(f"{point.number:04} pruned  {values}: at step {last.step:,}{self._value(last.value)}")
            return
        shown = ", ".join(f"{name} {number(mean)}" for name, mean in zip(self.metrics, means, strict=True))
        over = f" over {len(point.runs)} seeds" if len(point.runs) > 1 else ""
        note = ""
        if len(means) == 1 and math.isfinite(means[0]) and self._is_best(means[0]):
            self._best, note = (point.number, means[0]), ", the best so far"
        self.event(f"{point.number:04} done  {values}: {shown}{over}{note}")

    def event(self, text: str, *, always: bool = False) -> None:
        """Show a line that stays."""
        if self._quiet and not always:
            return
        sys.stderr.write(self._cleared() + text + "\n")
        sys.stderr.flush()
        self._drawn = 0

    def close(self) -> None:
        sys.stderr.write(self._cleared())
        sys.stderr.flush()
        self._drawn = 0

    def _is_best(self, value: float) -> bool:
        if self._best is None:
            return True
        return value > self._best[1] if self._maximize else value < self._best[1]

    def _headline(self, snapshot: Snapshot) -> str:
        parts = [f"{snapshot.done} of {snapshot.total} points"]
        parts += [
            f"{count} {word}" for count, word in ((snapshot.pruned, "pruned"), (snapshot.failed, "failed")) if count
        ]
        if self._best is not None:
            parts.append(f"best {self.metrics[0]} {number(self._best[1])} ({self._best[0]:04})")
        assert self._done_at_first is not None
        done, elapsed = snapshot.done - self._done_at_first, time.monotonic() - self._began
        if done:
            seconds = round(elapsed / done * (snapshot.total - snapshot.done))
            parts.append(f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left")
        return ", ".join(parts)

    def _value(self, value: float | None) -> str:
        return "" if value is None else f", {self.metrics[0]} {number(value)}"

    def _cleared(self) -> str:
        """Return what takes away the picture that was drawn last."""
        return f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
