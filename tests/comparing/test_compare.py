"""`rnntrain compare` orders runs, says how sure the order is, and writes what other programs read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import Answer

from comparing.recorded import write_run
from rnntrain.comparing.groups import group
from rnntrain.comparing.importance import importances
from rnntrain.comparing.leaderboard import rank
from rnntrain.comparing.pictures import columns_of
from rnntrain.comparing.records import read_runs
from rnntrain.comparing.writing import number, to_csv

Cli = Callable[..., Answer]
Refused = Callable[..., str]
RATES = {0.01: [1.0, 1.1, 1.2], 0.1: [1.01, 1.12, 1.2], 0.5: [3.0, 3.1, 3.3]}


@pytest.fixture
def runs(workspace: Path) -> Path:
    """Write nine runs: three rates over three seeds, the second as good as the first."""
    for rate, losses in RATES.items():
        for seed, loss in enumerate(losses):
            folder = workspace / "runs" / f"{rate}-{seed}"
            write_run(
                folder, {"optimizer.lr": rate}, seed=seed, val__loss=loss, val__accuracy=1 / loss, best__loss=loss
            )
    return workspace / "runs"


def test_the_table_orders_groups_and_tells_worse_from_not_told_apart(runs: Path, run_cli: Cli) -> None:
    answer = run_cli("compare", "runs")
    assert answer.code == 0, answer
    header, *rows = answer.out.splitlines()
    assert "by val/loss, lower is better" in header
    assert rows[0].split()[:6] == ["1", "lr=0.01", "3", "1.100", "0.1000", "1.200"]
    assert "lr=0.1" in rows[1]
    assert rows[1].endswith("not told apart")
    assert "lr=0.5" in rows[2]
    assert rows[2].endswith("worse")
    assert "paired over common seeds" in answer.out
    assert "flattered by chance" in answer.out


def test_other_metrics_and_orders_can_be_asked_for(runs: Path, run_cli: Cli) -> None:
    answer = run_cli("compare", "runs", "--metric", "val/accuracy", "--metric", "val/loss", "--sort", "worst")
    header, first, *_ = answer.out.splitlines()
    assert "by val/accuracy, higher is better" in header
    assert "val/loss" in header
    assert "lr=0.01" in first


def test_the_front_holds_what_no_other_beats_in_every_metric(workspace: Path, run_cli: Cli, refused: Refused) -> None:
    """Beaten: as good or worse in each, and worse in one; the sense of each metric is its own."""
    for name, loss, accuracy in (("a", 1.0, 0.5), ("b", 2.0, 0.9), ("c", 2.0, 0.8), ("d", 1.5, 0.7), ("e", 1.0, 0.5)):
        write_run(workspace / "runs" / name, {"optimizer.kind": name}, val__loss=loss, val__accuracy=accuracy)
    write_run(workspace / "runs/f", {"optimizer.kind": "f"}, val__loss=0.1)  # of which the other is not known
    words = ["compare", "runs", "--metric", "val/loss", "--metric", "val/accuracy", "--front", "--pictures", "drawn"]
    out = run_cli(*words).out
    assert out.startswith("Not beaten in every metric by any other: 4 of 6\n")
    assert [line.split()[-1] for line in out.splitlines()[3:7]] == ["kind=a", "kind=e", "kind=d", "kind=b"]
    assert (workspace / "drawn/front.png").exists()
    assert "--front: takes several metrics" in refused("compare", "runs", "--front")


def test_runs_that_did_not_finish_are_counted_and_come_last(runs: Path, run_cli: Cli) -> None:
    write_run(runs / "x", {"optimizer.lr": 0.7}, status="pruned", curve=[0.001])
    write_run(runs / "y", {"optimizer.lr": 0.01}, seed=9, status="failed")
    lines = run_cli("compare", "runs").out.splitlines()
    assert "3 (1 failed)" in lines[1]
    assert lines[4].split()[:4] == ["-", "lr=0.7", "0", "(1"]


def test_few_runs_are_not_judged_and_the_table_says_so(workspace: Path, run_cli: Cli) -> None:
    write_run(workspace / "runs/a", {"optimizer.lr": 0.1}, val__loss=1.0)
    write_run(workspace / "runs/b", {"optimizer.lr": 0.2}, val__loss=2.0)
    out = run_cli("compare", "runs").out
    assert "Too few runs to tell any of them apart" in out
    assert "worse" not in out.replace("worst", "")


def test_a_key_alone_may_part_the_groups_and_pairs_then_share_all_else(workspace: Path) -> None:
    for width, penalty in ((4, 0.0), (8, 5.0), (16, 10.0)):
        for rate, more in ((0.1, 0.0), (0.2, 1.0 + penalty / 100)):
            changes = {"optimizer.lr": rate, "model.hidden_size": width}
            write_run(workspace / f"runs/{width}-{rate}", changes, val__loss=1 + penalty + more)
    board = rank(group(read_runs([workspace / "runs"]), by=["optimizer.lr"]), ["val/loss"])
    assert [row.statistics["val/loss"].runs for row in board.rows] == [3, 3]
    assert board.rows[1].verdict() == "worse"
    assert board.rows[1].versus_best is not None
    assert board.rows[1].versus_best.method == "paired"


def test_a_run_that_repeats_another_does_not_count_twice(workspace: Path) -> None:
    for name in ("a", "b"):
        write_run(workspace / "runs" / name, {"run.name": name}, val__loss=1.0)
    [row] = rank(group(read_runs([workspace / "runs"])), ["val/loss"]).rows
    assert row.statistics["val/loss"].runs == 1


def test_csv_json_and_markdown_hold_the_same(runs: Path, run_cli: Cli, workspace: Path) -> None:
    out = run_cli("compare", "runs", "--csv", "--json", "t.json", "--markdown", "t.md").out
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["optimizer.lr"] for row in rows] == ["0.01", "0.1", "0.5"]
    assert float(rows[0]["val/loss mean"]) == pytest.approx(1.1)
    plain = json.loads((workspace / "t.json").read_text())
    assert [each["differs"]["optimizer.lr"] for each in plain["groups"]] == [0.01, 0.1, 0.5]
    assert plain["groups"][2]["versus_best"]["verdict"] == "worse"
    assert len(plain["groups"][0]["runs"]) == 3
    table = (workspace / "t.md").read_text().splitlines()
    assert table[0].startswith("|  | by val/loss, lower is better | runs |")
    assert table[2].startswith("| 1 | lr=0.01 | 3 |")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-x", "@SUM(A1)", "\tx", '=HYPERLINK("http://x")'])
def test_no_spreadsheet_takes_a_text_for_a_formula(text: str, workspace: Path) -> None:
    write_run(workspace / "runs/a", {"task._target_": "x", "optimizer.kind": text}, val__loss=-1.0)
    write_run(workspace / "runs/b", {"task._target_": "x", "optimizer.kind": "plain"}, val__loss=1.0)
    board = rank(group(read_runs([workspace / "runs"])), ["val/loss"])
    rows = list(csv.reader(io.StringIO(to_csv(board))))
    cells = [cell for row in rows for cell in row]
    assert f"'{text}" in cells
    assert not any(cell.startswith(("=", "+", "@", "\t")) for cell in cells)
    assert "-1.0" in cells  # a number is one


def test_a_pipe_does_not_break_a_markdown_table(workspace: Path, run_cli: Cli) -> None:
    for name, text in (("a", "x|y"), ("b", "z")):
        write_run(workspace / "runs" / name, {"optimizer.kind": text}, val__loss=1.0)
    assert "kind=x\\|y" in run_cli("compare", "runs", "--markdown").out


def test_mistakes_are_one_line(runs: Path, refused: Refused) -> None:
    assert "did you mean val/loss?" in refused("compare", "runs", "--metric", "val/los")
    assert "nowhere" in refused("compare", "nowhere")
    assert "--sort" in refused("compare", "runs", "--sort", "size")
    assert "t.csv" in refused("compare", "runs", "--csv", "nowhere/t.csv")


def test_runs_of_which_none_has_finished_are_refused(workspace: Path, refused: Refused) -> None:
    write_run(workspace / "runs/a", status=None)
    assert "no run has finished with val/loss" in refused("compare", "runs")


def test_comparing_imports_no_torch(python: Callable[[str], str], workspace: Path) -> None:
    write_run(workspace / "runs/a", {"optimizer.lr": 0.1}, val__loss=1.0)
    write_run(workspace / "runs/b", {"optimizer.lr": 0.2}, val__loss=2.0)
    program = (
        "import sys\nfrom rnntrain.cli import main\n"
        "assert main(['compare', 'runs', '--pictures', 'drawn']) == 0\nprint('torch' in sys.modules)"
    )
    assert python(program).splitlines()[-1] == "False"
    assert {path.name for path in (workspace / "drawn").iterdir()} == {"slices.png", "coordinates.png"}


def test_the_key_that_matters_gets_the_importance(workspace: Path) -> None:
    for index in range(40):
        changes = {"optimizer.lr": 10 ** (-4 + 3 * index / 39), "model.hidden_size": 8 + (index * 17) % 40}
        write_run(workspace / f"runs/{index}", changes, val__loss=abs(index - 25) / 10 + 1)
    board = rank(group(read_runs([workspace / "runs"])), ["val/loss"])
    columns, values_G = columns_of(board)
    shares = importances(columns, values_G, larger_is_better=False)
    assert shares["lr"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(columns, values_G[:5], larger_is_better=False) == {}


def test_pictures_show_what_differs(workspace: Path, run_cli: Cli) -> None:
    for index in range(14):
        cell = ("gru.GRU", "lstm.LSTM")[index % 2]
        changes = {"optimizer.lr": 10 ** (-index / 4), "model.cell._target_": f"rnntrain.cells.{cell}"}
        write_run(workspace / f"runs/{index}", changes, val__loss=1.0 + index)
    assert run_cli("compare", "runs", "--pictures", "drawn").code == 0
    assert {path.name for path in (workspace / "drawn").iterdir()} == {
        "slices.png",
        "coordinates.png",
        "importances.png",
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.000"),
        (0.000123456, "0.0001235"),
        (1234.5, "1,234"),
        (581.0, "581"),
        (581.25, "581.2"),
        (1e-7, "1.000e-07"),
        (2.5e7, "25,000,000"),
        (2.5e10, "2.500e+10"),
        (0.0, "0.000"),
    ],
)
def test_numbers_are_shown_with_four_digits(value: float, text: str) -> None:
    assert number(value) == text
