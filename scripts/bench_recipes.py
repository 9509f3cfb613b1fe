"""Train the recipes of `configs/experiment/` over seeds and fill the table of results in BENCHMARKS.md.

    python scripts/bench_recipes.py [NAME …] [--seeds 0 1 2] [--threads 1] [--write] [--keep D] [key=value …]

Each run is the command `rnntrain train experiment=NAME seed=…`, in a process of its own. The figure that counts is that
of the test split, computed once, by the weights that were best on validation. `--write` puts the rows of the recipes
that were run between the markers in BENCHMARKS.md and leaves the others as they are. `--keep` leaves the runs in a
folder, from which `make_gallery.py --pictures` takes pictures, and takes those that were finished there as they are.
Recipes on data that does not ship need RNNTRAIN_DATA, or `rnntrain data get NAME` before.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

BENCHMARKS = Path(__file__).resolve().parent.parent / "BENCHMARKS.md"
BEGIN, END = "<!-- recipes -->", "<!-- end of recipes -->"


class Recipe(NamedTuple):
    """What a recipe is judged by.

    Attributes:
        metric: a name in summary.json.
        larger_is_better: its sense.
        goal: what it has to reach; None where the figure is to be known, whatever it is.
        seeds: how many seeds are asked for.
        overrides: what the recipe leaves open.
    """

    metric: str
    larger_is_better: bool
    goal: float | None
    seeds: int = 3
    overrides: tuple[str, ...] = ()


RECIPES = {
    "sms_spam": Recipe("test/f1_spam", True, 0.955),
    "wnut17": Recipe("test/f1", True, 0.30),
    "airpassengers": Recipe("test/mae", False, 11.0, 5),
    "etth1": Recipe("test/scaled_mse", False, 0.375),
    "weather": Recipe("test/skill", True, None),
    "stocks": Recipe("test/skill", True, None),
    "fsdd": Recipe("test/accuracy", True, 0.985),
    "fsdd_strings": Recipe("test/wer", False, 0.03),
    "morse": Recipe("test/cer", False, 0.02),
    "jsb": Recipe("test/loss", False, 8.25),
    "japanese_vowels": Recipe("test/accuracy", True, 0.98),
    "adding": Recipe("test/mse", False, 1e-3),
    "parity": Recipe("test/accuracy_len_256", True, 0.999),
    "copy": Recipe("test/loss", False, 0.01),
    "selective_copy": Recipe("test/accuracy", True, 0.995),
    "pixel_digits": Recipe("test/accuracy", True, 0.97),
    "vanishing": Recipe("test/accuracy", True, None),
    "sms": Recipe("test/f1_spam", True, None),
    "japanese_ner": Recipe("test/f1", True, None),
    "word_lm": Recipe(
        "test/perplexity", False, None, 3, ("data.path=@wikitext2/valid.txt", "data.test_path=@wikitext2/test.txt")
    ),
}


class Outcome(NamedTuple):
    value: float
    validation: float
    minutes: float
    baselines: dict[str, float]


def train(name: str, recipe: Recipe, seed: int, overrides: list[str], folder: Path) -> Outcome:
    run = folder / f"{name}-{seed}"
    command = [sys.executable, "-m", "rnntrain", "train", f"experiment={name}", f"seed={seed}", f"run.dir={run}"]
    if not _is_finished(run):
        words = [*command, *recipe.overrides, *overrides, "--quiet"]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text())
    ending = f"/{recipe.metric}"
    baselines = {
        key.removeprefix("baseline/").removesuffix(ending): float(value)
        for key, value in summary.items()
        if key.startswith("baseline/") and key.endswith(ending)
    }
    validation = summary.get(recipe.metric.replace("test/", "val/"), float("nan"))
    return Outcome(float(summary[recipe.metric]), float(validation), summary["minutes"], baselines)


def _is_finished(run: Path) -> bool:
    summary = run / "summary.json"
    return summary.is_file() and json.loads(summary.read_text())["status"] == "finished"


def row(name: str, recipe: Recipe, outcomes: list[Outcome], seeds: list[int]) -> str:
    """Return one line of the table."""
    values = [outcome.value for outcome in outcomes]
    worst = min(values) if recipe.larger_is_better else max(values)
    median = statistics.median(values)
    baselines = ", ".join(f"{method} {value:.4g}" for method, value in outcomes[0].baselines.items())
    cells = [
        name,
        recipe.metric,
        f"{median:.4g}",
        f"{worst:.4g}",
        f"{statistics.median(outcome.validation for outcome in outcomes):.4g}",
        verdict(recipe, median),
        baselines or "–",
        f"{statistics.median(outcome.minutes for outcome in outcomes):.1f}",
        ", ".join(map(str, seeds)),
        date.today().isoformat(),
    ]
    return "| " + " | ".join(cells) + " |"


def verdict(recipe: Recipe, median: float) -> str:
    """Say what was to be reached, and whether it was."""
    if recipe.goal is None:
        return "–"
    reached = median >= recipe.goal if recipe.larger_is_better else median <= recipe.goal
    return f"{'≥' if recipe.larger_is_better else '≤'} {recipe.goal:g}, {'reached' if reached else 'missed'}"


HEAD = [
    "| recipe | metric | median | worst | median on val | to reach | simple methods | minutes a run | seeds | date |",
    "|---|---|---|---|---|---|---|---|---|---|",
]


def write(rows: dict[str, str]) -> None:
    """Put rows between the markers in BENCHMARKS.md, in the order of `RECIPES`; other recipes' rows stay."""
    text = BENCHMARKS.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{BENCHMARKS.name}: the markers {BEGIN} and {END} are missing; add them where rows belong")
    before, _, rest = text.partition(BEGIN)
    table, _, after = rest.partition(END)
    known = {match.group(1): match.group(0) for match in re.finditer(r"^\| (\w+) \| .*$", table, re.MULTILINE)}
    known.pop("recipe", None)
    known |= rows
    lines = [*HEAD, *(known[name] for name in RECIPES if name in known)]
    BENCHMARKS.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME or key=value")
    parser.add_argument("--seeds", type=int, nargs="+", help="0 1 2, or as many as the recipe asks for")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="put the rows into BENCHMARKS.md")
    parser.add_argument("--keep", type=Path, metavar="D", help="leave the runs in D")
    options = parser.parse_intermixed_args()
    overrides = [f"threads={options.threads}", *(word for word in options.names if "=" in word)]
    names = [word for word in options.names if "=" not in word] or list(RECIPES)
    unknown = [name for name in names if name not in RECIPES]
    if unknown:
        raise SystemExit(f"{unknown[0]}: no such recipe; there are: {', '.join(RECIPES)}")
    missed = False
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        for name in names:
            recipe = RECIPES[name]
            seeds = options.seeds or list(range(recipe.seeds))
            outcomes = [train(name, recipe, seed, overrides, folder) for seed in seeds]
            line = row(name, recipe, outcomes, seeds)
            missed |= "missed" in line
            print(line, flush=True)
            if options.write:
                write({name: line})
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
