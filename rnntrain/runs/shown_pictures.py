"""What a run showed in pictures while it trained: a few moments of each, to be seen without TensorBoard."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rnntrain.checkpoints import durable

if TYPE_CHECKING:
    import numpy as np

MOST_MOMENTS = 8  # of one picture: the first, the last, and some between
MOST_TITLES = 12  # of one run
WIDEST = 640  # pixels: a picture of one moment is looked at beside others
MOST_COLOURS = 64
MOST_BYTES = 100_000  # of one file; one that takes more is made smaller
LEAST_WIDTH = 80
_NAME = re.compile(r"([a-z0-9_]{1,80})\.step-(\d{1,12})\.png")


class ShownPicture(NamedTuple):
    """The file of one picture at one step."""

    step: int
    path: Path


def file_name(title: str) -> str:
    """Return the part of a file's name that stands for a title."""
    return re.sub("[^a-z0-9]+", "_", title.lower())


def keep_picture(folder: Path, title: str, step: int, pixels_HWC: np.ndarray) -> None:
    """Keep a picture in the folder, which is made where it is not there; beyond `MOST_MOMENTS` another one goes.

    That is the one that is missed least: the first and the last stay, and of those between the one whose neighbours in
    time lie nearest to each other goes. So a run keeps at most `MOST_TITLES` × `MOST_MOMENTS` × `MOST_BYTES` = 9.6 MB,
    however long it trains; most take a tenth of that.
    """
    name = file_name(title)[:80]
    kept = read_pictures(folder)
    if name not in kept and len(kept) >= MOST_TITLES:
        return
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.step-{step:09}.png"
    durable.replace_file(path, _small(pixels_HWC))
    moments = sorted({*kept.get(name, []), ShownPicture(step, path)})
    while len(moments) > MOST_MOMENTS:
        moments.pop(_missed_least([each.step for each in moments])).path.unlink(missing_ok=True)


def read_pictures(folder: Path) -> dict[str, list[ShownPicture]]:
    """Return what was kept by the name of its title, in the order of steps; what is no file of ours is left out."""
    found: dict[str, list[ShownPicture]] = {}
    if folder.is_symlink() or not folder.is_dir():
        return found
    for path in folder.iterdir():
        named = _NAME.fullmatch(path.name)
        if named is not None and path.is_file() and not path.is_symlink():
            found.setdefault(named[1], []).append(ShownPicture(int(named[2]), path))
    return {name: sorted(found[name]) for name in sorted(found)}


def drop_pictures_after(folder: Path, step: int) -> None:
    """Delete what a resume from `step` will draw again.

    Raises:
        UserError: the disk refused.
    """
    with durable.one_line(folder):
        for moments in read_pictures(folder).values():
            for each in moments:
                if each.step > step:
                    each.path.unlink()


def _missed_least(steps: Sequence[int]) -> int:
    """Return the place of the inner step whose neighbours lie nearest to each other."""
    return min(range(1, len(steps) - 1), key=lambda place: steps[place + 1] - steps[place - 1])


def _small(pixels_HWC: np.ndarray) -> bytes:
    """Return a PNG of few colours, no wider than `WIDEST` and no larger than `MOST_BYTES`."""
    from PIL import Image

    picture = Image.fromarray(pixels_HWC)
    width = min(WIDEST, picture.width)
    while True:
        size = (width, max(1, round(picture.height * width / picture.width)))
        shown = picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS)
        written = io.BytesIO()
        shown.quantize(MOST_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(written, "PNG")
        if written.tell() <= MOST_BYTES or width <= LEAST_WIDTH:
            return written.getvalue()
        width = max(LEAST_WIDTH, width * 3 // 4)
