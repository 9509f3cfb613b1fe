"""A run that fills its disk, or whose disk turns read-only, ends in one line, and its last checkpoint loads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from faults import small_disk
from faults.nursery import Ended, Nursery
from faults.runs import MOST_LOST, Cases, different, left_behind
from rnntrain.checkpoints.checkpoint import find_checkpoints, latest_valid, load_checkpoint
from rnntrain.runs.record import read_start
from rnntrain.runs.run import RunDir

pytestmark = pytest.mark.skipif(not small_disk.possible(), reason="this process may not mount a file system of its own")


def train_on(
    nursery: Nursery, cases: Cases, tmp_path: Path, name: str, size_kib: int, read_only_at: int | None = None
) -> tuple[Ended, Path]:
    """Train on a small disk; return how it ended and a copy of what is left on the disk."""
    place, kept = tmp_path / f"disk{name}", tmp_path / f"kept{name}"
    plain = cases.plain("regression", "lstm", place / "run", eval_every_steps=6, keep_checkpoints=2)
    plain["model"]["hidden_size"] = 32
    arguments = (plain, str(place), size_kib, str(kept), read_only_at)
    return nursery.call("faults.small_disk:train", *arguments), kept / "run"


def check_ended(ended: Ended, run: Path) -> int:
    """Check that a run ended well or in one line; return the step that can be gone on from."""
    assert ended.code in (0, 1, 2), ended
    errors = [line for line in ended.err.splitlines() if line.startswith("rnntrain: ") and "warning" not in line]
    assert len(errors) == (ended.code != 0), ended
    assert "internal error" not in ended.err, ended
    if not (run / "checkpoints").is_dir() or not find_checkpoints(run / "checkpoints"):
        return 0
    return int(load_checkpoint(latest_valid(run / "checkpoints"))["trainer"]["step"])


@pytest.fixture
def cases(tmp_path: Path) -> Cases:
    return Cases(tmp_path / "cases")


@pytest.mark.parametrize("points", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_full_disk_ends_in_one_line(
    nursery: Nursery, cases: Cases, tmp_path: Path, points: int, report: Callable[..., None]
) -> None:
    """At so many sizes of disk, from one that holds nothing to one that holds the run."""
    whole, run = train_on(nursery, cases, tmp_path, "whole", 16_384)
    assert whole.code == 0, whole
    used = sum(-(-file.stat().st_size // 4096) * 4 for file in run.rglob("*") if file.is_file())
    steps = []
    for point in range(points):
        ended, left = train_on(nursery, cases, tmp_path, f"{point}", 8 + point * used // points)
        steps.append(check_ended(ended, left))
        if ended.code == 0:
            assert different(left_behind(run), left_behind(left)) == []
    report(
        "disk", name="full disk (tmpfs)", points=points, outcome=f"one line; last checkpoints at steps {sorted(steps)}"
    )


@pytest.mark.parametrize("step", [4, pytest.param(6, marks=pytest.mark.slow), pytest.param(8, marks=pytest.mark.slow)])
def test_disk_that_turns_read_only_ends_in_one_line(
    nursery: Nursery, cases: Cases, tmp_path: Path, step: int, report: Callable[..., None]
) -> None:
    ended, run = train_on(nursery, cases, tmp_path, "sealed", 16_384, read_only_at=step)
    reached = check_ended(ended, run)
    assert ended.code == 2, ended
    assert "ead-only" in ended.err, ended
    every = (MOST_LOST + 1) // 2
    assert reached == (step - 1) // every * every  # that of the step itself comes after it
    report("disk", name=f"read-only from step {step} on", points=1, outcome=f"one line; checkpoint of step {reached}")
    assert read_start(RunDir(run))["command"]
