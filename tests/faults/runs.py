"""Small runs of every task with cells of every family, and what a run leaves on the disk, to be compared to the bit."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.cases import TASKS
from training import CELLS, differences

from rnntrain.checkpoints.checkpoint import latest_valid, load_checkpoint

MOST_LOST = 3  # steps
# One cell of each family: plain networks, gates, scans, matrix memories, attention, convolution, and what wraps others.
FAMILIES = (
    "rnn",
    "vanilla",
    "lstm",
    "gru",
    "layernorm_lstm",
    "mingru",
    "lru",
    "slstm",
    "deltanet",
    "transformer",
    "tcn",
)
FAMILIES += ("dilated", "indrnn", "cornn", "weight_drop", "regularized_gru")
# What a run may be in the midst of when it is killed.
VARIETIES: tuple[dict[str, Any], ...] = (
    {},
    {"trainer.accumulate": 2},
    {"trainer.average_decay": 0.9, "schedule": {"_target_": "rnntrain.optim.Plateau", "gamma": 0.5}},
    {"model.dropout": 0.2, "model.num_layers": 2, "precision": "bfloat16"},
)
LIMITS = {
    "max_steps": 12,
    "eval_every_steps": 4,
    "log_every_steps": 2,
    "checkpoint_every_steps": MOST_LOST,
    "eval_batches": 1,
}


def pairs() -> list[tuple[str, str]]:
    """Return every task with every family, in an order that meets all of both soon."""
    whole = [(task, cell) for task in TASKS for cell in FAMILIES]
    random.Random(0).shuffle(whole)
    return whole


class Cases:
    """Configs of runs; the data of a task is written once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._plain: dict[str, dict[str, Any]] = {}

    def plain(self, task: str, cell: str, place: Path, number: int = 0, **limits: Any) -> dict[str, Any]:
        """Return the config of a run at `place`; `number` chooses among `VARIETIES` and is its seed."""
        if task not in self._plain:
            experiment = TASKS[task](self._folder / task).experiment
            self._plain[task] = experiment.config.plain
        plain = copy.deepcopy(self._plain[task])
        plain["model"]["cell"] = dict(CELLS[cell])
        plain["model"]["hidden_size"] = 8
        plain["seed"] = number
        plain["trainer"] = {**plain["trainer"], **LIMITS, **limits}
        for key, value in VARIETIES[number % len(VARIETIES)].items():
            section, _, name = key.rpartition(".")
            (plain[section] if section else plain)[name] = value
        plain["run"] = {"dir": str(place), "group": "faults"}
        return plain


def left_behind(run: Path) -> dict[str, Any]:
    """Return what a run came to, less what tells of time."""
    tree = load_checkpoint(latest_valid(run / "checkpoints"))
    del tree["trainer"]["seconds"]
    summary = json.loads((run / "summary.json").read_text())
    timeless = {name: value for name, value in summary.items() if name not in ("minutes", "units_per_second")}
    return {
        "tree": tree,
        "lines": list(lines_of(run)),
        "summary": timeless,
        "best": json.loads((run / "checkpoints/best.json").read_text()),
    }


def lines_of(run: Path) -> Iterator[dict[str, Any]]:
    for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        yield {name: value for name, value in json.loads(line).items() if not name.startswith("cost/")}


def different(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Return the places where what two runs left behind differs in any bit."""
    return differences(a, b)
