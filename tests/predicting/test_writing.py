"""Answers as they are written: what a user's data says stays text."""

from __future__ import annotations

from typing import Any

import pytest

from rnntrain.predicting.writing import _table


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=cmd|'/c calc'!A0", "'=cmd|'/c calc'!A0"),
        ("@SUM(1)", "'@SUM(1)"),
        (["-x", "y"], "'-x y"),
        ("ham", "ham"),
        (-0.5, "-0.5"),
        ([-0.5, 1.0], "-0.5 1.0"),
    ],
)
def test_no_spreadsheet_takes_an_answer_for_a_formula(value: Any, cell: str) -> None:
    assert "".join(_table([{"label": value}])) == f"label\n{cell}\n"
