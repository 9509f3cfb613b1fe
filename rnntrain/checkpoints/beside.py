"""Work that goes on beside training: one job at a time, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType


class Beside:
    """Runs jobs one after the other beside the caller; what goes wrong in one comes out at the caller's next call.

    As a context manager it waits for the last job at the end; a moment only where Ctrl-C is to stop everything at once.

    Args:
        moment_seconds: that moment. A program that goes on after Ctrl-C, as a notebook does, may resume the run next,
            and two must not write it; a disk that hangs must not hold up who wants to leave.
    """

    def __init__(self, moment_seconds: float = 5.0) -> None:
        self._moment_seconds = moment_seconds
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, job: Callable[[], object]) -> None:
        """Begin a job as soon as the one before has ended.

        Raises:
            BaseException: the error of the one before; the new one is not begun then.
        """
        self.wait()
        # A daemon, so that a second Ctrl-C ends the process at once: what is half written is only a temporary.
        self._thread = threading.Thread(target=self._run, args=(job,), name="beside", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return once no job is under way.

        Raises:
            BaseException: the error of the job, once.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def idle(self) -> bool:
        """Say whether no job is under way, without waiting."""
        return self._thread is None or not self._thread.is_alive()

    def check(self) -> None:
        """Raise the error of a job that has failed, once; cheap enough to ask at every step."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self, job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Beside:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.wait()
        elif self._thread is not None:  # the error that is under way says more than one of the job's
            self._thread.join(self._moment_seconds if issubclass(kind, KeyboardInterrupt) else None)
