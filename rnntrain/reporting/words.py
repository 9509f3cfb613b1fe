"""Texts that a run showed, over time: samples, transcripts, predictions with spans in colour."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rnntrain.comparing.records import RunRecord
from rnntrain.reporting.charts import COLOURS
from rnntrain.reporting.html import Html, element, join
from rnntrain.runs.shown_texts import ShownText

MOST_STAGES = 8  # of a text that was shown again and again: the first, the last, and some between
MOST_CHARS = 6000  # of one text on the page
_SPAN = re.compile(r"\[([^\s\[\]:]{1,40}): ([^\[\]]+)\]")  # as data/tagged/bio.py writes spans
_WRONG = ("≠", "WRONG")
_TRUTH = ("true:",)


def over_time(title: str, shown: Sequence[ShownText], *, spans: bool = False) -> Html:
    """Return one text at several steps; the page's script puts them on a slider, else they follow each other."""
    kinds: dict[str, int] = {}
    stages = [
        element("div", element("p", _when(each)), element("pre", join(_lines(each.text, spans, kinds))))
        for each in spread(shown, MOST_STAGES)
    ]
    return join([element("h3", title.capitalize()), element("div", *stages, class_="over-time")])


def last_texts(texts: Mapping[str, Sequence[ShownText]], *, spans: bool = False) -> Html | None:
    """Return the last of each text."""
    parts = [over_time(title, shown[-1:], spans=spans) for title, shown in texts.items() if shown]
    return join(parts) if parts else None


def tags_spans(record: RunRecord) -> bool:
    """Say whether a run's texts hold spans, as those of a tagger do."""
    task = record.plain.get("task")
    return isinstance(task, dict) and str(task.get("_target_", "")).startswith("rnntrain.tasks.tagging.")


def spread(shown: Sequence[ShownText], most: int) -> list[ShownText]:
    """Return at most `most` of them, evenly over time, the first and the last among them."""
    if len(shown) <= most:
        return list(shown)
    return [shown[round(number * (len(shown) - 1) / (most - 1))] for number in range(most)]


def _when(shown: ShownText) -> str:
    return f"step {shown.step:,}, the weights that the run ends with" if shown.final else f"step {shown.step:,}"


def _lines(text: str, spans: bool, kinds: dict[str, int]) -> list[Html]:
    lines = text[:MOST_CHARS].strip("\n").split("\n")
    return [_line(line + ("\n" if number < len(lines) - 1 else ""), spans, kinds) for number, line in enumerate(lines)]


def _line(line: str, spans: bool, kinds: dict[str, int]) -> Html:
    content = _with_spans(line, kinds) if spans else join([line])
    begins = line.lstrip()
    if begins.startswith(_WRONG):
        return element("span", content, class_="wrong")
    return element("span", content, class_="truth") if begins.startswith(_TRUTH) else content


def _with_spans(line: str, kinds: dict[str, int]) -> Html:
    """Return a line with its spans marked: each kind has a colour and a kind of underline, and is named."""
    pieces: list[Html | str] = []
    place = 0
    for found in _SPAN.finditer(line):
        kind, words = found.groups()
        style = kinds.setdefault(kind, len(kinds)) % COLOURS
        pieces += [line[place : found.start()], element("mark", element("b", kind), words, class_=f"s{style}")]
        place = found.end()
    return join([*pieces, line[place:]])
