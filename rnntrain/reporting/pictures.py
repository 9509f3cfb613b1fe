"""A run's pictures within the page: made smaller, of few colours, as many as a budget holds."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from rnntrain.reporting.html import Html, element

WIDEST = 900  # pixels: more than a column of the page has, for screens with fine pixels
SHOWN_SHARE = 0.75  # of a picture's pixels, that its width has on the page
MOST_COLOURS = 96
LARGEST_FILE = 20 << 20  # bytes; more is no picture of ours
MOST_PIXELS = 40_000_000
# What is seen in a picture, by the words of its name, for those who cannot see it and for those who see it first.
CAPTIONS = {
    "confusion": "how often each class (a row) was taken for each other (a column)",
    "alignment": "the recording's features, and which symbol the model hears when",
    "forecasts": "forecasts after the history, beside what came, with their band where the model gives one",
    "error_by_step": "mean error by step of the horizon, beside that of the last value",
    "coverage": "how often values lay below each quantile, against how often they should",
    "f1_by_type": "F1 of each type of span",
    "piano_roll": "what was played, above the probability of each key",
    "gradients_by_lag": "how far back the gradient of the loss reaches",
    "predictions": "each number that was predicted above the one that it is for; on the line both agree",
}


def picture_files(folder: Path) -> list[Path]:
    """Return the PNG files of a run's folder of pictures, those of the test split first."""
    found = [path for path in folder.glob("*.png") if path.is_file() and not path.is_symlink()]
    return sorted(found, key=lambda path: (not path.name.startswith("test"), path.name))


def title_of(path: Path) -> str:
    """Return a picture's title: `test_confusion.png` is "test: confusion"."""
    split, _, rest = path.stem.partition("_")
    words = path.stem.replace("_", " ")
    return f"{split}: {rest.replace('_', ' ')}" if split in ("val", "test") and rest else words


def caption_of(name: str) -> str:
    """Return what is seen in a picture of that name; nothing where that is not known."""
    return next((text for word, text in CAPTIONS.items() if word in name), "")


def data_address(png: bytes) -> str:
    """Return the address that is the picture itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def pixel_width(png: bytes) -> int:
    """Return how wide a picture is, from its header."""
    return int.from_bytes(png[16:20])


def gallery(paths: Sequence[Path], budget_bytes: int) -> tuple[Html | None, int]:
    """Return the pictures that the budget holds, and the bytes that they take of it."""
    figures, used = [], 0
    for path in paths:
        data = small_png(path)
        if data is None or used + len(data) > budget_bytes:
            continue
        used += len(data)
        title, caption = title_of(path), caption_of(path.stem)
        alt = f"{title}: {caption}" if caption else title
        # As wide as its letters are then as large as those about it; less where there is no room.
        image = element("img", src=data_address(data), alt=alt, width=max(1, round(pixel_width(data) * SHOWN_SHARE)))
        shown = element("span", f": {caption}", class_="note") if caption else None
        figures.append(element("figure", element("figcaption", title, shown), image))
    return (element("div", *figures, class_="pictures") if figures else None), used


def small_png(path: Path, widest: int = WIDEST) -> bytes | None:
    """Return a picture at most so wide, with few colours; None where it is no picture."""
    from PIL import Image

    try:
        if path.stat().st_size > LARGEST_FILE:
            return None
        with Image.open(path, formats=("PNG",)) as image:
            if image.width * image.height > MOST_PIXELS:
                return None
            picture = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    if picture.width > widest:
        size = (widest, max(1, round(picture.height * widest / picture.width)))
        picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    written = io.BytesIO()
    picture.quantize(MOST_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
        written, "PNG", optimize=False, compress_level=6
    )
    return written.getvalue()
