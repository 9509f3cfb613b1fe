"""Ask a training run to stop: the first signal lets it save, the second ends it at once."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, Literal

from rnntrain.errors import Interrupted

# By SIGUSR1 or SIGUSR2 a cluster says that it will soon take the machine back.
_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_ENGINES = ("SLURM_JOB_ID", "TORCHELASTIC_RUN_ID")  # what they leave in the environment


def is_repeated(number: int) -> bool:
    """Say whether a signal that comes after the first says nothing new.

    Slurm signals all processes of a job, and `srun` and `torchrun` pass on to theirs what they get themselves: a run is
    told twice within milliseconds. Where one of them watches over the process it ends for good by SIGKILL, so that only
    Ctrl-C is somebody who will not wait.
    """
    return number != signal.SIGINT and any(name in os.environ for name in _ENGINES)


@contextmanager
def notices_before_training() -> Iterator[None]:
    """Let a notice of Slurm that comes before training end the program with the code that says "again".

    By itself SIGUSR1 would kill it, with a code that no job script takes for an interruption. Nothing is lost yet.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        raise Interrupted(f"{name}: came before training; the same command begins anew, or goes on", name)

    notices = [number for number in SIGNALS if signal.Signals(number).name.startswith("SIGUSR")]
    ours = [number for number in notices if signal.getsignal(number) == signal.SIG_DFL]
    if "SLURM_JOB_ID" not in os.environ or threading.current_thread() is not threading.main_thread():
        ours = []
    for number in ours:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


class StopRequests:
    """Within this context the signals that ask a program to stop are remembered; `reason` says which came.

    Signals can only be caught in the main thread; in any other, none is.

    Args:
        quiet: say nothing when one comes.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._deadline = math.inf
        self._received: str | None = None
        self._asked: tuple[str, Literal["interrupted", "pruned"]] | None = None
        self._previous: dict[int, Any] = {}
        self._last_words: str | None = None

    def end_at_once(self, last_words: str) -> None:
        """From now on a signal need not be waited for: everything has been saved. It ends the program where it is.

        Args:
            last_words: say where things stand; they follow the name of the signal.
        """
        self._last_words = last_words

    def ask(self, reason: str, status: Literal["interrupted", "pruned"] = "interrupted") -> None:
        """Ask for a stop as a signal would, from any thread; what was asked first counts.

        Args:
            status: what the run is then: to be gone on with, or "pruned", where nobody means to.
        """
        if self._asked is None:
            self._asked = reason, status

    def stop_after(self, minutes: float | None) -> None:
        """Ask for a stop in so many minutes from now, as the time limit of a scheduler; never where None."""
        self._deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes

    def reason(self) -> str | None:
        """Return the name of the signal that came, or why else to stop, or None."""
        if time.monotonic() >= self._deadline:
            self.ask("stop_after_minutes")
        return self._received or (self._asked[0] if self._asked else None)

    @property
    def status(self) -> str:
        """What a run is that stops for this reason."""
        return self._asked[1] if self._asked and self._received is None else "interrupted"

    def __enter__(self) -> StopRequests:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            if is_repeated(number):
                return
            raise KeyboardInterrupt
        self._received = signal.Signals(number).name
        if self._last_words is not None:
            raise Interrupted(f"{self._received}: {self._last_words}", self._received)
        # Not print: the signal may have come in the middle of one, and a stream must not be entered twice.
        if self._quiet:
            return
        with suppress(OSError):
            os.write(2, b"\nStopping after this step and saving; once more stops at once.\n")
