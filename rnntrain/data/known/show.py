"""What there is, and what is in it: the lines of `rnntrain data list` and `rnntrain data show`."""

# N sequences, C labels

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnntrain.configuring.config_files import choices, description
from rnntrain.data.base import DataSet
from rnntrain.data.known.catalog import ENTRIES, Entry
from rnntrain.data.places import SHIPPED, search_folders
from rnntrain.errors import UserError

LONGEST_BAR = 30
LONGEST_EXAMPLE = 240
MOST_LABELS = 15  # that a listing names
PICTURE_KINDS = (".png", ".pdf", ".svg")


def list_lines() -> list[str]:
    """Return one line a data set: those that ship with the package, then those that can be fetched."""
    lines = ["In the package:"]
    shipped = {path.parent.name: _described(path) for path in sorted(SHIPPED.glob("*/ORIGIN.md"))}
    known = {entry.name: entry for entry in ENTRIES}
    width = max(map(len, [*shipped, *known, "shakespeare"]))
    lines.append(f"  {'shakespeare':<{width}}  37 plays of Shakespeare; data=shakespeare")
    lines += [f"  {name:<{width}}  {words}" for name, words in shipped.items()]
    lines += ["", "Known, got with `rnntrain data get NAME`, or taken from where RNNTRAIN_DATA says:"]
    for entry in known.values():
        sizes = [source.size for source in entry.sources]
        size = f"{sum(filter(None, sizes)) / 1e6:,.1f} MB, " if all(sizes) else ""
        config = f"; {entry.config}" if entry.config else ""
        lines.append(f"  {entry.name:<{width}}  {entry.description} ({size}{entry.licence}){config}")
        place = place_of(entry)
        if place is not None:
            lines.append(f"  {'':<{width}}  here: {place}")
        elif entry.advice:
            lines.append(f"  {'':<{width}}  {entry.advice}")
    return lines


def place_of(entry: Entry) -> Path | None:
    """Return the folder that holds all or part of a known data set."""
    for folder in search_folders():
        if any((folder / entry.name / source.name).exists() for source in entry.sources):
            return folder / entry.name
    return None


def _described(origin: Path) -> str:
    """Return what the config of a shipped set says of it, else the title of its page."""
    name = origin.parent.name
    if name in choices("data"):
        return f"{description('data', name)}; data={name}"
    lines = origin.read_text(encoding="utf-8").splitlines()
    return lines[0].lstrip("# ").strip() if lines else ""


def show_lines(data: DataSet, examples: int = 3) -> list[str]:
    """Return sizes, splits, label counts and examples of a data set that was loaded."""
    lines = [data.describe()]
    for split in data.splits:
        lines += ["", f"{split}:"]
        counts = data.counts(split)
        if counts:
            lines += _bars(counts)
        lines += [f"  e.g. {_on_one_line(example)}" for example in data.examples(split, examples)]
        if not counts:
            batches = data.num_train_batches(0, 0) if split == "train" else sum(1 for _ in data.eval_batches(split))
            lines.append(f"  {batches:,} batches of up to {data.batch_size}")
    return lines


def _bars(counts: dict[str, int]) -> list[str]:
    total, most = sum(counts.values()), max(counts.values())
    names = list(counts)[:MOST_LABELS]
    width = max(map(len, names))
    lines = []
    for name in names:
        count = counts[name]
        bar = "▇" * max(1, round(LONGEST_BAR * count / most)) if count else ""
        lines.append(f"  {name:<{width}}  {count:>9,}  {100 * count / total:5.1f} %  {bar}")
    if len(counts) > MOST_LABELS:
        lines.append(f"  and {len(counts) - MOST_LABELS} more labels")
    return lines


def _on_one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_EXAMPLE else line[: LONGEST_EXAMPLE - 1] + "…"


def draw(data: DataSet, path: Path) -> None:
    """Draw label counts and lengths of every split into a file whose ending says the kind.

    Raises:
        UserError: the ending is of no kind that can be drawn, or the file cannot be written.
    """
    check_picture(path)
    import matplotlib

    from rnntrain.watching import pictures

    counts = {split: found for split in data.splits if (found := data.counts(split))}
    lengths = {split: lengths_of(data, split) for split in data.splits}
    figure = pictures.new_figure(9.6 if counts else 6.4, 4.0)
    with matplotlib.rc_context(pictures.STYLE):
        panels: Any = figure.subplots(1, 2 if counts else 1, squeeze=False)[0]
    if counts:
        _draw_counts(panels[0], counts)
    _draw_lengths(panels[-1], lengths, data.unit)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise UserError(f"--picture {path}: {(error.strerror or str(error)).lower()}; choose another file") from error


def check_picture(path: Path) -> None:
    """Raise UserError where a picture could not be drawn into `path`."""
    if path.suffix.lower() not in PICTURE_KINDS:
        raise UserError(f"--picture {path}: expected a file that ends in {', '.join(PICTURE_KINDS)}")
    if not path.parent.is_dir():
        raise UserError(f"--picture {path}: there is no folder {path.parent}; make it, or choose another")


def lengths_of(data: DataSet, split: str) -> np.ndarray:
    """Return the number of steps of every sequence of a split, as an evaluation meets them."""
    batches = data.train_batches(0, 0) if split == "train" else data.eval_batches(split)
    rows = []
    for batch in batches:
        full = np.full(batch.batch_size, batch.inputs.shape[1])
        rows.append(full if batch.lengths_B is None else batch.lengths_B.numpy())
    return np.concatenate(rows)


def _draw_counts(axes: Any, counts: dict[str, dict[str, int]]) -> None:
    names: Sequence[str] = list(dict.fromkeys(name for its in counts.values() for name in its))[:MOST_LABELS]
    height = 0.8 / len(counts)
    for number, (split, its) in enumerate(counts.items()):
        total = sum(its.values())
        shares = [100 * its.get(name, 0) / total for name in names]
        places = [place + number * height for place in range(len(names))]
        axes.barh(places, shares, height, label=f"{split} ({total:,})")
    axes.set_yticks([place + 0.4 - height / 2 for place in range(len(names))], names)
    axes.invert_yaxis()
    axes.set_xlabel("share of the split in %")
    axes.set_title("labels")
    axes.legend()


def _draw_lengths(axes: Any, lengths: dict[str, np.ndarray], unit: str) -> None:
    longest = max(int(its.max(initial=1)) for its in lengths.values())
    bins = np.linspace(0, longest + 1, min(longest + 1, 50) + 1)
    for split, its in lengths.items():
        axes.hist(its, bins, weights=np.full(len(its), 100 / len(its)), histtype="step", label=split)
    axes.set_xlabel(f"length in {unit}")
    axes.set_ylabel("share of the split in %")
    axes.set_title("lengths")
    axes.legend()
