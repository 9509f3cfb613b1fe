"""`rnntrain data get`: a known set lies in the cache whole and verified, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from data.serving import Shelf, serving
from data.test_unpack import write_tar, write_zip

from rnntrain.data.known import catalog, download, obtain
from rnntrain.data.known.catalog import ENTRIES, Entry, Source, find_entry
from rnntrain.data.known.obtain import get, tree_digest
from rnntrain.data.places import resolve
from rnntrain.errors import UserError
from rnntrain.runs.lock import hold_lock

FILES = {"top/data/a.wav": b"one", "top/data/b.wav": b"two", "top/README": b"words", "top/data/notes.txt": b"3"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RNNTRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RNNTRAIN_DATA", raising=False)
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.0)
    return tmp_path / "cache"


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    with serving() as shelf:
        yield shelf


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def know(monkeypatch: pytest.MonkeyPatch, *sources: Source) -> None:
    monkeypatch.setattr(catalog, "ENTRIES", (Entry("toy", "a toy", "none", sources, advice="ask for it"),))


def refused(**options: object) -> str:
    with pytest.raises(UserError) as error:
        get("toy", quiet=True, **options)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    return str(error.value)


def names(cache: Path) -> set[str]:
    """Return what lies in the set's folder, but for the lock."""
    return {path.name for path in (cache / "toy").iterdir()} - {".lock"} if (cache / "toy").exists() else set()


def test_files_are_fetched_and_then_found_by_name(cache: Path, shelf: Shelf, monkeypatch) -> None:
    shelf.files = {"a": b"one", "b": b"two"}
    know(monkeypatch, *(Source(shelf.url(n), f"{n}.txt", sha256(shelf.files[n]), size=3) for n in "ab"))
    assert get("toy", quiet=True) == [f"toy/{n}.txt: put into {cache / 'toy'}" for n in "ab"]
    assert resolve("@toy/a.txt", "data.path").read_bytes() == b"one"
    assert names(cache) == {"a.txt", "b.txt"}
    asked = len(shelf.asked)
    assert "is here already" in get("toy", quiet=True)[0]
    assert len(shelf.asked) == asked


def test_what_lies_in_the_users_folder_is_not_fetched(cache: Path, tmp_path: Path, monkeypatch) -> None:
    know(monkeypatch, Source("http://127.0.0.1:1/a", "a.txt", "0" * 64))
    (tmp_path / "mine/toy").mkdir(parents=True)
    (tmp_path / "mine/toy/a.txt").write_text("one")
    monkeypatch.setenv("RNNTRAIN_DATA", str(tmp_path / "mine"))
    assert "is here already" in get("toy", quiet=True)[0]


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_a_folder_comes_out_of_an_archive(cache: Path, shelf: Shelf, tmp_path: Path, monkeypatch, write) -> None:
    shelf.files["x"] = write(tmp_path / "x", FILES).read_bytes()
    lines = "".join(f"{sha256(FILES[f'top/data/{n}'])}  {n}\n" for n in ("a.wav", "b.wav"))
    source = Source(
        shelf.url("x"), "wavs", inside="top/data", pattern=r".+\.wav", content_sha256=sha256(lines.encode())
    )
    know(monkeypatch, source)
    get("toy", quiet=True)
    assert {p.name for p in (cache / "toy/wavs").iterdir()} == {"a.wav", "b.wav"}
    assert names(cache) == {"wavs"}
    assert tree_digest(cache / "toy/wavs") == sha256(lines.encode())


def test_a_file_comes_out_of_an_archive(cache: Path, shelf: Shelf, tmp_path: Path, monkeypatch) -> None:
    shelf.files["x"] = write_zip(tmp_path / "x", FILES).read_bytes()
    know(monkeypatch, Source(shelf.url("x"), "README.txt", inside="top/README", content_sha256=sha256(b"words")))
    get("toy", quiet=True)
    assert (cache / "toy/README.txt").read_bytes() == b"words"
    assert names(cache) == {"README.txt"}


@pytest.mark.parametrize("known", [{"sha256": "0" * 64}, {"content_sha256": "0" * 64}])
def test_an_archive_that_is_not_the_expected_one_leaves_nothing(
    cache: Path, shelf: Shelf, tmp_path: Path, monkeypatch, known
) -> None:
    shelf.files["x"] = write_zip(tmp_path / "x", FILES).read_bytes()
    know(monkeypatch, Source(shelf.url("x"), "wavs", inside="top/data", **known))
    assert "nothing of it was kept" in refused()
    assert names(cache) == set()


@pytest.mark.parametrize(
    ("files", "inside", "unpacked", "words"),
    [
        ({"top/data/a": b"1", "../../evil": b"2"}, "top/data", 1000, "leads out of it"),
        ({"top/data/a": bytes(100_000)}, "top/data", 1000, "more than 1,000 bytes"),
        (FILES, "none/such", 1000, "has no none/such"),
    ],
)
def test_an_evil_archive_leaves_nothing(
    cache: Path, shelf: Shelf, tmp_path: Path, monkeypatch, files, inside: str, unpacked: int, words: str
) -> None:
    shelf.files["x"] = write_tar(tmp_path / "x", files).read_bytes()
    source = Source(shelf.url("x"), "data", sha256(shelf.files["x"]), inside=inside, unpacked=unpacked)
    know(monkeypatch, source)
    assert words in refused()
    assert names(cache) == set()
    assert not (tmp_path / "evil").exists()


def test_an_archive_that_was_cut_off_is_gone_on_with(cache: Path, shelf: Shelf, tmp_path: Path, monkeypatch) -> None:
    shelf.files["x"] = write_tar(tmp_path / "x", {"top/a": bytes(range(256)) * 100}, "w").read_bytes()
    know(monkeypatch, Source(shelf.url("x"), "a", sha256(shelf.files["x"]), inside="top/a"))
    shelf.cut_after = [9000, *[0] * 4]
    assert "cut off" in refused()
    assert not (cache / "toy/a").exists()
    get("toy", quiet=True)
    assert shelf.asked[-1] == ("x", "bytes=9000-")
    assert names(cache) == {"a"}


def test_an_archive_is_not_fetched_again_after_a_stop_in_its_midst(
    cache: Path, shelf: Shelf, tmp_path: Path, monkeypatch
) -> None:
    shelf.files["x"] = write_tar(tmp_path / "x", {"top/a": b"one"}).read_bytes()
    know(monkeypatch, Source(shelf.url("x"), "a", sha256(shelf.files["x"]), inside="top/a"))

    def stopped(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(obtain, "unpack", stopped)
        with pytest.raises(KeyboardInterrupt):
            get("toy", quiet=True)
    assert names(cache) == {".archive-a"}
    get("toy", quiet=True)
    assert len(shelf.asked) == 1
    assert names(cache) == {"a"}


def test_an_unknown_checksum_must_be_given(cache: Path, shelf: Shelf, monkeypatch) -> None:
    shelf.files["a"] = b"one"
    know(monkeypatch, Source(shelf.url("a"), "a.txt"))
    assert "its checksum is not known here" in refused()
    assert shelf.asked == []
    assert "expected 64 hexadecimal digits" in refused(sha256="abc")
    assert "was expected" in refused(sha256="0" * 64)
    get("toy", quiet=True, sha256=sha256(b"one"))
    assert names(cache) == {"a.txt"}


def test_a_file_fetched_by_hand_is_verified_and_taken(cache: Path, tmp_path: Path, monkeypatch) -> None:
    archive = write_tar(tmp_path / "x.tgz", FILES)
    known = sha256(archive.read_bytes())
    know(monkeypatch, Source(None, "texts", known, inside="top", pattern="README"))
    assert "get it with: ask for it" in refused()
    assert "there is no such file" in refused(given=tmp_path / "none")
    (tmp_path / "other").write_bytes(b"other")
    assert "was expected" in refused(given=tmp_path / "other")
    get("toy", quiet=True, given=archive)
    assert (cache / "toy/texts/README").read_bytes() == b"words"
    assert archive.exists()
    assert names(cache) == {"texts"}


def test_a_plain_file_fetched_by_hand_is_copied(cache: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a").write_bytes(b"one")
    know(monkeypatch, Source("https://example.org/a", "a.txt", sha256(b"one")))
    get("toy", quiet=True, given=tmp_path / "a")
    assert (cache / "toy/a.txt").read_bytes() == b"one"
    assert names(cache) == {"a.txt"}


def test_options_for_one_file_are_refused_for_several(cache: Path, monkeypatch) -> None:
    know(monkeypatch, Source("https://example.org/a", "a", "0" * 64), Source("https://example.org/b", "b", "0" * 64))
    assert "are for one file, and this is 2" in refused(sha256="0" * 64)


def test_two_processes_do_not_write_one_file(cache: Path, monkeypatch) -> None:
    know(monkeypatch, Source("http://127.0.0.1:1/a", "a", "0" * 64))
    (cache / "toy").mkdir(parents=True)
    with hold_lock(cache / "toy/.lock"):
        assert "another process is fetching it" in refused()


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no such data set \(did you mean tinyshakespeare\?\)"):
        find_entry("tinyshakespear")


def test_a_part_of_a_set_has_a_name_of_its_own() -> None:
    entry, sources = find_entry("etth2")
    assert (entry.name, [source.name for source in sources]) == ("ett", ["ETTh2.csv"])


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_known_set_can_be_verified_and_says_how_it_is_got(entry: Entry) -> None:
    assert entry.description
    assert entry.licence
    for source in entry.sources:
        assert source.verifiable
        assert source.url is not None or entry.advice
        if source.url is not None:
            download.check_url(source.url)
        for known in (source.sha256, source.content_sha256):
            assert known is None or len(known) == 64


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_known_checksums_are_those_of_the_files(entry: Entry) -> None:
    import os

    folder = os.environ.get("RNNTRAIN_DATA")
    if not folder:
        pytest.skip("RNNTRAIN_DATA names no folder of the real files")
    for source in entry.sources:
        place = Path(folder, entry.name, source.name)
        if place.is_dir() and source.content_sha256:
            assert tree_digest(place) == source.content_sha256
        elif place.is_file() and source.inside is not None:
            assert download.sha256_of(place) == source.content_sha256
        elif place.is_file():
            download.Expected(source.sha256, source.size, source.git_blob).check(place, str(place))
            assert source.size == place.stat().st_size
