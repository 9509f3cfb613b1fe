"""A download is whole and verified, or it is not there; what was cut off is gone on with."""

from __future__ import annotations

import errno
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from data.serving import Shelf, serving

from rnntrain.data.known import download as module
from rnntrain.data.known.download import Expected, check_url, download, git_blob_of
from rnntrain.errors import UserError

CONTENT = random.Random(0).randbytes(200_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
WHOLE = Expected(SHA256, len(CONTENT))


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    with serving() as shelf:
        shelf.files["file"] = CONTENT
        yield shelf


def fetch(shelf: Shelf, folder: Path, expected: Expected = WHOLE, path: str = "file") -> Path:
    return download(shelf.url(path), folder / "file", expected, quiet=True)


def refused(shelf: Shelf, folder: Path, expected: Expected = WHOLE, path: str = "file") -> str:
    with pytest.raises(UserError) as error:
        fetch(shelf, folder, expected, path)
    assert "\n" not in str(error.value)
    assert not (folder / "file").exists()
    return str(error.value)


def parts(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(".part-")]


@pytest.mark.parametrize("expected", [WHOLE, Expected(SHA256), Expected(SHA256.upper()), Expected(None, len(CONTENT))])
@pytest.mark.parametrize("lengths", [True, False])
def test_a_file_is_fetched_whole(shelf: Shelf, tmp_path: Path, expected: Expected, lengths: bool) -> None:
    shelf.lengths = lengths
    assert fetch(shelf, tmp_path / "new/folder", expected).read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new/folder").iterdir()] == ["file"]
    assert len(shelf.asked) == 1


def test_what_is_cut_off_is_gone_on_with_at_once(shelf: Shelf, tmp_path: Path) -> None:
    shelf.cut_after = [70_000, 30_000, None]
    assert fetch(shelf, tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in shelf.asked] == [None, "bytes=70000-", "bytes=100000-"]


def test_a_download_that_comes_to_a_stop_is_gone_on_with_by_the_next_call(shelf: Shelf, tmp_path: Path) -> None:
    shelf.cut_after = [120_000, *[0] * 4]
    message = refused(shelf, tmp_path)
    assert "cut off after 0.1 MB" in message
    assert "the same command goes on from there" in message
    assert [path.stat().st_size for path in parts(tmp_path)] == [120_000]
    shelf.asked.clear()
    assert fetch(shelf, tmp_path).read_bytes() == CONTENT
    assert shelf.asked == [("file", "bytes=120000-")]
    assert not parts(tmp_path)


def test_a_server_without_ranges_is_read_from_the_beginning(shelf: Shelf, tmp_path: Path) -> None:
    shelf.ranges = False
    shelf.cut_after = [120_000, None]
    assert fetch(shelf, tmp_path).read_bytes() == CONTENT


def test_a_whole_part_needs_no_further_byte(shelf: Shelf, tmp_path: Path) -> None:
    """As where a process was killed between the last byte and the rename."""
    shelf.cut_after = [None]
    fetch(shelf, tmp_path)
    shelf.cut_after = [1, *[0] * 4]
    (tmp_path / "file").unlink()
    refused(shelf, tmp_path)
    [part] = parts(tmp_path)
    part.write_bytes(CONTENT)
    assert fetch(shelf, tmp_path, Expected(SHA256)).read_bytes() == CONTENT
    assert shelf.asked[-1] == ("file", f"bytes={len(CONTENT)}-")


def test_a_part_of_an_older_version_is_given_up(shelf: Shelf, tmp_path: Path) -> None:
    shelf.cut_after = [120_000, *[0] * 4]
    refused(shelf, tmp_path)
    [part] = parts(tmp_path)
    part.write_bytes(b"x" * 120_000)
    assert fetch(shelf, tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in shelf.asked[-2:]] == ["bytes=120000-", None]


def test_a_wrong_checksum_leaves_nothing(shelf: Shelf, tmp_path: Path) -> None:
    message = refused(shelf, tmp_path, Expected("0" * 64))
    assert SHA256 in message
    assert "0" * 64 in message
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_size_is_not_even_read_where_no_checksum_can_decide(shelf: Shelf, tmp_path: Path) -> None:
    assert "200,000 bytes where 5 were expected" in refused(shelf, tmp_path, Expected(None, 5))
    assert not parts(tmp_path)


@pytest.mark.parametrize("size", [5, 199_999, 200_001, 10**9])
def test_the_checksum_decides_over_a_size_that_is_wrong(
    shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int
) -> None:
    """The size in a list may be wrong where its checksum is right; it is said, and nothing else comes of it."""
    shelf.cut_after = [70_000, None]
    assert fetch(shelf, tmp_path, Expected(SHA256, size)).read_bytes() == CONTENT
    said = capsys.readouterr().err
    assert f"200,000 bytes where {size:,} were expected; its checksum will decide" in said
    assert SHA256 in refused(shelf, tmp_path / "other", Expected("0" * 64, size))


def test_a_server_that_sends_without_end_is_stopped(shelf: Shelf, tmp_path: Path) -> None:
    shelf.lengths = False
    assert "sends more than the 150,000 bytes" in refused(shelf, tmp_path, Expected(SHA256, 150_000))


def test_a_git_id_is_as_good_as_a_checksum(shelf: Shelf, tmp_path: Path) -> None:
    shelf.files["file"] = b"hello\n"
    assert git_blob_of(fetch(shelf, tmp_path, Expected(git_blob="ce013625030ba8dba906f756967f9e9ca394464a")))
    (tmp_path / "file").unlink()
    assert "git id" in refused(shelf, tmp_path, Expected(git_blob="0" * 40))


def test_answers_that_may_change_are_asked_for_again(shelf: Shelf, tmp_path: Path) -> None:
    shelf.codes["file"] = [503, 500]
    assert fetch(shelf, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("code", [403, 404, 410])
def test_a_refusal_is_said_at_once(shelf: Shelf, tmp_path: Path, code: int) -> None:
    shelf.codes["file"] = [code]
    assert f"the server answers {code}" in refused(shelf, tmp_path)
    assert len(shelf.asked) == 1


def test_nobody_listening_is_one_line(shelf: Shelf, tmp_path: Path) -> None:
    address = shelf.address
    shelf.address = "http://127.0.0.1:1"
    assert "connection refused; check the connection" in refused(shelf, tmp_path)
    shelf.address = address


@pytest.mark.parametrize(
    "url", ["http://example.org/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "data.txt", "https:///x", ""]
)
def test_only_https_and_this_machine_are_fetched_from(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="only https"):
        download(url, tmp_path / "file", WHOLE, quiet=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["https://example.org/x", "http://localhost:8000/x", "http://[::1]/x"])
def test_https_and_this_machine_will_do(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize("url", ["http://example.org/x", "file:///etc/passwd"])
def test_no_redirection_leads_elsewhere(shelf: Shelf, tmp_path: Path, url: str) -> None:
    shelf.redirects["old"] = url
    assert url in refused(shelf, tmp_path, path="old")


def test_a_redirection_is_followed(shelf: Shelf, tmp_path: Path) -> None:
    shelf.redirects["old"] = shelf.url("file")
    assert fetch(shelf, tmp_path, path="old").read_bytes() == CONTENT


def test_a_full_disk_is_said_before_a_byte_is_written(shelf: Shelf, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 10})())
    assert "0.2 MB are needed and 0.0 MB are free" in refused(shelf, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_keeps_what_has_come(shelf: Shelf, tmp_path: Path, monkeypatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_copy", full)
        assert "no space left on device; make room" in refused(shelf, tmp_path)
    assert fetch(shelf, tmp_path).read_bytes() == CONTENT
