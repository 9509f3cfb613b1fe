"""Runs under `torchrun`: one folder, and no process left over when one dies, hangs or is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from commandline import PATIENCE_SECONDS, TINY, Answer, environment, wait_for
from together import free_port

from rnntrain.processes import alone
from rnntrain.runs.run import RunDir
from rnntrain.sweeps.slots import Slots
from rnntrain.verbs import VERBS

LONG = [*TINY, "trainer.max_steps=1000000", "trainer.eval_every_steps=1000000", "trainer.checkpoint_every_steps=50"]
LONG = [word for word in LONG if word not in TINY or not word.startswith("trainer.")]


def run_at(workspace: Path) -> RunDir:
    return RunDir(workspace / "run")


@contextmanager
def torchrun(workspace: Path, *words: str, options: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """Start two processes that train in `workspace/run`; kill what is left of them at the end."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *options]
    command += ["-m", "rnntrain", *words]
    with subprocess.Popen(
        command, cwd=workspace, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            for left in workers(workspace):
                with suppress(ProcessLookupError):
                    os.kill(left, signal.SIGKILL)
            process.kill()


def workers(workspace: Path) -> list[int]:
    """Return the processes that train in the workspace, by rank."""
    found = {}
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdecimal() and os.readlink(folder / "cwd") == str(workspace):
                variables = (folder / "environ").read_bytes().split(b"\0")
                rank = [value[5:] for value in variables if value.startswith(b"RANK=")]
                if rank and (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    found[int(rank[0])] = int(folder.name)
    return [found[rank] for rank in sorted(found)]


def wait_for_checkpoint(workspace: Path, step: int = 50) -> None:
    wait_for(lambda: (run_at(workspace).checkpoints / f"step-{step:09}").is_dir())


def finished(process: subprocess.Popen[str], workspace: Path) -> str:
    """Return what was printed, once torchrun has ended and no process is left."""
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    wait_for(lambda: not workers(workspace))
    return output


@pytest.fixture
def place(tiny_text: Path) -> Path:
    return tiny_text.parent


def test_two_processes_write_one_run(place: Path) -> None:
    with torchrun(place, "train", *TINY, "run.dir=run") as process:
        output = finished(process, place)
    assert process.returncode == 0, output
    assert output.count("Finished (max_steps): 4 steps") == 1
    assert json.loads(run_at(place).info.read_text())["environment"]["processes"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_dies_ends_the_run_and_is_named(victim: int, place: Path) -> None:
    with torchrun(place, "train", *LONG, "run.dir=run") as process:
        wait_for_checkpoint(place)
        pids = workers(place)
        os.kill(pids[victim], signal.SIGKILL)
        output = finished(process, place)
    assert process.returncode != 0
    assert f"error: process {victim} of 2 (pid {pids[victim]} on " in output


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_run_within_its_timeout_and_is_named(place: Path) -> None:
    with torchrun(place, "train", *LONG, "run.dir=run", "device.timeout_minutes=0.05") as process:
        wait_for_checkpoint(place)
        hanging = workers(place)[1]
        os.kill(hanging, signal.SIGSTOP)
        line = ""
        assert process.stdout is not None
        while "did not answer" not in line:
            line = process.stdout.readline()
            assert line, "torchrun ended without a word"
        finished(process, place)
    assert f"process 1 of 2 (pid {hanging} on " in line


@pytest.mark.slow
def test_what_torchrun_starts_anew_goes_on_in_its_own_run(place: Path) -> None:
    words = ["train", *LONG, "run.root=runs", "run.group=g", "trainer.max_steps=400"]
    with torchrun(place, *words, options=("--max-restarts", "1")) as process:
        [folder] = wait_for(lambda: list(place.glob("runs/g/*/checkpoints/step-000000050")))
        os.kill(workers(place)[1], signal.SIGKILL)
        output = finished(process, place)
    assert process.returncode == 0, output
    [run] = (place / "runs" / "g").iterdir()
    assert run == folder.parent.parent
    assert json.loads((run / "run.json").read_text())["resumed"][0]["step"] >= 50
    assert json.loads((run / "summary.json").read_text())["step"] == 400


@pytest.mark.slow
def test_a_signal_to_torchrun_saves_the_run(place: Path) -> None:
    with torchrun(place, "train", *LONG, "run.dir=run") as process:
        wait_for_checkpoint(place)
        process.send_signal(signal.SIGTERM)
        output = finished(process, place)
    assert output.count("saved at step") == 1
    assert json.loads(run_at(place).summary.read_text())["status"] == "interrupted"


@pytest.mark.slow
def test_processes_end_with_torchrun(place: Path) -> None:
    with torchrun(place, "train", *LONG, "run.dir=run") as process:
        wait_for_checkpoint(place)
        process.kill()
        output = finished(process, place)
    assert "saved at step" in output
    assert json.loads(run_at(place).summary.read_text())["status"] == "interrupted"


def test_what_one_process_does_is_refused_with_one_line(place: Path) -> None:
    with torchrun(place, "eval", "run") as process:
        output = finished(process, place)
    assert process.returncode != 0
    assert output.count("rnntrain: ") == 1
    assert "rnntrain: error: eval: is done by one process, and there are 2" in output


# -- two machines, as far as torchrun can see: an agent each, in a folder of its own ---


def two_machines(place: Path, *words: str) -> list[subprocess.CompletedProcess[str]]:
    """Let two agents start a process each; return how they ended."""
    options = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "mine"]
    options += ["--rdzv-endpoint", f"127.0.0.1:{free_port()}"]
    command = [sys.executable, "-m", "torch.distributed.run", *options, "-m", "rnntrain", *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    agents = []
    for name in ("first", "second"):
        (place / name).mkdir(exist_ok=True)
        agents.append(subprocess.Popen(command, cwd=place / name, env=environment(), **pipes))
    outputs = [agent.communicate(timeout=PATIENCE_SECONDS)[0] for agent in agents]
    return [
        subprocess.CompletedProcess(command, agent.returncode, output)
        for agent, output in zip(agents, outputs, strict=True)
    ]


@pytest.mark.slow
def test_two_machines_that_share_the_folder_of_runs_write_one_run(place: Path) -> None:
    words = ["train", *TINY, f"data.path={place}/tiny.txt", f"run.root={place}/shared", "run.group=g"]
    agents = two_machines(place, *words)
    assert [agent.returncode for agent in agents] == [0, 0], agents
    assert "".join(agent.stdout for agent in agents).count("Finished (max_steps): 4 steps") == 1
    assert len(list((place / "shared" / "g").iterdir())) == 1
    assert [sorted((place / name).iterdir()) for name in ("first", "second")] == [[], []]


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["train", "resume"])
def test_a_machine_that_does_not_see_the_run_is_named_before_the_first_step(
    verb: str, place: Path, run_cli: Callable[..., Any]
) -> None:
    words = ["train", *TINY, f"data.path={place}/tiny.txt", "run.root=own", "run.group=g"]
    if verb == "resume":
        (place / "first").mkdir()
        assert run_cli(*words, f"run.root={place}/first/own", "run.name=r").code == 0
        words = ["resume", "own/g/r", "trainer.max_steps=8"]
    agents = two_machines(place, *words)
    assert 0 not in [agent.returncode for agent in agents]
    said = [line for agent in agents for line in agent.stdout.splitlines() if "rnntrain: error: " in line]
    assert len(said) == 1, agents
    assert "process 1" in said[0] or verb == "resume"  # where either may be the one without
    assert "run.root to a folder that all machines share" in said[0] or "own/g/r: does not exist" in said[0]
    assert not list(place.glob("*/own/g/2*"))


# -- what the environment says ---


@pytest.mark.parametrize("verb", [name for name, verb in VERBS.items() if not verb.together])
def test_a_verb_of_one_process_says_what_to_do(
    verb: str, refused: Callable[..., str], run_cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alone, "FIRST_SPEAKS_SECONDS", 0.0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert f"run it without torchrun: rnntrain {verb} …" in refused(verb)
    monkeypatch.setenv("RANK", "1")
    assert run_cli(verb) == Answer(2, "", "")
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    assert "torchrun" not in run_cli(verb, "--help").out


def test_only_training_is_done_by_several_processes() -> None:
    assert [name for name, verb in VERBS.items() if verb.together] == ["train", "resume"]


def test_runs_of_a_sweep_train_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the one process that `torchrun --nproc-per-node 1` starts: its place is not that of each run."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"):
        monkeypatch.setenv(name, "1")
    variables = Slots(1, 0, 1).environment(0, 1)
    assert not any(name in ("RANK", "WORLD_SIZE", "MASTER_PORT", "TORCHELASTIC_RUN_ID") for name in variables)
    assert "PATH" in variables


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, "LOCAL_RANK: not in the environment"),
        ({"RANK": "0", "WORLD_SIZE": "0", "LOCAL_RANK": "0"}, "RANK=0, WORLD_SIZE=0: ranks are below"),
        ({"RANK": "x", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "RANK=x: expected a number"),
    ],
)
def test_an_environment_that_makes_no_sense_is_one_line(
    variables: dict[str, str], words: str, tiny_text: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", **variables}.items():
        monkeypatch.setenv(name, value)
    assert words in refused("train", *TINY)


def test_multirun_under_torchrun_says_what_to_do(
    tiny_text: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "hydra/launcher=" in refused("train", *TINY, "-m", "seed=0,1")
