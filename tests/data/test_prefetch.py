"""Items made ahead are those asked for, errors among them, and the thread ends."""

from __future__ import annotations

import threading
from itertools import islice
from typing import Any

import pytest

from rnntrain.data.prefetch import ahead
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
