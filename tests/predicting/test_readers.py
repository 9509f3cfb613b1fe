"""Raw inputs where they lie: every kind is found in files and streams, and answered as the evaluation answers it."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sounds import PITCHES, RATE, tone, write_wav
from tasks import cases
from tasks.cases import Case

from rnntrain.errors import UserError
from rnntrain.predicting.predictor import Predictor
from rnntrain.predicting.readers import items
from rnntrain.predicting.readers.finding import examples_of, items_of
from rnntrain.predicting.readers.items import Item, Reading


def predictor_of(case: Case) -> Predictor:
    experiment = case.experiment
    return experiment.task.predictor(experiment.data.codec, case.model, experiment.config.data.arguments)


def found(case: Case, *paths: Any, **how: Any) -> list[Item]:
    reading = Reading(how.pop("recorded", case.experiment.config.data.arguments), **how)
    return list(items_of(predictor_of(case), [str(path) for path in paths], reading))


def raws(case: Case, *paths: Any, **how: Any) -> list[Any]:
    return [item.raw for item in found(case, *paths, **how)]


@pytest.fixture
def texts(tmp_path: Path) -> Case:
    return cases.classification(tmp_path / "case")


@pytest.fixture
def tags(tmp_path: Path) -> Case:
    return cases.tagging(tmp_path / "case")


# -- texts ---


def test_a_text_file_is_one_text_a_line(texts: Case, tmp_path: Path) -> None:
    path = tmp_path / "new.txt"
    path.write_bytes("\ufeffaab\r\n\r\n  \nübc d\nlast".encode())
    assert raws(texts, path) == ["aab", "übc d", "last"]
    assert [item.shown["line"] for item in found(texts, path)] == [1, 4, 5]


def test_standard_input_is_read_line_by_line(texts: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"ab\ncd\n")))
    assert raws(texts, "-") == ["ab", "cd"]


@pytest.mark.parametrize("name", ["new.csv", "new.csv.gz", "new.tsv", "new.jsonl", "new"])
def test_tables_are_told_by_name_and_content(texts: Case, tmp_path: Path, name: str) -> None:
    rows = [("id", "message"), ("1", "a, quite long"), ("2", "b\tc" if "csv" in name else "b"), ("3", "d e")]
    if name == "new.jsonl":
        text = "".join(json.dumps(dict(zip(rows[0], row, strict=True))) + "\n" for row in rows[1:])
    else:
        buffer = io.StringIO()
        csv.writer(buffer, delimiter="," if "csv" in name else "\t", quoting=csv.QUOTE_MINIMAL).writerows(rows)
        text = buffer.getvalue()
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert raws(texts, tmp_path / name, recorded={}) == [row[1] for row in rows[1:]]


def test_the_recorded_column_is_taken_before_a_guess(texts: Case, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("text,body\nshort,a much longer text\n", encoding="utf-8")
    assert raws(texts, path, recorded={"text": "body"}) == ["a much longer text"]
    assert raws(texts, path, recorded={}) == ["short"]
    with pytest.raises(UserError, match=r"has no column bod \(did you mean body\?\)"):
        raws(texts, path, recorded={"text": "bod"})


def test_a_column_without_a_name_is_the_longest(texts: Case, tmp_path: Path) -> None:
    path = tmp_path / "new.tsv"
    path.write_text("ham\tI will be late\nspam\tWIN\nham\tfine by me\n", encoding="utf-8")
    assert raws(texts, path, recorded={}) == ["I will be late", "WIN", "fine by me"]


def test_a_folder_is_one_text_a_file(texts: Case, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "b.txt").write_text("two\nlines\n", encoding="utf-8")
    (folder / "inner" / "a.txt").write_text("one", encoding="utf-8")
    assert raws(texts, folder) == ["two\nlines\n", "one"]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"fine\n\xff\xfe\n", ":2: not UTF-8"),
        (b'text\n"never closed\n', ":2: "),
        (b"text,more\nfine,1\nfour,of,them,here\n", ":3: 4 cells"),
        (b"", "holds no row"),
    ],
)
def test_what_is_no_table_is_refused_with_its_line(texts: Case, tmp_path: Path, content: bytes, part: str) -> None:
    (tmp_path / "bad.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.csv") as refused:
        raws(texts, tmp_path / "bad.csv", recorded={})
    assert part in str(refused.value)


def test_a_line_without_end_is_refused(texts: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "LONGEST_LINE", 1 << 20)
    (tmp_path / "endless.txt").write_bytes(b"x" * (1 << 21))
    with pytest.raises(UserError, match=r"endless\.txt:1: a line of over 1 MiB"):
        raws(texts, tmp_path / "endless.txt")


def test_a_file_that_is_not_there_is_named_with_its_like(texts: Case, tmp_path: Path) -> None:
    (tmp_path / "news.txt").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match=r"no such file or folder \(did you mean news.txt\?\)"):
        raws(texts, tmp_path / "new.txt")


def test_standard_input_is_read_once(texts: Case) -> None:
    with pytest.raises(UserError, match="name it once"):
        raws(texts, "-", "-")


def test_labels_come_with_labelled_texts(texts: Case, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("label,text\neven,abc\nodd,cde\n", encoding="utf-8")
    assert [(item.raw, item.truth) for item in found(texts, path, labelled=True)] == [("abc", "even"), ("cde", "odd")]
    path.write_text("label,text\neven,abc\nevne,cde\neven,d\nevne,e\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"new.csv:3: the label 'evne' .*did you mean even"):
        list(examples_of(predictor_of(texts), found(texts, path, labelled=True), labelled=True))


# -- tokens ---


def test_columns_and_running_text_are_told_apart(tags: Case, tmp_path: Path) -> None:
    columns, text = tmp_path / "new.txt", tmp_path / "text.txt"
    columns.write_text("Ada\tO\nslept\tO\n\nBo\tO\n", encoding="utf-8")
    text.write_text("Ada met Bo.\n\nThen they slept.\n", encoding="utf-8")
    assert raws(tags, columns) == [["Ada", "slept"], ["Bo"]]
    assert raws(tags, text) == ["Ada met Bo.", "Then they slept."]
    assert predictor_of(tags).example("Ada met Bo.").detail == ["Ada", "met", "Bo", "."]


def test_a_column_of_tokens_alone_is_enough(tags: Case, tmp_path: Path) -> None:
    path = tmp_path / "new.conll"
    path.write_text("-DOCSTART-\n\nAda\nslept\n\n\nBo\n", encoding="utf-8")
    assert raws(tags, path) == [["Ada", "slept"], ["Bo"]]


def test_tags_come_with_tagged_sentences(tags: Case, tmp_path: Path) -> None:
    path = tmp_path / "new.conll"
    path.write_text("Ada\tB-person\nslept\tO\n", encoding="utf-8")
    [item] = found(tags, path, labelled=True)
    assert (item.raw, item.truth) == (["Ada", "slept"], ["B-person", "O"])
    path.write_text("Ada\tB-river\nslept\tO\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"new.conll:1: the tag B-river is none that the model was trained with"):
        list(examples_of(predictor_of(tags), found(tags, path, labelled=True), labelled=True))


# -- sound ---


@pytest.fixture
def sound(tmp_path: Path) -> Case:
    return cases.audio_classification(tmp_path / "case")


def test_sound_is_found_in_files_folders_and_manifests(sound: Case, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    paths = [write_wav(folder / f"{letter}.wav", tone(PITCHES[letter], 0.2)) for letter in "ab"]
    manifest = folder / "list.csv"
    manifest.write_text("file,speaker\nb.wav,1\na.wav,2\n", encoding="utf-8")
    assert raws(sound, *paths) == paths
    assert raws(sound, folder) == paths
    assert raws(sound, manifest) == paths[::-1]


def test_sound_reads_alike_from_path_bytes_and_samples(sound: Case, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(PITCHES["a"], 0.3))
    with wave.open(str(path)) as file:
        samples_S = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
    predictor = predictor_of(sound)
    first, *others = (predictor.example(raw).inputs for raw in (path, path.read_bytes(), samples_S))
    for other in others:
        np.testing.assert_allclose(first, other, rtol=1e-4, atol=1e-4)


def test_sound_of_another_rate_is_refused_with_the_fix(sound: Case, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(500.0, 0.3, rate=2 * RATE), rate=2 * RATE)
    with pytest.raises(UserError, match=r"a.wav: has 16000 samples a second, not 8000; .*data.resample=true"):
        predictor_of(sound).example(path, "a.wav")


def test_sound_too_short_for_a_step_is_refused(sound: Case) -> None:
    with pytest.raises(UserError, match="too short for one step"):
        predictor_of(sound).example(np.zeros(10, np.float32))


# -- numbers ---


def test_archives_give_their_sequences_and_targets(tmp_path: Path) -> None:
    case = cases.array_classification(tmp_path / "case")
    rng = np.random.default_rng(0)
    lengths = np.array([3, 5, 2])
    x, y = rng.normal(size=(10, 3)), np.array([0, 1, 2])
    np.savez(tmp_path / "new.npz", x=x, lengths=lengths, y=y)
    rows = found(case, tmp_path / "new.npz", labelled=True)
    assert [len(item.raw) for item in rows] == lengths.tolist()
    examples = list(examples_of(predictor_of(case), rows, labelled=True))
    assert [int(example.target) for example in examples if example.target is not None] == [0, 1, 2]
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(item.raw.tolist()) + "\n" for item in rows))
    np.testing.assert_allclose(np.concatenate(raws(case, tmp_path / "new.jsonl")), x)


def test_an_archive_of_several_splits_is_asked_about(tmp_path: Path) -> None:
    case = cases.array_classification(tmp_path / "case")
    x = np.zeros((2, 4, 3))
    np.savez(tmp_path / "new.npz", x_val=x, x_test=x[:1])
    with pytest.raises(UserError, match=r"has val, test; say which with --split"):
        raws(case, tmp_path / "new.npz")
    assert len(raws(case, tmp_path / "new.npz", split="test")) == 1


@pytest.mark.parametrize("line", ["0 1 2", "[0, 1, 2]", '{"x": [0, 1, 2]}', "0, 1, 2"])
def test_symbols_are_lines(tmp_path: Path, line: str) -> None:
    case = cases.step_classification(tmp_path / "case")
    (tmp_path / "new.txt").write_text(line + "\n")
    [item] = found(case, tmp_path / "new.txt")
    assert predictor_of(case).example(item.raw).inputs.tolist() == [0, 1, 2]


@pytest.mark.parametrize("raw", ["0 1 99", "0.5", "", [-1], "a b", [[1, 2]], [float("nan")]])
def test_symbols_that_the_model_lacks_are_refused(tmp_path: Path, raw: Any) -> None:
    with pytest.raises(UserError, match="here: "):
        predictor_of(cases.step_classification(tmp_path)).example(raw, "here")


def test_rolls_are_zeros_and_ones_or_pitches(tmp_path: Path) -> None:
    predictor = predictor_of(cases.music(tmp_path))
    roll = np.zeros((2, 12), int)
    roll[0, 3] = roll[1, 0] = roll[1, 11] = 1
    expected = predictor.example(roll).inputs
    np.testing.assert_array_equal(predictor.example(roll.tolist()).inputs, expected)
    np.testing.assert_array_equal(predictor.example([[24], [21, 32]]).inputs, expected)
    for raw in ([[20]], [[33]], [], "C", [["C4"]], np.full((2, 12), 2)):
        with pytest.raises(UserError, match="here: "):
            predictor.example(raw, "here")


# -- in bounded memory ---


def test_lines_are_read_as_they_are_needed(texts: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0

    class Endless(io.BytesIO):
        def readline(self, size: int | None = -1) -> bytes:
            nonlocal taken
            taken += 1
            return b"abc\n"

    class Stdin:
        buffer = Endless()

    monkeypatch.setattr(sys, "stdin", Stdin())
    predictor = predictor_of(texts)
    records = predictor.predict(
        examples_of(predictor, items_of(predictor, ["-"], Reading()), labelled=False), window=10
    )
    with torch.no_grad():
        for _ in range(15):
            next(records)
    assert taken <= items.LOOK_LINES + 30
