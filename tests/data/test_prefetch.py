"""Items made ahead, or several at a time, are those asked for, errors among them, and the thread ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from rnntrain.data import prefetch as module
from rnntrain.data.prefetch import ahead, several_at_once
from rnntrain.errors import UserError


def test_items_come_in_order_whatever_the_pace() -> None:
    assert list(ahead(range(100), depth=3)) == list(range(100))
    assert list(ahead([])) == []


def test_errors_of_the_maker_come_where_their_item_would() -> None:
    def items() -> Any:
        yield 1
        raise UserError("broken")

    made = ahead(items())
    assert next(made) == 1
    with pytest.raises(UserError, match="broken"):
        next(made)


def test_thread_ends_with_its_reader() -> None:
    before = threading.active_count()
    made = ahead(iter(int, 1), depth=2)  # endless
    assert list(islice(made, 5)) == [0] * 5
    assert threading.active_count() == before + 1
    made.close()
    assert threading.active_count() == before


# -- several at once ---


def test_several_at_once_come_in_their_order() -> None:
    assert list(several_at_once(iter(range(100)))) == list(range(100))
    assert list(several_at_once([])) == []


def test_what_is_made_fast_is_made_in_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten items within the time of a run, and no more than may be held."""
    clock, made = [0.0], []
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])

    def items(seconds: float) -> Iterator[int]:
        for number in range(100):
            clock[0] += seconds
            made.append(number)
            yield number

    for seconds, expected in ((module.AT_ONCE_SECONDS / 9.5, 10), (0.0, module.MOST_AT_ONCE), (1.0, 1)):
        made.clear()
        assert next(several_at_once(items(seconds))) == 0
        assert len(made) == expected


def test_an_error_comes_where_its_item_would_have_come() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise ValueError("the fourth")

    seen = several_at_once(items())
    assert [next(seen) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth"):
        next(seen)
