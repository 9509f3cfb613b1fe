"""Checkpoints of every released format load, evaluate, go on and generate (`scripts/make_format_sample.py`)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rnntrain import commands, using
from rnntrain.checkpoints import durable
from rnntrain.checkpoints.checkpoint import CheckpointError, find_checkpoints, load_checkpoint
from rnntrain.checkpoints.manifest import FORMAT, MANIFEST
from rnntrain.runs.verify import verify

FORMATS = sorted((Path(__file__).parent.parent / "formats").iterdir())


@pytest.fixture(params=FORMATS, ids=lambda path: path.name)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(request.param, tmp_path / "run"))


@pytest.fixture
def data(run: Path) -> str:
    return f"data.path={run / 'text.txt'}"


def test_every_format_has_its_sample() -> None:
    assert [path.name for path in FORMATS] == [f"format-{number}" for number in range(1, FORMAT + 1)]
    for path in FORMATS:
        assert sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) < 150_000


def test_run_of_the_format_is_whole(run: Path) -> None:
    report = verify(run)
    assert report.sound, list(report.lines())
    assert report.best is not None


def test_run_of_the_format_is_evaluated_to_the_same_values(run: Path, data: str) -> None:
    expected = json.loads((run / "expected.json").read_text())["val"]
    values = using.evaluate(run, "val", [data])
    assert values == pytest.approx(expected, rel=1e-4)


def test_run_of_the_format_generates(run: Path) -> None:
    assert len(using.load(run).sample(prompt="the ", length=12)) >= 12


def test_run_of_the_format_goes_on_as_it_did_then(run: Path, data: str) -> None:
    expected = json.loads((run / "expected.json").read_text())
    last = max(map(int, expected["train/loss"]))
    assert commands.resume(run, [f"trainer.max_steps={last}", data], quiet=True).summary.step == last
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = {str(line["step"]): line["train/loss"] for line in lines if "train/loss" in line}
    assert losses == pytest.approx(expected["train/loss"], rel=1e-3)


def test_newer_format_is_refused_in_one_line(run: Path, data: str) -> None:
    for checkpoint in find_checkpoints(run / "checkpoints"):
        path = checkpoint / MANIFEST
        document = durable.unseal(path.read_bytes(), MANIFEST)
        path.write_bytes(durable.seal({**document, "format": FORMAT + 1}))
    message = rf"has the newer format {FORMAT + 1}; this rnntrain reads up to {FORMAT}; upgrade rnntrain to use it"
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(checkpoint)
    with pytest.raises(CheckpointError, match=message):
        commands.resume(run, [data], quiet=True)
    assert all("has the newer format" in str(verdict.problem) for verdict in verify(run).checkpoints)
