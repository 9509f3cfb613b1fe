"""The other processes that train the same model: which are still there, and what is said of one that is not.

Where a process waits for one that has died, its exchange fails at once, and where one hangs, after a time. Where it
does not wait, but computes, a thread looks after those on the same machine, and after `torchrun` itself, so that no
process is left over.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NamedTuple

LOOK_SECONDS = 0.5
# After which a process ends that has not noticed by itself that another has died.
GRACE_SECONDS = 4.0
# In which a run that has lost torchrun may still save.
SAVING_SECONDS = 30.0
NOTICE_SECONDS = 2.0  # in which the system shows that a process has died, or others say that they wait, too
FAILED = 1


class Partner(NamedTuple):
    """One of the processes."""

    rank: int
    process: int
    host: str

    def gone(self) -> bool:
        """Say whether the process has died; of one on another machine nothing is known."""
        return self.host == socket.gethostname() and not _is_alive(self.process)


class Partners:
    """All processes that train together, this one among them; empty where there is one."""

    def __init__(self) -> None:
        self._all: list[Partner] = []
        self._rank = 0
        self._unwatched = threading.Event()
        self._previous: Any = signal.SIG_DFL

    @staticmethod
    def own(rank: int) -> list[int | str]:
        """Return what a process tells the others of itself."""
        return [rank, os.getpid(), socket.gethostname()]

    def meet(self, told: Sequence[Sequence[int | str]], rank: int) -> None:
        """Take in what all have told, and begin to look after them."""
        self._all = [Partner(int(number), int(process), str(host)) for number, process, host in told]
        self._rank = rank
        self._unwatched = threading.Event()
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._told_to_end)
        if len(self._all) > 1:
            threading.Thread(target=self._watch, args=(os.getppid(),), name="partners", daemon=True).start()

    def leave(self, has_last_words: bool = False) -> None:
        """Look after nobody any more.

        Args:
            has_last_words: this process is about to end and to say why; torchrun, which tells it to end as well, waits.
        """
        self._unwatched.set()
        if self._all and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN if has_last_words else self._previous)
        self._all = []

    def let_first_go(self) -> None:
        """Wait until the first process has ended, or a moment: whoever ends first makes torchrun kill the others."""
        until = time.monotonic() + GRACE_SECONDS
        while self._rank and self._all and not self._all[0].gone() and time.monotonic() < until:
            time.sleep(LOOK_SECONDS / 10)

    def said_of_lost(self, waiting: Callable[[], list[int]], timed_out: bool) -> str:
        """Return one line that says why an exchange failed.

        Args:
            waiting: gives the ranks that wait for others as this one does.
        """
        until = time.monotonic() + NOTICE_SECONDS
        while not (dead := self._gone()) and time.monotonic() < until:
            time.sleep(LOOK_SECONDS / 10)
        if dead:
            return self._ended(dead)
        hanging = [p for p in self._all if p.rank not in waiting()] if timed_out else []
        if hanging:
            return (
                f"{self._named(hanging)}: did not answer within device.timeout_minutes; the run stands at its last "
                "checkpoint: find out what it waits for, then go on with `rnntrain resume`"
            )
        return "another process has ended; the run stands at its last checkpoint: go on with `rnntrain resume`"

    def _told_to_end(self, number: int, frame: FrameType | None) -> None:
        """End as by default, where the run does not wait for signals; say who has ended before, if one has."""
        if dead := self._gone():
            os.write(2, f"rnntrain: error: {self._ended(dead)}\n".encode())
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _gone(self) -> list[Partner]:
        return [partner for partner in self._all if partner.rank != self._rank and partner.gone()]

    def _ended(self, partners: Sequence[Partner]) -> str:
        return (
            f"{self._named(partners)}: has ended; the run stands at its last checkpoint: go on with `rnntrain resume`"
        )

    def _named(self, partners: Sequence[Partner]) -> str:
        return ", ".join(f"process {p.rank} of {len(self._all)} (pid {p.process} on {p.host})" for p in partners)

    def _watch(self, parent: int) -> None:
        unwatched, by_torchrun = self._unwatched, "TORCHELASTIC_RUN_ID" in os.environ
        while not unwatched.wait(LOOK_SECONDS):
            if by_torchrun and os.getppid() != parent:
                if signal.getsignal(signal.SIGTERM) != self._told_to_end:  # it trains: it saves and ends
                    os.kill(os.getpid(), signal.SIGTERM)
                self._end_after(SAVING_SECONDS, unwatched, "torchrun has ended; so does this process")
            if dead := self._gone():
                self._end_after(GRACE_SECONDS, unwatched, self._ended(dead))

    def _end_after(self, seconds: float, unwatched: threading.Event, line: str) -> None:
        if not unwatched.wait(seconds):
            sys.stderr.write(f"rnntrain: error: process {self._rank}: {line}\n")
            sys.stderr.flush()
            os._exit(FAILED)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # one that has ended, and that its parent has not asked after yet, can still be sent signals
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return True
