"""Who works on which point: locks that the system takes back when the last process that holds them dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rnntrain.checkpoints import durable


class Lease:
    """The right to work on one point. Its runs inherit it, so that it lasts as long as the last of them."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> Lease | None:
        """Return the lease, or None where another process holds it."""
        with durable.one_line(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return None
        return cls(descriptor)

    def release(self) -> None:
        os.close(self.descriptor)


@contextmanager
def waiting_lock(path: Path) -> Iterator[int]:
    """Hold a lock file; wait for it."""
    with durable.one_line(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)
