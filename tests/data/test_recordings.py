"""Manifests and folders as they come: fields are guessed and said, and every mistake is named with its line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from sounds import tone, write_letters, write_wav

from rnntrain.data.speech.recordings import Entry, Found, assign_splits, find_recordings
from rnntrain.errors import UserError

HALVES = {"val": 0.25, "test": 0.0}


def find(path: Path, pattern: str | None = None, **fields: str | None) -> Found:
    return find_recordings(path, pattern, fields.get("path_field"), fields.get("text_field"), fields.get("split_field"))


def manifest(folder: Path, text: str, name: str = "list.csv") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def numbered(number: int) -> Found:
    entries = [
        Entry(Path(f"{i}.wav"), f"{i}.wav", "a", {"index": str(i), "speaker": "ab"[i % 2]}) for i in range(number)
    ]
    return Found(entries, "")


def test_table_is_read(tmp_path: Path) -> None:
    path = manifest(tmp_path, "\ufefffile,text,speaker\r\na.wav,  two   words ,ann\r\n\r\nb/c.wav,zwölf 😀,bob\r\n")
    found = find(path)
    assert [entry.text for entry in found.entries] == ["two words", "zwölf 😀"]
    assert [entry.path for entry in found.entries] == [tmp_path / "a.wav", tmp_path / "b/c.wav"]
    assert found.entries[1].where == f"{path}:4"
    assert found.said == "files in column file, text in text"
    assert found.split_field is None


def test_tabs_and_json_lines_are_read(tmp_path: Path) -> None:
    tabs = manifest(tmp_path, "wav\tdigit\tsplit\na.wav\t7\tdev\n", "list.tsv")
    assert [entry.text for entry in find(tabs).entries] == ["7"]
    lines = manifest(tmp_path, json.dumps({"audio_filepath": "a.wav", "text": "sieben", "n": 3}) + "\n\n", "l.jsonl")
    [entry] = find(lines).entries
    assert (entry.text, entry.fields["n"]) == ("sieben", "3")


def test_columns_may_be_named(tmp_path: Path) -> None:
    path = manifest(tmp_path, "a,b,c\nx.wav,hello,train\n")
    found = find(path, path_field="a", text_field="b", split_field="c")
    assert found.entries[0].text == "hello"
    assert found.split_field == "c"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "data.path={path}: names no recording"),
        ("file,text\n", "data.path={path}: names no recording"),
        ("file,text\na.wav,hi,more\n", "{path}:2: has 3 values for 2 columns"),
        ("file,text\na.wav, \n", "{path}:2: text is empty"),
        ("file,file\na.wav,hi\n", "{path}:1: names of columns must be distinct"),
        ("file,said\na.wav,hi\n", "{path}: has the fields file, said; say which to use with data.text_field="),
        ("file,text\n../a.wav,hi\n", "{path}:2: ../a.wav leads out of"),
        ("file,text\n/etc/passwd,hi\n", "{path}:2: /etc/passwd leads out of"),
        ("file,text\n,hi\n", "{path}:2: the path is empty"),
    ],
)
def test_mistakes_in_a_table_are_named(tmp_path: Path, text: str, named: str) -> None:
    path = manifest(tmp_path, text)
    with pytest.raises(UserError) as caught:
        find(path)
    assert str(caught.value).startswith(named.format(path=path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{]\n", ":1: is no JSON"),
        ("[1]\n", ":1: is no JSON object"),
        ('{"file": "a.wav", "text": "hi"}\n{"file": "b.wav"}\n', ":2: has no text"),
        ("[" * 100_000, ":1: is no JSON"),
    ],
    ids=["broken", "list", "missing", "deep"],
)
def test_mistakes_in_json_lines_are_named(tmp_path: Path, text: str, named: str) -> None:
    path = manifest(tmp_path, text, "list.jsonl")
    with pytest.raises(UserError, match=named):
        find(path)


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    outside = write_wav(tmp_path / "outside" / "a.wav", tone(440.0, 0.1))
    path = manifest(tmp_path / "inside", "file,text\nlink.wav,hi\n")
    os.symlink(outside, tmp_path / "inside" / "link.wav")
    with pytest.raises(UserError, match="leads out of"):
        find(path)


def test_unknown_columns_and_files_are_named(tmp_path: Path) -> None:
    path = manifest(tmp_path, "file,text\na.wav,hi\n")
    with pytest.raises(UserError, match=r"data\.text_field=txt: .* \(did you mean text\?\)"):
        find(path, text_field="txt")
    with pytest.raises(UserError, match=r"no such file or folder \(did you mean list\.csv\?\)"):
        find(tmp_path / "lst.csv")
    with pytest.raises(UserError, match=r"a manifest is \.csv"):
        find(manifest(tmp_path, "x", "list.txt"))
    with pytest.raises(UserError, match="is for a folder"):
        find(path, "{label}.wav")


def test_folder_is_read_by_its_pattern(tmp_path: Path) -> None:
    write_letters(tmp_path, per_speaker=2)
    found = find(tmp_path, "{label}_{speaker}_{index}.wav")
    assert len(found.entries) == 12
    assert found.entries[0].fields == {"label": "a", "speaker": "ann", "index": "0"}
    assert found.entries[0].where == str(tmp_path / "a_ann_0.wav")
    assert find(tmp_path, "{label}_{speaker}_{index}").entries == found.entries


def test_folders_may_be_labels(tmp_path: Path) -> None:
    for label in ("dog", "cat"):
        write_wav(tmp_path / label / "1.wav", tone(440.0, 0.1))
    assert [entry.text for entry in find(tmp_path).entries] == ["cat", "dog"]


def test_names_that_do_not_fit_are_named(tmp_path: Path) -> None:
    write_letters(tmp_path, per_speaker=1)
    with pytest.raises(UserError, match=r"a_ann_0\.wav: the name does not fit data\.pattern=\{label\}-\{index\}"):
        find(tmp_path, "{label}-{index}")
    with pytest.raises(UserError, match=r"data\.pattern=x\.wav: needs fields"):
        find(tmp_path, "x.wav")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no sound"):
        find(tmp_path / "empty")


def test_conditions_choose_splits_test_first() -> None:
    splits = assign_splits(numbered(10), {"test": ["speaker:a"], "val": ["index:0-3"]}, HALVES)
    numbers = {split: [int(entry.fields["index"]) for entry in its] for split, its in splits.items()}
    assert numbers == {"train": [5, 7, 9], "val": [1, 3], "test": [0, 2, 4, 6, 8]}
    several = assign_splits(numbered(10), {"test": [], "val": ["index:0", "index:7-8"]}, HALVES)
    assert [entry.text for entry in several["val"]] == ["a"] * 3


def test_column_gives_splits(tmp_path: Path) -> None:
    rows = "".join(f"{i}.wav,hi,{split}\n" for i, split in enumerate(["train", "dev", "test", "training"]))
    splits = assign_splits(find(manifest(tmp_path, "file,text,split\n" + rows)), {}, HALVES)
    assert {split: len(its) for split, its in splits.items()} == {"train": 2, "val": 1, "test": 1}
    path = manifest(tmp_path, "file,text,split\na.wav,hi,nope\n")
    with pytest.raises(UserError, match=rf"{path}:2: split='nope' is no split"):
        assign_splits(find(path), {}, HALVES)


def test_shares_are_drawn_once_and_for_all() -> None:
    splits = assign_splits(numbered(40), {}, {"val": 0.25, "test": 0.1})
    assert {split: len(its) for split, its in splits.items()} == {"train": 26, "val": 10, "test": 4}
    assert splits == assign_splits(numbered(40), {}, {"val": 0.25, "test": 0.1})


@pytest.mark.parametrize(
    ("conditions", "named"),
    [
        ({"val": ["speaker"]}, "data.val=speaker: write FIELD:VALUE"),
        ({"val": ["speker:a"]}, "no field speker (did you mean speaker?)"),
        ({"test": ["speaker:c"]}, "no recording meets it"),
        ({"val": ["index:0-9"]}, "leave no recording to train on"),
    ],
)
def test_mistakes_in_conditions_are_named(conditions: dict[str, list[str]], named: str) -> None:
    with pytest.raises(UserError) as caught:
        assign_splits(numbered(10), conditions, HALVES)
    assert named in str(caught.value)
