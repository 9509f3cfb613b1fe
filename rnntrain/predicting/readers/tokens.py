"""Tokens: sentences in columns (CoNLL), with or without tags; lines of running text; lines of JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from rnntrain.data.source import Document, find_documents
from rnntrain.data.tagged.bio import has_ends, marks_spans
from rnntrain.data.tagged.conll import DOCUMENT_START, Layout, Sentence, read_sentences
from rnntrain.data.tagged.mending import choose_alternatives, mend_tags
from rnntrain.errors import UserError
from rnntrain.predicting.readers.items import Item, Reading, Stream, head_of
from rnntrain.predicting.readers.texts import JSON_LINES, json_lines

CONLL = (".conll", ".iob", ".iob2", ".bio", ".conllu")
_SPACES = re.compile("[ \t]+")


def read_tokens(path: str, reading: Reading) -> Iterator[Item]:
    """Yield the sentences of a file, a folder or standard input.

    Raises:
        UserError: names file and line.
    """
    if reading.labelled:
        yield from _labelled(path, reading)
        return
    stream = Stream.of(path)
    if stream.path is not None and stream.path.is_dir():
        for document in find_documents(stream.path, "FILE", (), any_file=False):
            yield from read_tokens(document.name, reading)
        return
    lines = stream.lines()
    head = head_of(lines)
    form = reading.form if reading.form != "auto" else _form(stream, head, reading)
    everything = chain(head, lines)
    if form == "conll":
        yield from _of_columns(stream.name, everything, reading)
    elif form == "jsonl":
        for number, value in json_lines(stream.name, everything):
            tokens = value.get("tokens", value.get("text")) if isinstance(value, dict) else value
            yield Item(tokens, f"{stream.name}:{number}", {"line": number})
    elif form == "lines":
        for number, line in enumerate(everything, 1):
            if line.strip():
                yield Item(line.strip(), f"{stream.name}:{number}", {"line": number})
    else:
        raise UserError(f"--input {form}: this model reads tokens; choose conll, lines or jsonl")


def _form(stream: Stream, head: list[str], reading: Reading) -> str:
    if stream.suffix in JSON_LINES:
        return "jsonl"
    # Columns by their name, or where no line could be one of running text.
    full = [line.strip() for line in head if line.strip()]
    in_columns = len(full) < len(head) and all("\t" in line or len(line.split()) == 1 for line in full)
    form = "conll" if stream.suffix in CONLL or in_columns else "lines"
    reading.note(
        f"{stream.name}: read as {'one token a line' if form == 'conll' else 'running text'}, guessed (see --input)"
    )
    return form


def _of_columns(name: str, lines: Iterator[str], reading: Reading) -> Iterator[Item]:
    place = int(reading.recorded.get("token_column") or 1) - 1
    comments = bool(reading.recorded.get("comments", False))
    tokens: list[str] = []
    first = 1
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\r\n")
        if not line.strip() or line.startswith(DOCUMENT_START):
            if tokens:
                yield Item(tokens, f"{name}:{first}", {"line": first})
            tokens = []
        elif not (comments and line.startswith("#")):
            cells = line.split("\t") if "\t" in line else _SPACES.split(line.strip())
            if place >= len(cells) or not cells[place].strip():
                raise UserError(f"{name}:{number}: has no token in column {place + 1}; set data.token_column")
            first = first if tokens else number
            tokens.append(cells[place])
    if tokens:
        yield Item(tokens, f"{name}:{first}", {"line": first})


def _labelled(path: str, reading: Reading) -> Iterator[Item]:
    """Yield tagged sentences, by the rules by which a data set reads them."""
    recorded = reading.recorded
    layout = Layout(recorded.get("token_column"), recorded.get("tag_column"), bool(recorded.get("comments", False)))
    bio, alternatives = recorded.get("bio", "refuse"), recorded.get("alternatives", "refuse")
    if path == "-":
        documents = [Document.of_bytes("stdin", "".join(Stream.of(path).lines()).encode())]
    else:
        documents = find_documents(Path(path).expanduser(), "FILE", (), any_file=False)
    sentences: list[Sentence] = [each for document in documents for each in read_sentences(document, layout)]
    if not sentences:
        raise UserError(f"{path}: holds no sentence; give a file with a token and its tag a line")
    for sentence in sentences:
        choose_alternatives(sentence, alternatives)
    tags = {tag for sentence in sentences for tag in sentence.tags}
    reading.note(f"{path}: {layout.describe()}")
    for sentence in sentences:
        if bio != "keep" and marks_spans(tags):
            mend_tags(sentence, has_ends(tags), bio)
        yield Item(sentence.tokens, sentence.place(0), {"source": sentence.place(0)}, sentence.tags)
