"""A sweep runs every point once, whatever is killed meanwhile, and says what came of it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from commandline import Answer, environment

from rnntrain.comparing.records import read_runs
from rnntrain.sweeps import outcome
from sweeps import fake
from sweeps.conftest import QUICK

Cli = Callable[..., Answer]
Refused = Callable[..., str]

SPACE = ["optimizer.lr=interval(1e-4,1e-1,log)"]
FOLDER = Path("outputs/sweeps/mine")
DRAW = outcome._draw


def trials() -> list:
    """Return the points of the sweep, as Optuna has them."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = JournalStorage(JournalFileBackend(str(FOLDER / "journal.log")))
    return optuna.load_study(study_name="mine", storage=storage).trials


def states() -> list[str]:
    return [trial.state.name for trial in trials()]


def steps_trained(run: Path) -> list[int]:
    return [int(line) for line in (run / "trained").read_text().split()]


def test_every_point_has_a_run_for_each_seed_and_their_mean(sweep: Cli, workspace: Path) -> None:
    answer = sweep(*SPACE, "seed=range(0,3)", "sweep.trials=5")
    assert answer.code == 0, answer
    runs = read_runs([FOLDER])
    assert [run.name for run in runs] == [f"{point:04}-seed{seed}" for point in range(5) for seed in range(3)]
    assert all(run.finished for run in runs)
    for trial in trials():
        values = [run.metrics["val/loss"] for run in runs if run.name.startswith(f"{trial.number:04}")]
        assert trial.value == pytest.approx(sum(values) / 3)
        assert all(run.config["optimizer.lr"] == trial.params["optimizer.lr"] for run in runs[3 * trial.number :][:3])
    assert "5 points: 5 completed, 0 pruned, 0 failed" in answer.out
    assert "the best so far" in answer.err


def test_the_same_command_again_runs_nothing_and_a_higher_total_only_the_rest(sweep: Cli, workspace: Path) -> None:
    sweep(*SPACE, "sweep.trials=3")
    before = {run.name: run.path.stat().st_mtime_ns for run in read_runs([FOLDER])}
    assert sweep(*SPACE, "sweep.trials=3").code == 0
    assert sweep(*SPACE, "sweep.trials=5").code == 0
    after = {run.name: run.path.stat().st_mtime_ns for run in read_runs([FOLDER])}
    assert before.items() <= after.items()
    assert len(after) == 5
    assert len({trial.params["optimizer.lr"] for trial in trials()}) == 5


def test_points_do_not_depend_on_when_a_sweep_was_stopped(sweep: Cli, workspace: Path) -> None:
    sweep(*SPACE, "sweep.trials=4", "sweep.sampler=tpe", "sweep.startup_trials=2", "sweep.workers=1")
    whole = [trial.params for trial in trials()]
    FOLDER.rename("outputs/whole")
    for number in (3, 4):
        sweep(*SPACE, f"sweep.trials={number}", "sweep.sampler=tpe", "sweep.startup_trials=2", "sweep.workers=1")
    assert [trial.params for trial in trials()] == whole


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "qmc", "grid"])
def test_each_sampler_stays_within_the_space(sampler: str, sweep: Cli, workspace: Path) -> None:
    space = ["model.hidden_size=range(32,97,32)", "model/cell=gru,lstm"]
    assert sweep(*space, f"sweep.sampler={sampler}", "sweep.trials=12").code == 0
    points = [tuple(trial.params.values()) for trial in trials()]
    assert {size for size, _ in points} == {32, 64, 96}
    assert {cell for _, cell in points} == {"gru", "lstm"}
    if sampler == "grid":
        assert len(points) == len(set(points)) == 6


def test_a_point_that_is_drawn_again_is_not_run_again(sweep: Cli, workspace: Path) -> None:
    assert sweep("optimizer.lr=choice(0.1,0.01)", "sweep.sampler=random", "sweep.trials=8").code == 0
    assert states() == ["COMPLETE"] * 8
    assert len(read_runs([FOLDER])) == 2
    assert len({trial.value for trial in trials()}) == 2


def test_points_that_do_badly_are_ended_early_on_their_first_seed(
    sweep: Cli, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "0.3")
    space = "optimizer.lr=choice(0.01,0.02,0.5,0.9,0.8)"
    answer = sweep(space, "sweep.sampler=grid", "sweep.pruner=median", "sweep.startup_trials=2", "sweep.seeds=2",
                   "sweep.workers=2", "sweep.trials=5")  # fmt: skip
    assert answer.code == 0, answer
    assert states() == ["COMPLETE", "COMPLETE", "PRUNED", "PRUNED", "PRUNED"]
    runs = {run.name: run.status for run in read_runs([FOLDER])}
    assert runs["0002-seed0"] == "pruned"
    assert "0002-seed1" not in runs
    assert "0002 pruned" in answer.err


def test_a_run_that_crashes_is_tried_again_and_one_that_refuses_is_not(sweep: Cli, workspace: Path) -> None:
    answer = sweep("model.hidden_size=choice(8,13,14,15,16,17)", "sweep.sampler=grid")
    assert answer.code == 0, answer
    assert states() == ["COMPLETE", "FAIL", "FAIL", "COMPLETE", "FAIL", "FAIL"]
    assert "0001-seed0 ended: AssertionError: thirteen; starting it again" in answer.err
    for text in (
        "0001-seed0: AssertionError: thirteen",
        "0002-seed0: model.hidden_size=14: is refused",
        "0004-seed0: killed by SIGKILL",
        "0005-seed0: val/loss is nan",
    ):
        assert text in answer.err
        assert text in answer.out
    assert "0002-seed0 ended" not in answer.err


def test_what_can_be_gone_on_with_is_kept_when_it_cannot_be_for_now(sweep: Cli, workspace: Path) -> None:
    """As where memory runs out: the run says so, has been saved, and goes on when it is asked again."""
    words = ["model.hidden_size=choice(18)", "sweep.sampler=grid", "sweep.retries=1"]
    answer = sweep(*words)
    assert answer.code == 0, answer
    assert "0000-seed0 ended: out of memory; starting it again" in answer.err
    assert steps_trained(FOLDER / "runs/0000-seed0") == [1, 2, 3, 4]


def test_on_failure_stop_ends_the_sweep_with_what_failed(sweep: Cli, workspace: Path) -> None:
    words = ["model.hidden_size=choice(8,14,9,10)", "sweep.sampler=grid", "sweep.workers=1"]
    answer = sweep(*words, "sweep.on_failure=stop")
    assert answer.code == 2
    assert "sweep.on_failure=stop says: 0001-seed0: model.hidden_size=14: is refused" in answer.err
    assert states() == ["COMPLETE", "FAIL"]
    assert sweep(*words).code == 0
    assert states() == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]


def test_points_that_failed_are_tried_anew_where_that_is_asked_for(sweep: Cli, workspace: Path) -> None:
    words = ["model.hidden_size=choice(8,16)", "sweep.sampler=grid", "sweep.retries=0"]
    assert sweep(*words).code == 0
    assert states() == ["COMPLETE", "FAIL"]
    assert sweep(*words, "sweep.retry_failed=true").code == 0
    assert states() == ["COMPLETE", "FAIL", "FAIL"]
    assert trials()[2].params == {"model.hidden_size": 16}
    assert "2 points: 1 completed, 0 pruned, 1 failed" in sweep(*words).out


def test_a_sweep_of_failures_is_an_error_that_says_the_first(sweep: Cli, workspace: Path) -> None:
    answer = sweep("model.hidden_size=choice(13,14)", "sweep.sampler=grid", "sweep.retries=0")
    assert answer.code == 2
    assert "no point was completed: 0000: 0000-seed0: AssertionError: thirteen" in answer.err


def test_several_metrics_end_with_the_points_that_no_other_beats(sweep: Cli, workspace: Path) -> None:
    import optuna  # its storage would else be imported twice, and warn

    assert optuna
    answer = sweep(*SPACE, "sweep.sampler=nsga2", "sweep.metric=[val/loss,val/accuracy]", "sweep.trials=2")
    assert answer.code == 2
    assert "the run reports no val/accuracy" in answer.err


def test_the_front_of_several_metrics_is_shown_drawn_and_can_be_trained(
    sweep: Cli, run_cli: Cli, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss falls towards a rate of 0.01, the number of parameters with the size; one point is beaten in both."""
    monkeypatch.setattr(outcome, "_draw", DRAW)
    space = ["optimizer.lr=choice(0.01,0.1)", "model.hidden_size=choice(8,9)"]
    words = [*space, "sweep.sampler=grid", "sweep.metric=[val/loss,num_parameters]", "sweep.seeds=2"]
    answer = sweep(*words)
    assert answer.code == 0, answer
    lines = answer.out.splitlines()
    start = lines.index("Not beaten in every metric by any other: 1 of 4, by their means over seeds")
    assert lines[start + 3].split() == ["mine-0000", "0.2550", "800", "2", "hidden_size=8", "lr=0.01"]
    assert (FOLDER / "pictures/front.png").stat().st_size > 5000
    command = next(line.split()[2:] for line in lines if line.startswith("  rnntrain train"))
    assert command[-2:] == ["experiment=mine-0000", "seed=0"]
    config = run_cli("train", *command, "--cfg", "job").out
    assert "hidden_size: 8" in config
    assert "lr: 0.01" in config


def test_the_sense_that_was_given_orders_the_leaderboard(sweep: Cli, workspace: Path) -> None:
    answer = sweep("optimizer.lr=choice(0.01,0.1)", "sweep.sampler=grid", "sweep.direction=maximize")
    first = next(line for line in answer.out.splitlines() if line.startswith("1 "))
    assert "by val/loss, higher is better" in answer.out
    assert "lr=0.1" in first


def test_a_best_point_at_an_end_of_the_space_is_pointed_out(sweep: Cli, workspace: Path) -> None:
    at_an_end = "The best lies at an end of what was searched, optimizer.lr="
    assert at_an_end in sweep("optimizer.lr=range(0.01,0.05,0.01)", "sweep.sampler=grid").out
    assert at_an_end not in sweep("optimizer.lr=range(0.005,0.05,0.005)", "sweep.sampler=grid", "sweep.name=b").out


def test_a_database_holds_a_study_as_well(sweep: Cli, workspace: Path) -> None:
    words = [*SPACE, "sweep.storage=sqlite:///study.db", "sweep.trials=2"]
    assert sweep(*words).code == 0
    assert sweep(*words).code == 0
    assert not (FOLDER / "journal.log").exists()
    assert len(read_runs([FOLDER])) == 2


# -- killed ---


def start(workspace: Path, *words: str, seconds: str = "0.1") -> subprocess.Popen[str]:
    """Start a sweep of fake runs as a process of its own."""
    variables = {**environment(), "FAKE_SECONDS": seconds}
    variables["PYTHONPATH"] = os.pathsep.join([str(fake.TESTS), variables["PYTHONPATH"]])
    command = [sys.executable, "-m", "sweeps.fake", "sweep", *QUICK, *words]
    return subprocess.Popen(
        command, cwd=workspace, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def children(parent: int) -> list[int]:
    """Return the processes that a process has started."""
    try:
        return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except OSError:
        return []


def wait_for(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.01)


def assert_nothing_was_lost(number: int, seeds: int = 1) -> None:
    assert states() == ["COMPLETE"] * number
    runs = read_runs([FOLDER])
    assert len(runs) == number * seeds
    assert all(run.finished for run in runs)
    for run in runs:
        assert sorted(set(steps_trained(run.path))) == [1, 2, 3, 4]


def test_ctrl_c_saves_all_runs_and_the_same_command_goes_on(sweep: Cli, workspace: Path) -> None:
    words = [*SPACE, "sweep.trials=4", "sweep.workers=2"]
    process = start(workspace, *words, seconds="0.3")
    wait_for(lambda: len(list(FOLDER.glob("runs/*/trained"))) == 2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 75, err
    assert "the same command goes on" in err
    began = {run.name: steps_trained(run.path) for run in read_runs([FOLDER])}
    assert began
    assert {run.status for run in read_runs([FOLDER])} == {"interrupted"}
    assert sweep(*words).code == 0
    assert_nothing_was_lost(4)
    for name, steps in began.items():  # gone on with, not begun again
        assert steps_trained(FOLDER / "runs" / name)[: len(steps)] == steps
        assert len(steps_trained(FOLDER / "runs" / name)) == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGUSR2, marks=pytest.mark.slow)])
def test_a_slurm_job_that_is_taken_back_saves_all_runs_and_the_same_command_goes_on(
    number: int, sweep: Cli, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm signals the sweep and its runs, and does so twice; no run is taken for one that has crashed."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    words = [*SPACE, "sweep.trials=4", "sweep.workers=2", "sweep.retries=0"]
    process = start(workspace, *words, seconds="0.3")
    wait_for(lambda: len(list(FOLDER.glob("runs/*/trained"))) == 2)
    for told in ([*children(process.pid), process.pid], [process.pid]):
        for each in told:
            with suppress(ProcessLookupError):
                os.kill(each, number)
        while len(told) > 1 and "Stopping" not in process.stderr.readline():
            pass  # else the two signals would be one
    _, err = process.communicate()
    assert process.returncode == 75, err
    assert "FAIL" not in states()
    assert sweep(*words).code == 0
    assert_nothing_was_lost(4)


def test_runs_end_with_a_sweep_that_is_killed(workspace: Path) -> None:
    process = start(workspace, *SPACE, "sweep.trials=4", "trainer.max_steps=10000")
    wait_for(lambda: len(children(process.pid)) == 4)
    runs = children(process.pid)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(Path(f"/proc/{run}").exists() for run in runs))


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_killed_at_any_instant_a_sweep_finishes_without_losing_or_repeating_a_point(seed: int, workspace: Path) -> None:
    rng = random.Random(seed)
    words = [*SPACE, "sweep.trials=6", "sweep.seeds=2", "sweep.retries=100"]
    process = start(workspace, *words)
    for _ in range(6 if seed == 0 else 20):
        time.sleep(rng.uniform(0.2, 1.2))
        if rng.random() < 0.6:
            for child in rng.sample(running := children(process.pid), min(len(running), 2)):
                os.kill(child, signal.SIGKILL)
        if rng.random() < 0.6:
            process.kill()
            process.communicate()
            process = start(workspace, *words)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert_nothing_was_lost(6, seeds=2)


SEARCHES = {
    "grid": ["model.hidden_size=range(1,5)", "model/cell=gru,lstm", "sweep.sampler=grid"],
    "qmc": [*SPACE, "model.hidden_size=range(1,9)", "sweep.sampler=qmc", "sweep.trials=8"],
    "nsga2": [*SPACE, "model.hidden_size=range(1,9)", "sweep.sampler=nsga2", "sweep.metric=[val/loss,num_parameters]",
              "sweep.trials=8", "sweep.startup_trials=3"],
    "gp": [*SPACE, "model.hidden_size=range(1,9)", "sweep.sampler=gp", "sweep.trials=8", "sweep.startup_trials=3"],
}  # fmt: skip


@pytest.mark.parametrize("sampler", ["grid", "qmc", "nsga2", pytest.param("gp", marks=pytest.mark.slow)])
def test_each_sampler_comes_to_its_end_when_it_is_killed_on_the_way(sampler: str, sweep: Cli, workspace: Path) -> None:
    words = [*SEARCHES[sampler], "sweep.workers=2"]
    process = start(workspace, *words)
    wait_for(lambda: process.poll() is not None or len(list(FOLDER.glob("runs/*/summary.json"))) >= 4)
    process.kill()
    _, err = process.communicate()
    assert states().count("COMPLETE") in range(2, 8), err
    answer = sweep(*words)
    assert answer.code == 0, answer
    assert "8 points: 8 completed, 0 pruned, 0 failed" in answer.out
    assert states() == ["COMPLETE"] * 8
    runs = read_runs([FOLDER])
    twins = sum("same_as" in trial.user_attrs for trial in trials())
    assert len(runs) == len({str(trial.params) for trial in trials()}) == 8 - twins
    assert all(run.finished for run in runs)
    finished_before = [run for run in runs if f"{run.name.partition('-')[0]} done" not in answer.err]
    assert all(len(steps_trained(run.path)) == 4 for run in finished_before)
    table = "Not beaten in every metric" if sampler == "nsga2" else "by val/loss, lower is better"
    assert table in answer.out


def test_several_processes_work_on_one_sweep(workspace: Path) -> None:
    words = [*SPACE, "sweep.trials=8", "sweep.workers=1"]
    processes = [start(workspace, *words) for _ in range(3)]
    ends = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], ends
    assert_nothing_was_lost(8)
    assert all(len(steps_trained(run.path)) == 4 for run in read_runs([FOLDER]))
    done = [err.count(" done ") for _, err in ends]
    assert sum(done) == 8
    assert sum(count > 0 for count in done) > 1


def test_a_process_takes_over_the_points_of_one_that_was_killed(workspace: Path) -> None:
    words = [*SPACE, "sweep.trials=2", "sweep.workers=1"]
    first = start(workspace, *words, seconds="0.4")
    wait_for(lambda: list(FOLDER.glob("runs/0000-seed0/trained")))
    second = start(workspace, *words)
    wait_for(lambda: list(FOLDER.glob("runs/0001-seed0")))
    first.kill()
    first.communicate()
    _, err = second.communicate()
    assert second.returncode == 0, err
    assert_nothing_was_lost(2)


def test_a_sweep_that_finds_a_run_finished_takes_its_value(sweep: Cli, workspace: Path) -> None:
    """As after a kill between the end of a run and the word of it."""
    words = [*SPACE, "sweep.trials=2", "sweep.workers=1"]
    sweep(*words)
    journal = (FOLDER / "journal.log").read_text().splitlines(keepends=True)
    ended = [number for number, line in enumerate(journal) if json.loads(line).get("state") == 1]
    (FOLDER / "journal.log").write_text("".join(journal[: ended[-1]]))
    assert states() == ["COMPLETE", "RUNNING"]
    assert sweep(*words).code == 0
    assert_nothing_was_lost(2)
    assert len(steps_trained(FOLDER / "runs/0001-seed0")) == 4


@pytest.mark.parametrize("cut", [1, 3, *(pytest.param(cut, marks=pytest.mark.slow) for cut in (2, 4, 5))])
def test_a_journal_that_ends_anywhere_is_gone_on_with(cut: int, sweep: Cli, workspace: Path) -> None:
    """As after a kill between two records, or power that failed within one."""
    words = [*SPACE, "model.hidden_size=range(4,9)", "sweep.trials=2", "sweep.workers=1"]
    sweep(*words)
    journal = (FOLDER / "journal.log").read_text().splitlines(keepends=True)
    (FOLDER / "journal.log").write_text("".join(journal[:-cut]) + journal[-cut][: len(journal[-cut]) // 2])
    assert sweep(*words).code == 0
    assert_nothing_was_lost(2)
