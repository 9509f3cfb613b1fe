"""Every task with cells of every family, stopped once, five times and at a limit that is raised: to the bit one run."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.nursery import Nursery
from faults.runs import Cases, different, left_behind, pairs
from rnntrain.errors import INTERRUPTED

MAX_STEPS = 12


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    return Cases(tmp_path_factory.mktemp("cases"))


@pytest.mark.parametrize(
    ("task", "cell", "number"),
    [
        pytest.param(task, cell, number, id=f"{task}-{cell}", marks=() if number == 3 else pytest.mark.slow)
        for number, (task, cell) in enumerate(pairs())
    ],
)
def test_resume_is_bitwise(
    nursery: Nursery, cases: Cases, tmp_path: Path, report: Callable[..., None], task: str, cell: str, number: int
) -> None:
    plain = cases.plain(task, cell, tmp_path / "whole", number)
    assert nursery.train(plain).code == 0
    whole = left_behind(tmp_path / "whole")
    draw = random.Random(f"{task} {cell}")
    for name, stops in (("once", 1), ("five", 5)):
        run = tmp_path / name
        steps = sorted(draw.sample(range(1, MAX_STEPS), stops))
        ended = nursery.train({**plain, "run": {**plain["run"], "dir": str(run)}}, at_step=steps[0], signal=15)
        for step in [*steps[1:], None]:
            assert ended.code == INTERRUPTED, ended
            end = {} if step is None else {"at_step": step, "signal": 15}
            ended = nursery.cli("resume", run, "--quiet", **end)
        assert ended.code == 0, ended
        assert different(whole, left_behind(run)) == [], steps
    short = cases.plain(task, cell, tmp_path / "raised", number, max_steps=draw.randrange(1, MAX_STEPS))
    assert nursery.train(short).code == 0
    ended = nursery.cli("resume", tmp_path / "raised", f"trainer.max_steps={MAX_STEPS}", "--quiet")
    assert ended.code == 0, ended
    assert different(whole, left_behind(tmp_path / "raised")) == []
    report("resume", name=f"{task}-{cell}", runs=3, resumes=7)
