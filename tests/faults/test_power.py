"""Power that fails at any call of a save, with all that was not synced lost, leaves the old checkpoint or the new."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from training import differences

from faults.disk_model import DiskModel, write_state
from rnntrain.checkpoints import durable
from rnntrain.checkpoints.checkpoint import (
    CheckpointError,
    CheckpointWriteError,
    checkpoint_name,
    find_checkpoints,
    latest_valid,
    load_checkpoint,
    save_checkpoint,
    verify_checkpoint,
)
from rnntrain.checkpoints.retention import best_checkpoint, mark_best, read_best, rotate
from rnntrain.runs.metrics_file import truncate_after_step
from rnntrain.runs.record import read_config_text, read_start, record_resume, record_start
from rnntrain.runs.run import RunDir, write_summary


def tree_of(step: int) -> dict[str, Any]:
    weight = torch.randn(6, 5, generator=torch.Generator().manual_seed(step))
    return {"model": {"weight": weight, "bias": weight[0].clone()}, "step": step, "text": "é" * 10}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    return folder


def save(folder: Path, step: int, version: int = 0) -> Path:
    return save_checkpoint(folder, checkpoint_name(step), {**tree_of(step), "version": version})


def left(model: DiskModel, tmp_path: Path) -> list[tuple[int, Path]]:
    """Write out every different state that a failure may leave; return it with the number of the call."""
    told: list[tuple[int, Path]] = []
    seen: set[str] = set()
    for call, states in enumerate(model.failures):
        for state in states:
            if (key := repr(sorted(state.items()))) not in seen or call == len(model.failures) - 1:
                seen.add(key)
                told.append((call, write_state(state, tmp_path / f"left{len(told)}")))
    return told


@pytest.mark.parametrize("step", [2, 1], ids=["beside", "in place of"])
@pytest.mark.parametrize("seeds", [1, pytest.param(20, marks=pytest.mark.slow)], ids=["few", "many"])
def test_a_save_leaves_old_or_new(
    folder: Path, tmp_path: Path, step: int, seeds: int, report: Callable[..., None]
) -> None:
    """And from the moment that it returns, new: nothing that fails later takes it away."""
    save(folder, 1)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    tried = 0
    for seed in range(seeds):
        for path in sorted(folder.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        for path, data in before.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        with DiskModel(folder, seed=seed).watched() as model:
            save(folder, step, version=1)
        (tmp_path / f"{seed}").mkdir()
        outcomes = []
        for call, place in left(model, tmp_path / f"{seed}"):
            back = load_checkpoint(latest_valid(place))
            expected = {**tree_of(back["step"]), "version": back["version"]}
            assert differences(back, expected) == []
            outcomes.append((call, back["version"]))
            durable.remove_stale(place)
            save(place, 3, version=2)
            assert load_checkpoint(latest_valid(place))["version"] == 2
        tried += len(outcomes)
        last = len(model.failures) - 1
        assert {version for call, version in outcomes if call == last} == {1}
        assert {version for call, version in outcomes if call == 0} == {0}
    report("power", name=f"save, step {step}", calls=last, states=tried, lost=0)


@pytest.mark.parametrize("left_out", ["of files", "of folders"])
def test_a_sync_that_is_left_out_is_seen(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_out: str
) -> None:
    """The model is one under which a save without its syncs fails."""
    save(folder, 1)
    if left_out == "of folders":
        monkeypatch.setattr(durable, "sync_directory", lambda path: None)
    with DiskModel(folder).watched() as model:
        if left_out == "of files":
            monkeypatch.setattr(os, "fsync", without_files(os.fsync))
        save(folder, 1, version=1)
    kept = []
    for _, place in left(model, tmp_path)[-4:]:
        try:
            kept.append(load_checkpoint(latest_valid(place))["version"])
        except CheckpointError:
            kept.append(-1)
    assert set(kept) != {1}


def without_files(sync: Callable[[int], None]) -> Callable[[int], None]:
    return lambda file: sync(file) if os.path.isdir(f"/proc/self/fd/{file}") else None


def test_rotation_leaves_best_and_newest(folder: Path, tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(folder, step)
    mark_best(folder, checkpoint_name(1), "loss", 0.5)
    with DiskModel(folder).watched() as model:
        rotate(folder, 1)
    for _, place in left(model, tmp_path):
        assert load_checkpoint(latest_valid(place))["step"] == 3
        assert load_checkpoint(best_checkpoint(place))["step"] == 1
        for path in find_checkpoints(place):
            verify_checkpoint(path)


def test_marking_the_best_leaves_old_or_new(folder: Path, tmp_path: Path) -> None:
    for step in (1, 2):
        save(folder, step)
    mark_best(folder, checkpoint_name(1), "loss", 0.5)
    with DiskModel(folder).watched() as model:
        mark_best(folder, checkpoint_name(2), "loss", 0.25)
    found = [(call, read_best(place)) for call, place in left(model, tmp_path)]
    assert {best.step for _, best in found if best is not None} == {1, 2}
    assert all(best is not None for _, best in found)
    assert {best.step for call, best in found if best is not None and call == len(model.failures) - 1} == {2}


@pytest.mark.parametrize("what", ["start", "resume", "truncate", "summary"])
def test_records_of_a_run_are_old_or_new(tmp_path: Path, what: str) -> None:
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    if what != "start":
        record_start(run, "seed: 0\n", {"bytes": 1}, ["rnntrain"])
        write_summary(run, {"status": "interrupted"})
        run.metrics.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n')
    action: dict[str, Callable[[], object]] = {
        "start": lambda: record_start(run, "seed: 1\n", {"bytes": 1}, ["rnntrain"]),
        "resume": lambda: record_resume(run, "seed: 1\n", 2),
        "truncate": lambda: truncate_after_step(run.metrics, 2),
        "summary": lambda: write_summary(run, {"status": "finished"}),
    }
    old = {path.name: path.read_bytes() for path in run.path.iterdir()}
    with DiskModel(run.path).watched() as model:
        action[what]()
    new = {path.name: path.read_bytes() for path in run.path.iterdir()}
    for _, place in left(model, tmp_path):
        names = {path.name for path in place.iterdir() if not path.name.startswith(".tmp-")}
        assert names <= old.keys() | new.keys()
        for name in names:
            if name != "run.json":
                assert (place / name).read_bytes() in (old.get(name), new.get(name))
        if "run.json" in names:
            assert len(read_start(RunDir(place)).get("resumed", [])) in (0, 1)
            assert read_config_text(RunDir(place)) in ("seed: 0\n", "seed: 1\n")
        assert old.keys() <= names
        if what == "start" and "run.json" in names:  # which marks a started run
            assert {"config.yaml", "command.txt"} <= names


# -- a disk that refuses ---


def refusing(patch: pytest.MonkeyPatch, code: int, after_bytes: int) -> None:
    """Let writes fail from a byte on, as those of a full disk do."""
    real, left = os.write, [after_bytes]

    def write(descriptor: int, data: Any) -> int:
        if left[0] <= 0:
            raise OSError(code, os.strerror(code))
        count = real(descriptor, data[: left[0]])
        left[0] -= count
        return count

    patch.setattr(os, "write", write)


def name_of(code: int) -> str:
    return errno.errorcode[code]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG], ids=name_of)
def test_disk_full_at_any_byte_keeps_the_old_checkpoint(folder: Path, code: int) -> None:
    path = save(folder, 1)
    size = sum(file.stat().st_size for file in path.iterdir())
    for point in range(20):
        with pytest.MonkeyPatch.context() as patch:
            refusing(patch, code, point * size // 20)
            with pytest.raises(CheckpointWriteError) as caught:
                save(folder, 2)
        assert "\n" not in str(caught.value)
        assert os.strerror(code) in str(caught.value)
        assert os.listdir(folder) == [checkpoint_name(1)]
        assert load_checkpoint(latest_valid(folder))["step"] == 1
    assert load_checkpoint(save(folder, 2))["step"] == 2


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EPERM], ids=name_of)
@pytest.mark.parametrize("name", ["mkdir", "open", "rename"])
def test_disk_that_may_not_be_written_keeps_the_old_checkpoint(folder: Path, code: int, name: str) -> None:
    save(folder, 1)
    real = getattr(os, name)

    def refused(path: Any, *args: Any, **options: Any) -> Any:
        if name == "open" and not args[0] & os.O_CREAT:
            return real(path, *args, **options)
        raise OSError(code, os.strerror(code), str(path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, name, refused)
        with pytest.raises(CheckpointWriteError, match=os.strerror(code)):
            save(folder, 2)
    assert load_checkpoint(latest_valid(folder))["step"] == 1
