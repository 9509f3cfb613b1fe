"""What runs recorded is read as it lies on the disk, whatever became of them."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import pytest

from comparing.recorded import write_run
from rnntrain.comparing.groups import choose_metric, group, larger_is_better, short_names
from rnntrain.comparing.records import read_runs
from rnntrain.errors import UserError
from rnntrain.runs.lock import hold_lock
from rnntrain.runs.record import accept
from rnntrain.runs.run import RunDir


def test_a_trained_run_is_read_with_config_metrics_and_curves(trained_run: Path) -> None:
    [run] = read_runs([trained_run])
    assert (run.status, run.reason, run.seed) == ("finished", "max_steps", 0)
    assert run.config["model.hidden_size"] == 8
    assert run.metrics["val/loss"] > 0
    assert [step for step, _ in run.curves["val/loss"]] == [2, 4]
    assert run.monitored() == "val/loss"


def test_runs_below_a_folder_are_found_once_and_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("10-seed0", "2-seed0", "1-seed0"):
        write_run(tmp_path / "sweeps/mine/runs" / name, val__loss=1.0)
    runs = read_runs([tmp_path, tmp_path / "sweeps/mine/runs/2-seed0"])
    assert [run.name for run in runs] == ["1-seed0", "2-seed0", "10-seed0"]


def test_a_run_without_a_summary_is_told_by_its_lock_and_by_its_curves(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", status=None, curve=[3.0, 2.0])
    [run] = read_runs([folder])
    assert run.status == "interrupted"
    assert run.metrics == {"val/loss": 2.0}
    with hold_lock(RunDir(folder).lock_file):
        assert read_runs([folder])[0].status == "running"


def test_a_summary_from_before_a_resume_is_not_believed(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", val__loss=1.0)
    later = os.stat(folder / "summary.json").st_mtime + 5
    os.utime(folder / "run.json", (later, later))
    assert read_runs([folder])[0].status == "interrupted"


def test_what_json_has_no_numbers_for_is_read_as_numbers(tmp_path: Path) -> None:
    [run] = read_runs([write_run(tmp_path / "run", val__loss="nan", val__error="inf")])
    assert math.isnan(run.metrics["val/loss"])
    assert run.metrics["val/error"] == math.inf


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rnntrain train"):
        read_runs([tmp_path])
    with pytest.raises(UserError, match="nowhere"):
        read_runs([tmp_path / "nowhere"])


def test_runs_that_differ_in_seed_name_and_device_alone_are_one_group(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / f"a{seed}", {"run.name": f"a{seed}"}, seed=seed, val__loss=1.0 + seed)
    write_run(tmp_path / "b", {"optimizer.lr": 0.1, "model.cell._target_": "rnntrain.cells.gru.GRU"}, val__loss=9.0)
    write_run(tmp_path / "c", {"optimizer.lr": 0.1}, seed=7, status="failed")
    groups = group(read_runs([tmp_path]))
    assert [each.label for each in groups] == ["cell=LSTM lr=0.01", "cell=GRU lr=0.1", "cell=LSTM lr=0.1"]
    numbers = groups[0].statistics("val/loss", larger_is_better=False)
    assert numbers is not None
    assert (numbers.runs, numbers.mean, numbers.best, numbers.worst) == (2, 1.5, 1.0, 2.0)
    assert numbers.deviation == pytest.approx(math.sqrt(0.5))
    assert groups[2].statistics("val/loss", larger_is_better=False) is None
    assert groups[2].count("failed") == 1


def test_chosen_keys_alone_part_the_groups(tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"optimizer.lr": 0.1, "model.hidden_size": 4}, val__loss=1.0)
    write_run(tmp_path / "b", {"optimizer.lr": 0.1}, seed=1, val__loss=1.0)
    write_run(tmp_path / "c", val__loss=1.0)
    assert [len(each.runs) for each in group(read_runs([tmp_path]), by=["optimizer.lr"])] == [2, 1]


def test_keys_are_shortened_as_far_as_they_stay_apart() -> None:
    keys = ["model.cell._target_", "optimizer.lr", "model.cell.dropout", "model.dropout"]
    assert short_names(keys) == {
        "model.cell._target_": "cell",
        "optimizer.lr": "lr",
        "model.cell.dropout": "cell.dropout",
        "model.dropout": "model.dropout",
    }


def test_the_metric_is_what_runs_were_judged_by_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a", val__loss=1.0, val__accuracy=0.5, best__accuracy=0.5, best__step=4)
    runs = read_runs([tmp_path])
    assert choose_metric(runs, None) == "val/accuracy"
    assert choose_metric(runs, "val/loss") == "val/loss"
    with pytest.raises(UserError, match=r"val/los: no run has it \(did you mean val/loss\?\); there are: val/acc"):
        choose_metric(runs, "val/los")


@pytest.mark.parametrize(
    ("metric", "larger"),
    [
        ("val/loss", False),
        ("val/accuracy_len_64", True),
        ("test/f1", True),
        ("val/cer", False),
        ("val/r2", True),
        ("val/f1/LOC", True),
        ("test/mae/auction", False),
        ("best/val/f1", True),
        ("best/accuracy", True),
        ("cer", False),
    ],
)
def test_the_sense_of_a_metric_follows_from_its_name(metric: str, larger: bool) -> None:
    assert larger_is_better(metric) is larger


def test_a_config_that_cannot_be_read_is_named(tmp_path: Path, trained_run: Path) -> None:
    shutil.copytree(trained_run, tmp_path / "run")
    (tmp_path / "run/config.yaml").write_text("a: [")
    accept(RunDir(tmp_path / "run"))
    with pytest.raises(UserError, match=r"config\.yaml:1: is no YAML"):
        read_runs([tmp_path])
