"""What is wrong with labelled texts is said in one line, with file, line and fix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data.test_labelled_text import csv_of, file_of

from rnntrain.data.labelled.labelled_text import LabelledText
from rnntrain.errors import UserError


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(UserError) as error:
        LabelledText(str(path), **options).load()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_missing_file_is_named_with_the_nearest(tmp_path: Path) -> None:
    file_of(tmp_path, csv_of())
    assert "did you mean a.csv?" in refused(tmp_path / "b.csv")


@pytest.mark.parametrize("content", ["", " \n", "\ufeff"])
def test_an_empty_file(tmp_path: Path, content: str) -> None:
    assert "the file is empty" in refused(file_of(tmp_path, content))


def test_a_header_alone(tmp_path: Path) -> None:
    assert "a header but no row" in refused(file_of(tmp_path, "label,text\n"))


def test_one_class_alone(tmp_path: Path) -> None:
    message = refused(file_of(tmp_path, csv_of(["ham"] * 60)), label="label")
    assert "every row of train has the label 'ham'" in message
    assert "data.label=" in message


@pytest.mark.parametrize("key", ["text", "label"])
def test_a_missing_column_is_named_with_the_nearest(tmp_path: Path, key: str) -> None:
    message = refused(file_of(tmp_path, csv_of()), **{key: f"{key}s"})
    assert message.startswith(f"data.{key}={key}s: ")
    assert f"did you mean {key}?" in message
    assert "it has: label, text" in message


def test_a_text_column_without_a_text(tmp_path: Path) -> None:
    assert "column 'text' is empty in every row" in refused(file_of(tmp_path, csv_of(texts=[" "] * 60)))


@pytest.mark.parametrize("row", ["yes", "yes,a,b"])
def test_a_ragged_row(tmp_path: Path, row: str) -> None:
    path = file_of(tmp_path, csv_of() + row + "\n" + csv_of().partition("\n")[2])
    message = refused(path)
    assert message.startswith(f"{path}:62: {row.count(',') + 1} cells where the other rows have 2")


def test_the_line_of_a_row_counts_those_within_quotes(tmp_path: Path) -> None:
    path = file_of(tmp_path, 'label,text\nyes,"a\nb"\nno,"c"\nyes,d\nno\n')
    assert refused(path).startswith(f"{path}:6: 1 cells")


def test_a_quote_that_is_not_closed(tmp_path: Path) -> None:
    path = file_of(tmp_path, csv_of() + 'yes,"open\n')
    assert refused(path).startswith(f"{path}:62: ")
    assert "mend the quotes" in refused(path)


@pytest.mark.parametrize("label", ["", " ", "nan", "NaN"])
def test_a_row_without_a_label(tmp_path: Path, label: str) -> None:
    path = file_of(tmp_path, csv_of() + f"{label},text\n")
    message = refused(path)
    assert message.startswith(f"{path}:62: column 'label' holds no label but '{label}'")


@pytest.mark.parametrize("value", [None, float("nan"), [], {}])
def test_a_json_object_without_a_label(tmp_path: Path, value: Any) -> None:
    rows = [{"text": "a", "label": label} for label in ["x", "y", "x", "y", value]]
    path = file_of(tmp_path, "\n".join(map(json.dumps, rows)), "a.jsonl")
    assert refused(path).startswith(f"{path}:5: column 'label' holds no label")


def test_a_json_object_without_a_text(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": label} for label in ["x", "y", "x", "y"]] + [{"label": "x"}]
    path = file_of(tmp_path, "\n".join(map(json.dumps, rows)), "a.jsonl")
    assert refused(path).startswith(f"{path}:5: column 'text' holds no text but None")


@pytest.mark.parametrize("line", ["{", "1", "[1]", '"a"', "[" * 100_000])
def test_a_line_that_is_no_json_object(tmp_path: Path, line: str) -> None:
    path = file_of(tmp_path, '{"text": "a", "label": "x"}\n' + line, "a.jsonl")
    assert refused(path).startswith(f"{path}:2: ")
    assert "one JSON object a line" in refused(path)


def test_one_json_array(tmp_path: Path) -> None:
    assert "one JSON array" in refused(file_of(tmp_path, '[{"text": "a"}]', "a.json"))


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_label_that_train_lacks(tmp_path: Path, split: str) -> None:
    path = file_of(tmp_path, csv_of() + "yess,text\n", "other.csv")
    message = refused(file_of(tmp_path, csv_of()), **{f"{split}_path": str(path)})
    assert message.startswith(f"{path}:62: the label 'yess' is not among those of train (did you mean yes?)")


def test_what_is_not_utf_8(tmp_path: Path) -> None:
    path = file_of(tmp_path, csv_of().encode() + "yes,café\n".encode("latin1"))
    assert refused(path).startswith(f"{path}:62: not UTF-8 (data.path): byte 0xe9")


def test_a_text_file_of_a_class_that_is_not_utf_8(tmp_path: Path) -> None:
    for label in ("x", "y"):
        file_of(tmp_path, "café".encode("latin1"), f"{label}/1.txt")
    assert refused(tmp_path).startswith(f"{tmp_path / 'x/1.txt'}:1: not UTF-8")


def test_a_damaged_gz(tmp_path: Path) -> None:
    assert "no whole gzip file" in refused(file_of(tmp_path, b"\x1f\x8b\x08", "a.csv.gz"))


def test_a_column_of_two_names(tmp_path: Path) -> None:
    assert "two columns are called 'a'" in refused(file_of(tmp_path, "a,a\nx,text one\nx,text two\ny,text\n"))


def test_a_file_without_anything_like_labels(tmp_path: Path) -> None:
    message = refused(file_of(tmp_path, "a,b\n" + "".join(f"{n},text {n}\n" for n in range(9))))
    assert "no column looks like labels" in message
    assert "one of: a, b" in message


def test_a_file_of_one_column(tmp_path: Path) -> None:
    assert "one column alone" in refused(file_of(tmp_path, "yes\nno\n" * 9))


def test_text_and_label_of_one_column(tmp_path: Path) -> None:
    assert "that column holds the labels" in refused(file_of(tmp_path, csv_of()), text="label", label="label")


def test_too_few_rows_for_a_split(tmp_path: Path) -> None:
    message = refused(file_of(tmp_path, "label,text\nx,a\ny,b\nx,c\ny,d\n"), val_fraction=0.1)
    assert "the val split of 4 rows is empty" in message
    assert "data.val_fraction" in message


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        file_of(tmp_path, csv_of(), name)
    assert "it holds 0 folders and 2 files" in refused(tmp_path)


def test_a_class_that_no_row_has(tmp_path: Path) -> None:
    assert "no row of train has the label yess (did you mean yes?)" in refused(
        file_of(tmp_path, csv_of()), classes=["no", "yess"]
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train on"),
        ({"unit": "char", "max_vocab": 9}, "set data.unit=word"),
        ({"delimiter": "ab"}, "expected one sign"),
        ({"classes": ["a"]}, "two distinct labels or more"),
        ({"classes": ["a", "a"]}, "two distinct labels or more"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        LabelledText("a.csv", **options)
