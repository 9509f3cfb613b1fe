"""`rnntrain runs`: what is listed, how it is chosen and ordered, what is followed, and what is never deleted."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from comparing.recorded import write_run

from rnntrain.listing.follow import follow
from rnntrain.runs.run import RunDir


@pytest.fixture
def runs(workspace: Path) -> Path:
    """Three runs below outputs: two that finished, one that failed."""
    folder = workspace / "outputs"
    write_run(folder / "g" / "a", best__loss=2.0, val__loss=2.0, val__accuracy=0.1, minutes=3.0)
    changes = {"model.cell._target_": "rnntrain.cells.gru.GRU", "optimizer.lr": 0.001}
    write_run(folder / "g" / "b", changes, seed=1, best__loss=1.0, val__loss=1.0, val__accuracy=0.3, minutes=1.0)
    write_run(folder / "h" / "c", status="failed", val__loss=float("inf"))
    return folder


def names(answer) -> list[str]:
    assert answer.code == 0, answer
    return [line.split()[0].rpartition("/")[2] for line in answer.out.splitlines()[1:]]


def test_all_runs_are_listed(run_cli, runs: Path) -> None:
    answer = run_cli("runs")
    assert sorted(names(answer)) == ["a", "b", "c"]
    assert "val/loss 1" in answer.out
    assert names(run_cli("runs", "outputs/h")) == ["c"]


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        (["model.cell=gru"], ["b"]),
        (["model.cell=LSTM"], ["a", "c"]),
        (["optimizer.lr=1e-3"], ["b"]),
        (["seed=1"], ["b"]),
        (["--status", "failed"], ["c"]),
        (["--task", "language_modeling", "model.hidden_size=8", "--status", "finished"], ["a", "b"]),
        (["model.cell=lstm", "optimizer.lr=0.001"], []),
    ],
)
def test_runs_are_chosen_by_what_their_config_says(run_cli, runs: Path, words: list[str], chosen: list[str]) -> None:
    answer = run_cli("runs", *words)
    assert sorted(names(answer)) == chosen
    assert bool(chosen) or answer.out == "no runs\n"


@pytest.mark.parametrize(
    ("words", "ordered"),
    [
        (["--sort", "val/loss"], ["b", "a", "c"]),
        (["--sort", "val/accuracy"], ["b", "a", "c"]),
        (["--sort", "minutes"], ["b", "a", "c"]),
        (["--sort", "name", "--reverse"], ["c", "b", "a"]),
        (["--sort", "optimizer.lr", "--limit", "1"], ["b"]),
    ],
)
def test_runs_are_ordered_the_best_first(run_cli, runs: Path, words: list[str], ordered: list[str]) -> None:
    assert names(run_cli("runs", *words)) == ordered


def test_json_holds_config_and_metrics(run_cli, runs: Path) -> None:
    found = [json.loads(line) for line in run_cli("runs", "--json", "--sort", "name").out.splitlines()]
    assert [each["status"] for each in found] == ["finished", "finished", "failed"]
    assert found[1]["config"]["optimizer.lr"] == 0.001
    assert found[0]["metrics"]["val/loss"] == 2.0


def test_mistakes_are_answered_in_one_line(refused, runs: Path) -> None:
    assert "did you mean optimizer.lr" in refused("runs", "optimzer.lr=1")
    assert "did you mean val/loss" in refused("runs", "--sort", "val/los")
    assert "nowhere" in refused("runs", "nowhere")
    assert "say which runs" in refused("runs", "clean")
    assert "leave it out" in refused("runs", "--yes")
    assert "from 1 on" in refused("runs", "--limit", "0")


# -- clean ---


def test_nothing_is_deleted_where_nobody_can_be_asked(refused, runs: Path) -> None:
    assert "add --yes" in refused("runs", "clean", "--status", "failed")


@pytest.mark.parametrize(("answered", "left"), [("n\n", 3), ("\n", 3), ("yes\n", 2)])
def test_only_a_yes_deletes(run_cli, runs: Path, monkeypatch: pytest.MonkeyPatch, answered: str, left: int) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return answered

    monkeypatch.setattr("sys.stdin", Terminal())
    answer = run_cli("runs", "clean", "--status", "failed")
    assert "Delete these 1 runs" in answer.err
    assert len(list(runs.glob("*/*/config.yaml"))) == left


def test_what_was_chosen_goes_and_nothing_else(run_cli, runs: Path) -> None:
    assert run_cli("runs", "clean", "model.cell=gru", "--yes").out == "deleted 1 runs\n"
    assert sorted(path.name for path in runs.glob("*/*")) == ["a", "c"]


def test_a_run_that_is_being_written_is_never_deleted(run_cli, runs: Path) -> None:
    with RunDir(runs / "g" / "a").lock():
        answer = run_cli("runs", "clean", runs, "--yes")
    assert "outputs/g/a: is being written" in answer.out
    assert [path.name for path in runs.glob("*/*")] == ["a"]


# -- tail ---


def test_a_live_run_is_followed_to_its_end(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", status=None, curve=[3.0])
    held, seen = threading.Event(), threading.Event()

    def train() -> None:
        with RunDir(run).lock():
            held.set()
            seen.wait(20)
            with (run / "metrics.jsonl").open("a") as file:
                file.write('{"step": 2, "val/loss": 2.0, "train/clipped": 1}\n{"step": 3, "val/lo')
                file.flush()
                file.write('ss": "nan"}\n')
            (run / "summary.json").write_text('{"status": "finished", "reason": "max_steps"}')

    writer = threading.Thread(target=train)
    writer.start()
    held.wait(20)
    lines = []
    for line in follow(run, 0.01):
        lines.append(line)
        seen.set()
    writer.join()
    assert lines[:3] == ["step 1: val/loss 3", "step 2: val/loss 2", "step 3: val/loss nan"]
    assert lines[3].startswith("finished (max_steps): ")


def test_the_last_lines_of_a_run_that_has_ended_are_shown(run_cli, workspace: Path) -> None:
    write_run(workspace / "run", curve=[float(value) for value in range(30)])
    lines = run_cli("runs", "--tail", "run").out.splitlines()
    assert lines[0] == "step 21: val/loss 20"
    assert len(lines) == 11
