"""The time that training takes: all of it, that before a resume included, and that between two logged lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rnntrain.processes.agreement import Agreement
from rnntrain.watching.window import Mark


class Clock:
    """Runs while a trainer fits.

    Attributes:
        data_seconds: spent waiting for batches, in this process.
        before: seconds of training before the clock was started, in earlier processes too.
    """

    def __init__(self, agreement: Agreement) -> None:
        self.data_seconds = 0.0
        self.before = 0.0
        self._agreement = agreement
        self._started: float | None = None
        self._logged = Mark(0.0, 0, 0, 0.0)

    def start(self, step: int, units_seen: int) -> None:
        """Begin to run, where a trainer stands."""
        self._started = time.monotonic()
        self._logged = Mark(time.perf_counter(), step, units_seen, self.data_seconds)

    def stop(self) -> None:
        self.before, self._started = self.seconds(), None

    def seconds(self) -> float:
        """Return the time spent in training, that before a resume included; of several processes, the first's."""
        return self._agreement.seconds(self.own_seconds(), self.before)

    def own_seconds(self) -> float:
        """Return the time that this process has measured."""
        running = 0.0 if self._started is None else time.monotonic() - self._started
        return self.before + running

    @contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        before = time.perf_counter()
        yield
        self.data_seconds += time.perf_counter() - before

    @contextmanager
    def out_of_speeds(self) -> Iterator[None]:
        """Leave what happens within the context out of the logged speeds, which are those of training."""
        before = time.perf_counter()
        yield
        self._logged = self._logged._replace(time=self._logged.time + time.perf_counter() - before)

    def costs(self, step: int, units_seen: int) -> dict[str, float]:
        """Return speeds since the last call, and the share of time spent waiting for data."""
        before, self._logged = self._logged, Mark(time.perf_counter(), step, units_seen, self.data_seconds)
        return before.costs(self._logged)
