"""Write docs/experiments.md: every recipe with what it does, its command, the number that it gives, and its picture.

What is said of a recipe stands in its file in configs/experiment, the number in the table of BENCHMARKS.md, and what is
said of a picture in docs/gallery/runs.json, which is written with it: this only brings them together, so that nothing
is told twice. Recipes that write text have a sample in the place of a picture.

    python scripts/make_gallery.py                        # write the page
    python scripts/make_gallery.py --check                # say whether it is up to date
    python scripts/make_gallery.py --pictures outputs     # first take the pictures of runs of the recipes, one of each
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from rnntrain.comparing.records import RunRecord, read_runs
from rnntrain.reporting.html import number_text
from rnntrain.reporting.pictures import caption_of, picture_files, small_png
from rnntrain.runs.record import read_start
from rnntrain.runs.run import RunDir
from rnntrain.runs.shown_texts import read_texts

ROOT = Path(__file__).resolve().parent.parent
PAGE, PICTURES = ROOT / "docs" / "experiments.md", ROOT / "docs" / "gallery"
TOLD = PICTURES / "runs.json"
# Which of a run's pictures tells most, by words of their names.
PREFERRED = ("forecasts", "alignment", "piano_roll", "f1_by_type", "confusion", "predictions")
WIDTHS = (900, 760, 640, 520)  # pixels: the first at which a picture is small enough
MOST_BYTES = 40_000
SAMPLE_LINES, SAMPLE_CHARS = 14, 700
DRAWN_ELSEWHERE = {
    "vanishing": (
        "vanishing.png",
        "accuracy by lag, beside what of the gradient reaches so far back, of the plain network, its cures and gated "
        "cells (`scripts/vanishing.py`)",
    )
}
TITLES = {
    "language_modeling": "Writing text",
    "classification": "Classifying sequences",
    "tagging": "Tagging tokens",
    "forecasting": "Forecasting",
    "ctc": "Recognising speech",
    "music": "Predicting music",
    "regression": "Numbers from sequences",
    "step_classification": "Memory",
}


class Recipe(NamedTuple):
    """A file of configs/experiment as its comments tell it."""

    name: str
    summary: str
    remarks: str
    task: str


class Result(NamedTuple):
    """A row of the table in BENCHMARKS.md."""

    metric: str
    median: str
    worst: str
    to_reach: str
    simple: str
    minutes: str


def recipes() -> list[Recipe]:
    """Return all recipes, by task in the order of `TITLES`, then by name."""
    found = [_recipe(path) for path in sorted((ROOT / "configs" / "experiment").glob("*.yaml"))]
    return sorted(found, key=lambda recipe: (list(TITLES).index(recipe.task), recipe.name))


def _recipe(path: Path) -> Recipe:
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = []
    for line in lines:
        if not line.startswith("#"):
            break
        comments.append(line.removeprefix("#").strip())
    task = re.search(r"override /task: (\w+)", "\n".join(lines))
    remarks = " ".join(line for line in comments[1:] if not line.startswith("@package"))
    return Recipe(path.stem, comments[0], remarks, task[1] if task else _task_of_base(lines))


def _task_of_base(lines: list[str]) -> str:
    """Return the task of the recipe that another one begins with, or that of `rnntrain train`."""
    base = re.search(r"^\s+- (?:/experiment/)?(\w+)$", "\n".join(lines), re.MULTILINE)
    path = ROOT / "configs" / "experiment" / f"{base[1]}.yaml" if base else None
    return _recipe(path).task if path is not None and path.is_file() else "language_modeling"


def results() -> dict[str, Result]:
    """Return the rows of the table of recipes in BENCHMARKS.md by the recipe's name."""
    text = (ROOT / "BENCHMARKS.md").read_text(encoding="utf-8")
    rows = text.partition("<!-- recipes -->")[2].partition("<!-- end of recipes -->")[0].strip().splitlines()
    cells = ([cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:])
    return {c[0]: Result(c[1], c[2], c[3], c[5], c[6], c[7]) for c in cells}


def page() -> str:
    """Return the page as Markdown."""
    known = results()
    all_recipes = recipes()
    lines = [
        "# Experiments",
        "",
        "Each is a short file in `configs/experiment/`, to be run as it stands or changed by any `key=value`:",
        "`rnntrain train experiment=NAME seed=1 model.hidden_size=64`. The numbers are medians over seeds on the test",
        "split, with weights chosen on validation; [BENCHMARKS.md](../BENCHMARKS.md) has seeds, dates and what else",
        "there is to say of them. This page is written by `python scripts/make_gallery.py`.",
        "",
        "| experiment | what it is | metric | median | to reach | minutes a run |",
        "|---|---|---|---|---|---|",
    ]
    for recipe in all_recipes:
        result = known.get(recipe.name)
        cells = (result.metric, result.median, result.to_reach, result.minutes) if result else ("", "", "", "")
        summary = recipe.summary.partition(":")[0]
        lines.append(f"| [{recipe.name}](#{recipe.name}) | {summary} | {' | '.join(cells)} |")
    for task, title in TITLES.items():
        of_task = [recipe for recipe in all_recipes if recipe.task == task]
        if of_task:
            lines += ["", f"## {title}"]
        for recipe in of_task:
            lines += _section(recipe, known.get(recipe.name))
    return "\n".join(lines) + "\n"


def _section(recipe: Recipe, result: Result | None) -> list[str]:
    lines = ["", f"### {recipe.name}", "", f"{recipe.summary}.", "", f"    rnntrain train experiment={recipe.name}", ""]
    if recipe.remarks:
        lines += [recipe.remarks, ""]
    if result:
        beside = f"; simple methods: {result.simple}" if result.simple not in ("–", "") else ""
        aim = f" (to reach {result.to_reach})" if result.to_reach not in ("–", "") else ""
        lines += [f"**{result.metric} {result.median}**, {result.worst} at worst{aim}{beside}.", ""]
    return [*lines, *_seen(recipe.name)][:-1]


def _seen(name: str) -> list[str]:
    """Return the picture or the sample of a recipe, with what is to be seen."""
    if name in DRAWN_ELSEWHERE:
        file, caption = DRAWN_ELSEWHERE[name]
        return [f"![{name}: {caption}]({file})", "", f"*{caption[0].upper()}{caption[1:]}.*", ""]
    told = json.loads(TOLD.read_text(encoding="utf-8")).get(name)
    if told is None:
        return []
    changed = ", ".join(f"`{word}`" for word in told["changed"])
    run = f"seed {told['seed']}, {told['steps']:,} steps" + (f" ({changed})" if changed else "")
    reached = f"; {told['metric']} {told['value']} in this run" if told["metric"] else ""
    if "text" in told:
        sample = ["    " + line for line in told["text"].splitlines()]
        return [f"*What it writes, {run}{reached}:*", "", *sample, ""]
    caption = told["caption"]
    where = {"test": "on test", "val": "on validation"}.get(told["split"])
    split = f"{where}, " if where else ""
    return [
        f"![{name}: {caption}](gallery/{name}.png)",
        "",
        f"*{caption[0].upper()}{caption[1:]}; {split}{run}{reached}.*",
        "",
    ]


def take_pictures(folder: Path) -> list[Path]:
    """Copy the picture that tells most of a finished run of each recipe, made small, and note what is to be seen."""
    names = {recipe.name for recipe in recipes()} - set(DRAWN_ELSEWHERE)
    told: dict[str, dict[str, Any]] = json.loads(TOLD.read_text(encoding="utf-8")) if TOLD.is_file() else {}
    written = []
    PICTURES.mkdir(exist_ok=True)
    taken: set[str] = set()
    for record in read_runs([folder]):
        name = str(record.config.get("run.group"))
        if name not in names or name in taken or not record.finished:
            continue
        note = _note(record, name)
        files = picture_files(record.path / "pictures")
        chosen = next((path for word in PREFERRED for path in files if word in path.stem), None)
        if chosen is not None and (data := _small(chosen)) is not None:
            note |= {"split": _split(chosen), "caption": caption_of(chosen.stem)}
            assert note["caption"], chosen
            (PICTURES / f"{name}.png").write_bytes(data)
            written.append(PICTURES / f"{name}.png")
        elif (sample := _sample(record)) is not None:
            note |= {"text": sample}
        else:
            continue
        taken.add(name)
        told[name] = note
    TOLD.write_text(json.dumps(told, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    return [*written, TOLD]


def _note(record: RunRecord, name: str) -> dict[str, Any]:
    """Return of which run a picture is: what it was told beside the recipe, and what it reached."""
    words = [str(word) for word in read_start(RunDir(record.path)).get("command", [])]
    usual = ("experiment=", "seed=", "run.", "threads=")
    changed = [word for word in words if "=" in word and not word.startswith((*usual, "-"))]
    known = results().get(name)
    metric = known.metric if known and known.metric in record.metrics else "val/loss"
    value = number_text(record.metrics.get(metric), 3)
    return {"seed": record.seed, "steps": record.summary["step"], "changed": changed, "metric": metric, "value": value}


def _split(path: Path) -> str:
    split = path.stem.partition("_")[0]
    return split if split in ("val", "test") else "val"  # what shows examples takes them from val


def _small(path: Path) -> bytes | None:
    """Return a picture of at most `MOST_BYTES`, as wide as that allows."""
    for width in WIDTHS:
        data = small_png(path, width)
        if data is None or len(data) <= MOST_BYTES:
            return data
    raise SystemExit(f"{path}: has more than {MOST_BYTES:,} bytes even at a width of {WIDTHS[-1]}; draw it simpler")


def _sample(record: RunRecord) -> str | None:
    """Return the beginning of the text that a run ended with."""
    shown = read_texts(RunDir(record.path).texts).get("sample")
    if not shown:
        return None
    return "\n".join(shown[-1].text[:SAMPLE_CHARS].strip().splitlines()[:SAMPLE_LINES])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--pictures", type=Path, metavar="RUNS")
    options = parser.parse_args()
    if options.pictures is not None:
        print("\n".join(str(path.relative_to(ROOT)) for path in take_pictures(options.pictures)))
    text = page()
    if not options.check:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{PAGE.relative_to(ROOT)} is not up to date; run python scripts/make_gallery.py")


if __name__ == "__main__":
    main()
