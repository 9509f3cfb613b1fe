"""What a run showed in words while it trained: one JSON object a line, to be read without TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rnntrain.checkpoints import durable

FILE_LIMIT_BYTES = 64 << 20
TEXT_LIMIT = 20_000  # characters of one text


class ShownText(NamedTuple):
    """One text; `final` where it is of the weights that the run ended with."""

    step: int
    text: str
    final: bool


def append_texts(path: Path, step: int, texts: Mapping[str, str], final: bool = False) -> None:
    """Add texts by title to the file, which is made where it is not there."""
    with path.open("a", encoding="utf-8", errors="replace") as file:
        for title, text in texts.items():
            line = {"step": step, "title": title, "text": text[:TEXT_LIMIT]} | ({"final": True} if final else {})
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_texts(path: Path) -> dict[str, list[ShownText]]:
    """Return the texts of a run by title, in the order of their steps; lines that are torn or no texts are left out."""
    try:
        data = durable.read_bounded(path, FILE_LIMIT_BYTES)
    except (OSError, ValueError):
        return {}
    found: dict[str, list[ShownText]] = {}
    for line in data.splitlines():
        try:
            record = json.loads(line)
            shown = ShownText(int(record["step"]), str(record["text"]), record.get("final") is True)
            found.setdefault(str(record["title"]), []).append(shown)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return found


def drop_texts_after(path: Path, step: int) -> None:
    """Take out what a resume from `step` will show again, and what only the run's end gave rise to.

    Raises:
        UserError: the disk refused; the file is as it was.
    """
    with durable.one_line(path):
        if not path.exists():
            return
        with path.open("rb") as file:
            lines = file.readlines()
        kept = [line for line in lines if _is_kept(line, step)]
        if len(kept) < len(lines):
            durable.replace_from(path, kept)


def _is_kept(line: bytes, step: int) -> bool:
    try:
        record = json.loads(line)
        return bool(line.endswith(b"\n") and int(record["step"]) <= step and "final" not in record)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
