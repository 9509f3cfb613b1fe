"""A run that is killed at any instant goes on as if nothing had happened, and has lost no more than promised."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faults.nursery import Ended, Nursery
from faults.runs import MOST_LOST, Cases, different, left_behind, pairs
from rnntrain.checkpoints.checkpoint import CheckpointError, checkpoint_step, find_checkpoints, latest_valid
from rnntrain.errors import INTERRUPTED, USER_MISTAKE

KILLS = 4  # of each pair of task and family of cells
QUICK = pairs()[:2]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    return Cases(tmp_path_factory.mktemp("cases"))


def unbroken(nursery: Nursery, plain: dict[str, Any], place: Path) -> tuple[dict[str, Any], Ended]:
    """Train a run that nobody kills; return what it left behind and how it went."""
    ended = nursery.train({**plain, "run": {**plain["run"], "dir": str(place)}})
    assert ended.code == 0, ended
    return left_behind(place), ended


def last_saved(run: Path) -> int:
    try:
        return checkpoint_step(latest_valid(run / "checkpoints"))
    except CheckpointError:
        assert find_checkpoints(run / "checkpoints") == []
        return 0


def go_on(nursery: Nursery, plain: dict[str, Any], run: Path, **end: Any) -> Ended:
    """Go on with a run from where it was killed; start it, if it was not yet one."""
    if not (run / "run.json").is_file():
        for path in sorted(run.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        return nursery.train(plain, **end)
    return nursery.cli("resume", run, "--quiet", **end)


def killed_and_resumed(
    nursery: Nursery, plain: dict[str, Any], run: Path, ends: list[dict[str, Any]]
) -> list[tuple[Ended, int]]:
    """Kill a run again and again; return each end with the steps that it lost, the last end being its own."""
    told: list[tuple[Ended, int]] = []
    for end in [*ends, {}]:
        ended = go_on(nursery, plain, run, **end)
        if ended.code == USER_MISTAKE and "ended at step" in ended.err:  # the kill came when all was done
            ended = replace(ended, code=0)
        reached = max(ended.step, 0)
        told.append((ended, max(0, reached - last_saved(run)) if ended.code else 0))
        if ended.code not in (-9, 0):
            pytest.fail(f"{end}: {ended}")
        if ended.code == 0:
            break
    return told


def random_end(draw: random.Random, whole: Ended, left: float) -> dict[str, Any]:
    """Return an instant of what is about left of a run: a moment of its training, or one of its calls to the disk."""
    if draw.random() < 0.5:
        return {"after": draw.random() * left * whole.seconds * 0.7}
    return {"at_call": draw.randrange(1, max(2, int(left * whole.calls)))}


def check_killed(
    nursery: Nursery, cases: Cases, tmp_path: Path, task: str, cell: str, number: int, report: Callable[..., None]
) -> None:
    plain = cases.plain(task, cell, tmp_path / "run", number)
    whole, went = unbroken(nursery, plain, tmp_path / "whole")
    draw = random.Random(f"{task} {cell}")
    ends = [random_end(draw, went, 2.0**-count) for count in range(KILLS)]
    told = killed_and_resumed(nursery, plain, tmp_path / "run", ends)
    kills = [lost for ended, lost in told if ended.code == -9]
    assert told[-1][0].code == 0
    assert different(whole, left_behind(tmp_path / "run")) == []
    assert max(kills, default=0) <= MOST_LOST
    report("kill", name=f"{task}-{cell}", kills=len(kills), lost=max(kills, default=0), every=MOST_LOST)


@pytest.mark.parametrize(
    ("task", "cell", "number"),
    [
        pytest.param(task, cell, number, id=f"{task}-{cell}", marks=() if (task, cell) in QUICK else pytest.mark.slow)
        for number, (task, cell) in enumerate(pairs())
    ],
)
def test_killed_run_goes_on_to_the_bit(
    nursery: Nursery,
    cases: Cases,
    tmp_path: Path,
    report: Callable[..., None],
    task: str,
    cell: str,
    number: int,
) -> None:
    check_killed(nursery, cases, tmp_path, task, cell, number, report)


@pytest.mark.parametrize("points", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_kill_at_each_call_to_the_disk(nursery: Nursery, cases: Cases, tmp_path: Path, points: int) -> None:
    """Every so many of all the calls of a short run, from its first step to its end."""
    plain = cases.plain("regression", "gru", tmp_path / "run", 0, max_steps=6)
    whole, went = unbroken(nursery, plain, tmp_path / "whole")
    for call in range(1, went.calls, max(1, went.calls // points)):
        run = tmp_path / f"run{call}"
        plain["run"]["dir"] = str(run)
        told = killed_and_resumed(nursery, plain, run, [{"at_call": call}])
        assert different(whole, left_behind(run)) == [], told


SIGNALS = {"SIGTERM": 15, "SIGINT": 2, "SIGUSR1": 10}


@pytest.mark.parametrize("name", ["SIGTERM"])
def test_signal_saves_and_ends(nursery: Nursery, cases: Cases, tmp_path: Path, name: str) -> None:
    check_signals(nursery, cases, tmp_path, name, number=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", SIGNALS)
def test_fifty_signals_save_and_end(
    nursery: Nursery, cases: Cases, tmp_path: Path, name: str, report: Callable[..., None]
) -> None:
    report("signals", name=name, signals=50, late=check_signals(nursery, cases, tmp_path, name, number=50))


def check_signals(nursery: Nursery, cases: Cases, tmp_path: Path, name: str, number: int) -> int:
    """Send a signal at random instants of random runs; return by how many steps the latest save came late."""
    draw, late = random.Random(name), 0
    for count, (task, cell) in zip(range(number), itertools.cycle(pairs()), strict=False):
        run = tmp_path / f"run{count}"
        plain = cases.plain(task, cell, run, count)
        whole, went = unbroken(nursery, plain, tmp_path / f"whole{count}")
        step = draw.randrange(1, 12)
        ended = go_on(nursery, plain, run, at_step=step, signal=SIGNALS[name])
        assert ended.code == INTERRUPTED, ended
        late = max(late, last_saved(run) - step)
        assert last_saved(run) == ended.step
        ended = go_on(nursery, plain, run, after=draw.random() * went.seconds / 2, signal=SIGNALS[name])
        assert ended.code in (0, INTERRUPTED), ended
        if ended.code == INTERRUPTED:
            assert last_saved(run) == max(ended.step, step)
            assert go_on(nursery, plain, run).code == 0
        assert different(whole, left_behind(run)) == []
    assert late <= 1
    return late


def test_second_signal_quits(nursery: Nursery, cases: Cases, tmp_path: Path) -> None:
    plain = cases.plain("regression", "lstm", tmp_path / "run", max_steps=100_000, checkpoint_every_steps=50)
    ended = nursery.train(plain, after=0.3, signal=15, again_after=0.0)
    assert ended.code != 0, ended
    assert ended.seconds < 30, ended
    assert go_on(nursery, plain, tmp_path / "run", at_step=ended.step + 60, signal=15).code == INTERRUPTED
