"""Trained runs to serve: one that writes, one that classifies, one that forecasts; each of a few steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commandline import TEXT

import rnntrain
from rnntrain import using

pytest.importorskip("starlette", reason="serving needs the extra serve")
pytest.importorskip("httpx", reason="the tests of serving ask through httpx")

from starlette.testclient import TestClient

from rnntrain.serving.api import Service, application
from rnntrain.serving.limits import Limits

SHORT = ("device=cpu", "threads=1", "trainer.max_steps=3", "trainer.eval_every_steps=3", "model.hidden_size=8")


@pytest.fixture(scope="session")
def served_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the folders of the runs by what they do."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "tiny.txt").write_text(TEXT, encoding="utf-8")
    rows = "".join(f"{'good' if n % 2 else 'bad'} day {n},{'yes' if n % 2 else 'no'}\n" for n in range(60))
    (folder / "rows.csv").write_text("text,label\n" + rows, encoding="utf-8")
    hours = "".join(f"2024-01-{1 + n // 24:02d} {n % 24:02d}:00,{10 + math.sin(n):.3f}\n" for n in range(240))
    (folder / "hours.csv").write_text("time,load\n" + hours, encoding="utf-8")
    configs = {
        "writes": ["data=text", f"data.path={folder}/tiny.txt", "data.bptt=8", "data.batch_size=4"],
        "classifies": ["task=classification", "data=labelled_text", f"data.path={folder}/rows.csv"],
        "forecasts": [
            "task=forecasting", "task.output=quantiles", "data=series", f"data.path={folder}/hours.csv",
            "data.window=24", "data.horizon=6",
        ],
    }  # fmt: skip
    for name, config in configs.items():
        rnntrain.train(*config, *SHORT, f"run.dir={folder}/{name}", quiet=True)
    return {name: folder / name for name in configs}


@contextmanager
def client_of(run: Path, limits: Limits | None = None, **options: object) -> Iterator[TestClient]:
    """Ask a run's service without a network."""
    service = Service(using.load(run), limits or Limits())
    with service.worker, TestClient(application(service), base_url="http://localhost", **options) as client:
        yield client
