"""Files and folders, and what they become."""

import hashlib
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rnntrain.data.codecs import CharCodec
from rnntrain.data.source import Document
from rnntrain.data.text import Text
from rnntrain.errors import UserError

LINES = "".join(f"line {i} of the text,\nwith words.\n" for i in range(400))


def loaded(path: Path, **options) -> Text:
    data = Text(str(path), **{"batch_size": 4, "bptt": 10} | options)
    data.load()
    return data


def text_of(data: Text, split: str) -> str:
    return data.preview(split, 1_000_000)


def write(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode("utf-8"))
    return folder


def test_a_file_is_cut_as_tiny_shakespeare_is(tmp_path: Path) -> None:
    size = 1_115_394
    path = tmp_path / "input.txt"
    path.write_text((LINES * (size // len(LINES) + 1))[:size])
    splits = loaded(path).fingerprint()["splits"]
    assert splits == {"train": int(0.9 * size), "val": size - int(0.9 * size)} == {"train": 1_003_854, "val": 111_540}


@pytest.mark.parametrize("unit", ["char", "byte", "word", "bpe"])
def test_splits_hold_the_same_text_whatever_the_unit(tmp_path: Path, unit: str) -> None:
    path = write(tmp_path, input_txt=LINES) / "input.txt"
    data = loaded(path, unit=unit, val_fraction=0.2, test_fraction=0.1, vocab_size=300)
    n = len(LINES)
    cuts = [0, int(n * 0.7), int(n * 0.9), n]
    for split, start, stop in zip(("train", "val", "test"), cuts, cuts[1:], strict=False):
        expected = LINES[start:stop]
        if unit == "word":  # white space is not kept, and words that train lacks are unknown
            assert len(data._splits[split].ids) == len(expected.split()) + expected.count("\n")
        else:
            assert text_of(data, split) == expected


def test_without_fractions_there_is_only_train(tmp_path: Path) -> None:
    data = loaded(write(tmp_path, a_txt=LINES) / "a.txt", val_fraction=0.0)
    assert data.splits == ("train",)
    assert text_of(data, "train") == LINES


@pytest.mark.parametrize(
    "names",
    [
        ("train_txt", "valid_txt", "test_txt"),
        ("wiki_train_tokens", "wiki_valid_tokens", "wiki_test_tokens"),
        ("train__a_txt", "validation__b_txt", "test__c_txt"),
    ],
)
def test_files_named_for_a_split_are_that_split(tmp_path: Path, names: tuple[str, ...]) -> None:
    write(tmp_path, README_md="not text to train on", **dict(zip(names, (LINES, "then", "this"), strict=True)))
    data = loaded(tmp_path)
    assert data.splits == ("train", "val", "test")
    assert [text_of(data, split) for split in data.splits] == [LINES, "then", "this"]


def test_a_folder_without_valid_file_has_it_cut_from_train(tmp_path: Path) -> None:
    data = loaded(write(tmp_path, train_txt=LINES, test_txt="test"), test_fraction=0.3)
    assert text_of(data, "train") + text_of(data, "val") == LINES
    assert len(text_of(data, "train")) == int(len(LINES) * 0.9)
    assert text_of(data, "test") == "test"


def test_paths_of_their_own_win_over_fractions(tmp_path: Path) -> None:
    write(tmp_path, a_txt=LINES, b_txt="then", c__1_txt="no ", c__2_txt="words")
    data = loaded(tmp_path / "a.txt", val_path=str(tmp_path / "b.txt"), test_path=str(tmp_path / "c"))
    assert [text_of(data, split) for split in data.splits] == [LINES, "then", "no words"]


def test_a_folder_of_documents_is_read_in_order_without_what_is_no_text(tmp_path: Path) -> None:
    write(tmp_path, b_txt="second" * 9, a_txt="first" * 9, c__d_md="third" * 9, _hidden="no", empty_txt="")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    data = loaded(tmp_path, val_fraction=0.0)
    assert text_of(data, "train") == "first" * 9 + "second" * 9 + "third" * 9
    assert data._splits["train"].bounds_D.tolist() == [0, 45, 99, 144]


def test_suffixes_choose_the_files_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path, a_txt="text" * 9, b_md="more" * 9)
    assert text_of(loaded(tmp_path, val_fraction=0.0, suffixes=[".md"]), "train") == "more" * 9


def test_a_document_may_be_cut_between_splits(tmp_path: Path) -> None:
    data = loaded(write(tmp_path, a_txt="a" * 60, b_txt="b" * 40), val_fraction=0.3)
    assert text_of(data, "train") == "a" * 60 + "b" * 10
    assert data._splits["train"].bounds_D.tolist() == [0, 60, 70]


@pytest.mark.parametrize("block", [1, 2, 3, 1 << 20])
def test_byte_order_mark_crlf_and_emoji_are_read_in_any_blocks(tmp_path, monkeypatch, block: int) -> None:
    monkeypatch.setattr("rnntrain.data.source.BLOCK", block)
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo \xf0\x9f\x98\x80\r\n\r\nthr\xc3\xa9e\rfour\n" * 3)
    once = "one\ntwo 😀\n\nthrée\nfour\n"
    assert text_of(loaded(path, val_fraction=0.0), "train") == once + f"\ufeff{once}" * 2  # a mark only where it begins


def test_bytes_are_read_as_they_are(tmp_path: Path) -> None:
    raw = bytes(range(256)) * 2 + b"\xef\xbb\xbf\r\n"
    (tmp_path / "a.bin").write_bytes(raw)
    data = loaded(tmp_path, unit="byte", val_fraction=0.0)
    assert data._splits["train"].ids.tobytes() == raw


def test_the_vocabulary_is_that_of_train(tmp_path: Path) -> None:
    data = loaded(write(tmp_path, a_txt="ab" * 45 + "c" * 10) / "a.txt")
    assert data.codec.characters == "ab"
    assert text_of(data, "val") == "\ufffd" * 10


def test_a_given_codec_is_used_and_not_fitted_anew(tmp_path: Path) -> None:
    data = Text(str(write(tmp_path, a_txt="abc" * 90) / "a.txt"))
    codec = CharCodec("bc")
    data.load(codec)
    assert data.codec is codec
    assert data._splits["train"].ids[:3].tolist() == [2, 0, 1]


def test_words_and_pairs_are_fitted_with_their_options(tmp_path: Path) -> None:
    path = write(tmp_path, a_txt=LINES, vocab_txt="line\nof\n") / "a.txt"
    assert loaded(path, unit="word", max_vocab=5).codec.vocab_size == 5
    assert loaded(path, unit="word", min_count=300).codec.words == [
        "<unk>",
        "<eos>",
        "line",
        "of",
        "text,",
        "the",
        "with",
        "words.",
    ]
    assert loaded(path, unit="word", vocab_path=str(path.parent / "vocab.txt")).codec.vocab_size == 4
    assert loaded(path, unit="bpe", vocab_size=270).codec.vocab_size == 270


@pytest.mark.parametrize("unit", ["word", "bpe"])
def test_a_vocabulary_is_the_same_however_a_file_is_read(tmp_path: Path, monkeypatch, unit: str) -> None:
    path = write(tmp_path, a_txt=LINES) / "a.txt"
    whole = loaded(path, unit=unit, vocab_size=300)
    monkeypatch.setattr("rnntrain.data.source.BLOCK", 7)
    pieces = loaded(path, unit=unit, vocab_size=300)
    assert pieces.codec.state_dict() == whole.codec.state_dict()
    np.testing.assert_array_equal(pieces._splits["train"].ids, whole._splits["train"].ids)


def test_words_do_not_join_across_documents(tmp_path: Path) -> None:
    data = loaded(write(tmp_path, a_txt="the end", b_txt="begin again"), unit="word", val_fraction=0.0, batch_size=1)
    assert text_of(data, "train") == "the end begin again"


def test_a_changed_file_changes_the_fingerprint(tmp_path: Path) -> None:
    path = write(tmp_path, a_txt=LINES) / "a.txt"
    before = loaded(path).fingerprint()
    assert before["files"] == [
        {"name": "a.txt", "bytes": len(LINES), "sha256": hashlib.sha256(LINES.encode()).hexdigest()}
    ]
    assert loaded(path).fingerprint() == before
    path.write_text(LINES.replace("line 7", "line 8"))
    after = loaded(path).fingerprint()
    assert after["sha256"] != before["sha256"]
    assert after["splits"] == before["splits"]


def test_the_description_says_sizes_and_vocabulary(tmp_path: Path) -> None:
    data = loaded(write(tmp_path, a_txt="ab" * 5000) / "a.txt")
    assert data.describe() == "train 9,000, val 1,000 characters of a.txt; vocabulary of 3"
    assert data.unit == "characters"


def test_constructing_reads_nothing(tmp_path: Path) -> None:
    Text(str(tmp_path / "nothing.txt"))


def test_a_long_text_is_never_held_as_a_whole(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("rnntrain.data.source.BLOCK", 1000)
    longest = 0
    decode = Document.text

    def watched(self: Document):
        nonlocal longest
        for chunk in decode(self):
            longest = max(longest, len(chunk))
            yield chunk

    monkeypatch.setattr(Document, "text", watched)
    data = loaded(write(tmp_path, a_txt=LINES) / "a.txt")
    assert text_of(data, "train") + text_of(data, "val") == LINES
    assert 0 < longest <= 1000
    assert data._splits["train"].ids.dtype == np.uint8


def test_heavy_packages_wait_until_they_are_needed() -> None:
    code = (
        "import sys, rnntrain.data.words, rnntrain.data.bpe, rnntrain.data.windows; "
        "sys.exit('tokenizers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ranges_of_the_constructor_resolve() -> None:
    hints = inspect.get_annotations(Text.__init__, eval_str=True)
    assert set(inspect.signature(Text).parameters) | {"return"} == set(hints)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"val_fraction": 0.5, "test_fraction": 0.5}, ("data.val_fraction=0.5", "below 1")),
        ({"random_bptt": True, "contiguous": False}, ("data.random_bptt", "data.contiguous=true")),
        ({"random_bptt": True, "documents": True}, ("data.random_bptt", "data.documents=false")),
        ({"max_vocab": 10}, ("data.max_vocab", "data.unit=word")),
        ({"unit": "bpe", "vocab_path": "words.txt"}, ("data.vocab_path", "data.unit=word")),
    ],
)
def test_options_that_exclude_each_other_are_refused_before_reading(options, parts) -> None:
    with pytest.raises(UserError) as error:
        Text("nothing.txt", **options)
    assert all(part in str(error.value) for part in parts)
