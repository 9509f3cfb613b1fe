"""Word vectors are read as text, line by line, and only those that are asked for are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnntrain.data import source
from rnntrain.data.tagged.vectors import read_vectors
from rnntrain.errors import UserError

WORDS = {"<unk>": 0, "cat": 1, "Dog": 2, "dog": 3, "Élan": 4}


def write(folder: Path, text: str) -> str:
    path = folder / "vectors.txt"
    path.write_bytes(text.encode("utf-8"))
    return str(path)


def read(path: str) -> dict[int, list[float]]:
    return {number: vector_D.tolist() for number, vector_D in read_vectors(path, WORDS, "task.vectors").items()}


@pytest.mark.parametrize("block", [1, 3, 1 << 20])
def test_words_of_the_vocabulary_get_their_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(source, "BLOCK", block)
    path = write(tmp_path, "cat 1 -2.5\nbird 0 0\nÉlan 3e-1 4\n")
    assert read(path) == {1: [1, -2.5], 4: [pytest.approx(0.3), 4]}


@pytest.mark.parametrize("lines", [["dog 1 1", "Dog 2 2"], ["Dog 2 2", "dog 1 1"]])
def test_a_word_prefers_its_own_form_to_lower_case(tmp_path: Path, lines: list[str]) -> None:
    assert read(write(tmp_path, "\n".join(lines))) == {2: [2, 2], 3: [1, 1]}
    assert read(write(tmp_path, "dog 1 1\n")) == {2: [1, 1], 3: [1, 1]}


@pytest.mark.parametrize("text", ["3 2\ncat 1 2\n", "cat 1 2 \ndog 3 4 \n", "cat 1 2\r\ndog 3 4\r\n"])
def test_both_formats_and_spaces_at_line_ends_are_read(tmp_path: Path, text: str) -> None:
    assert read(write(tmp_path, text))[1] == [1, 2]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("cat 1 2\ndog 1\n", ":2: 1 numbers after the word, not 2"),
        ("cat 1 2\n\n", ":2: "),
        ("cat 1 2\ndog 1 x\n", ":2: not a word and its numbers"),
        ("cat 1 nan\n", ":1: a number is not finite"),
        ("bird 1 2\n", "has none of the 5 words"),
        ("", "has none of the 5 words"),
        ("cat\n", ":1: "),
    ],
)
def test_what_is_no_vector_is_said_with_its_line(tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(UserError) as error:
        read(write(tmp_path, text))
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_entries_with_spaces_do_no_harm(tmp_path: Path) -> None:
    assert read(write(tmp_path, "cat 1 2\n. . . 3 4\nat a@b.c 5 6\ndog 7 8\n"))[3] == [7, 8]


def test_what_is_not_asked_for_is_not_parsed(tmp_path: Path) -> None:
    """So that a file of millions of words costs little: its numbers stay text."""
    assert read(write(tmp_path, "bird x y\ncat 1 2\n")) == {1: [1, 2]}
