"""Put a known data set into the cache: fetch, verify, unpack; nothing bears its name before it is whole and right."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rnntrain.checkpoints.durable import new_folder, one_line, remove_stale, sync_directory
from rnntrain.data.known.catalog import Entry, Source, find_entry
from rnntrain.data.known.download import Expected, download, sha256_of
from rnntrain.data.known.unpack import MOST_FILES, Limits, unpack
from rnntrain.data.places import cache_folder, search_folders
from rnntrain.errors import UserError
from rnntrain.runs.lock import hold_lock


def get(name: str, *, sha256: str | None = None, given: Path | None = None, quiet: bool = False) -> list[str]:
    """Fetch what of a data set is not here yet; return a line for people on each part.

    Args:
        sha256: of what is fetched, in place of the checksum that is known, or where none is; of one file alone.
        given: a file that was fetched by hand, in place of the address.

    Raises:
        UserError: there is no such set, it cannot be fetched, or its bytes are not the right ones.
    """
    entry, sources = find_entry(name)
    if (sha256 is not None or given is not None) and len(sources) != 1:
        raise UserError(
            f"{name}: --sha256 and --from are for one file, and this is {len(sources)}; get it without them"
        )
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise UserError(f"--sha256 {sha256}: expected 64 hexadecimal digits, as sha256sum prints them")
    return [_get_one(entry, source, sha256, given, quiet) for source in sources]


def _get_one(entry: Entry, source: Source, sha256: str | None, given: Path | None, quiet: bool) -> str:
    for folder in search_folders():
        if (folder / entry.name / source.name).exists():
            return f"{entry.name}/{source.name}: is here already, in {folder / entry.name}"
    if source.url is None and given is None:
        raise UserError(f"{entry.name}: no address serves it alone; get it with: {entry.advice}")
    if sha256 is None and not source.verifiable:
        raise UserError(
            f"{entry.name}: its checksum is not known here; see {source.url}, compare with what others publish, and "
            "give it as --sha256"
        )
    folder = cache_folder() / entry.name
    with _alone(folder):
        expected = Expected(sha256 or source.sha256, source.size, None if sha256 else source.git_blob)
        target = folder / source.name
        if source.inside is None:
            _place_file(source, target, expected, given, quiet)
        else:
            _place_unpacked(source, target, expected, given, check=sha256 is None, quiet=quiet)
    return f"{entry.name}/{source.name}: put into {folder}"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder of one data set, so that two processes do not write one file."""
    with one_line(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(folder / ".lock"))
        except UserError as error:
            raise UserError(f"{folder}: another process is fetching it; wait for it, or stop it") from error
        remove_stale(folder)
        yield


def _place_file(source: Source, target: Path, expected: Expected, given: Path | None, quiet: bool) -> None:
    if given is None:
        assert source.url is not None
        download(source.url, target, expected, quiet=quiet)
        return
    _check_given(given, expected)
    with new_folder(target) as folder:
        copy = folder / target.name
        copy.write_bytes(given.read_bytes())
        os.rename(copy, target)
        folder.rmdir()


def _check_given(given: Path, expected: Expected) -> None:
    if not given.is_file():
        raise UserError(f"--from {given}: there is no such file; check the path")
    expected.check(given, f"--from {given}")


def _place_unpacked(
    source: Source, target: Path, expected: Expected, given: Path | None, *, check: bool, quiet: bool
) -> None:
    """Unpack into a folder aside, verify there, and rename the one file or folder that is wanted."""
    assert source.inside is not None
    if given is None:
        assert source.url is not None
        archive = target.with_name(f".archive-{target.name}")
        _fetch_archive(source.url, archive, expected, quiet)
    else:
        _check_given(given, expected)
        archive = given
    try:
        with one_line(target), new_folder(target) as folder:
            unpack(archive, folder, Limits(MOST_FILES, source.unpacked), _chooser(source))
            content = folder / source.inside
            _check_content(source, content, archive, check)
            os.sync()  # names must not outlive a crash that the bytes of a hundred thousand files do not
            os.rename(content, target)
            sync_directory(target.parent)
            _remove_empty(folder)
    except KeyboardInterrupt:
        raise  # the archive is good, and the next call goes on with it
    except BaseException:
        if given is None:
            archive.unlink()
        raise
    if given is None:
        archive.unlink()


def _fetch_archive(url: str, archive: Path, expected: Expected, quiet: bool) -> None:
    """Fetch an archive, unless it was left whole by a process that was stopped while it unpacked."""
    if archive.exists():
        try:
            expected.check(archive, str(archive))
            return
        except UserError:  # of an older version
            archive.unlink()
    download(url, archive, expected, quiet=quiet)


def _chooser(source: Source) -> Callable[[str], bool]:
    inside, pattern = f"{source.inside}/", re.compile(source.pattern)

    def wanted(name: str) -> bool:
        return name == source.inside or (name.startswith(inside) and bool(pattern.fullmatch(name[len(inside) :])))

    return wanted


def _check_content(source: Source, content: Path, archive: Path, check: bool) -> None:
    if not content.exists():
        raise UserError(f"{source.url or archive}: the archive has no {source.inside}; it is another one than expected")
    if not check or source.content_sha256 is None:
        return
    found = tree_digest(content) if content.is_dir() else sha256_of(content)
    if found != source.content_sha256:
        raise UserError(
            f"{source.url or archive}: the SHA-256 of {source.inside} in it is {found} where {source.content_sha256} "
            "was expected: it has changed, or was changed on its way; nothing of it was kept"
        )


def tree_digest(folder: Path) -> str:
    """Return the SHA-256 over all files below a folder: that of the lines `sha256sum` prints of them, by name."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = (f"{sha256_of(folder / name)}  {name}\n" for name in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _remove_empty(folder: Path) -> None:
    for place in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        place.rmdir()
    folder.rmdir()
