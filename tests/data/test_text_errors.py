"""What is wrong with a file is said in one line, with the file, the place and the fix."""

import os
from pathlib import Path

import pytest

from rnntrain.data.codecs import ByteCodec
from rnntrain.data.text import Text
from rnntrain.errors import UserError


def refused(path: Path | str, **options) -> str:
    with pytest.raises(UserError) as error:
        Text(str(path), **options).load()
    message = str(error.value)
    assert "\n" not in message
    return message


def file_of(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "a.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_missing_file_is_named_with_the_nearest(tmp_path: Path) -> None:
    file_of(tmp_path, "text")
    message = refused(tmp_path / "b.txt")
    assert message.startswith(f"data.path={tmp_path / 'b.txt'}: there is no such file")
    assert "did you mean a.txt?" in message


def test_a_missing_relative_file_is_named_with_where_it_was_looked_for(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert f" in {tmp_path}" in refused("deep/down/b.txt")


@pytest.mark.parametrize("key", ["val_path", "test_path"])
def test_a_missing_split_file_is_named_by_its_key(tmp_path: Path, key: str) -> None:
    message = refused(file_of(tmp_path, "text" * 100), **{key: str(tmp_path / "none.txt")})
    assert f"data.{key}=" in message


@pytest.mark.parametrize("content", ["", "\ufeff"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str) -> None:
    assert "is no text" in refused(file_of(tmp_path, content))


@pytest.mark.parametrize("documents", [False, True])
def test_one_character_is_too_short(tmp_path: Path, documents: bool) -> None:
    message = refused(file_of(tmp_path, "a"), val_fraction=0.0, documents=documents)
    assert "has 1 characters, and" in message


def test_an_empty_validation_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text("")
    message = refused(file_of(tmp_path, "text" * 100), val_path=str(tmp_path / "val.txt"))
    assert "the val split has 0 characters, and 2 are needed" in message


@pytest.mark.parametrize(
    ("size", "options", "parts"),
    [
        (36, {}, ("the train split has 32 characters, and 33", "data.batch_size=32", "lower data.batch_size")),
        (140, {"contiguous": False}, ("has 126 characters, and 129", "data.bptt=128", "lower data.bptt")),
        (100, {"val_fraction": 0.01}, ("the val split has 1 characters, and 2", "larger data.val_fraction")),
        (50, {"val_fraction": 0.001}, ("the val split has", "larger data.val_fraction")),
    ],
)
def test_too_short_a_text_says_what_it_has_and_needs(tmp_path: Path, size: int, options, parts) -> None:
    message = refused(file_of(tmp_path, "a" * size), **options)
    assert all(part in message for part in parts), message


def test_the_shortest_text_that_is_enough_loads(tmp_path: Path) -> None:
    Text(str(file_of(tmp_path, "a" * 33)), val_fraction=0.0).load()
    shuffled = Text(str(file_of(tmp_path, "a" * 129)), val_fraction=0.0, contiguous=False)
    shuffled.load()
    assert shuffled.num_train_batches(0, 0) == 1


@pytest.mark.parametrize("block", [1, 4, 1 << 20])
@pytest.mark.parametrize(
    ("content", "line", "byte", "offset"),
    [
        (b"one\ntwo\ncaf\xe9 three", 3, "0xe9", 11),
        (b"\xef\xbb\xbfone\n\xff", 2, "0xff", 7),
        ("né\n".encode() + b"cut \xe2\x82", 2, "0xe2", 8),
        (b"\xe9", 1, "0xe9", 0),
    ],
)
def test_a_byte_that_is_not_utf8_is_named_with_its_place(
    tmp_path: Path, monkeypatch, content: bytes, line: int, byte: str, offset: int, block: int
) -> None:
    monkeypatch.setattr("rnntrain.data.source.BLOCK", block)
    path = file_of(tmp_path, content)
    message = refused(path)
    assert message.startswith(f"{path}:{line}: not UTF-8")
    assert f"byte {byte} at offset {offset};" in message
    assert "data.unit=byte" in message


def test_utf16_is_recognised(tmp_path: Path) -> None:
    assert "iconv -f utf-16" in refused(file_of(tmp_path, "some text".encode("utf-16")))


def test_a_file_that_is_no_text_is_recognised(tmp_path: Path) -> None:
    assert "no text: unpack it" in refused(file_of(tmp_path, b"BZh91AY&SY\x00\xad\x01"))


@pytest.mark.parametrize("suffixes", [None, [".txt"]])
def test_a_folder_without_text_is_refused(tmp_path: Path, suffixes) -> None:
    (tmp_path / "image.png").write_bytes(b"\x89PNG\x00\x00")
    message = refused(tmp_path, suffixes=suffixes)
    assert "the folder holds no" in message
    assert (".txt" in message) == bool(suffixes)


def test_a_folder_of_empty_files_is_refused(tmp_path: Path) -> None:
    file_of(tmp_path, "")
    assert "is no text" in refused(tmp_path)


def test_a_folder_with_valid_and_test_but_no_train_is_refused(tmp_path: Path) -> None:
    (tmp_path / "valid.txt").write_text("text")
    (tmp_path / "test.txt").write_text("text")
    assert "no train file" in refused(tmp_path)


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "device, pipe or socket" in refused("/dev/null")
    assert "device, pipe or socket" in refused(tmp_path / "pipe")


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_may_not_be_read_is_named(tmp_path: Path, monkeypatch, what: str) -> None:
    path = file_of(tmp_path, "text" * 100)

    def deny(name, *_, **__):
        raise PermissionError(13, "Permission denied", str(name))

    if what == "file":  # not by the file's mode, which does not bind the administrator
        monkeypatch.setattr(os, "open", deny)
    else:
        monkeypatch.setattr(os, "scandir", deny)
    message = refused(path if what == "file" else tmp_path)
    assert str(path if what == "file" else tmp_path) in message
    assert "permission denied; make the" in message


def test_a_codec_of_another_unit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"set data\.unit=byte"):
        Text(str(file_of(tmp_path, "text" * 100))).load(ByteCodec())
