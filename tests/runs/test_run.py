"""A run's folder is its own, one process writes it, and it says where it came from."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, tzinfo
from pathlib import Path

import pytest

from rnntrain.errors import UserError
from rnntrain.runs import environment, run
from rnntrain.runs.metrics_file import truncate_after_step
from rnntrain.runs.record import read_config_text, record_start
from rnntrain.runs.run import RunDir, check_name, create_run, find_runs, latest_run, open_run

REPOSITORY = Path(__file__).parent.parent.parent


def start(root: Path, group: str = "lm", text: str = "seed: 1\n") -> RunDir:
    created = create_run(root, group)
    record_start(created, text, {"sha256": "0" * 64}, ["rnntrain", "train", "note=a b"])
    return created


def script(text: str, *arguments: object) -> subprocess.Popen[str]:
    """Run Python in a process of its own."""
    command = [sys.executable, "-c", text, *map(str, arguments)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def refusal(caught: pytest.ExceptionInfo[UserError]) -> str:
    line = str(caught.value)
    assert "\n" not in line
    return line


# --- a folder of its own


def test_twenty_starts_in_one_second_are_twenty_folders(tmp_path: Path) -> None:
    text = "import sys, pathlib, rnntrain.runs.run as r; print(r.create_run(pathlib.Path(sys.argv[1]), 'lm').path)"
    processes = [script(text, tmp_path / "outputs") for _ in range(4)]
    with ThreadPoolExecutor(20) as pool:
        barrier = threading.Barrier(20)

        def create(_: int) -> Path:
            barrier.wait()
            return create_run(tmp_path / "outputs", "lm").path

        paths = set(pool.map(create, range(20)))
    paths |= {Path(process.communicate()[0].strip()) for process in processes}
    assert len(paths) == 24
    assert set((tmp_path / "outputs" / "lm").iterdir()) == paths


def test_taken_folder_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = iter(["aaa", "aaa", "aaa", "bbb"])
    monkeypatch.setattr(run, "_unique", lambda: next(words))
    monkeypatch.setattr(run, "datetime", FixedTime)
    assert [create_run(tmp_path, "lm").path.name for _ in range(2)] == [
        "2026-01-02_03-04-05-aaa",
        "2026-01-02_03-04-05-bbb",
    ]
    monkeypatch.setattr(run, "_unique", lambda: "aaa")
    with pytest.raises(UserError, match="no free name"):
        create_run(tmp_path, "lm")


class FixedTime(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> FixedTime:
        return cls(2026, 1, 2, 3, 4, 5, tzinfo=tz)


def test_named_run_has_its_name_and_a_second_of_it_is_refused(tmp_path: Path) -> None:
    created = create_run(tmp_path, "lm", "mine").path
    assert created == tmp_path / "lm" / "mine"
    with pytest.raises(UserError, match=r"run.name=mine: .*rnntrain resume"):
        create_run(tmp_path, "lm", "mine")


def test_name_of_a_run_neither_takes_nor_depends_on_the_seed(tmp_path: Path) -> None:
    random.seed(0)
    state = random.getstate()
    first = create_run(tmp_path, "lm").path.name
    assert random.getstate() == state
    assert create_run(tmp_path, "lm").path.name != first


@pytest.mark.parametrize(
    "name", ["", ".", "..", "-x", ".x", "a/b", "../x", "a b", "a\n", "ü", "x" * 101, "a\0", "$(touch x)", "a;b"]
)
def test_names_that_are_no_part_of_a_path_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="characters"):
        create_run(tmp_path / "outputs", name)
    with pytest.raises(UserError, match="characters"):
        create_run(tmp_path / "outputs", "lm", name)
    assert not (tmp_path / "outputs").exists()
    assert check_name("name", "Good_name-1.2") == "Good_name-1.2"


def test_chosen_folder_must_be_new_or_empty(tmp_path: Path) -> None:
    assert create_run(tmp_path, "lm", directory=tmp_path / "new").path == tmp_path / "new"
    assert create_run(tmp_path, "lm", directory=tmp_path / "new").path == tmp_path / "new"
    (tmp_path / "new" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="not empty"):
        create_run(tmp_path, "lm", directory=tmp_path / "new")
    with pytest.raises(UserError, match="not a folder"):
        create_run(tmp_path, "lm", directory=tmp_path / "new" / "thesis.tex")
    with pytest.raises(UserError, match="one of the two"):
        create_run(tmp_path, "lm", "name", tmp_path / "other")
    existing = start(tmp_path)
    with pytest.raises(UserError, match="rnntrain resume"):
        create_run(tmp_path, "lm", directory=existing.path)


def test_folder_that_cannot_be_made_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for root, directory in [
        (tmp_path / "missing" / "outputs", None),
        (tmp_path / "file", None),
        (tmp_path, tmp_path / "missing" / "run"),
        (tmp_path, tmp_path / "file" / "run"),
        (tmp_path, tmp_path / ("x" * 300)),
        (tmp_path, tmp_path / "a\0b"),
        (tmp_path / "a\0b", None),
    ]:
        with pytest.raises(UserError) as caught:
            create_run(root, "lm", directory=directory)
        assert "; " in refusal(caught)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(UserError, match="Permission denied") as caught:
        create_run(tmp_path / "outputs", "lm")
    assert str(tmp_path / "outputs") in refusal(caught)


def test_output_root_may_be_a_link_and_nothing_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "outputs").symlink_to(tmp_path / "disk")
    created = create_run(tmp_path / "outputs", "lm")
    assert (tmp_path / "disk" / "lm" / created.path.name).is_dir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "disk" / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="link"):
        create_run(tmp_path / "outputs", "linked")
    with pytest.raises(UserError, match="link"):
        create_run(tmp_path, "lm", directory=tmp_path / "disk" / "linked")
    assert not list((tmp_path / "elsewhere").iterdir())
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    if os.getuid() == 0:  # root's own links are trusted
        os.lchown(tmp_path / "outputs", 54321, -1)
    with pytest.raises(UserError, match="another user"):
        create_run(tmp_path / "outputs", "lm")


# --- one writer

HOLD = """
import pathlib, sys
from rnntrain.runs.run import RunDir
with RunDir(pathlib.Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""

HOLD_WITH_WORKER = """
import os, pathlib, sys
from rnntrain.runs.run import RunDir
with RunDir(pathlib.Path(sys.argv[1])).lock():
    if os.fork() == 0:  # a data worker, which outlives the trainer
        print("held", flush=True)
        sys.stdin.read()
        os._exit(0)
    os.wait()
"""


@contextmanager
def writer(text: str, created: RunDir) -> Iterator[subprocess.Popen[str]]:
    process = script(text, created.path)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


def test_second_writer_is_refused_and_told_who_writes(tmp_path: Path) -> None:
    created = create_run(tmp_path, "lm")
    with writer(HOLD, created) as process:
        for _ in range(2):
            with pytest.raises(UserError, match=f"process {process.pid} on ") as caught, created.lock():
                pass
        assert str(created.path) in refusal(caught)
        assert "wait for it, stop it, or" in refusal(caught)
    with created.lock():
        pass


def test_second_writer_in_the_same_process_is_refused(tmp_path: Path) -> None:
    created = create_run(tmp_path, "lm")
    with created.lock():
        with pytest.raises(UserError, match=f"process {os.getpid()} "), created.lock():
            pass
        assert created.lock_file.read_text().startswith('{"pid": ')
    assert created.lock_file.read_bytes() == b""
    with created.lock():
        pass


@pytest.mark.parametrize("text", [HOLD, HOLD_WITH_WORKER], ids=["alone", "with a worker that lives on"])
def test_lock_is_free_after_kill_9(tmp_path: Path, text: str) -> None:
    created = create_run(tmp_path, "lm")
    with writer(text, created) as process:
        with pytest.raises(UserError, match="is writing this run"), created.lock():
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        with created.lock():
            assert json.loads(created.lock_file.read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("content", [b"", b"\x1b[2J\xff", b"[1]", b'{"pid": "x"}', b"[" * 4096])
def test_any_content_of_the_lock_file_does(tmp_path: Path, content: bytes) -> None:
    created = create_run(tmp_path, "lm")
    with created.lock():
        created.lock_file.write_bytes(content)
        with pytest.raises(UserError, match="another process is writing") as caught, created.lock():
            pass
        assert "\x1b" not in refusal(caught)


def test_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    created = create_run(tmp_path, "lm")
    (tmp_path / "precious").write_text("content")
    created.lock_file.symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match="symbolic link"), created.lock():
        pass
    assert (tmp_path / "precious").read_text() == "content"


# --- what is recorded


def test_start_is_recorded(tmp_path: Path) -> None:
    created = start(tmp_path, text="näme: 1\n")
    assert read_config_text(created) == "näme: 1\n"
    assert created.command.read_text() == "rnntrain train 'note=a b'\n"
    info = json.loads(created.info.read_text())
    assert info["command"] == ["rnntrain", "train", "note=a b"]
    assert info["data"] == {"sha256": "0" * 64}
    assert {"torch", "numpy", "python", "platform", "cpu", "threads", "git", "rnntrain"} <= info["environment"].keys()
    assert info["environment"]["cpu"]["capability"]
    assert not list(created.path.glob(".tmp-*"))


def test_started_run_is_not_started_over(tmp_path: Path) -> None:
    created = start(tmp_path)
    with pytest.raises(UserError, match="rnntrain resume"):
        record_start(created, "seed: 2\n", {})
    assert read_config_text(created) == "seed: 1\n"


def test_config_that_cannot_be_read_back_is_refused(tmp_path: Path) -> None:
    created = create_run(tmp_path, "lm")
    with pytest.raises(UserError, match="limit"):
        record_start(created, "x" * (1 << 20) + "x", {})
    with pytest.raises(UserError, match="UTF-8, after 'path: '"):
        record_start(created, "path: \udcff", {})
    assert not list(created.path.iterdir())


def test_recording_imports_neither_hydra_nor_tensorboard(tmp_path: Path) -> None:
    text = """
import pathlib, sys
from rnntrain.runs.record import record_start
from rnntrain.runs.run import create_run
assert "torch" not in sys.modules
record_start(create_run(pathlib.Path(sys.argv[1]), "lm"), "", {})
print(sorted({"hydra", "omegaconf", "tensorboard"} & sys.modules.keys()))
"""
    assert script(text, tmp_path).communicate()[0] == "[]\n"


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    return subprocess.run(
        ["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_state_is_commit_and_whether_files_differ(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "a.txt").write_text("1")
    (tmp_path / "sub").mkdir()
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "-q", "-m", "x")
    commit = git(tmp_path, "rev-parse", "HEAD").strip()
    clean = {"commit": commit, "branch": "main", "dirty": False}
    assert environment.git_state(tmp_path) == clean
    assert environment.git_state(tmp_path / "sub") == clean
    (tmp_path / "untracked").write_text("")
    assert environment.git_state(tmp_path) == clean
    (tmp_path / "a.txt").write_text("2")
    assert environment.git_state(tmp_path) == {**clean, "dirty": True}


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_runs_no_program_that_a_checkout_names(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "config", "core.fsmonitor", f"touch {tmp_path}/hacked; false")
    assert environment.git_state(tmp_path) is not None
    assert not (tmp_path / "hacked").exists()


def test_missing_git_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.git_state(tmp_path) is None
    (tmp_path / ".git").mkdir()
    assert environment.git_state(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    assert environment.git_state(tmp_path) is None
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert environment.environment()["working_directory"] is None


# --- finding a run


def test_run_is_found_from_inside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    created = start(tmp_path)
    inside = created.checkpoints / "step-000001000"
    inside.mkdir(parents=True)
    (tmp_path / "latest").symlink_to(created.path)
    for path in (created.path, inside, inside / "tensors.safetensors", tmp_path / "latest"):
        assert open_run(path) == created
    monkeypatch.chdir(created.checkpoints)
    assert open_run(Path()) == created


def test_what_is_no_run_is_refused_with_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="does not exist; start one with"):
        open_run(tmp_path / "outputs" / "lm" / "x")
    runs = [start(tmp_path / "outputs") for _ in range(5)]
    for index, each in enumerate(runs):
        os.utime(each.info, (index, index))
    wrong = runs[1].path.with_name(runs[1].path.name[:-1])
    with pytest.raises(UserError, match=rf"does not exist \(did you mean {runs[1].path.name}\?\)") as caught:
        open_run(wrong)
    assert f"the latest runs: {runs[4].path}, {runs[3].path}, {runs[2].path}" in refusal(caught)
    for path in (Path(), tmp_path, tmp_path / "outputs" / "lm"):
        with pytest.raises(UserError, match="is not a run"):
            open_run(path)
    for name in ("config.yaml", "run.json"):
        (runs[0].path / name).unlink()
        with pytest.raises(UserError, match="is not a run"):
            open_run(runs[0].path)
        (runs[0].path / name).symlink_to(runs[1].path / name)
    with pytest.raises(UserError, match="is not a run"):
        open_run(runs[0].path)
    for odd in ("a\0b", "x" * 5000):
        with pytest.raises(UserError):
            open_run(Path(odd))


def test_latest_run_is_the_one_started_last(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        latest_run(tmp_path)
    runs = [start(tmp_path, group) for group in ("b", "c", "a")]
    for index, each in enumerate(runs):
        os.utime(each.info, (index, index))
    assert latest_run(tmp_path) == runs[-1]
    assert find_runs(tmp_path) == [each.path for each in runs]
    assert find_runs(tmp_path, depth=1) == []
    assert find_runs(tmp_path / "b", depth=1) == [runs[0].path]


@pytest.mark.parametrize(("content", "words"), [(b"x" * ((1 << 20) + 1), "at most"), (b"\xff", "decode")])
def test_config_that_is_too_large_or_no_text_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    created = start(tmp_path)
    created.config.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read_config_text(created)
    assert str(created.config) in refusal(caught)
    created.config.unlink()
    with pytest.raises(UserError, match="does not exist"):
        read_config_text(created)


# --- metrics after a resume


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def test_lines_after_the_step_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    head = lines({"step": 1, "loss": float("nan")}, {"note": "no step"}, {"step": 3}, {"step": 2})
    path.write_bytes(head + lines({"step": 4}, {"step": 5}))
    assert truncate_after_step(path, 3) == 2
    assert path.read_bytes() == head
    assert os.listdir(tmp_path) == ["metrics.jsonl"]


@pytest.mark.parametrize("torn", [b'{"step": 2', b'{"step": 2}', b"\0\0\0\0\n", b"\xff\n", b"3\n", b'{"step": "x"}\n'])
def test_torn_lines_are_dropped(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(lines({"step": 1}) + torn)
    assert truncate_after_step(path, 10) == 1
    assert path.read_bytes() == lines({"step": 1})


def test_whole_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert truncate_after_step(path, 3) == 0
    assert not path.exists()
    path.write_bytes(lines({"step": 1}))
    before = path.stat().st_ino
    assert truncate_after_step(path, 1) == 0
    assert path.stat().st_ino == before


def test_disk_error_leaves_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    content = lines({"step": 1}, {"step": 2})
    path.write_bytes(content)
    for name in ("write", "fsync", "rename"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device", "x")))
            with pytest.raises(UserError, match="No space left"):
                truncate_after_step(path, 1)
        assert path.read_bytes() == content
        assert os.listdir(tmp_path) == ["metrics.jsonl"]
