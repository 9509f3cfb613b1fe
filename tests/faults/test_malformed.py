"""A mistake is answered with one line that names key or place, value and fix; nothing is created."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import TEXT, listing

from faults.malformed import MALFORMED
from faults.nursery import Nursery
from faults.test_hostile import check_refused
from faults.tiers import tiers


@pytest.mark.parametrize("name", tiers(MALFORMED, 4))
def test_mistake_is_one_line(nursery: Nursery, tmp_path: Path, report: Callable[..., None], name: str) -> None:
    mistake = MALFORMED[name]
    (tmp_path / "tiny.txt").write_text(TEXT, encoding="utf-8")
    for file, content in mistake.files.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(content)
    before = listing(tmp_path)
    ended = nursery.cli(*mistake.words, cwd=str(tmp_path), env=mistake.environment or {})
    report("malformed", name=name, seconds=ended.seconds, megabytes=ended.peak_megabytes)
    check_refused(ended)
    line = ended.err.removeprefix("rnntrain: error: ")
    assert [part for part in mistake.told if part not in line] == [], line
    assert "; " in line or ":" in line, line
    assert listing(tmp_path) == before
