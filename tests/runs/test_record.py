"""A run's record vouches for its config: what was changed, by whom or whatever, is said before it is used."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commandline import Answer, listing

from rnntrain.checkpoints import durable
from rnntrain.errors import UserError
from rnntrain.runs import record
from rnntrain.runs.record import FORMAT, read_config_text, read_start, record_resume, record_start, write_start
from rnntrain.runs.run import RunDir, create_run

Cli = Callable[..., Answer]


@pytest.fixture
def run(trained_run: Path, workspace: Path) -> Path:
    return Path(shutil.copytree(trained_run, workspace / "run"))


@pytest.fixture
def started(tmp_path: Path) -> RunDir:
    created = create_run(tmp_path, "lm")
    record_start(created, "seed: 1\n", {"bytes": 1}, ["rnntrain"])
    return created


VERBS: dict[str, list[str]] = {
    "resume": ["trainer.max_steps=9"],
    "eval": [],
    "sample": [],
    "reproduce": [],
    "bundle": ["--out", "packed"],
    "compare": [],
}


@pytest.mark.parametrize("verb", VERBS)
def test_changed_config_is_said_with_what_to_do(run: Path, run_cli: Cli, verb: str) -> None:
    """Though it means the same; before anything is written."""
    with (run / "config.yaml").open("a") as file:
        file.write("# a remark\n")
    before = listing(run.parent)
    answer = run_cli(verb, "run", *VERBS[verb])
    assert answer.code == 2
    assert answer.err.startswith("rnntrain: error: ")
    assert answer.err.count("\n") == 1
    assert "run/config.yaml: is not the file that run.json recorded: its SHA-256 differs" in answer.err
    assert "trainer.max_steps=..." in answer.err
    assert answer.err.endswith("run --accept\n")
    assert listing(run.parent) == before


def test_verify_names_it_and_accepts_what_the_user_changed(run: Path, run_cli: Cli) -> None:
    """The record stays as old as it was: when it was written says when the run last went on."""
    (run / "config.yaml").write_text((run / "config.yaml").read_text() + "# a remark\n")
    answer = run_cli("verify", "run")
    assert answer.code == 2
    assert "config.yaml: is not the file" in answer.out
    before = (run / "run.json").stat().st_mtime_ns
    assert run_cli("verify", "run", "--accept").code == 0
    assert (run / "run.json").stat().st_mtime_ns == before
    assert run_cli("eval", "run").code == 0
    assert "by max_steps" in run_cli("resume", "run").err  # it has ended, as before


def test_changed_record_is_said_and_can_be_accepted(run: Path, run_cli: Cli) -> None:
    text = (run / "run.json").read_text()
    (run / "run.json").write_text(text.replace('"threads": ', '"threads": 1'))
    answer = run_cli("eval", "run")
    assert answer.code == 2
    assert "run.json is damaged: it does not match the SHA-256 that it carries" in answer.err
    assert run_cli("verify", "run").out.count("run.json is damaged") == 1
    assert run_cli("verify", "run", "--accept").code == 0
    assert run_cli("eval", "run").code == 0


def test_config_that_is_none_is_not_accepted(run: Path, refused: Callable[..., str]) -> None:
    (run / "config.yaml").write_bytes(b"\xff")
    assert "decode" in refused("verify", run, "--accept")


def test_bundle_with_a_changed_file_is_no_sound_one(run: Path, run_cli: Cli) -> None:
    assert run_cli("bundle", "run", "--out", "packed").code == 0
    assert run_cli("verify", "packed").code == 0
    (run.parent / "packed/config.yaml").write_text("seed: 1\n")
    answer = run_cli("verify", "packed")
    assert answer.code == 2
    assert "config.yaml has 8 bytes" in answer.out
    assert "is a bundle" in run_cli("verify", "packed", "--accept").err


def test_run_without_a_hash_of_its_config_is_read_and_gets_one_when_it_goes_on(started: RunDir) -> None:
    info = json.loads(started.info.read_text())
    del info["config_sha256"], info["sha256"]
    started.info.write_text(json.dumps({**info, "format": 1}))
    started.config.write_text("seed: 2\n")
    assert read_config_text(started) == "seed: 2\n"
    record_resume(started, "seed: 3\n", 7)
    assert read_config_text(started) == "seed: 3\n"
    started.config.write_text("seed: 2\n")
    with pytest.raises(UserError, match="SHA-256 differs"):
        read_config_text(started)


@pytest.mark.parametrize("name", ["config.yaml", "run.json"])
def test_resume_that_is_cut_short_between_its_files_leaves_a_run(
    started: RunDir, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    replace = durable.replace_file
    written: list[str] = []

    def cut(path: Path, data: bytes) -> None:
        if path.name == name and written:
            raise KeyboardInterrupt
        written.append(path.name)
        replace(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "replace_file", cut)
        with pytest.raises(KeyboardInterrupt):
            record_resume(started, "seed: 2\n", 3)
    assert written
    assert read_config_text(started) == ("seed: 1\n" if name == "config.yaml" else "seed: 2\n")
    record_resume(started, "seed: 4\n", 3)
    assert read_start(started)["config_sha256"] == [record._sha256(b"seed: 4\n")]


def test_read_while_a_resume_writes_is_tried_again(started: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """The config was read before the resume wrote it, and the record after."""
    read, went_on = record._read_config, [False]

    def overtaken(run: RunDir) -> bytes:
        text = read(run)
        if not went_on[0]:
            went_on[0] = True
            monkeypatch.setattr(record, "_read_config", read)
            record_resume(run, "seed: 2\n", 3)
            monkeypatch.setattr(record, "_read_config", overtaken)
        return text

    monkeypatch.setattr(record, "_read_config", overtaken)
    assert read_config_text(started) == "seed: 2\n"


def test_newer_format_is_refused_in_one_line(started: RunDir) -> None:
    document = {**read_start(started), "format": FORMAT + 1}
    started.info.write_bytes(durable.seal(document))
    with pytest.raises(UserError, match=rf"newer format {FORMAT + 1}; this rnntrain reads up to {FORMAT}; upgrade"):
        read_start(started)


@pytest.mark.parametrize("value", [7, "x", [7], {}, [["0"]]])
def test_hashes_of_another_kind_vouch_for_nothing(started: RunDir, value: Any) -> None:
    write_start(started, {**read_start(started), "config_sha256": value})
    with pytest.raises(UserError, match="SHA-256 differs"):
        read_config_text(started)


def test_resume_leaves_its_record_newer_than_the_summary(started: RunDir) -> None:
    os.utime(started.info, (1, 1))
    record_resume(started, "seed: 1\n", 3)
    assert started.info.stat().st_mtime > 1
