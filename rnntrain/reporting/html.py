"""HTML that is safe by construction: what is not made here is text, and is escaped."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias

_VOID = frozenset({"img", "input", "meta", "link", "wbr"})


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Child: TypeAlias = "Html | str | None"


def element(name: str, /, *children: Child, **attributes: object) -> Html:
    """Return an element; children that are not `Html` are escaped, those that are None left out.

    Args:
        attributes: `class_` is `class`, other underscores are hyphens; True stands for an attribute without a value,
            None and False for none.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items() if value not in (None, False))
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Html:
    """Return children one after the other."""
    return Html("".join(c if isinstance(c, Html) else html.escape(c) for c in children if c is not None))


def table(head: Sequence[Child], rows: Iterable[Sequence[Child]], *, caption: str, class_: str | None = None) -> Html:
    """Return a table whose first column names its rows; it scrolls by itself where it is too wide."""
    header = element("tr", *(element("th", each, scope="col") for each in head))
    body = (
        element("tr", element("th", breakable(first), scope="row"), *(_cell(each) for each in rest))
        for first, *rest in rows
    )
    inner = element(
        "table", element("caption", caption), element("thead", header), element("tbody", *body), class_=class_
    )
    return element("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def breakable(name: Child) -> Child:
    """Return a name that a narrow column may break where its parts meet."""
    if name is None or isinstance(name, Html):
        return name
    return Html("<wbr>".join(join([piece]) for piece in re.split("(?<=[A-Za-z0-9][._/])(?=.)", name)))


def cell(content: Child, value: float | None = None) -> Html:
    """Return a table's cell that is sorted by `value` whatever it shows."""
    is_known = value is not None and math.isfinite(value)
    return element("td", content, class_="number", data_value=repr(value) if is_known else "")


def section(title: str, *children: Child, identity: str, note: str | None = None) -> Html | None:
    """Return a section under a heading, or nothing where it would be empty."""
    content = [child for child in children if child]
    if not content:
        return None
    return element(
        "section",
        element("h2", title, id=identity),
        element("p", note, class_="note") if note else None,
        *content,
        aria_labelledby=identity,
    )


def number_text(value: float | None, digits: int = 4) -> str:
    """Return a number as people read it, with so many digits that count; a dash where there is none."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "NaN")
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", "−")
    if abs(value) >= 10**digits:
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'


def _cell(content: Child) -> Html:
    if isinstance(content, Html) and content.startswith("<td"):
        return content
    text = re.sub("<[^>]*>", "", content or "")
    is_number = text[:1].isdigit() or text[:1] in tuple("−–∞")
    return element("td", content, class_="number" if is_number else None)
