"""A lock that one process holds, and that the system takes back when the process dies by whatever means."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from rnntrain.checkpoints import durable
from rnntrain.errors import UserError

TEXT_LIMIT_BYTES = 4096
LOOKER_WAITS = 200
LOOKER_WAIT_SECONDS = 0.005

_held: set[int] = set()


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, which says who does. It is never deleted.

    Raises:
        UserError: another process holds it, or the file system keeps no locks.
    """
    descriptor = _take(path)
    _held.add(descriptor)
    try:
        yield
    finally:
        # The file stays: deleting it would let two writers in, one with the old file and one with a new.
        if descriptor in _held:
            _held.discard(descriptor)
            with suppress(OSError):
                os.ftruncate(descriptor, 0)  # what it says would mislead people
            os.close(descriptor)


def is_held(path: Path) -> bool:
    """Say whether a process holds the lock file `path` now; a file that cannot be asked counts as held."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _take(path: Path) -> int:
    with durable.one_line(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            _lock(descriptor)
            holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": f"{datetime.now():%F %T}"}
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, (json.dumps(holder) + "\n").encode(), 0)
            return descriptor
        except BlockingIOError:
            text = os.pread(descriptor, TEXT_LIMIT_BYTES, 0)
            os.close(descriptor)
            raise UserError(
                f"{path.parent}: {_holder(text)} is writing this run; wait for it, stop it, or start another"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise


def _lock(descriptor: int) -> None:
    """Take the lock; wait out whoever only asks whether it is held (`is_held`), which takes an instant.

    Raises:
        BlockingIOError: a writer holds it.
    """
    for _ in range(LOOKER_WAITS):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        try:  # beside lookers, but not beside a writer, this is granted
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        time.sleep(LOOKER_WAIT_SECONDS)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(text: bytes) -> str:
    try:
        holder = json.loads(text)
        host, since = str(holder["host"])[:80], str(holder["since"])[:40]
        return f"process {int(holder['pid'])} on {host!r} (since {since!r})"
    except (ValueError, TypeError, KeyError, RecursionError):
        return "another process"


def _close_inherited() -> None:
    """Leave the locks to the parent: a data worker that outlives a killed trainer must not hold its run."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_close_inherited)
