"""Every recipe over arrays and generated problems, and every generated problem, from end to end in four small steps."""

import json
from pathlib import Path

import pytest

SMALL = ["debug=fast", "model.hidden_size=8", "model.embedding_size=8", "device=cpu", "threads=1", "run.dir=run"]
GENERATED = ["data.eval_rows=8", "data.batch_size=4"]
STEPS = ["copy", "selective_copy", "parity", "modular_arithmetic", "delayed_recall"]
STEPS += ["associative_recall", "induction_heads", "counting", "dyck"]
NUMBERS = ["adding", "mixed_sines", "mackey_glass"]


def summary(workspace: Path) -> dict:
    return json.loads((workspace / "run" / "summary.json").read_text())


@pytest.mark.parametrize("name", ["adding", "parity", "copy", "selective_copy"])
def test_recipes_of_generated_problems_run(run_cli, workspace: Path, name: str) -> None:
    answer = run_cli("train", f"experiment={name}", *SMALL, *GENERATED)
    assert answer.code == 0, answer.err
    assert any(key.startswith("baseline/") for key in summary(workspace))


@pytest.mark.parametrize("name", ["pixel_digits", "japanese_vowels"])
def test_recipes_of_shipped_arrays_run(run_cli, workspace: Path, name: str) -> None:
    answer = run_cli("train", f"experiment={name}", *SMALL)
    assert answer.code == 0, answer.err
    assert "baseline/majority class/test/accuracy" in summary(workspace)


@pytest.mark.parametrize("name", [*STEPS, *NUMBERS])
def test_every_generated_problem_trains_and_prints_what_guessing_comes_to(
    run_cli, workspace: Path, monkeypatch, name: str
) -> None:
    monkeypatch.setattr("rnntrain.data.memory.signals.MackeyGlass.most_units", 300)
    task = "regression" if name in NUMBERS else "step_classification"
    answer = run_cli("train", f"task={task}", f"data={name}", *SMALL, *GENERATED)
    assert answer.code == 0, answer.err
    found = summary(workspace)
    losses = [key for key in found if key.startswith("baseline/") and key.endswith("/test/loss")]
    assert losses
    assert all(found[key] > 0 for key in losses)
    assert "uniform" in answer.out or any(key.split("/")[1] in answer.out for key in losses)


def test_a_task_that_does_not_fit_is_refused(refused) -> None:
    line = refused("train", "task=regression", "data=parity", *SMALL)
    assert "Regression cannot use what Parity gives (StepClassesCodec)" in line


def test_a_problem_is_learnt_by_heart(run_cli, workspace: Path) -> None:
    small = ["debug=overfit", "data=parity", "task=step_classification", "model.hidden_size=16", "optimizer=adam"]
    limits = ["trainer.max_steps=150", "optimizer.lr=0.02", "data.max_length=6", "data.test_lengths=null"]
    answer = run_cli("train", *small, *limits, *GENERATED, "device=cpu", "threads=1", "run.dir=run")
    assert answer.code == 0, answer.err
    assert summary(workspace)["val/loss"] < 0.1
