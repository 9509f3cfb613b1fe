"""Text to numbers and back, for every unit."""

import builtins
import json

import numpy as np
import pytest

from rnntrain.data.bpe import BpeCodec
from rnntrain.data.codecs import ByteCodec, CharCodec, TextCodec, cut_at_words, text_codec_from_state
from rnntrain.data.words import WordCodec
from rnntrain.errors import UserError

TEXT = "the cat sat on the mat .\n\nthe caté saw 😀 and\tthe dog\n" * 20
UNITS = ("char", "byte", "word", "bpe")


def fitted(unit: str, text: str = TEXT) -> TextCodec:
    if unit == "byte":
        return ByteCodec()
    if unit == "bpe":
        return BpeCodec.fit([text], vocab_size=300)
    return {"char": CharCodec, "word": WordCodec}[unit].fit([text])


def one_line(error: pytest.ExceptionInfo[UserError], *parts: str) -> bool:
    message = str(error.value)
    return "\n" not in message and all(part in message for part in parts)


@pytest.mark.parametrize("unit", ["char", "byte", "bpe"])
def test_decoding_undoes_encoding(unit: str) -> None:
    assert fitted(unit).decode(fitted(unit).encode(TEXT)) == TEXT


def test_decoded_words_stand_one_space_apart_and_lines_stay() -> None:
    codec = fitted("word")
    assert codec.decode(codec.encode("the  cat\n\n sat\ton \n")) == "the cat\n\nsat on\n"


@pytest.mark.parametrize("unit", UNITS)
def test_a_codec_comes_back_from_plain_json(unit: str) -> None:
    codec = fitted(unit)
    state = json.loads(json.dumps(codec.state_dict()))
    again = TextCodec.from_state(state)
    assert (again.unit, again.vocab_size, again.unknown_id) == (unit, codec.vocab_size, codec.unknown_id)
    np.testing.assert_array_equal(again.encode(TEXT + "zebra €"), codec.encode(TEXT + "zebra €"))
    assert again.state_dict() == codec.state_dict()


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_text_in_pieces_encodes_as_the_whole(unit: str, size: int) -> None:
    codec = fitted(unit)
    whole: str | bytes = TEXT.encode() if unit == "byte" else TEXT
    chunks = [whole[i : i + size] for i in range(0, len(whole), size)]
    np.testing.assert_array_equal(np.concatenate(list(codec.encode_chunks(chunks))), codec.encode(TEXT))


@pytest.mark.parametrize("unit", ["char", "word", "bpe"])
def test_fitting_on_pieces_equals_fitting_on_the_whole(unit: str) -> None:
    pieces = list(cut_at_words(TEXT[i : i + 7] for i in range(0, len(TEXT), 7)))
    kinds = {"char": CharCodec.fit, "word": WordCodec.fit, "bpe": lambda chunks: BpeCodec.fit(chunks, 300)}
    assert len(pieces) > 10
    assert kinds[unit](pieces).state_dict() == kinds[unit]([TEXT]).state_dict()


def test_pieces_tear_no_word_and_no_white_space() -> None:
    pieces = list(cut_at_words(TEXT[i : i + 5] for i in range(0, len(TEXT), 5)))
    assert "".join(pieces) == TEXT
    assert all(piece[-1] not in " \n" and piece[0] in " \n" for piece in pieces[1:-1])


@pytest.mark.parametrize("unit", ["char", "byte", "bpe"])
def test_entries_stand_for_all_the_characters_of_a_text(unit: str) -> None:
    codec = fitted(unit)
    assert codec.chars_per_token_V.shape == (codec.vocab_size,)
    expected = len(TEXT.encode()) if unit == "byte" else len(TEXT)
    assert codec.chars_per_token_V[codec.encode(TEXT)].sum() == expected


def test_words_stand_for_their_characters_and_what_parts_them() -> None:
    codec = fitted("word")
    line = "the cat sat on the mat .\n"
    assert codec.chars_per_token_V[codec.encode(line * 3)].sum() == 3 * len(line)


@pytest.mark.parametrize(("size", "dtype"), [(255, np.uint8), (256, np.uint16), (65535, np.uint16), (65536, np.uint32)])
def test_numbers_have_the_smallest_type_that_holds_them(size: int, dtype: type) -> None:
    codec = CharCodec("".join(map(chr, [*range(0xD800), *range(0xE000, 0xE000 + 20000)][:size])))
    ids = codec.encode(codec.characters[-1] + "\U0010ffff")
    assert ids.dtype == dtype
    assert ids.tolist() == [size - 1, size]


def test_characters_are_sorted_and_the_last_entry_is_for_all_others() -> None:
    codec = CharCodec.fit(["cab", "ad"])
    assert codec.characters == "abcd"
    assert codec.vocab_size == 5
    assert codec.encode("a😀d\ud800b ").tolist() == [0, 4, 3, 4, 1, 4]
    assert codec.decode([0, 4, 1]) == "a\ufffdb"


def test_a_long_text_encodes_as_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = fitted("char")
    expected = codec.encode(TEXT)
    monkeypatch.setattr("rnntrain.data.codecs.CHUNK", 10)
    np.testing.assert_array_equal(codec.encode(TEXT), expected)


def test_words_follow_the_convention_of_wikitext() -> None:
    text = "\n = Title = \n\nthe <unk> of the\n"
    codec = WordCodec.fit([text])
    lines = [line.split() + ["<eos>"] for line in text.splitlines()]
    assert [codec.words[i] for i in codec.encode(text)] == [word for line in lines for word in line]
    assert codec.words.count("<unk>") == 1


def test_rare_words_are_unknown() -> None:
    text = "a a a b b c\n"
    assert WordCodec.fit([text], min_count=2).words == ["<unk>", "<eos>", "a", "b"]
    assert WordCodec.fit([text], max_vocab=3).words == ["<unk>", "<eos>", "a"]
    codec = WordCodec.fit([text], max_vocab=3)
    assert codec.decode(codec.encode(text)) == "a a a <unk> <unk> <unk>\n"


def test_a_closed_vocabulary_keeps_its_order(tmp_path) -> None:
    (tmp_path / "vocab.txt").write_text("b\n<eos>\na\n")
    assert WordCodec.from_file(tmp_path / "vocab.txt").words == ["b", "<eos>", "a", "<unk>"]


@pytest.mark.parametrize(
    ("content", "place", "problem"),
    [("a\nb c\n", ":2", "one word"), ("a\n\nb\n", ":2", "one word"), ("a\nb\na\n", ":3", "line 1"), ("", "", "empty")],
)
def test_a_bad_vocabulary_file_is_named_with_its_line(tmp_path, content: str, place: str, problem: str) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text(content)
    with pytest.raises(UserError) as error:
        WordCodec.from_file(path)
    assert one_line(error, f"data.vocab_path={path}{place}:" if place else "data.vocab_path", problem)


@pytest.mark.parametrize(
    ("unit", "prompt", "named"), [("char", "the zebra", "'z', 'b', 'r'"), ("word", "the zebra", "'zebra'")]
)
def test_a_prompt_outside_the_vocabulary_is_refused_by_name(unit: str, prompt: str, named: str) -> None:
    with pytest.raises(UserError) as error:
        fitted(unit).check_prompt(prompt)
    assert one_line(error, named, "leave out")


def test_a_refused_prompt_reaches_the_terminal_escaped() -> None:
    with pytest.raises(UserError) as error:
        fitted("char").check_prompt("\x1b[2J" + "ABCDEFGHIJKLMNOP")
    assert one_line(error, r"'\x1b'", "more")


@pytest.mark.parametrize("unit", UNITS)
def test_a_prompt_within_the_vocabulary_passes(unit: str) -> None:
    fitted(unit).check_prompt("the cat sat\n")


@pytest.mark.parametrize("unit", ["byte", "bpe"])
def test_no_text_is_outside_bytes(unit: str) -> None:
    codec = fitted(unit)
    strange = "žluťoučký 🦄 \x00 漢字"
    codec.check_prompt(strange)
    assert codec.decode(codec.encode(strange)) == strange


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        {"unit": "syllable"},
        {"unit": "char"},
        {"unit": "char", "characters": "ba"},
        {"unit": "char", "characters": ["a", "b"]},
        {"unit": "word", "words": "ab"},
        {"unit": "word", "words": ["a", "b"]},
        {"unit": "word", "words": ["<unk>", "<eos>", "a", "a"]},
        {"unit": "bpe"},
        {"unit": "bpe", "tokenizer": {"model": {"vocab": {"a": 0}, "merges": []}}},
    ],
)
def test_a_malformed_state_is_refused(state) -> None:
    with pytest.raises(UserError) as error:
        text_codec_from_state(state)
    assert one_line(error, "damaged")


@pytest.mark.parametrize("change", ["gap", "merge", "number"])
def test_a_damaged_bpe_state_is_refused(change: str) -> None:
    state = fitted("bpe").state_dict()
    model = state["tokenizer"]["model"]
    if change == "gap":
        model["vocab"]["aa"] = 1000
    elif change == "merge":
        model["merges"][0] = ["a", "nothing"]
    else:
        model["vocab"] = {entry: str(i) for entry, i in model["vocab"].items()}
    with pytest.raises(UserError) as error:
        text_codec_from_state(state)
    assert one_line(error, "damaged")


def test_without_tokenizers_bpe_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without(name: str, *rest):
        if name.partition(".")[0] == "tokenizers":
            raise ImportError(name)
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError) as error:
        BpeCodec.fit(["a b"], 300)
    assert one_line(error, "pip install 'rnntrain[bpe]'")
