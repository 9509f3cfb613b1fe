"""Several processes at once: every start gets a run of its own, a run has one writer, and lookers disturb nobody."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from commandline import REPOSITORY, TEXT, TINY, environment, listing, wait_for

from faults.nursery import Nursery
from faults.runs import Cases, different, left_behind
from rnntrain.errors import USER_MISTAKE
from rnntrain.runs.lock import hold_lock, is_held
from rnntrain.runs.record import read_start
from rnntrain.runs.run import RunDir

STARTS = 20
START = """
import sys, threading
from pathlib import Path
from rnntrain.runs.record import record_start
from rnntrain.runs.run import create_run

def start():
    run = create_run(Path(sys.argv[1]), "group")
    with run.lock():
        record_start(run, "seed: 0\\n", {}, ["rnntrain"])
    print(run.path, flush=True)

threads = [threading.Thread(target=start) for _ in range(5)]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_twenty_starts_in_one_second_give_twenty_runs(tmp_path: Path) -> None:
    """Four processes, which wait for each other, start five runs each."""
    command = [sys.executable, "-c", START, str(tmp_path / "outputs")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started: list[Any] = [
        subprocess.Popen(command, env=environment(), cwd=REPOSITORY, **pipes) for _ in range(STARTS // 5)
    ]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    paths = [line for process in started for line in process.communicate()[0].splitlines()]
    assert [process.returncode for process in started] == [0] * len(started)
    assert len(set(paths)) == STARTS
    for path in paths:
        assert read_start(RunDir(Path(path)))["command"] == ["rnntrain"]


def test_lookers_never_take_the_lock_from_a_writer(tmp_path: Path) -> None:
    """Asking whether a run is held takes its lock for an instant: a writer that comes just then waits that instant."""
    path = tmp_path / "run.lock"
    path.touch()
    ended: list[bool] = []

    def look() -> None:
        while not ended:
            is_held(path)

    with ThreadPoolExecutor(3) as pool:
        lookers = [pool.submit(look) for _ in range(3)]
        try:
            for _ in range(300):
                with hold_lock(path):
                    assert is_held(path)
        finally:
            ended.append(True)
    for looker in lookers:
        looker.result()


@pytest.fixture
def live(tmp_path: Path, rnntrain_process: Any, workspace: Path) -> Any:
    """Return a run that trains while the test looks at it."""
    words = [*TINY, "trainer.max_steps=1000000", "trainer.checkpoint_every_steps=20", "run.dir=live"]
    process = rnntrain_process("train", *words)
    wait_for(lambda: list((workspace / "live/checkpoints").glob("step-*")))
    yield process
    process.kill()
    process.communicate()


def test_second_writer_is_refused_and_lookers_change_nothing(live: Any, nursery: Nursery, workspace: Path) -> None:
    refused = nursery.cli("resume", "live", cwd=str(workspace))
    assert refused.code == USER_MISTAKE
    assert "is writing this run" in refused.err
    again = nursery.cli("train", *TINY, "run.dir=live", cwd=str(workspace))
    assert again.code == USER_MISTAKE
    unnamed = nursery.cli("resume", cwd=str(workspace))
    assert unnamed.code == USER_MISTAKE
    assert "no interrupted run" in unnamed.err
    for words in (["eval", "live"], ["sample", "live"], ["info"], ["check", *TINY]):
        looked = nursery.cli(*words, cwd=str(workspace), audit=True)
        assert looked.code == 0, looked
        assert looked.events == (), looked
    assert live.poll() is None


def test_lookers_leave_a_run_as_it_is(nursery: Nursery, tmp_path: Path) -> None:
    (tmp_path / "tiny.txt").write_text(TEXT, encoding="utf-8")
    assert nursery.cli("train", *TINY, "run.dir=run", "--quiet", cwd=str(tmp_path)).code == 0
    before = listing(tmp_path)
    for words in (["eval", "run"], ["eval", "run", "--split", "train"], ["sample", "run"], ["info"]):
        assert nursery.cli(*words, cwd=str(tmp_path)).code == 0
    assert listing(tmp_path) == before


@pytest.mark.slow
def test_lookers_beside_a_run_leave_its_bits(nursery: Nursery, tmp_path: Path) -> None:
    cases = Cases(tmp_path / "cases")
    plain = cases.plain("regression", "gru", tmp_path / "run", max_steps=60, eval_every_steps=10)
    assert nursery.train({**plain, "run": {**plain["run"], "dir": str(tmp_path / "whole")}}).code == 0
    looker = Nursery(tmp_path / "looker")
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(nursery.train, plain)
        looks = 0
        while not training.done():
            looked = looker.cli("eval", tmp_path / "run")
            looks += looked.code == 0
        assert training.result().code == 0
    looker.close()
    assert different(left_behind(tmp_path / "whole"), left_behind(tmp_path / "run")) == []
