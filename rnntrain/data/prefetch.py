"""Make the next items before they are asked for: in a thread of their own, or several at a time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from queue import Empty, Full, Queue
from typing import Any, TypeVar

Item = TypeVar("Item")

MOST_SECONDS = 2.0
MOST_AT_ONCE = 32
AT_ONCE_SECONDS = 1e-3  # that no run of items takes much longer than
PATIENCE_SECONDS = 0.1  # after which a thread looks whether anybody still wants what it makes


def ahead(items: Iterable[Item], depth: int = 16) -> Iterator[Item]:
    """Yield `items` in their order, up to `depth` of them made before they are asked for.

    What is yielded does not depend on the thread's pace: it only iterates, so items that are a function of their
    number alone stay so. An exception in the making is raised where its item would have come. The thread ends when
    the iterator is closed or forgotten.
    """
    ready: Queue[tuple[bool, Any]] = Queue(depth)
    unwanted = threading.Event()

    def put(entry: tuple[bool, Any]) -> bool:
        while not unwanted.is_set():
            try:
                ready.put(entry, timeout=PATIENCE_SECONDS)
            except Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for item in items:
                if not put((True, item)):
                    return
        except BaseException as error:
            put((False, error))
        else:
            put((False, None))

    thread = threading.Thread(target=make, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            is_item, value = ready.get()
            if not is_item:
                if value is not None:
                    raise value
                return
            yield value
    finally:
        unwanted.set()
        _drain(ready)
        # No longer than an item takes: an interpreter that is ending would wait for ever for a thread it has stopped.
        thread.join(timeout=MOST_SECONDS)


def several_at_once(items: Iterable[Item]) -> Iterator[Item]:
    """Yield `items` in their order, a few of them made in one go where that takes no time to speak of.

    A step of training leaves the processor's caches full of other things. What makes a small batch is then slow
    to begin, by up to ten times, and fast to go on. Items that take longer come one by one, as do those that
    somebody else makes and that are not ready. An exception in the making is raised where its item would have come.
    """
    iterator = iter(items)
    made: deque[Item] = deque()
    while True:
        error: Exception | None = None
        began = time.perf_counter()
        try:
            while len(made) < MOST_AT_ONCE and (not made or time.perf_counter() - began < AT_ONCE_SECONDS):
                made.append(next(iterator))
        except Exception as raised:
            error = raised
        while made:
            yield made.popleft()
        if isinstance(error, StopIteration):
            return
        if error is not None:
            raise error


def _drain(queue: Queue[Any]) -> None:
    try:
        while True:
            queue.get_nowait()
    except Empty:
        pass
