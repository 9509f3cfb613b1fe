"""Several processes that train one model come to what one process comes to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import together_work
from tasks.cases import TASKS
from together import Together
from training import CELLS, differences, write_documents, write_text

from rnntrain.checkpoints.checkpoint import latest_valid, load_checkpoint
from rnntrain.runs.run import RunDir

STEPS: dict[str, Any] = {"trainer.max_steps": 6, "trainer.eval_every_steps": 3, "trainer.log_every_steps": 2}
MODES: dict[str, dict[str, Any]] = {
    "streams": {},
    "more processes than rows": {"data.batch_size": 1},
    "rows that do not divide": {"data.batch_size": 5},
    "random windows": {"data.contiguous": False, "task.carry": False},
    "accumulate": {"trainer.accumulate": 3},
    "averaged weights": {"trainer.average_decay": 0.8},
    "penalties": {"model.activation_penalty": 1.0, "model.change_penalty": 1.0},
    "bfloat16": {"precision": "bfloat16"},
    "tied": {"model.tie_embeddings": True},
    "adaptive softmax": {"task.output": "adaptive", "task.cutoffs": [3, 9]},
    "mixture of softmaxes": {"task.output": "mixture"},
    "clipped by value": {"trainer.grad_clip_mode": "value", "trainer.grad_clip": 0.01},
}
DOCUMENTS: dict[str, dict[str, Any]] = {
    "documents": {"data.documents": True, "data.batch_size": 6},
    "shuffled documents": {"data.documents": True, "data.contiguous": False, "task.carry": False},
}
LOOSE = {"bfloat16": 2e-2}


@pytest.fixture(scope="module")
def together() -> Iterator[Together]:
    with Together() as processes:
        yield processes


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text"), 150)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_documents(tmp_path_factory.mktemp("documents"))


def agree(alone: Any, others: list[Any], tolerance: float = 1e-4) -> None:
    """Assert that each of the processes came to what one came to alone, within the rounding of sums."""
    for other in others:
        assert not isinstance(other, str), other
        _close(alone, other, tolerance, "")


def _close(a: Any, b: Any, tolerance: float, place: str) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys(), place
        for key in a:
            _close(a[key], b[key], tolerance, f"{place}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), place
        for number, (one, other) in enumerate(zip(a, b, strict=True)):
            _close(one, other, tolerance, f"{place}[{number}]")
    else:
        assert b == pytest.approx(a, rel=tolerance, abs=tolerance), place


@pytest.mark.parametrize("mode", [*MODES, *DOCUMENTS])
def test_the_same_batches_give_the_same_curve(mode: str, text: Path, documents: Path, together: Together) -> None:
    path, changes = (documents, DOCUMENTS[mode]) if mode in DOCUMENTS else (text, MODES[mode])
    changes = STEPS | changes
    alone = together_work.fit(str(path), changes)
    both = together.call("fit", str(path), changes)
    agree(alone, [{**each, "draws": alone["draws"]} for each in both], LOOSE.get(mode, 1e-4))


def test_every_cell_trains_in_several_processes(text: Path, together: Together) -> None:
    changes = STEPS | {"trainer.max_steps": 2, "trainer.eval_every_steps": 2, "model.num_layers": 2}
    alone = together_work.fit_all_cells(str(text), changes)
    both = together.call("fit_all_cells", str(text), changes)
    assert isinstance(both[0], dict), both
    for cell in CELLS:
        agree(alone[cell], [{**each[cell], "draws": alone[cell]["draws"]} for each in both], 1e-3)


def test_every_task_gives_every_weight_a_gradient(tmp_path: Path) -> None:
    # Else the exchange of gradients would wait for it.
    assert set(map(tuple, together_work.without_gradient(str(tmp_path)).values())) == {()}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_trains_and_evaluates_in_several_processes(task: str, tmp_path: Path, together: Together) -> None:
    alone = together_work.fit_task(str(tmp_path), task, 3)
    agree(alone, together.call("fit_task", str(tmp_path), task, 3), 1e-3)


def test_trees_are_gathered_without_pickles(together: Together) -> None:
    expected = [[0, [0, 0]], [1, [1, 1, 1, 1, 1]]]
    assert together.call("gather_trees") == [expected, expected]


def test_a_mistake_in_the_first_process_ends_all(together: Together) -> None:
    assert together.call("fail_in_first") == ["UserError: the first says why", "Followed: 2"]


def test_processes_must_have_the_same_data(together: Together) -> None:
    first, second = together.call("differ", [1, 2])
    assert first.startswith("UserError: process 1 has another data than process 0 (2 and 1)")
    assert second.startswith("Followed")
    assert together.call("differ", [1, 1]) == ["none", "none"]


def test_all_processes_must_see_the_run(tmp_path: Path, together: Together) -> None:
    missing = str(tmp_path / "missing")
    first, second = together.call("see", [str(tmp_path), missing])
    assert first.startswith("UserError: process 1 on ")
    assert first.endswith("; set run.root to a folder that all machines share, under one path")
    assert second.startswith("Followed")
    assert together.call("see", [str(tmp_path)] * 2) == ["none", "none"]


def test_a_mistake_in_any_process_ends_all_with_one_line(together: Together) -> None:
    """Without a word from it, the others would wait for it until their time is over."""
    assert together.call("join_with", [None, "no such run"], [None, None]) == [
        "UserError: process 1: no such run",
        "Followed: 2",
    ]
    assert together.call("join_with", ["no such run"] * 2, [None, None]) == ["UserError: no such run", "Followed: 2"]


def test_two_processes_with_one_device_say_what_to_do(together: Together) -> None:
    first, second = together.call("join_with", [None, None], ["GPU-1", "GPU-1"])
    assert first.startswith("UserError: processes 0 and 1 use the same CUDA device: start one torchrun a machine")
    assert second.startswith("Followed")
    assert together.call("join_with", [None, None], ["GPU-1", "GPU-2"]) == ["none", "none"]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_gradients_are_exchanged_once_a_step(accumulate: int, text: Path, together: Together) -> None:
    for steps, num_parameters in together.call("count_exchanges", str(text), {"trainer.accumulate": accumulate}):
        assert [values for _, values in steps] == [num_parameters] * 3
        assert len({buckets for buckets, _ in steps[1:]}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [3, 4])
def test_odd_batches_in_more_processes_give_the_curve_of_one(number: int, text: Path, tmp_path: Path) -> None:
    modes = [{"data.batch_size": rows} for rows in (1, 2, 5, 7)]
    modes += [{"data.batch_size": 7, **MODES[mode]} for mode in ("random windows", "accumulate", "penalties")]
    with Together(number) as several:
        for changes in [STEPS | mode for mode in modes]:
            alone = together_work.fit(str(text), changes)
            agree(alone, [{**each, "draws": alone["draws"]} for each in several.call("fit", str(text), changes)])
        for task in TASKS:
            alone = together_work.fit_task(str(tmp_path), task, 3)
            agree(alone, several.call("fit_task", str(tmp_path), task, 3), 1e-3)


# -- runs ---

RUN: dict[str, Any] = {
    "trainer.max_steps": 12,
    "trainer.checkpoint_every_steps": 4,
    "trainer.average_decay": 0.9,
    "model.dropout": 0.2,
    "model.num_layers": 2,
    "data.batch_size": 5,
}


def run_of(text: Path, name: str) -> RunDir:
    return RunDir(text.parent / "outputs" / "test" / name)


def tree_of(run: RunDir) -> dict[str, Any]:
    """Return the last checkpoint, without what tells of time."""
    tree = load_checkpoint(latest_valid(run.checkpoints))
    del tree["trainer"]["seconds"]
    return tree


@pytest.fixture(scope="module")
def whole(text: Path, together: Together) -> RunDir:
    """Return a run of two processes that never stopped."""
    first, second = together.call("train_run", str(text), {**RUN, "run.name": "whole"})
    assert (first["writes"], second["writes"]) == (True, False)
    assert {**first, "writes": None} == {**second, "writes": None}
    return run_of(text, "whole")


def test_a_run_is_one_folder_whose_metrics_are_written_once(whole: RunDir) -> None:
    assert len([path for path in whole.path.parent.iterdir() if path.name.startswith("whole")]) == 1
    steps = [line for line in whole.metrics.read_text().splitlines() if '"train/loss"' in line]
    assert len(steps) == 12 // 3


def test_processes_draw_masks_of_their_own_and_the_checkpoint_holds_them(whole: RunDir) -> None:
    tree = load_checkpoint(latest_valid(whole.checkpoints))
    first, second = tree["generators_by_process"]
    assert first["torch"].tolist() != second["torch"].tolist()
    assert tree["trainer"]["state"][0][0].shape[0] == 5  # the rows of both


@pytest.mark.parametrize("stop_at", [3, 5])
def test_a_signal_to_any_process_stops_all_and_resume_is_bitwise(
    stop_at: int, text: Path, whole: RunDir, together: Together
) -> None:
    name = f"stopped-{stop_at}"
    ended = together.call("train_run", str(text), {**RUN, "run.name": name}, stop_at)
    assert [each["ended"] for each in ended] == ["Interrupted", "Followed"]
    run = run_of(text, name)
    assert load_checkpoint(latest_valid(run.checkpoints))["trainer"]["step"] < 12
    together.call("resume_run", str(run.path), [])
    assert differences(tree_of(whole), tree_of(run)) == []


def test_a_run_goes_on_with_another_number_of_processes(
    text: Path, whole: RunDir, together: Together, capfd: pytest.CaptureFixture[str]
) -> None:
    changes = {**RUN, "model.dropout": 0.0}  # whose masks would differ
    alone = together_work.train_run(str(text), {**changes, "run.name": "alone"})
    together.call("train_run", str(text), {**changes, "run.name": "fewer"}, 5)
    fewer = together_work.resume_run(str(run_of(text, "fewer").path), [])
    assert "world size was 2 and is 1" in capfd.readouterr().err
    assert together_work.train_run(str(text), {**changes, "run.name": "more"}, 5) == {"ended": "Interrupted"}
    more = together.call("resume_run", str(run_of(text, "more").path), [])
    agree(alone, [fewer, more[0], {**more[1], "writes": True}], 1e-4)


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_all_processes_leave_the_same_update_out(policy: str, text: Path, together: Together) -> None:
    changes = {**RUN, "model.dropout": 0.0, "trainer.on_nonfinite": policy}
    alone = together_work.train_with_a_bad_step(str(text), {**changes, "run.name": f"{policy}-alone"}, 6)
    first, second = together.call("train_with_a_bad_step", str(text), {**changes, "run.name": policy}, 6)
    agree(alone, [first, {**second, "writes": True}], 1e-4)


def test_only_the_first_waits_for_what_is_being_written(text: Path, together: Together) -> None:
    """Each write ends when the training waits for it; the others wait at their next exchange."""
    changes = {**RUN, "trainer.checkpoint_every_steps": 3, "trainer.eval_every_steps": 1000, "run.name": "slow"}
    first, second = together.call("train_with_slow_writes", str(text), changes)
    assert first["waited"][0] == 3
    assert second["waited"] == []
    assert first["weights"] == second["weights"]


def test_the_first_process_has_the_clock(text: Path, together: Together) -> None:
    changes = {"trainer.max_steps": 5, "trainer.max_minutes": 10.0}
    assert together.call("fit_by_the_clock", str(text), changes, [0.0, 99.0]) == [["max_steps", 5]] * 2
    assert together.call("fit_by_the_clock", str(text), changes, [99.0, 0.0]) == [["max_minutes", 1]] * 2
