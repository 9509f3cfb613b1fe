"""How a picture changed while a run trained: one frame a moment, chosen by what is marked below it.

The choice is a group of radio buttons that style sheets alone bring to effect: arrow keys go from moment to moment, no
script is needed, and on paper all frames stand side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rnntrain.reporting.html import Html, element
from rnntrain.reporting.pictures import caption_of, data_address, pixel_width, small_png
from rnntrain.runs.shown_pictures import ShownPicture

SPLIT = "val"  # which evaluations on the way look at


class Film(NamedTuple):
    """The moments of one picture.

    Attributes:
        name: its title as in the names of files.
        last: the picture of the weights that the run ends with; None where there is none.
    """

    name: str
    moments: Sequence[ShownPicture]
    last: Path | None


class Frame(NamedTuple):
    """One moment as it is shown: its step as text, empty of the weights that the run ends with."""

    step: str
    png: bytes

    @property
    def when(self) -> str:
        return f"step {self.step}" if self.step else "the end"

    @property
    def told(self) -> str:
        return f"at step {self.step}" if self.step else "of the weights that the run ends with"


def films(kept: dict[str, list[ShownPicture]], final: Sequence[Path]) -> list[Film]:
    """Return the pictures of which there is more than one moment, each with that of the run's end."""
    ends = {path.stem: path for path in final}
    found = [Film(name, moments, ends.get(f"{SPLIT}_{name}", ends.get(name))) for name, moments in kept.items()]
    return [film for film in found if len(film.moments) + (film.last is not None) > 1]


def projection(film: Film, budget_bytes: int) -> tuple[Html | None, int]:
    """Return a film as a figure, and the bytes that it takes; nothing where no two frames can be read or fit.

    Where the budget is short, frames between the first and the last are left out.
    """
    frames = [Frame(f"{moment.step:,}", data) for moment in film.moments if (data := small_png(moment.path))]
    if film.last is not None and (data := small_png(film.last)):
        frames.append(Frame("", data))
    frames = _within(frames, budget_bytes)
    if len(frames) < 2:
        return None, 0
    title, caption = film.name.replace("_", " "), caption_of(film.name)
    width = min(pixel_width(frame.png) for frame in frames)  # so that no frame jumps
    parts: list[Html] = []
    for number, frame in enumerate(frames):
        identity = f"{film.name}-{number}"
        alt = ": ".join(filter(None, (f"{title} {frame.told}", caption)))
        image = element("img", src=data_address(frame.png), alt=alt, width=width)
        chosen = number == len(frames) - 1
        parts += [
            element("input", type="radio", name=f"film-{film.name}", id=identity, checked=chosen),
            element("label", frame.step or frame.when, for_=identity),
            element("figure", image, element("figcaption", frame.when)),
        ]
    note = element("span", f": {caption}", class_="note") if caption else None
    legend = element("legend", f"{title} over time", note)
    figure = element("fieldset", legend, element("span", "step", aria_hidden="true"), *parts, class_="film")
    return figure, sum(len(frame.png) for frame in frames)


def _within(frames: list[Frame], budget_bytes: int) -> list[Frame]:
    while len(frames) > 2 and sum(len(frame.png) for frame in frames) > budget_bytes:
        frames.pop(len(frames) // 2)
    return frames if sum(len(frame.png) for frame in frames) <= budget_bytes else []
