"""Sweeps with runs that train nothing."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from commandline import Answer, environment

from sweeps import fake

QUICK = ["trainer.max_steps=4", "sweep.name=mine", "sweep.workers=4"]


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put runs that train nothing in the place of real ones."""
    for patch in fake.PATCHES:
        monkeypatch.setattr(*patch)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(fake.TESTS), environment()["PYTHONPATH"]]))


@pytest.fixture
def sweep(run_cli: Callable[..., Answer], fakes: None) -> Callable[..., Answer]:
    """Call `rnntrain sweep` with runs that train nothing."""
    return lambda *words: run_cli("sweep", *QUICK, *words)
