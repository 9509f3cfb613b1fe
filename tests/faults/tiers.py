"""Which cases of a table the quick tier takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def tiers(names: Iterable[str], every: int) -> list[Any]:
    """Return the names as parameters, of which the quick tier takes one in so many, spread over the table."""
    return [
        pytest.param(name, marks=() if place % every == 0 else pytest.mark.slow) for place, name in enumerate(names)
    ]
