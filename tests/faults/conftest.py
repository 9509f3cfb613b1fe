"""What the tests of faults share: a server of warm processes, and what a full tier writes down for BENCHMARKS.md."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults.nursery import Nursery


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Return the server; it is started once."""
    server = Nursery(tmp_path_factory.mktemp("nursery"))
    yield server
    server.close()


@pytest.fixture
def report() -> Callable[..., None]:
    """Write down a line of figures, where `RNNTRAIN_FAULTS_REPORT` names a file for them."""

    def write(row: str, **figures: float | int | str) -> None:
        if path := os.environ.get("RNNTRAIN_FAULTS_REPORT"):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"row": row, **figures}) + "\n")

    return write
