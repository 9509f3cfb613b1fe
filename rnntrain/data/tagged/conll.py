"""Sentences with one token and its tag a line, as the shared tasks of CoNLL have them: read and checked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from rnntrain.data.bounded import check_line
from rnntrain.data.source import Document
from rnntrain.errors import UserError

DOCUMENT_START = "-DOCSTART-"
_SPACES = re.compile("[ \t]+")


@dataclass(frozen=True)
class Sentence:
    """Tokens and their tags, with the place of each in the files for messages.

    Attributes:
        source: the name of the file.
        lines: the number of each token's line.
    """

    source: str
    tokens: list[str]
    tags: list[str]
    lines: list[int]

    def place(self, token: int) -> str:
        """Return `file:line` of a token, and of the last one for all beyond it."""
        return f"{self.source}:{self.lines[min(token, len(self.lines) - 1)]}"


@dataclass
class Layout:
    """Which columns hold what; the first file settles what the user left open, and all others must agree.

    Attributes:
        token_column: counted from 1; None for the first.
        tag_column: counted from 1; None for the last.
        comments: skip lines that begin with `#`.
        width: the number of columns, once a line was seen.
    """

    token_column: int | None = None
    tag_column: int | None = None
    comments: bool = False
    width: int | None = None

    def columns(self) -> tuple[int, int]:
        """Return the columns of token and tag, counted from 0."""
        assert self.width is not None
        return (self.token_column or 1) - 1, (self.tag_column or self.width) - 1

    def describe(self) -> str:
        token, tag = self.columns()
        guessed = " (guessed)" if self.token_column is None or self.tag_column is None else ""
        return f"column {token + 1} is the token and {tag + 1} of {self.width} the tag{guessed}"


def read_sentences(document: Document, layout: Layout) -> Iterator[Sentence]:
    """Yield the sentences of a file: separated by blank lines, columns by tabs, or by spaces where a line has no tab.

    Lines that begin with `-DOCSTART-` part documents and are skipped.

    Raises:
        UserError: names file and line, for a line whose columns are not those of the first, or are empty.
    """
    tokens: list[str] = []
    tags: list[str] = []
    lines: list[int] = []
    for number, line in enumerate(lines_of(document), start=1):
        if line.strip(" \t") and not line.startswith(DOCUMENT_START):
            if layout.comments and line.startswith("#"):
                continue
            token, tag = _cells(line, f"{document.name}:{number}", layout)
            tokens.append(token)
            tags.append(tag)
            lines.append(number)
        elif tokens:
            yield Sentence(document.name, tokens, tags, lines)
            tokens, tags, lines = [], [], []
    if tokens:
        yield Sentence(document.name, tokens, tags, lines)


def lines_of(document: Document) -> Iterator[str]:
    """Yield lines without their ends; not by `splitlines`, which also cuts at characters that tokens may hold."""
    rest, number = "", 1
    for chunk in replace(document, or_else="").text():
        *whole, rest = (rest + chunk).split("\n")
        yield from whole
        number += len(whole)
        check_line(len(rest), f"{document.name}:{number}")
    if rest:
        yield rest


def _cells(line: str, place: str, layout: Layout) -> tuple[str, str]:
    """Return token and tag of a line."""
    cells = line.split("\t") if "\t" in line else _SPACES.split(line.strip(" "))
    if layout.width is None:
        layout.width = len(cells)
        _check_layout(layout, place)
    if len(cells) != layout.width:
        comment = "; if it is a comment, set data.comments=true" if line.startswith("#") else ""
        raise UserError(
            f"{place}: {len(cells)} columns, where the lines before have {layout.width}; give each token its tag, "
            f"and separate sentences by a blank line{comment}"
        )
    token_column, tag_column = layout.columns()
    token, tag = cells[token_column], cells[tag_column].strip()
    if not token or not tag:
        raise UserError(f"{place}: the {'tag' if token else 'token'} is empty; fill in both columns")
    return token, tag


def _check_layout(layout: Layout, place: str) -> None:
    for key, column in (("token_column", layout.token_column), ("tag_column", layout.tag_column)):
        if column is not None and layout.width is not None and column > layout.width:
            raise UserError(f"data.{key}={column}: {place} has {layout.width} columns; give a number up to that")
    if layout.width == 1:
        raise UserError(f"{place}: one column, and two are needed: a token and its tag, with a tab or space between")
    token, tag = layout.columns()
    if token == tag:
        raise UserError(f"data.token_column={token + 1}: is the column of the tags too; set data.tag_column")
