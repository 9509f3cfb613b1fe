"""Make the next items while the last one is being used, in a thread of their own."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from queue import Empty, Full, Queue
from typing import Any, TypeVar

Item = TypeVar("Item")

MOST_SECONDS = 2.0
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


def _drain(queue: Queue[Any]) -> None:
    try:
        while True:
            queue.get_nowait()
    except Empty:
        pass
