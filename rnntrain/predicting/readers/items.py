"""What a reader yields, and the streams it reads from: files, packed or not, and standard input."""

from __future__ import annotations

import gzip
import os
import stat
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Literal, NamedTuple, TypeAlias, TypeVar, cast

from rnntrain.errors import UserError, closest

Form: TypeAlias = Literal["auto", "lines", "table", "jsonl", "conll"]

Answer = TypeVar("Answer")

STDIN = "-"
LONGEST_LINE = 1 << 26  # bytes: a line is held whole, so one without an end must be refused
LOOK_BYTES = 1 << 16  # that a guess is made from
LOOK_LINES = 200
_MARK = "\ufeff"


class Item(NamedTuple):
    """One raw input.

    Attributes:
        raw: of the kind that the predictor reads.
        where: the place as messages name it.
        shown: what its record begins with.
        truth: what is true of it, as the file says; None where it says nothing.
    """

    raw: Any
    where: str
    shown: Mapping[str, Any] = MappingProxyType({})
    truth: Any = None


@dataclass(frozen=True)
class Reading:
    """How inputs are to be read.

    Attributes:
        recorded: how the run's data set read its own files: the arguments of its config section.
        form: of text files; "auto" goes by the name's end and the first lines.
        labelled: what is true of each input is needed too.
        split: of an archive that holds several.
        notes: how files were read, to be told once the first answer is there: who gives wrong input reads the error
            alone.
    """

    recorded: Mapping[str, Any] = field(default_factory=dict)
    form: Form = "auto"
    labelled: bool = False
    split: str | None = None
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Keep a line about how something was read."""
        self.notes.append(text)

    def told(self, answers: Iterable[Answer]) -> Iterator[Answer]:
        """Yield answers, and tell on standard error, before each, what has been noted since the one before."""
        for answer in answers:
            self.tell()
            yield answer

    def tell(self) -> None:
        """Tell on standard error what has been noted."""
        for text in self.notes:
            print(f"rnntrain: {text}", file=sys.stderr, flush=True)
        self.notes.clear()

    def column(self, name: str) -> str | None:
        """Return a recorded column, which may be a number."""
        value = self.recorded.get(name)
        return None if value is None else str(value)


@dataclass(frozen=True)
class Stream:
    """Text that is read line by line.

    Attributes:
        name: for messages.
        path: None for standard input.
    """

    name: str
    path: Path | None

    @classmethod
    def of(cls, path: str) -> Stream:
        return cls("stdin", None) if path == STDIN else cls(path, Path(path).expanduser())

    @property
    def suffix(self) -> str:
        """The end of the name, that of the packed file where it is packed."""
        return "" if self.path is None else Path(self.path.name.lower().removesuffix(".gz")).suffix

    def lines(self) -> Iterator[str]:
        """Yield lines with their ends, decoded from UTF-8, without a byte-order mark.

        Raises:
            UserError: it cannot be read, or names the line that is not UTF-8 or has no end.
        """
        number = 0
        try:
            with self._open() as file:
                while line := file.readline(LONGEST_LINE):
                    number += 1
                    if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                        most = LONGEST_LINE >> 20
                        raise UserError(f"{self.name}:{number}: a line of over {most} MiB; break it up")
                    text = self._decoded(line, number)
                    yield text.removeprefix(_MARK) if number == 1 else text
        except (OSError, EOFError, zlib.error) as error:
            raise _unreadable(self.name, error) from error

    def _decoded(self, line: bytes, number: int) -> str:
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{self.name}:{number}: not UTF-8: byte 0x{line[error.start]:02x} at place {error.start} of the line; "
                "convert it (iconv -f latin1 -t utf-8)"
            ) from error

    def _open(self) -> AbstractContextManager[IO[bytes]]:
        if self.path is None:
            return nullcontext(sys.stdin.buffer)
        check_file(self.path, self.name)
        if self.path.name.lower().endswith(".gz"):
            return cast(IO[bytes], gzip.open(self.path, "rb"))
        return self.path.open("rb")


def check_file(path: Path, name: str) -> None:
    """Refuse what is no file that can be read; names that are near are named."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        near = closest(path.name, sorted(os.listdir(path.parent))) if path.parent.is_dir() else ""
        raise UserError(f"{name}: there is no such file or folder{near}; check the path") from error
    except OSError as error:
        raise _unreadable(name, error) from error
    if stat.S_ISDIR(mode):
        raise UserError(f"{name}: is a folder; name a file in it")


def _unreadable(name: str, error: BaseException) -> UserError:
    reason = (getattr(error, "strerror", None) or str(error)).lower()
    return UserError(f"{name}: cannot be read ({reason}); make it readable, or get it anew")


def head_of(lines: Iterator[str]) -> list[str]:
    """Take the first lines of a stream, as many as a guess is made from."""
    head: list[str] = []
    size = 0
    for line in lines:
        head.append(line)
        size += len(line)
        if len(head) == LOOK_LINES or size > LOOK_BYTES:
            break
    return head
