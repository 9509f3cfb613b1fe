"""All that docs/cluster.md promises of Slurm, in a real one of two nodes on this machine (`scripts/try_slurm.py`)."""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commandline import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "scripts"))
one_machine_slurm = importlib.import_module("one_machine_slurm")
runs_in_slurm = importlib.import_module("runs_in_slurm")
try_slurm = importlib.import_module("try_slurm")
sys.path.pop(0)

LACKING = one_machine_slurm.missing()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(LACKING), reason=f"not installed: {', '.join(LACKING)} (apt-get install slurm-wlm munge)"),
]


@pytest.fixture(scope="module")
def place() -> Iterator[Any]:
    # Not in pytest's own folder: what asks munged must be able to reach it, whoever it is.
    with tempfile.TemporaryDirectory() as folder, one_machine_slurm.Slurm(Path(folder)) as slurm:
        yield runs_in_slurm.Place(Path(folder) / "work", slurm)


@pytest.mark.parametrize("check", try_slurm.CHECKS, ids=lambda check: check.__name__)
def test_slurm(check: Any, place: Any) -> None:
    check(place)
