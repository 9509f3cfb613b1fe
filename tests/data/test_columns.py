"""Sentences in columns: what is read, what it becomes, in which order it comes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rnntrain.data.spelt_words import FIRST_CHAR, NUM_CHARS, SHAPE, SHAPES, UNKNOWN_ID, WORD, shape_of
from rnntrain.data.tagged.columns import Columns
from rnntrain.data.tagged.tag_codec import TagCodec
from rnntrain.errors import UserError

TEXT = """Barack B-person
Obama I-person
saw O
Paris B-location

Hi O

we O
saw O
Bonn B-location
"""


def write(folder: Path, name: str = "a.conll", text: str | bytes = TEXT) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def loaded(path: Path, codec: TagCodec | None = None, **options: Any) -> Columns:
    data = Columns(str(path), **{"val_fraction": 0.0} | options)
    data.load(codec)
    return data


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(UserError) as error:
        loaded(path, **options)
    message = str(error.value)
    assert "\n" not in message
    return message


# -- reading ---


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace(" ", "\t"),
        lambda text: text.replace(" ", "   "),
        lambda text: text.replace("\n\n", "\n \t\n\n\n"),
        lambda text: "-DOCSTART- -X-\n\n" + text,
        lambda text: text.rstrip("\n"),
        lambda text: "\n\n" + text + "\n\n",
    ],
    ids=["plain", "crlf", "bom", "tabs", "wide", "blank_lines", "docstart", "no_last_newline", "framed"],
)
def test_sentences_are_read_whatever_their_ends_and_spaces(tmp_path: Path, change: Any) -> None:
    data = loaded(write(tmp_path, text=change(TEXT)))
    assert list(data.sentences("train")) == [
        (["Barack", "Obama", "saw", "Paris"], ["B-person", "I-person", "O", "B-location"]),
        (["Hi"], ["O"]),
        (["we", "saw", "Bonn"], ["O", "O", "B-location"]),
    ]


def test_tokens_may_be_emoji_and_hold_odd_spaces(tmp_path: Path) -> None:
    tokens = ["😀", "👩‍🔬", "a\u2028b", "\u3000", "New York", "é"]
    text = "".join(f"{token}\t{'B-x' if token == '😀' else 'O'}\n" for token in tokens)
    assert loaded(write(tmp_path, text=text)).sentence("train", 0)[0] == tokens


def test_columns_are_guessed_and_said(tmp_path: Path) -> None:
    wide = write(tmp_path, text=TEXT.replace(" ", " NN x "))
    data = loaded(wide)
    assert list(data.sentences("train")) == list(loaded(write(tmp_path, "b.conll")).sentences("train"))
    assert "column 1 is the token and 4 of 4 the tag (guessed)" in data.describe()


def test_columns_can_be_named(tmp_path: Path) -> None:
    swapped = "".join(f"x\t{line.split()[1]}\t{line.split()[0]}\n" if line else "\n" for line in TEXT.split("\n")[:-1])
    data = loaded(write(tmp_path, text=swapped), token_column=3, tag_column=2)
    assert data.sentence("train", 1) == (["Hi"], ["O"])
    assert "column 3 is the token and 2 of 3 the tag;" in data.describe()


def test_comments_are_skipped_on_request(tmp_path: Path) -> None:
    path = write(tmp_path, text=f"# text = one two three\n{TEXT}")
    assert "if it is a comment, set data.comments=true" in refused(write(tmp_path, "b.conll", TEXT + "\n# a b\n"))
    assert loaded(path, comments=True).num_sentences("train") == 3


def test_a_file_is_cut_in_its_order(tmp_path: Path) -> None:
    text = "".join(f"word{n} B-x\nend O\n\n" for n in range(10))
    data = loaded(write(tmp_path, text=text), val_fraction=0.2, test_fraction=0.1)
    firsts = {split: [tokens[0] for tokens, _ in data.sentences(split)] for split in data.splits}
    assert firsts == {
        "train": [f"word{n}" for n in range(7)],
        "val": ["word7", "word8"],
        "test": ["word9"],
    }


def test_files_of_a_folder_are_the_splits_that_they_name(tmp_path: Path) -> None:
    write(tmp_path, "wnut17train.conll")
    write(tmp_path, "emerging.dev.conll", "Hi O\n")
    write(tmp_path, "emerging.test.conll", "we O\n\nBonn B-location\n")
    data = loaded(tmp_path)
    assert {split: data.num_sentences(split) for split in data.splits} == {"train": 3, "val": 1, "test": 2}


def test_files_can_be_named_one_by_one(tmp_path: Path) -> None:
    val, test = write(tmp_path, "b", "Hi O\n"), write(tmp_path, "c", "we O\n")
    data = loaded(write(tmp_path), val_path=str(val), test_path=str(test))
    assert [data.num_sentences(split) for split in ("train", "val", "test")] == [3, 1, 1]


@pytest.mark.skipif("RNNTRAIN_DATA" not in os.environ, reason="RNNTRAIN_DATA names no folder of data sets")
def test_wnut17_has_its_published_sizes() -> None:
    folder = Path(os.environ["RNNTRAIN_DATA"]) / "wnut17"
    data = loaded(folder, alternatives="first", bio="repair")
    assert [data.num_sentences(split) for split in data.splits] == [3394, 1009, 1287]
    assert sum(data.counts("train").values()) == 1975
    assert sum(data.counts("val").values()) == 836


# -- what is wrong with a file ---


@pytest.mark.parametrize(
    ("text", "place", "parts"),
    [
        ("a O\nb\nc B-x\n", ":2: ", ("1 columns", "have 2", "give each token its tag")),
        ("a O\nb O O\n", ":2: ", ("3 columns", "have 2")),
        ("a\nb\n", ":1: ", ("one column", "two are needed")),
        ("a\tO\n\tO\n", ":2: ", ("token is empty",)),
        ("a\tB-x\nb\t\n", ":2: ", ("tag is empty",)),
        ("", ": ", ("holds no sentence",)),
        ("\n\n-DOCSTART- O\n", ": ", ("holds no sentence",)),
        ("a O\nb O\n", ": ", ("every token", "has the tag O", "data.tag_column")),
        ("a O\nb B-x,B-y\n", ":2: ", ("B-x,B-y are several tags", "data.alternatives=first")),
        (b"a O\ncaf\xe9 B-x\n", ":2: ", ("not UTF-8", "0xe9")),
        ("a O\nb I-x\n", ":2: ", ("I-x goes on with a span, but before it stands O", "data.bio=repair")),
        ("I-x I-x\n", ":1: ", ("before it stands O",)),
        ("a B-x\nb I-y\n", ":2: ", ("I-y goes on", "before it stands B-x")),
        ("a S-x\nb B-x\n\nc O\n", ":2: ", ("has no end (E-)",)),
        ("a S-x\nb B-x\nc O\n", ":3: ", ("has no end (E-)",)),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    tmp_path: Path, text: str | bytes, place: str, parts: tuple[str, ...]
) -> None:
    path = write(tmp_path, text=text)
    message = refused(path)
    assert message.startswith(f"{path}{place}"), message
    assert all(part in message for part in parts), message


def test_a_file_that_is_no_text_gets_no_advice_on_keys_that_it_has_not(tmp_path: Path) -> None:
    assert "data.unit" not in refused(write(tmp_path, text=b"caf\xe9 O\n"))


def test_a_tag_that_training_lacks_is_named_with_its_line(tmp_path: Path) -> None:
    val = write(tmp_path, "val", "Hi O\n\nBonn B-locaton\n")
    message = refused(write(tmp_path), val_path=str(val))
    assert message.startswith(f"{val}:3: the tag B-locaton of the val split does not occur in training")
    assert "did you mean B-location?" in message


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"token_column": 3}, "data.token_column=3: "),
        ({"tag_column": 9}, "data.tag_column=9: "),
        ({"token_column": 2}, "data.token_column=2: is the column of the tags too"),
        ({"val_fraction": 0.1, "test_fraction": 0.9}, "leave nothing to train on"),
        ({"val_fraction": 0.01}, "3 sentences leave none for"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path: Path, options: dict[str, Any], part: str) -> None:
    if options.get("val_fraction") == 0.01:
        options = {"val_fraction": 0.99}
    assert part in refused(write(tmp_path), **options)


def test_a_codec_of_another_kind_is_refused(tmp_path: Path) -> None:
    from rnntrain.data.codecs import ByteCodec

    with pytest.raises(UserError, match="reads no tags"):
        Columns(str(write(tmp_path))).load(ByteCodec())


# -- tags ---


def test_iob1_is_repaired_to_bio(tmp_path: Path) -> None:
    text = "a I-x\nb I-x\nc B-x\nd I-y\ne O\n"
    data = loaded(write(tmp_path, text=text), bio="repair")
    assert data.sentence("train", 0)[1] == ["B-x", "I-x", "B-x", "B-y", "O"]
    assert "2 tags repaired" in data.describe()


def test_tags_are_kept_on_request(tmp_path: Path) -> None:
    data = loaded(write(tmp_path, text="a I-x\nb O\n"), bio="keep")
    assert data.sentence("train", 0)[1] == ["I-x", "O"]
    assert not data.codec.valid


@pytest.mark.parametrize(
    ("cells", "chosen"),
    [
        (["B-x,B-y", "I-x,I-y"], ["B-x", "I-x"]),
        (["B-y", "I-x,I-y"], ["B-y", "I-y"]),
        (["I-x,B-y", "O"], ["B-y", "O"]),
        (["O", "I-x,I-y"], ["O", "B-x"]),
    ],
)
def test_the_first_alternative_that_may_follow_is_taken(tmp_path: Path, cells: list[str], chosen: list[str]) -> None:
    text = "".join(f"token {cell}\n" for cell in cells) + "\nall B-x\nof I-x\nthem B-y\n! O\n! B-y\n! I-y\n"
    data = loaded(write(tmp_path, text=text), alternatives="first", bio="repair")
    assert data.sentence("train", 0)[1] == chosen


def test_a_comma_is_a_tag_like_others_where_tags_mark_no_spans(tmp_path: Path) -> None:
    data = loaded(write(tmp_path, text="Hi UH\n, ,\nyou PRP\n"))
    assert data.codec.tags == [",", "PRP", "UH"]
    assert data.counts("train") == {",": 1, "PRP": 1, "UH": 1}
    assert data.examples("train", 1) == ["Hi/UH ,/, you/PRP"]


def test_spans_are_counted_and_shown(tmp_path: Path) -> None:
    data = loaded(write(tmp_path))
    assert data.counts("train") == {"location": 2, "person": 1}
    assert data.examples("train", 9)[0] == "[person: Barack Obama] saw [location: Paris]"
    assert len(data.examples("train", 2)) == 2


# -- numbers ---


def test_tokens_become_word_shape_and_characters(tmp_path: Path) -> None:
    data = loaded(write(tmp_path, text="Aa B-x\naA O\nAa O\n"))
    codec = data.codec
    aa, other, unknown = codec.encode(["Aa", "aA", "bcAa"])
    assert [codec.words[row[WORD]] for row in (aa, other, unknown)] == ["Aa", "aA", "<unk>"]
    assert [SHAPES[row[SHAPE]] for row in (aa, other, unknown)] == ["initial", "mixed", "mixed"]
    assert [row[NUM_CHARS] for row in (aa, other, unknown)] == [2, 2, 4]
    assert unknown[FIRST_CHAR : FIRST_CHAR + 2].tolist() == [UNKNOWN_ID, UNKNOWN_ID]
    assert "".join(codec.characters[i - 1] for i in aa[FIRST_CHAR : FIRST_CHAR + 2]) == "Aa"


def test_words_are_looked_up_as_asked() -> None:
    sentences = [(["Nov", "5", "nov", "17"], ["O", "B-x", "O", "O"])]
    assert TagCodec.fit(sentences).words == ["<unk>", "17", "5", "Nov", "nov"]
    assert TagCodec.fit(sentences, lower=True, digits=True).words == ["<unk>", "nov", "0", "00"]
    assert TagCodec.fit(sentences, lower=True, min_count=2).words == ["<unk>", "nov"]
    assert TagCodec.fit(sentences, max_vocab=3).words == ["<unk>", "17", "5"]
    assert TagCodec.fit(sentences, lower=True).num_once == 2


def test_only_training_sentences_are_fitted_on(tmp_path: Path) -> None:
    val = write(tmp_path, "val", "ZZZZ O\n")
    codec = loaded(write(tmp_path), val_path=str(val)).codec
    assert "ZZZZ" not in codec.words
    assert "Z" not in codec.characters


def test_a_token_that_is_the_unknown_word_is_unknown() -> None:
    codec = TagCodec.fit([(["<unk>", "a", "<unk>"], ["O", "B-x", "O"])])
    assert codec.words == ["<unk>", "a"]
    assert codec.encode(["<unk>"])[0, WORD] == UNKNOWN_ID


def test_long_tokens_are_read_to_their_limit() -> None:
    codec = TagCodec.fit([(["abcabc", "a"], ["O", "B-x"])], max_word_length=4)
    assert codec.encode(["abcabcabc"]).shape == (1, FIRST_CHAR + 4)
    assert codec.encode(["abcabcabc"])[0, NUM_CHARS] == 4


@pytest.mark.parametrize(
    ("token", "shape"),
    [
        ("word", "lower"),
        ("東京", "lower"),
        ("A", "initial"),
        ("Word", "initial"),
        ("NASA", "upper"),
        ("iPhone", "mixed"),
        ("McDonald", "mixed"),
        ("2017", "digits"),
        ("17:00", "digits"),
        ("4th", "with_digits"),
        ("...", "punctuation"),
        ("😀", "punctuation"),
        ("#", "punctuation"),
        ("@user", "mention"),
        ("#tag", "hashtag"),
        ("http://t.co/x", "link"),
        ("www.a.b", "link"),
    ],
)
def test_shapes_are_told_apart(token: str, shape: str) -> None:
    assert shape_of(token) == shape


def test_batches_hold_every_sentence_once_with_zeros_beyond_it(tmp_path: Path) -> None:
    data = loaded(write(tmp_path), batch_size=2)
    seen = []
    for batch in data.eval_batches("train"):
        lengths = [batch.inputs.shape[1]] * batch.batch_size if batch.lengths_B is None else batch.lengths_B.tolist()
        for inputs, tags, length in zip(batch.inputs, batch.targets, lengths, strict=True):
            assert not inputs[length:].any()
            assert (inputs[:length, NUM_CHARS] > 0).all()
            seen.append([data.codec.tags[tag] for tag in tags[:length]])
    assert sorted(seen) == sorted(tags for _, tags in data.sentences("train"))
    assert [len(its) for its in seen] == [1, 3, 4]


def test_sentences_of_one_length_need_no_lengths(tmp_path: Path) -> None:
    data = loaded(write(tmp_path, text="a B-x\n\nb O\n"))
    batch = next(data.train_batches(0, 0))
    assert batch.lengths_B is None
    assert batch.inputs.shape[:2] == (2, 1)
    assert batch.inputs.dtype == torch.int64


def test_epochs_differ_and_repeat(tmp_path: Path) -> None:
    text = "".join(f"w{n} B-x\n" * (1 + n % 3) + "\n" for n in range(30)) + "o O\n"
    data = loaded(write(tmp_path, text=text), batch_size=4)

    def words(epoch: int) -> list[list[int]]:
        return [batch.inputs[..., WORD].flatten().tolist() for batch in data.train_batches(0, epoch)]

    assert words(0) == words(0) != words(1)
    assert len(words(0)) == data.num_train_batches(0, 0) == 8


# -- the codec's state, and what tells that data changed ---


def test_codec_survives_json(tmp_path: Path) -> None:
    codec = loaded(write(tmp_path), lower=True, digits=True).codec
    again = TagCodec.from_state(json.loads(json.dumps(codec.state_dict())))
    assert again.state_dict() == codec.state_dict()
    assert np.array_equal(again.encode(["Obama", "x"]), codec.encode(["Obama", "x"]))
    assert (codec.fitted_here, again.fitted_here) == (True, False)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("words", None),
        ("words", []),
        ("words", ["a", "<unk>"]),
        ("words", ["<unk>", "a", "a"]),
        ("words", ["<unk>", 3]),
        ("num_once", 99),
        ("num_once", -1),
        ("num_once", True),
        ("characters", "aa"),
        ("characters", 3),
        ("tags", []),
        ("tags", "O"),
        ("lower", 1),
        ("max_word_length", 0),
        ("max_word_length", "4"),
        ("valid", None),
    ],
)
def test_a_damaged_state_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    state = loaded(write(tmp_path)).codec.state_dict()
    with pytest.raises(UserError, match="saved state is damaged"):
        TagCodec.from_state({**state, key: value})


def test_fingerprint_tells_when_a_file_changed(tmp_path: Path) -> None:
    before = loaded(write(tmp_path)).fingerprint()
    assert loaded(write(tmp_path)).fingerprint() == before
    assert loaded(write(tmp_path, text=TEXT.replace("Hi", "Ho"))).fingerprint() != before
