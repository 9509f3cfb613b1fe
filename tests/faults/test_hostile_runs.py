"""A run or a checkpoint from elsewhere runs no code, writes nowhere else and is used or refused in one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from commandline import TEXT, TINY

from faults.hostile_bundles import BUNDLES
from faults.hostile_runs import RUNS, Change, mutated
from faults.nursery import Ended, Nursery
from faults.test_hostile import MOST_MEGABYTES, attacked
from faults.tiers import tiers
from rnntrain.errors import USER_MISTAKE

VERBS = {
    "resume": ["resume", "run", "trainer.max_steps=6", "--quiet"],
    "eval": ["eval", "run"],
    "sample": ["sample", "run"],
    "diagnose": ["diagnose", "run"],
    "verify": ["verify", "run"],
    "reproduce": ["reproduce", "run", "--steps", "1"],
    "predict": ["predict", "run", "tiny.txt"],
    "bundle": ["bundle", "run", "--out", "bundled"],
    "runs": ["runs", "."],
    "compare": ["compare", "run"],
    "export": ["export", "run", "--out", "model.onnx"],
    "serve": ["serve", "run", "--port", "0"],
    "report": ["report", "run", "--out", "page.html"],
}


@pytest.fixture(scope="module")
def trained(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.txt").write_text(TEXT, encoding="utf-8")
    ended = nursery.cli("train", *TINY, "run.dir=run", "--quiet", cwd=str(folder))
    assert ended.code == 0, ended
    return folder / "run"


def used(nursery: Nursery, tmp_path: Path, trained: Path, change: Change, verb: str) -> Ended:
    def case(work: Path, outside: Path) -> list[str]:
        shutil.copytree(trained, work / "run")
        change(work / "run", outside)
        return VERBS[verb]

    serving = partial(nursery.call, "faults.http_probe:serve") if verb == "serve" else None
    return attacked(nursery, tmp_path, case, patience=60.0, call=serving)


def check_answer(ended: Ended, verb: str) -> None:
    """Warnings may stand before the one line; nothing is a fault of ours. What `verify` finds, it prints."""
    assert ended.code in (0, USER_MISTAKE), ended
    assert ended.peak_megabytes < MOST_MEGABYTES, ended
    *warnings, last = ended.err.splitlines() or [""]
    if ended.code == USER_MISTAKE and not (verb == "verify" and ended.out):
        assert last.startswith("rnntrain: error: "), ended
        assert all(line.startswith("rnntrain: warning: ") for line in warnings), ended


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize(
    "verb",
    [
        "resume",
        "eval",
        pytest.param("sample", marks=pytest.mark.slow),
        pytest.param("diagnose", marks=pytest.mark.slow),
        pytest.param("export", marks=pytest.mark.slow),
        pytest.param("serve", marks=pytest.mark.slow),
    ],
)
def test_hostile_run_is_used_or_refused(
    nursery: Nursery, tmp_path: Path, trained: Path, report: Callable[..., None], name: str, verb: str
) -> None:
    ended = used(nursery, tmp_path, trained, RUNS[name], verb)
    report("hostile", name=f"{name}, {verb}", code=ended.code, seconds=ended.seconds, megabytes=ended.peak_megabytes)
    check_answer(ended, verb)
    if (
        verb == "resume" and name.startswith("checkpoint: ") and ended.code == USER_MISTAKE
    ):  # before the first step, and nothing is written
        assert ended.step == 0
        for file in ("metrics.jsonl", "config.yaml", "run.json"):
            assert (tmp_path / "work/run" / file).read_bytes() == (trained / file).read_bytes()


@pytest.fixture(scope="module")
def bundled(nursery: Nursery, trained: Path) -> Path:
    ended = nursery.cli("bundle", trained, "--out", trained.parent / "bundle")
    assert ended.code == 0, ended
    return trained.parent / "bundle"


# What is used as it is: a model may answer nonsense.
USED = {"weights: NaN", "weights: infinite"}


@pytest.mark.parametrize("name", tiers(BUNDLES, 4))
@pytest.mark.parametrize("verb", tiers(["serve", "export", "predict", "verify"], 3))
def test_hostile_bundle_is_used_or_refused(
    nursery: Nursery, tmp_path: Path, bundled: Path, report: Callable[..., None], name: str, verb: str
) -> None:
    """In one line, before what it says of its sizes takes memory."""
    ended = used(nursery, tmp_path, bundled, BUNDLES[name], verb)
    report(
        "hostile",
        name=f"bundle, {name}, {verb}",
        code=ended.code,
        seconds=ended.seconds,
        megabytes=ended.peak_megabytes,
    )
    check_answer(ended, verb)
    if name not in USED and verb != "verify":
        assert ended.code == USER_MISTAKE, ended


FORGED = [pytest.param(seed, marks=() if seed < 4 else pytest.mark.slow) for seed in range(150)]


@pytest.mark.parametrize("seed", FORGED)
@pytest.mark.parametrize("verb", tiers(["resume", "eval"], 2))
def test_any_value_of_another_kind_is_answered(
    nursery: Nursery, tmp_path: Path, trained: Path, seed: int, verb: str
) -> None:
    check_answer(used(nursery, tmp_path, trained, mutated(seed), verb), verb)
