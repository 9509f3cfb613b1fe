"""`rnntrain predict`: answers as lines, JSON and tables; a file that is whole or not there; mistakes in one line."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import Answer
from sounds import PITCHES, tone, write_wav
from tasks import cases

import rnntrain
from rnntrain import commands
from rnntrain.config import check
from rnntrain.predicting.writing import as_json
from rnntrain.verbs.predicting import paths_and_overrides

Cli = Callable[..., Answer]
Refused = Callable[..., str]


def run_of(folder: Path, name: str) -> Path:
    plain = cases.TASKS[name](folder / "data").experiment.config.plain
    limits = {"max_steps": 4, "eval_every_steps": 4, "log_every_steps": 2}
    run = {**plain["run"], "dir": str(folder / "run")}
    return commands.train(check({**plain, "trainer": limits, "run": run}), quiet=True).run.path


@pytest.fixture(scope="module")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("text"), "classification")


@pytest.fixture(scope="module")
def tag_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("tags"), "tagging")


@pytest.fixture(scope="module")
def sound_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("sound"), "audio_classification")


@pytest.fixture
def texts(workspace: Path) -> Path:
    path = workspace / "new.csv"
    path.write_text('text,more\n"abc, de",1\nxyz,2\n"a ""b""",3\n', encoding="utf-8")
    return path


def test_every_format_says_the_same(run_cli: Cli, text_run: Path, texts: Path) -> None:
    records = [json.loads(line) for line in run_cli("predict", text_run, texts, "--format", "jsonl").out.splitlines()]
    assert [record["text"] for record in records] == ["abc, de", "xyz", 'a "b"']
    assert [record["line"] for record in records] == [2, 3, 4]
    rows = list(csv.DictReader(io.StringIO(run_cli("predict", text_run, texts, "--format", "csv").out)))
    assert [(row["text"], row["label"], float(row["probability"])) for row in rows] == [
        (record["text"], record["label"], record["probability"]) for record in records
    ]
    lines = run_cli("predict", text_run, texts).out.splitlines()
    assert lines == [f"{r['label']}\t{r['probability']:.4f}\t{r['text']}" for r in records]
    assert rnntrain.load(text_run).predict(["abc, de"])[0]["label"] == records[0]["label"]


def test_the_name_of_the_output_says_its_format(run_cli: Cli, text_run: Path, texts: Path, workspace: Path) -> None:
    for name in ("out.csv", "out.jsonl", "out.txt"):
        answer = run_cli("predict", text_run, texts, "--out", name)
        assert (answer.code, answer.out) == (0, "")
    assert (workspace / "out.csv").read_text().startswith("line,text,label,probability\n2,")
    assert json.loads((workspace / "out.jsonl").read_text().splitlines()[0])["line"] == 2
    assert len((workspace / "out.txt").read_text().splitlines()) == 3


def test_a_file_is_replaced_only_when_asked(run_cli: Cli, refused: Refused, text_run: Path, texts: Path) -> None:
    assert "--out tiny.txt: exists" in refused("predict", text_run, texts, "--out", "tiny.txt")
    assert run_cli("predict", text_run, texts, "--out", "tiny.txt", "--force").code == 0


def test_an_error_on_the_way_leaves_no_file(run_cli: Cli, text_run: Path, workspace: Path) -> None:
    (workspace / "bad.txt").write_bytes(b"fine\n" * 50 + b"\xff\n")
    before = sorted(path.name for path in workspace.iterdir())
    answer = run_cli("predict", text_run, "bad.txt", "--out", "out.csv")
    assert answer.code == 2
    assert "bad.txt:51: not UTF-8" in answer.err
    assert sorted(path.name for path in workspace.iterdir()) == before


def test_standard_input_is_the_default(run_cli: Cli, text_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in ([], ["-"]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"abc\nxyz\n")))
        assert len(run_cli("predict", text_run, *words).out.splitlines()) == 2


def test_a_pipe_that_closes_ends_quietly(
    rnntrain_process: Callable[..., subprocess.Popen[str]], text_run: Path, workspace: Path
) -> None:
    (workspace / "long.txt").write_text("abc\n" * 20_000)
    process = rnntrain_process("predict", text_run, "long.txt")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait() == 0
    with process.stderr:
        assert "Traceback" not in process.stderr.read()


def test_what_was_guessed_is_said(run_cli: Cli, text_run: Path, texts: Path) -> None:
    answer = run_cli("predict", text_run, texts)
    assert answer.err == "rnntrain: new.csv: CSV, text in column 'text', guessed\n".replace("new.csv", str(texts))
    assert "more" in run_cli("predict", text_run, texts, "data.text=more").err


def test_several_files_say_which(run_cli: Cli, text_run: Path, workspace: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (workspace / name).write_text("abc\n")
    lines = run_cli("predict", text_run, "a.txt", "b.txt", "--format", "jsonl").out.splitlines()
    assert [json.loads(line)["source"] for line in lines] == ["a.txt", "b.txt"]


def test_tags_are_spans(run_cli: Cli, tag_run: Path, workspace: Path) -> None:
    (workspace / "new.txt").write_text("Ada met Bo in Rome .\n")
    [record] = [
        json.loads(line) for line in run_cli("predict", tag_run, "new.txt", "--format", "jsonl").out.splitlines()
    ]
    assert record["tokens"] == ["Ada", "met", "Bo", "in", "Rome", "."]
    assert len(record["tags"]) == 6
    for span in record["spans"]:
        assert span["text"] == " ".join(record["tokens"][span["start"] : span["end"]])
    [row] = csv.DictReader(io.StringIO(run_cli("predict", tag_run, "new.txt", "--format", "csv").out))
    assert row["tokens"] == "Ada met Bo in Rome ."


def test_a_folder_of_sound_is_labelled(run_cli: Cli, sound_run: Path, workspace: Path) -> None:
    for letter in "ab":
        write_wav(workspace / "sounds" / f"{letter}.wav", tone(PITCHES[letter], 0.2))
    lines = run_cli("predict", sound_run, "sounds", "--format", "jsonl").out.splitlines()
    assert [Path(json.loads(line)["source"]).name for line in lines] == ["a.wav", "b.wav"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["nowhere.txt"], "nowhere.txt: there is no such file"),
        (["tiny.txt", "--input", "conll"], "choose lines, table or jsonl"),
        (["tiny.txt", "--input", "jsonl"], "tiny.txt:1: no JSON"),
        (["tiny.txt", "data.text=body", "--input", "table"], "has no column body"),
        (["tiny.txt", "data.unit=word"], "data.unit=word: cannot change here"),
        (["tiny.txt", "device=cuda:7"], "device=cuda:7"),
        (["tiny.txt", "--format", "xml"], "invalid choice: 'xml'"),
        (["tiny.txt", "--out", "."], "--out .: "),
        (["tiny.txt", "-", "-"], "name it once"),
    ],
)
def test_predict_refuses_in_one_line(refused: Refused, text_run: Path, words: list[str], part: str) -> None:
    assert part in refused("predict", text_run, *words)


def test_an_empty_file_gives_no_answer(run_cli: Cli, text_run: Path, workspace: Path) -> None:
    (workspace / "empty.txt").write_text("")
    answer = run_cli("predict", text_run, "empty.txt")
    assert (answer.code, answer.out) == (0, "")


def test_a_sound_of_another_rate_is_refused_and_can_be_resampled(
    run_cli: Cli, refused: Refused, sound_run: Path, workspace: Path
) -> None:
    write_wav(workspace / "a.wav", tone(500.0, 0.3, rate=16_000), rate=16_000)
    assert "data.resample=true" in refused("predict", sound_run, "a.wav")
    assert run_cli("predict", sound_run, "a.wav", "data.resample=true").code == 0


def test_answers_steer_no_terminal_and_are_always_json(
    run_cli: Cli, text_run: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "new.txt").write_bytes(b"ab\x1b[31m\x07c\n")
    answer = run_cli("predict", text_run, "new.txt")
    assert r"ab\x1b[31m\x07c" in answer.out
    assert "\x1b" not in answer.out
    assert as_json({"a": [1.0, float("nan")], "b": {"c": float("inf")}}) == '{"a": [1.0, null], "b": {"c": null}}'


def test_files_and_changes_are_told_apart(workspace: Path) -> None:
    (workspace / "a=b.csv").write_text("")
    words = ["x.csv", "data.text=t", "a=b.csv", "-", "device=cpu", "++threads=1", "https://x?a=1"]
    paths, overrides = paths_and_overrides(words)
    assert paths == ["x.csv", "a=b.csv", "-", "https://x?a=1"]
    assert overrides == ["data.text=t", "device=cpu", "++threads=1"]


@pytest.mark.parametrize("name", ["regression", "step_classification", "language_modeling", "array_classification"])
def test_other_tasks_answer_lines_of_numbers_and_texts(
    name: str, run_cli: Cli, workspace: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = run_of(tmp_path_factory.mktemp(name), name)
    raw: Any = {"regression": [[0.5, 1.0]] * 4, "step_classification": [0, 1, 2], "language_modeling": "the sea"}.get(
        name, np.zeros((4, 3)).tolist()
    )
    (workspace / "new.jsonl").write_text(json.dumps(raw) + "\n")
    [line] = run_cli("predict", run, "new.jsonl", "--format", "jsonl").out.splitlines()
    expected = {
        "regression": "value",
        "step_classification": "labels",
        "language_modeling": "log_probability",
        "array_classification": "label",
    }
    assert expected[name] in json.loads(line)
    for form in ("text", "csv"):
        assert run_cli("predict", run, "new.jsonl", "--format", form).code == 0
