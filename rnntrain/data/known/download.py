"""Fetch a file: resumed where it was cut off, and verified before it bears its name."""

from __future__ import annotations

import errno
import hashlib
import http
import http.client
import os
import re
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rnntrain.checkpoints.durable import sync_directory
from rnntrain.errors import UserError
from rnntrain.loopback import is_loopback

BLOCK = 1 << 16  # bytes; the bar moves as often
TIMEOUT_SECONDS = 30.0  # without a byte
MOST_TRIES = 4  # in a row that bring nothing new
RETRY_SECONDS = 0.5  # twice this before a second try, twice as long before each further one
MOST_BYTES = 50 << 30  # of a file whose size nobody says
SPARE_BYTES = 64 << 20  # to be left free on the disk
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError)
TRANSIENT = (429, 500, 502, 503, 504)  # answers that may be others in a moment


@dataclass(frozen=True)
class Expected:
    """What a file must be; None where it is not known.

    Attributes:
        sha256: in hexadecimal digits; without it, whoever calls verifies what is in the file.
        size: in bytes; where there is a checksum, that alone decides, and another size is only said.
        git_blob: the id of the file in git, where no SHA-256 is known.
    """

    sha256: str | None = None
    size: int | None = None
    git_blob: str | None = None

    @property
    def has_checksum(self) -> bool:
        return self.sha256 is not None or self.git_blob is not None

    def check(self, path: Path, where: str) -> None:
        """Raise UserError if the file is another one; `where` names it in the message."""
        for kind, wanted, measure in (("SHA-256", self.sha256, sha256_of), ("git id", self.git_blob, git_blob_of)):
            if wanted is not None and (found := measure(path)) != wanted.lower():
                raise UserError(
                    f"{where}: its {kind} is {found} where {wanted.lower()} was expected: it has changed, or was "
                    "changed on its way; nothing of it was kept"
                )


def download(url: str, target: Path, expected: Expected, *, quiet: bool = False) -> Path:
    """Fetch `url` into `target`, which must not be there; its folder is made.

    What has come of it lies beside it as `.part-…` and is gone on with by the next call, whether this one was
    interrupted, cut off or out of disk space. Only whole and verified bytes get the name `target`.

    Raises:
        UserError: the address is not of https (or of this machine), the server refuses, the disk is full, or the bytes
            are not the expected ones; in one line, with what to do.
    """
    check_url(url)
    # What came from another address, or of another version, is not gone on with.
    version = hashlib.sha256(f"{url} {expected.sha256}".encode()).hexdigest()[:12]
    part = target.with_name(f".part-{target.name}-{version}")
    with _disk_in_one_line(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        resumed = part.exists()
        _fetch(url, part, expected, quiet)
        try:
            expected.check(part, url)
        except UserError:
            part.unlink()
            if resumed:  # the server's file may have changed since the first part of it came: begin anew, once
                return download(url, target, expected, quiet=quiet)
            raise
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.rename(part, target)
        sync_directory(target.parent)
    return target


def check_url(url: str) -> None:
    """Refuse an address from which bytes could be read or changed on their way.

    Raises:
        UserError: it is neither https nor http from this very machine.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and is_loopback(parts.hostname or ""):
        return
    raise UserError(f"{url}: only https is fetched from; give an https address, or put the file in place by hand")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_blob_of(path: Path) -> str:
    """Return the id under which git keeps a file."""
    with path.open("rb") as file:
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def check_free(folder: Path, wanted: int) -> None:
    """Raise UserError where so many bytes would not leave the disk some room."""
    free = shutil.disk_usage(folder).free
    if wanted + SPARE_BYTES > free:
        raise UserError(
            f"{folder}: {_megabytes(wanted)} are needed and {_megabytes(free)} are free; make room, or set "
            "RNNTRAIN_CACHE to a folder on another disk"
        )


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirection to what would not have been fetched from in the first place."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        try:
            check_url(newurl)
        except UserError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(url: str, part: Path, expected: Expected, quiet: bool) -> None:
    """Bring `part` to its full length, going on after what it holds; try again while anything new comes."""
    tries, reason = 0, ""
    with _progress(part, quiet) as bar:
        while tries < MOST_TRIES:
            before = part.stat().st_size if part.exists() else 0
            try:
                if _fetch_rest(url, part, before, expected, bar):
                    return
                reason = "the connection was closed before the end"
            except urllib.error.HTTPError as error:
                if error.code not in TRANSIENT:
                    raise UserError(f"{url}: the server answers {error.code} {error.reason}; try later") from error
                reason = f"the server answers {error.code}"
            except (
                urllib.error.URLError,
                http.client.HTTPException,
                TimeoutError,
                ConnectionError,
                ssl.SSLError,
            ) as error:
                reason = _reason(error)
            grew = part.exists() and part.stat().st_size > before
            tries = 0 if grew else tries + 1
            if not grew and tries < MOST_TRIES:
                time.sleep(2**tries * RETRY_SECONDS)
    have = part.stat().st_size if part.exists() else 0
    if not have:
        raise UserError(
            f"{url}: {reason}; check the connection, or fetch it by hand: rnntrain data get NAME --from FILE"
        )
    raise UserError(f"{url}: cut off after {_megabytes(have)} ({reason}); the same command goes on from there")


def _fetch_rest(url: str, part: Path, have: int, expected: Expected, bar: Any) -> bool:
    """Append what the server has beyond `have` bytes; say whether the file is whole now."""
    over = expected.size is not None and have > expected.size
    if have == expected.size or (over and not expected.has_checksum):
        return True
    headers = {"User-Agent": "rnntrain", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    handlers: list[urllib.request.BaseHandler] = [_CheckedRedirects()]
    if is_loopback(urllib.parse.urlsplit(url).hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))  # no proxy reaches this machine
    opener = urllib.request.build_opener(*handlers)
    try:
        answer = opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        match = re.search(r"/(\d+)$", error.headers.get("Content-Range", ""))
        if match and int(match[1]) == have:
            return True
        part.unlink()  # longer than what the server has
        return False
    with answer:
        start, total = _extent(answer, have)
        _check_size(url, total, expected)
        check_free(part.parent, max((total or 0) - start, 0))
        bar.total, bar.n = total, start
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            end = _copy(answer, file, start, total or expected.size or MOST_BYTES, bar, url)
        return total is None or end == total


def _reason(error: BaseException) -> str:
    cause = getattr(error, "reason", None) or error  # a URLError wraps what the system said
    return (getattr(cause, "strerror", None) or str(cause) or type(cause).__name__).lower()


def _extent(answer: Any, have: int) -> tuple[int, int | None]:
    """Return where the answer's bytes begin in the file, and the size of the whole if the server says so."""
    if answer.status == http.HTTPStatus.PARTIAL_CONTENT:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if match and int(match[1]) == have:
            return have, None if match[2] == "*" else int(match[2])
        raise http.client.HTTPException("the server gives another part than the one asked for")
    length = answer.headers.get("Content-Length")
    return 0, int(length) if length and length.isdecimal() else None


def _check_size(url: str, total: int | None, expected: Expected) -> None:
    if total is not None and expected.size is not None and total != expected.size:
        differs = f"{url}: {total:,} bytes where {expected.size:,} were expected"
        if not expected.has_checksum:
            raise UserError(
                f"{differs}: the file there has changed; get it by hand and put it in place if you trust it"
            )
        print(f"rnntrain: warning: {differs}; its checksum will decide", file=sys.stderr, flush=True)
    if total is not None and total > MOST_BYTES:
        raise UserError(f"{url}: {_megabytes(total)} are more than is fetched; get it by hand")


def _copy(answer: Any, file: IO[bytes], start: int, limit: int, bar: Any, url: str) -> int:
    end = start
    while block := answer.read(BLOCK):
        end += len(block)
        if end > limit:
            raise UserError(f"{url}: the server sends more than the {limit:,} bytes that the file has; get it by hand")
        file.write(block)
        bar.update(len(block))
    return end


@contextmanager
def _progress(part: Path, quiet: bool) -> Iterator[Any]:
    from tqdm import tqdm

    name = part.name.removeprefix(".part-")[:-13]
    with tqdm(desc=name, unit="B", unit_scale=True, unit_divisor=1024, disable=quiet or None, leave=False) as bar:
        yield bar


@contextmanager
def _disk_in_one_line(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = "mend that, or set RNNTRAIN_CACHE to another folder"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "make room and give the same command again, which goes on from here"
        raise UserError(f"{target}: {(error.strerror or str(error)).lower()}; {advice}") from error


def _megabytes(number: int) -> str:
    return f"{number / 1e6:,.1f} MB"
