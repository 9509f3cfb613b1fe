"""`rnntrain verify` says what is whole, what is damaged, and what a resume would take; it changes nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commandline import Answer, listing

from rnntrain.checkpoints.manifest import MANIFEST, STATE, TENSORS
from rnntrain.runs import verify

Cli = Callable[..., Answer]


@pytest.fixture
def run(trained_run: Path, workspace: Path) -> Path:
    return Path(shutil.copytree(trained_run, workspace / "run"))


def flip(path: Path, place: int = -9) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_whole_run_is_told_with_its_best_and_what_resume_takes(run: Path, run_cli: Cli) -> None:
    before = listing(run)
    answer = run_cli("verify", run)
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[0] == str(run)
    assert [line.split()[:2] for line in lines[1:3]] == [["step-000000003", "ok"], ["step-000000004", "ok"]]
    assert sum(line.endswith("the best") for line in lines) == 1
    assert lines[-1] == "  resume would take step-000000004"
    assert listing(run) == before


@pytest.mark.parametrize("name", [TENSORS, STATE, MANIFEST])
def test_damaged_checkpoint_is_named_and_the_one_before_would_be_taken(run: Path, run_cli: Cli, name: str) -> None:
    flip(run / "checkpoints/step-000000004" / name)
    answer = run_cli("verify", run)
    assert answer.code == 2
    assert f"step-000000004  damaged  {name} is damaged" in answer.out
    assert "resume would take step-000000003" in answer.out


def test_run_with_nothing_to_go_on_from_says_so(run: Path, run_cli: Cli) -> None:
    for checkpoint in (run / "checkpoints").glob("step-*"):
        (checkpoint / TENSORS).unlink()
    answer = run_cli("verify", run)
    assert answer.code == 2
    assert answer.out.count(f"damaged  {TENSORS} is missing") == 2
    assert "resume would refuse" in answer.out


def test_run_that_was_killed_before_its_first_save_would_begin_again(run: Path, run_cli: Cli) -> None:
    shutil.rmtree(run / "checkpoints")
    (run / "summary.json").unlink()
    answer = run_cli("verify", run)
    assert (answer.code, answer.out.splitlines()[-1]) == (0, "  resume would begin again: nothing was saved")


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\x00"])
def test_damaged_pointer_to_the_best_is_a_problem(run: Path, run_cli: Cli, content: bytes) -> None:
    (run / "checkpoints/best.json").write_bytes(content)
    answer = run_cli("verify", run)
    assert answer.code == 2
    assert "best.json" in answer.out


def test_damaged_record_of_the_start_is_a_problem(run: Path, run_cli: Cli) -> None:
    (run / "run.json").write_text("{")
    answer = run_cli("verify", run)
    assert answer.code == 2
    assert "run.json: cannot be read" in answer.out


def test_checkpoint_that_a_training_run_deletes_meanwhile_is_no_damage(
    run: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = verify.verify_checkpoint

    def gone(path: Path) -> Any:
        if path.name == "step-000000003":
            shutil.rmtree(path)
        return check(path)

    monkeypatch.setattr(verify, "verify_checkpoint", gone)
    answer = run_cli("verify", run)
    assert answer.code == 0
    assert "step-000000003" not in answer.out


def test_single_checkpoints_are_verified_wherever_they_lie(run: Path, run_cli: Cli, workspace: Path) -> None:
    good, bad = run / "checkpoints/step-000000003", workspace / "a-copy"
    shutil.copytree(good, bad)
    flip(bad / TENSORS)
    assert run_cli("verify", good).code == 0
    answer = run_cli("verify", good, bad)
    assert answer.code == 2
    assert f"{TENSORS} is damaged" in answer.out
    (bad / MANIFEST).unlink()
    assert "is not a run" in run_cli("verify", bad).err


def test_json_holds_what_is_printed(run: Path, run_cli: Cli) -> None:
    flip(run / "checkpoints/step-000000004" / TENSORS)
    answer = run_cli("verify", run, "--json")
    assert answer.code == 2
    report = json.loads(answer.out)[str(run)]
    assert (report["sound"], report["resume"]) == (False, "step-000000003")
    assert [checkpoint["problem"] is None for checkpoint in report["checkpoints"]] == [True, False]
    assert report["checkpoints"][0]["step"] == 3


def test_what_is_no_run_is_refused(refused: Callable[..., str]) -> None:
    assert "nowhere: does not exist" in refused("verify", "nowhere")
