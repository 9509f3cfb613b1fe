"""Labelled texts are read as they stand, whatever the file is like; splits are stratified and never share a text."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rnntrain.data.labelled.classes import ClassCodec, SpeltInputs
from rnntrain.data.labelled.labelled_text import LabelledText
from rnntrain.data.places import SHIPPED
from rnntrain.data.spelt_words import NUM_CHARS, SHAPE, SHAPES, UNKNOWN_ID, WORD
from rnntrain.errors import UserError

TEXTS = [f"{'good' if number % 3 else 'bad'} thing number {number}" for number in range(60)]
LABELS = ["yes" if number % 3 else "no" for number in range(60)]
UNITS = ["char", "byte", "word", "bpe"]


def file_of(folder: Path, content: str | bytes, name: str = "a.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def loaded(path: Path, **options: Any) -> LabelledText:
    data = LabelledText(str(path), **options)
    data.load()
    return data


def everything(data: LabelledText) -> set[tuple[str, str]]:
    names = data.codec.class_names
    pairs = [zip(*data.texts(split), strict=True) for split in data.splits]
    return {(text, names[number]) for its in pairs for text, number in its}


def csv_of(labels: list[str] = LABELS, texts: list[str] = TEXTS) -> str:
    return "label,text\n" + "".join(f'{label},"{text}"\n' for label, text in zip(labels, texts, strict=True))


ALL = set(zip(TEXTS, LABELS, strict=True))


# -- formats ---


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", csv_of(), "CSV, text in column 'text', label in 'label', guessed"),
        ("a.csv", csv_of().replace(",", ";"), "cells parted by ';'"),
        ("a.csv", csv_of().replace("\n", "\r\n"), "CSV"),
        ("a.csv", "\ufeff" + csv_of(), "CSV, text in column 'text', label in 'label', guessed"),
        ("a.csv", csv_of().partition("\n")[2], "CSV (no header), text in column '2', label in '1', guessed"),
        ("a.tsv", "".join(f"{i}\t{t}\t{n}\n" for n, (t, i) in enumerate(ALL)), "TSV (no header), text in column '2'"),
        ("SMS", "".join(f"{label}\t{text}\n" for text, label in ALL), "TSV (no header)"),
        ("a.tsv", "sentiment\treview\n" + "".join(f"{i}\t{t}\n" for t, i in ALL), "text in column 'review'"),
        ("a.jsonl", "".join(json.dumps({"text": t, "label": i}) + "\n" for t, i in ALL), "JSON lines"),
        ("a.csv.gz", gzip.compress(csv_of().encode()), "CSV"),
    ],
    ids=["csv", "semicolon", "crlf", "bom", "headless", "tsv", "sms", "named", "jsonl", "gz"],
)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    data = loaded(file_of(tmp_path, content, name))
    assert everything(data) == ALL
    assert said in data.describe()
    assert data.codec.class_names == ["no", "yes"]


def test_one_folder_a_class(tmp_path: Path) -> None:
    for number, (text, label) in enumerate(ALL):
        file_of(tmp_path, text, f"{label}/{number}.txt")
    file_of(tmp_path, "not a text of any class", "README")
    data = loaded(tmp_path)
    assert everything(data) == ALL
    assert "one folder a class: no, yes" in data.describe()


def test_folders_of_splits_as_imdb_has_them(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for number, (text, label) in enumerate(sorted(ALL)):
            file_of(tmp_path, f"{text} {split}", f"{split}/{label}/{number}.txt")
    file_of(tmp_path, "no label", "train/unsup/1.txt")
    data = loaded(tmp_path, classes=["yes", "no"], val_fraction=0.2)
    assert data.codec.class_names == ["yes", "no"]
    assert {split: sum(data.counts(split).values()) for split in data.splits} == {"train": 48, "val": 12, "test": 60}
    assert all(text.endswith("test") for text in data.texts("test")[0])


def test_files_of_splits(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        file_of(tmp_path, csv_of(texts=[f"{text} {split}" for text in TEXTS]), f"{split}.csv")
    data = loaded(tmp_path)
    for split, name in (("train", "train"), ("val", "valid"), ("test", "test")):
        assert data.texts(split)[0] == [f"{text} {name}" for text in TEXTS]


def test_split_files_by_their_own_keys(tmp_path: Path) -> None:
    paths = {key: str(file_of(tmp_path, csv_of(), f"{key}.csv")) for key in ("val_path", "test_path")}
    data = loaded(file_of(tmp_path, csv_of()), **paths)
    assert [len(data.texts(split)[0]) for split in data.splits] == [60, 60, 60]
    assert data.fingerprint()["num_files"] == 3


def test_a_folder_with_one_table_is_that_table(tmp_path: Path) -> None:
    file_of(tmp_path, csv_of())
    file_of(tmp_path, "words", "README.md")
    assert everything(loaded(tmp_path)) == ALL


def test_columns_can_be_named(tmp_path: Path) -> None:
    rows = "".join(f"{label},{number},{text},x\n" for number, (text, label) in enumerate(ALL))
    path = file_of(tmp_path, "a,b,c,d\n" + rows)
    assert everything(loaded(path, text="c", label="a")) == ALL
    assert everything(loaded(file_of(tmp_path, rows, "b.csv"), text=3, label=1)) == ALL


def test_cells_may_hold_delimiters_quotes_and_lines(tmp_path: Path) -> None:
    texts = ['a, "b"\nc', "line\r\nline", "", " ", '"']
    rows = [(text.replace('"', '""'), label) for label in ("x", "y") for text in texts]
    path = file_of(tmp_path, "label,text\n" + "".join(f'{label},"{text}"\n' for text, label in rows * 2))
    data = loaded(path, val_fraction=0.2, test_fraction=0.0)
    assert {text for text, _ in everything(data)} == set(texts)


def test_a_quote_in_a_file_parted_by_tabs_is_a_sign_like_others(tmp_path: Path) -> None:
    content = 'x\t"quoted" and "more\ny\tplain\nx\t"a"\ny\tb\n' * 3
    path = file_of(tmp_path, content, "a.tsv")
    assert ('"quoted" and "more', "x") in everything(loaded(path, val_fraction=0.0, test_fraction=0.0))
    path = file_of(tmp_path, 'x\t"a\tb"\ny\tc\n' * 3, "b.tsv")
    assert ("a\tb", "x") in everything(loaded(path, val_fraction=0.0, test_fraction=0.0, quotes=True))


def test_a_cell_may_be_longer_than_the_csv_module_likes(tmp_path: Path) -> None:
    data = loaded(file_of(tmp_path, f"x,{'a b ' * 50_000}\ny,b\nx,c\ny,d\n"), test_fraction=0.0, val_fraction=0.0)
    assert "cut at that length" in data.describe()
    assert data.lengths("train").max() == 1024


@pytest.mark.parametrize("value", ["1", 1, True])
def test_labels_of_json_may_be_numbers_or_truths(tmp_path: Path, value: Any) -> None:
    other = {"1": "0", 1: 0}[value] if value is not True else False
    rows = [{"text": str(n), "label": value if n % 2 else other} for n in range(20)]
    data = loaded(file_of(tmp_path, "\n".join(map(json.dumps, rows)), "a.jsonl"))
    assert data.codec.class_names == (["false", "true"] if value is True else ["0", "1"])


# -- splits ---


def test_splits_are_stratified_and_follow_their_own_seed(tmp_path: Path) -> None:
    path = file_of(tmp_path, csv_of([LABELS[n % 60] for n in range(600)], [f"text {n}" for n in range(600)]))
    data = loaded(path, val_fraction=0.1, test_fraction=0.2)
    counts = {split: data.counts(split) for split in data.splits}
    assert counts == {
        "train": {"yes": 280, "no": 140},
        "val": {"yes": 40, "no": 20},
        "test": {"yes": 80, "no": 40},
    }
    assert loaded(path, val_fraction=0.1, test_fraction=0.2).texts("test")[0] == data.texts("test")[0]
    assert loaded(path, val_fraction=0.1, test_fraction=0.2, split_seed=1).texts("test")[0] != data.texts("test")[0]


def test_equal_texts_are_never_parted(tmp_path: Path) -> None:
    path = file_of(tmp_path, csv_of([LABELS[n % 60] for n in range(600)], [f"text {n % 60}" for n in range(600)]))
    data = loaded(path, val_fraction=0.2, test_fraction=0.2)
    parts = [set(data.texts(split)[0]) for split in data.splits]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts)) == 60


def test_every_class_is_in_train(tmp_path: Path) -> None:
    labels = ["common"] * 100 + [f"rare{n}" for n in range(10)]
    data = loaded(file_of(tmp_path, csv_of(labels, [f"text {n}" for n in range(110)])), label="label", val_fraction=0.3)
    assert len(data.counts("train")) == 11
    assert sum(data.codec.class_counts) == sum(data.counts("train").values())


# -- what a model reads ---


@pytest.mark.parametrize("unit", UNITS)
def test_every_text_is_in_one_batch_with_its_class(tmp_path: Path, unit: str) -> None:
    data = loaded(file_of(tmp_path, csv_of()), unit=unit, batch_size=7, vocab_size=280)
    batches = list(data.train_batches(0, 0))
    assert len(batches) == data.num_train_batches(0, 0)
    inputs = data.codec.inputs
    seen = []
    for batch in batches:
        lengths = [batch.inputs.shape[1]] * batch.batch_size if batch.lengths_B is None else batch.lengths_B.tolist()
        for row, length, target in zip(batch.inputs, lengths, batch.targets, strict=True):
            seen.append((inputs.decode(row[:length].numpy()), data.codec.class_names[target]))
    texts, numbers = data.texts("train")
    expected = [
        (inputs.decode(inputs.encode(t)), data.codec.class_names[n]) for t, n in zip(texts, numbers, strict=True)
    ]
    assert sorted(seen) == sorted(expected)


def test_a_split_is_evaluated_once_in_one_order(tmp_path: Path) -> None:
    data = loaded(file_of(tmp_path, csv_of()), eval_batch_size=4)
    first, again = list(data.eval_batches("train")), list(data.eval_batches("train"))
    assert sum(batch.batch_size for batch in first) == len(data.texts("train")[0])
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(first, again, strict=True))


def test_signs_and_case_can_be_made_one(tmp_path: Path) -> None:
    path = file_of(tmp_path, csv_of(texts=[f"Free!{'Ab' if n % 2 else 'aB'} 😀é {n}" for n in range(60)]))
    plain = loaded(path)
    assert plain.codec.inputs.decode(plain.codec.inputs.encode("Free!Ab 😀é")) == "Free ! Ab 😀 é"
    lowered = loaded(path, lowercase=True, split_punctuation=False)
    assert lowered.codec.inputs.decode(lowered.codec.inputs.encode("FREE!AB 😀É")) == "free!ab 😀é"


@pytest.mark.parametrize("unit", ["char", "word"])
def test_what_is_rare_is_unknown_and_so_is_learnt(tmp_path: Path, unit: str) -> None:
    path = file_of(tmp_path, csv_of(texts=["a b" if n else "a z" for n in range(60)], labels=LABELS))
    data = loaded(path, unit=unit, min_count=2, val_fraction=0.0, test_fraction=0.0)
    text = data.codec.inputs.text
    assert text.unknown_id in data.codec.inputs.encode("a z")
    assert text.unknown_id not in data.codec.inputs.encode("a b")
    assert any((batch.inputs == text.unknown_id).any() for batch in data.train_batches(0, 0))


@pytest.mark.parametrize("unit", UNITS)
def test_empty_texts_and_texts_of_one_step_work(tmp_path: Path, unit: str) -> None:
    texts = ["", " ", "a", "😀", "\u200b"] * 12
    data = loaded(
        file_of(tmp_path, csv_of(texts=texts)),
        unit=unit,
        batch_size=2,
        vocab_size=260,
        val_fraction=0.4,
        test_fraction=0,
    )
    for batch in [*data.train_batches(0, 0), *data.eval_batches("val")]:
        assert batch.inputs.shape[1] >= 1
        assert batch.lengths_B is None or batch.lengths_B.max() <= batch.inputs.shape[1]


@pytest.mark.parametrize("unit", UNITS)
def test_the_codec_comes_back_from_json(tmp_path: Path, unit: str) -> None:
    data = loaded(file_of(tmp_path, csv_of()), unit=unit, vocab_size=280, lowercase=True, max_length=9)
    again = ClassCodec.from_state(json.loads(json.dumps(data.codec.state_dict())))
    assert again.class_names == data.codec.class_names
    np.testing.assert_array_equal(again.inputs.encode("Good THING, 7"), data.codec.inputs.encode("Good THING, 7"))
    other = LabelledText(str(tmp_path / "a.csv"), unit=unit)
    other.load(again)
    assert other.codec is again


def test_examples_are_one_line_each(tmp_path: Path) -> None:
    data = loaded(file_of(tmp_path, csv_of(texts=[f"a\n{n}" for n in range(60)])))
    examples = data.examples("train", 3)
    assert len(examples) == 3
    assert not any("\n" in example for example in examples)
    assert data.counts("train").keys() == {"yes", "no"}


# -- what ships, and what comes by name ---


def test_the_packaged_messages_are_whole() -> None:
    data = LabelledText("@sms/messages.tsv.gz", val_fraction=0.0, test_fraction=0.0)
    data.load()
    assert data.counts("train") == {"ham": 4220, "spam": 642}
    sha256 = data.fingerprint()["sha256"]
    assert sha256 in (SHIPPED / "sms/ORIGIN.md").read_text(encoding="utf-8")


def test_the_original_messages_are_read_as_they_are() -> None:
    import os

    if not os.environ.get("RNNTRAIN_DATA"):
        pytest.skip("RNNTRAIN_DATA names no folder of the real files")
    data = LabelledText("@sms_spam/SMSSpamCollection", test_fraction=0.2)
    data.load()
    assert {split: data.counts(split) for split in data.splits} == {
        "train": {"ham": 3387, "spam": 527},
        "val": {"ham": 479, "spam": 74},
        "test": {"ham": 961, "spam": 146},
    }


def test_another_codec_is_refused(tmp_path: Path) -> None:
    data = loaded(file_of(tmp_path, csv_of()), unit="char")
    with pytest.raises(UserError, match=r"data.unit=word: the model reads by char; set data.unit=char"):
        LabelledText(str(tmp_path / "a.csv")).load(data.codec)
    with pytest.raises(UserError, match="reads no labelled text"):
        LabelledText(str(tmp_path / "a.csv")).load(data.codec.inputs.text)


# -- words with their spelling ---


def spelt(folder: Path, **options: Any) -> LabelledText:
    return loaded(file_of(folder, csv_of()), spelling=True, **options)


def test_spelt_words_come_with_their_characters(tmp_path: Path) -> None:
    data = spelt(tmp_path, lowercase=True, digits=True)
    inputs = data.codec.inputs
    assert isinstance(inputs, SpeltInputs)
    for split in data.splits:
        texts, _ = data.texts(split)
        batch = next(data.eval_batches(split))
        for row_TF, text in zip(batch.inputs.numpy(), (texts[n] for n in order_of(data, split)), strict=False):
            wanted_TF = inputs.encode(text)
            np.testing.assert_array_equal(row_TF[: len(wanted_TF), : wanted_TF.shape[1]], wanted_TF)
            assert not row_TF[len(wanted_TF) :].any()
    known, number, unknown = inputs.encode("THING 77 thingy")
    assert inputs.words.words[known[WORD]] == "thing"
    assert inputs.words.words[number[WORD]] == "00"
    assert SHAPES[known[SHAPE]] == "upper"
    assert unknown[WORD] == UNKNOWN_ID
    assert unknown[NUM_CHARS] == 6
    again = ClassCodec.from_state(json.loads(json.dumps(data.codec.state_dict())))
    assert isinstance(again.inputs, SpeltInputs)
    np.testing.assert_array_equal(again.inputs.encode("A thing, 77!"), inputs.encode("A thing, 77!"))


def order_of(data: LabelledText, split: str) -> list[int]:
    return list(np.argsort(data.lengths(split), kind="stable")[: data.eval_batch_size])


def test_spelt_words_are_cut_and_may_be_none(tmp_path: Path) -> None:
    data = spelt(tmp_path, max_length=2)
    assert max(data.lengths("train")) == 2
    texts = ["", *(f"w{number}" for number in range(59))]
    empty = loaded(file_of(tmp_path, csv_of(texts=texts), "b.csv"), spelling=True, batch_size=1)
    shapes = {batch.inputs.shape[1] for split in empty.splits for batch in empty.eval_batches(split)}
    assert shapes == {1}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"spelling": True, "unit": "char"}, "data.spelling=true is for words, not data.unit=char"),
        ({"digits": True}, "set data.spelling=true"),
    ],
)
def test_spelling_is_of_words(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        loaded(file_of(tmp_path, csv_of()), **options)


def test_a_model_of_spelt_words_is_given_no_others(tmp_path: Path) -> None:
    plain, spelling = loaded(file_of(tmp_path, csv_of())), spelt(tmp_path)
    with pytest.raises(UserError, match=r"set data\.spelling=true"):
        plain.load(spelling.codec)
    with pytest.raises(UserError, match=r"set data\.spelling=false"):
        spelling.load(plain.codec)
