"""Sweeps of real runs: each is the run that its command makes by hand, and what ends early can be gone on with."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import TINY, Answer, environment, write_configs

import rnntrain
from rnntrain import commands
from rnntrain import config as configs
from rnntrain.comparing.records import read_runs
from rnntrain.config import compose
from rnntrain.configuring.overrides import flatten
from rnntrain.errors import Interrupted
from rnntrain.interrupt import StopRequests
from rnntrain.sweeps.best import write_point
from rnntrain.sweeps.plan import make_plan
from rnntrain.sweeps.probe import find
from rnntrain.sweeps.slots import Slots

Cli = Callable[..., Answer]


def test_a_run_of_a_sweep_is_the_run_that_its_command_makes_by_hand(run_cli: Cli, workspace: Path) -> None:
    answer = run_cli("sweep", *TINY, "optimizer.lr=choice(0.01,0.1)", "sweep.sampler=grid", "sweep.name=mine")
    assert answer.code == 0, answer
    folder = workspace / "outputs/sweeps/mine"
    runs = {run.name: run for run in read_runs([folder])}
    words = shlex.split((runs["0001-seed0"].path / "command.txt").read_text())
    assert words[:2] == ["rnntrain", "train"]
    by_hand = rnntrain.train(*words[2:], "threads=1", "run.dir=by_hand", quiet=True)
    assert by_hand.summary.metrics["val/loss"] == runs["0001-seed0"].metrics["val/loss"]

    best = next(line.split()[2:] for line in answer.out.splitlines() if line.startswith("  rnntrain train"))
    assert run_cli("train", *best, "run.dir=best", "--quiet").code == 0
    [again] = read_runs([Path("best")])
    assert again.metrics["val/loss"] == min(run.metrics["val/loss"] for run in runs.values())
    pictures = {path.name for path in (folder / "pictures").iterdir()}
    assert pictures == {"slices.png", "coordinates.png"}
    assert len((folder / "leaderboard.csv").read_text().splitlines()) == 3


def test_a_run_that_is_pruned_says_so_and_can_be_gone_on_with(workspace: Path) -> None:
    stop = StopRequests()
    stop.ask("pruned by the sweep", "pruned")
    config = configs.check(compose([*TINY, "run.dir=run"]))
    with pytest.raises(Interrupted):
        commands.train(config, quiet=True, stop=stop)
    [run] = read_runs([Path("run")])
    assert (run.status, run.reason, run.summary["step"]) == ("pruned", "pruned by the sweep", 1)
    commands.resume(Path("run"), quiet=True)
    assert read_runs([Path("run")])[0].finished


def test_a_signal_outweighs_what_was_asked_for() -> None:
    stop = StopRequests()
    assert stop.reason() is None
    stop.ask("first", "pruned")
    stop.ask("second")
    assert (stop.reason(), stop.status) == ("first", "pruned")
    stop._receive(2, None)
    assert (stop.reason(), stop.status) == ("SIGINT", "interrupted")


def test_a_look_finds_metrics_sense_and_how_often_a_run_is_evaluated(workspace: Path) -> None:
    found = find([compose(TINY)])
    assert (found.monitor, found.larger_is_better, found.num_gpus) == ("val/loss", False, 0)
    assert "val/loss" in found.evaluated
    assert "val/loss_cold" not in found.evaluated
    assert "val/loss_cold" in found.final
    assert found.evaluations == 2
    assert find([compose([*TINY, "trainer.max_steps=5"])]).evaluations == 3
    epochs = ["trainer.max_steps=null", "trainer.max_epochs=3", "trainer.eval_every_steps=null"]
    assert find([compose([*TINY, *epochs])]).evaluations == 3
    clock = ["trainer.max_steps=null", "trainer.max_epochs=null", "trainer.max_minutes=1"]
    assert find([compose([*TINY, *clock])]).evaluations is None


POINTS = {
    "values": ({"optimizer.lr": 0.1, "model.hidden_size": 4}, []),
    "a cell": ({"model/cell": "gru", "optimizer.lr": 0.1}, ["model.dropout=0.25"]),
    "another optimizer": ({"optimizer": "sgd"}, ["schedule=constant"]),
    "an experiment": ({"model/cell": "lstm", "model.hidden_size": 4}, ["experiment=adding"]),
    "cells of a stack": ({"model.hidden_size": 4}, ["model.cells=[lstm,gru]"]),
    "a key taken away": ({"model.hidden_size": 4}, ["~optimizer.weight_decay"]),
}


@pytest.mark.parametrize("point", POINTS)
def test_the_best_point_is_written_as_an_experiment_with_the_same_config(point: str, workspace: Path) -> None:
    values, words = POINTS[point]
    space = [f"{key}=choice({value},1)" for key, value in values.items() if "/" not in key and "." in key]
    plan = make_plan([*words, *space, "model.num_layers=choice(1,2)", "sweep.name=mine"])
    command = shlex.split(write_point(plan, {**values, "model.num_layers": 1}, "Best of all"))
    assert command[:2] == ["rnntrain", "train"]
    config_dir = Path(command[3]) if command[2] == "--config-dir" else None
    assert (config_dir is None) == (point == "a key taken away")
    repeated = compose(command[2 if config_dir is None else 4 :], config_dir)
    wanted = plan.compose({**values, "model.num_layers": 1}, 0)
    if config_dir is None:
        repeated["threads"] = 1
    for plain in (repeated, wanted):
        plain.pop("run")
    assert flatten(repeated) == flatten(wanted)


def test_the_best_point_brings_the_users_own_files_with_it(workspace: Path) -> None:
    conf = write_configs(
        workspace / "conf",
        {
            "model/cell/mine": "# Mine\n_target_: rnntrain.cells.gru.GRU\nreset_after: false\n",
            "experiment/small": "defaults:\n  - override /model/cell: mine\nmodel:\n  hidden_size: 4\n",
        },
    )
    plan = make_plan(["experiment=small", "optimizer.lr=0.1,0.2", "sweep.name=mine"], conf)
    command = shlex.split(write_point(plan, {"optimizer.lr": 0.2}, "Best of all"))
    shutil.rmtree(conf)
    repeated = compose(command[4:], Path(command[3]))
    assert repeated["model"]["cell"] == {"_target_": "rnntrain.cells.gru.GRU", "reset_after": False}
    assert (repeated["model"]["hidden_size"], repeated["optimizer"]["lr"]) == (4, 0.2)


@pytest.mark.parametrize("name", ["tpe", "random", "hyperband", "grid", "nsga2"])
def test_each_shipped_space_fits_the_default_config(name: str, workspace: Path) -> None:
    plan = make_plan([f"sweep={name}", "data=text", "data.path=tiny.txt"])
    assert plan.name == f"language_modeling-{name}"
    from rnntrain.sweeps.space import corner_points

    for point in corner_points(plan.space):
        configs.check(plan.compose(point, 0))


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["gp", "nsga2"])
def test_a_sweep_of_real_runs_comes_to_its_end_when_it_is_killed_on_the_way(
    sampler: str, run_cli: Cli, workspace: Path
) -> None:
    several = ["sweep.metric=[val/loss,num_parameters]"] if sampler == "nsga2" else []
    words = [*TINY, "optimizer.lr=interval(1e-3,1e-1,log)", "model.hidden_size=interval(4,12,int)", *several]
    words += [
        f"sweep.sampler={sampler}",
        "sweep.trials=6",
        "sweep.startup_trials=3",
        "sweep.workers=1",
        "sweep.name=mine",
    ]
    runs = workspace / "outputs/sweeps/mine/runs"
    with subprocess.Popen([sys.executable, "-m", "rnntrain", "sweep", *words], env=environment()) as process:
        while process.poll() is None and len(list(runs.glob("*/summary.json"))) < 4:
            time.sleep(0.05)
        process.kill()
    began = {run.name: run.path.stat().st_ino for run in read_runs([runs])}
    assert 4 <= len(began) < 6
    answer = run_cli("sweep", *words)
    assert answer.code == 0, answer
    assert "6 points: 6 completed, 0 pruned, 0 failed" in answer.out
    ended = read_runs([runs])
    assert all(run.finished for run in ended)
    assert len({(run.config["optimizer.lr"], run.config["model.hidden_size"]) for run in ended}) == len(ended)
    assert began.items() <= {run.name: run.path.stat().st_ino for run in ended}.items()
    best = next(line.split()[2:] for line in answer.out.splitlines() if line.startswith("  rnntrain train"))
    assert run_cli("train", *best, "run.dir=best", "--quiet").code == 0
    [again] = read_runs([Path("best")])
    assert again.metrics["val/loss"] == min(run.metrics["val/loss"] for run in ended)


@pytest.mark.parametrize(("given", "cores"), [("2", 2), ("64", 8), ("", 8), ("2(x3)", 8)])
def test_a_slurm_job_has_the_cores_that_it_asked_for(given: str, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on clusters that bind no process to them."""
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", given)
    assert Slots(None, 0, 1).number == cores
