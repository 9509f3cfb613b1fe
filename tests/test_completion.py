"""Tab offers what may stand at that place, in the shells themselves."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import Answer, environment

from rnntrain.completion import SHELLS, VERBS, candidates, script
from rnntrain.config import check, compose
from rnntrain.configuring.config_files import GROUPS, choices

CASES = {
    "": list(VERBS),
    "tr": ["train", "transcribe"],
    "x": [],
    "train model/": ["model/cell="],
    "train model/cell=": [f"model/cell={name}" for name in choices("model/cell")],
    "train model/cell=v": ["model/cell=vanilla"],
    "check data=te": ["data=text"],
    "train trainer.grad": ["trainer.grad_clip=", "trainer.grad_clip_mode="],
    "train trainer.grad_clip_mode=": [f"trainer.grad_clip_mode={mode}" for mode in ("norm", "value", "none")],
    "train precision=b": ["precision=bfloat16"],
    "train deterministic=": ["deterministic=true", "deterministic=false"],
    "train device.k": ["device.kind="],
    "train run.n": ["run.name="],
    "train model.hid": ["model.hidden_size="],
    "train model.cell.reset": ["model.cell.reset_after="],
    "train data.val_p": ["data.val_path="],
    "train seed=0 schedule.warm": ["schedule.warmup_steps="],
    "train trainer.max_steps=1": [],
    "train nothing=": [],
    "train _tar": [],
    "info model/cell/gr": ["model/cell/gru"],
    "info data/te": ["data/text"],
    "sweep sweep=t": ["sweep=tpe"],
    "sweep sweep.sampler=q": ["sweep.sampler=qmc"],
    "sweep sweep.tr": ["sweep.trials="],
    "sweep precision=b": ["precision=bfloat16"],
    "find ": ["lr", "batch_size"],
    "find lr precision=b": ["precision=bfloat16"],
    "completion ": list(SHELLS),
    "nothing ": [],
}


@pytest.mark.parametrize("line", CASES)
def test_candidates_are_whole_words_that_begin_like_the_last(line: str) -> None:
    assert candidates(line.split(" ")) == CASES[line]


def test_every_group_every_choice_and_every_key_is_offered() -> None:
    offered = candidates(["train", ""])
    assert {f"{group}=" for group in GROUPS} <= set(offered)
    assert candidates(["info", ""]) == [f"{group}/{name}" for group in GROUPS for name in choices(group)]
    config = check(compose([]))
    for part in (config.task, config.data, config.model, config.cell, config.schedule):
        assert {f"{part.section}.{key}=" for key in part.arguments} <= set(offered)


def test_no_offered_key_is_one_that_the_program_supplies() -> None:
    offered = candidates(["train", ""])
    assert len(offered) == len(set(offered))
    supplied = {"model.input_layer=", "model.head=", "model.cell=", "model.cell.input_size=", "optimizer.params="}
    assert not supplied & set(offered)


@pytest.mark.parametrize("verb", ["resume", "eval", "sample", "diagnose"])
def test_runs_are_offered_where_a_run_is_wanted(verb: str, workspace: Path) -> None:
    run = workspace / "outputs/word_lm/first"
    run.mkdir(parents=True)
    (run / "config.yaml").touch()
    assert candidates([verb, ""]) == ["outputs/word_lm/first"]
    assert candidates([verb, "outputs/x"]) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_each_shell_is_printed(shell: str, run_cli: Callable[..., Answer]) -> None:
    assert run_cli("completion", shell) == Answer(0, script(shell), "")


def test_an_unknown_shell_is_refused(refused: Callable[..., str]) -> None:
    assert "'bash', 'zsh', 'fish'" in refused("completion", "csh")


# A line as typed, the words that bash makes of it (it breaks them at = and :), and what stands there after Tab.
BASH_LINES = [
    ("rnntrain trai", ["rnntrain", "trai"], ["train"]),
    ("rnntrain train model/ce", ["rnntrain", "train", "model/ce"], ["model/cell="]),
    ("rnntrain train model/cell=", ["rnntrain", "train", "model/cell", "="], choices("model/cell")),
    ("rnntrain train model/cell=v", ["rnntrain", "train", "model/cell", "=", "v"], ["vanilla"]),
    ("rnntrain train seed=0 precision=b", ["rnntrain", "train", "seed", "=", "0", "precision", "=", "b"], ["bfloat16"]),
    ("rnntrain info ", ["rnntrain", "info", ""], [f"task/{choices('task')[0]}"]),
]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_a_line(workspace: Path) -> None:
    program = [script("bash"), "compopt() { :; }"]
    for line, words, _ in BASH_LINES:
        quoted = " ".join(f"'{word}'" for word in words)
        program.append(
            f"COMP_LINE='{line}' COMP_POINT={len(line)} COMP_WORDS=({quoted}) COMP_CWORD={len(words) - 1}; "
            '_rnntrain; echo "${COMPREPLY[*]}"'
        )
    done = subprocess.run(
        ["bash", "--norc", "-c", "\n".join(program)], env=with_command(workspace), capture_output=True, text=True
    )
    assert done.stderr == ""
    for (line, _, expected), answer in zip(BASH_LINES, done.stdout.splitlines(), strict=True):
        assert answer.split()[: len(expected)] == expected, line


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_well_formed(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    subprocess.run([shell, "-n"], input=script(shell), text=True, check=True)


def with_command(folder: Path) -> dict[str, str]:
    """Return an environment in which `rnntrain` is a command."""
    command = folder / "bin" / "rnntrain"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m rnntrain "$@"\n')
    command.chmod(0o755)
    known = environment()
    return {**known, "PATH": f"{command.parent}:{known['PATH']}"}
