"""The page around the sections: style and script within, nothing from elsewhere, and a policy that keeps it so."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files

from rnntrain.reporting.html import Child, Html, element, join
from rnntrain.runs.environment import package_version


def document(
    title: str, top: Sequence[Child], sections: Sequence[Html | None], contents: Sequence[tuple[str, str]]
) -> str:
    """Return a whole HTML document.

    Args:
        top: what stands in its header below the title.
        contents: anchors and names of the sections, for the list at the top.
    """
    style, script = _shipped("page.css"), _shipped("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Even if something of a run's data were taken for HTML, the browser would run no other script and load nothing.
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    links = element("ul", *(element("li", element("a", name, href=f"#{anchor}")) for anchor, name in contents))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("link", rel="icon", href="data:,"),
        element("style", Html(style)),
    )
    made = datetime.now().astimezone().isoformat(timespec="minutes")
    body = element(
        "body",
        element("header", element("h1", title), *top, element("nav", links, aria_label="Contents")),
        element("main", join(sections)),
        element("footer", f"Made by rnntrain {package_version()}, {made}."),
        element("script", Html(script)),
    )
    return "<!doctype html>\n" + element("html", head, body, lang="en") + "\n"


def smoothing_slider(identity: str = "smoothing") -> Html:
    """Return the slider that smooths curves; the page's script shows it, without which it would do nothing."""
    return element(
        "div",
        element(
            "label",
            "smoothing ",
            element("input", type="range", min="0", max="0.98", step="0.02", value="0.6", data_smoothing=identity),
        ),
        element("output", "0.6", id=identity),
        class_="controls",
        hidden=True,
    )


def _shipped(name: str) -> str:
    return files("rnntrain.reporting").joinpath(name).read_text(encoding="utf-8")
