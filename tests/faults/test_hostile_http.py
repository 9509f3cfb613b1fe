"""No request makes a served model crash, fill the memory, read a file, or answer a page of another site."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import TEXT

from faults.hostile_files import wav
from faults.hostile_http import REQUESTS
from faults.nursery import Nursery
from faults.test_hostile import MOST_MEGABYTES
from faults.tiers import tiers

pytest.importorskip("starlette", reason="serving needs the extra serve")
pytest.importorskip("httpx", reason="the tests of serving ask through httpx")

SHORT = (
    "device=cpu",
    "threads=1",
    "trainer.max_steps=2",
    "trainer.eval_every_steps=2",
    "model.hidden_size=8",
    "--quiet",
)
CONFIGS = {
    "writes": ["data=text", "data.path=tiny.txt", "data.bptt=8", "data.batch_size=4"],
    "classifies": ["task=classification", "data=labelled_text", "data.path=rows.csv"],
    "forecasts": ["task=forecasting", "data=series", "data.path=hours.csv", "data.window=24", "data.horizon=6"],
    "hears": ["task=classification", "data=audio", "data.target=label", "data.path=sounds", "data.val_fraction=0.25"],
}


@pytest.fixture(scope="module")
def served(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the runs that are served, one a model."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "tiny.txt").write_text(TEXT, encoding="utf-8")
    rows = "".join(f"{'good' if n % 2 else 'bad'} day {n},{'yes' if n % 2 else 'no'}\n" for n in range(60))
    (folder / "rows.csv").write_text("text,label\n" + rows, encoding="utf-8")
    hours = "".join(f"2024-01-{1 + n // 24:02d} {n % 24:02d}:00,{10 + math.sin(n):.3f}\n" for n in range(240))
    (folder / "hours.csv").write_text("time,load\n" + hours, encoding="utf-8")
    for label in ("a", "b"):
        (folder / "sounds" / label).mkdir(parents=True)
        for number in range(12):
            (folder / "sounds" / label / f"{number}.wav").write_bytes(wav(bytes(range(200)) * (10 + number)))
    for name, words in CONFIGS.items():
        ended = nursery.cli("train", *words, *SHORT, f"run.dir={name}", cwd=str(folder))
        assert ended.code == 0, ended
    return folder


@pytest.mark.parametrize("name", tiers(REQUESTS, 6))
def test_hostile_request_is_answered_in_one_line(
    nursery: Nursery, served: Path, report: Callable[..., None], name: str
) -> None:
    """With its status, in little time and memory; the next request is answered as ever."""
    asked = REQUESTS[name]
    ended = nursery.call("faults.http_probe:ask", asked.model, name, cwd=str(served), audit=True, limit=60.0)
    report("hostile", name=f"http, {name}", code=ended.code, seconds=ended.seconds, megabytes=ended.peak_megabytes)
    assert ended.code == 0, ended
    answer = json.loads(ended.out)
    assert answer["status"] == asked.status, answer
    assert answer["after"] == 200, answer
    assert not [header for header in answer["headers"] if header.startswith("access-control-")], answer
    if asked.status != 200:
        assert "\n" not in answer["error"]
        assert len(answer["error"]) < 500
    assert "Traceback" not in ended.err, ended
    assert [event for event in ended.events if "/dev/null" not in event] == [], ended
    assert ended.peak_megabytes < MOST_MEGABYTES, ended
