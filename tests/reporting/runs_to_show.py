"""Runs that nothing trained, with all that a report can show, and with what a malicious text would try."""

from __future__ import annotations

import json
import math
from pathlib import Path

from comparing.recorded import write_run

ATTACK = '<script>window.attacked = 1</script><img src=x onerror="window.attacked = 1">'


def write_whole_run(folder: Path, seed: int = 0, lr: float = 0.01, cell: str = "lstm.LSTM") -> Path:
    """Write a run with curves, texts, a picture and what simple methods reach; return its folder."""
    changes = {
        "task._target_": "rnntrain.tasks.tagging.Tagging",
        "optimizer.lr": lr,
        "model.cell._target_": f"rnntrain.cells.{cell}",
        "data": {"_target_": "rnntrain.data.tagged.columns.Columns", "path": ATTACK},
    }
    f1 = 0.8 - lr + 0.01 * seed
    names = {"best__f1": f1, "best__step": 90, "val__f1": f1, "test__f1": f1 - 0.1, "val__f1__PER": 0.5}
    names |= {"baseline/most frequent tag/test/f1": 0.3, "minutes": 2.5, "num_parameters": 1000, "test__loss": 1.25}
    write_run(folder, changes, seed=seed, **names)
    start = {"format": 1, "command": ["rnntrain", "train"], "environment": {"torch": "2.13.0", "cpu": {"cores": 2}}}
    (folder / "run.json").write_text(json.dumps(start))
    lines = []
    for step in range(5, 101, 5):
        line = {"step": step, "train/loss": 3 * math.exp(-step / 30), "train/lr": lr, "train/grad_norm": 1.0 + step % 3}
        line |= {"cost/memory_mebibytes": 300.0, "gradient_norm/input.weight": 0.1 * step, "memory/steps_layer1": step}
        lines.append(line)
        if step % 10 == 0:
            lines.append(
                {"step": step, "val/loss": 3 * math.exp(-step / 40), "val/f1": f1 * step / 100, "val/f1/PER": 0.1}
            )
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    shown = [
        {
            "step": step,
            "title": f"predictions {ATTACK}",
            "text": f"[person: Ada {step}] met {ATTACK}\n  true: [place: Ulm]",
        }
        for step in (10, 50, 90)
    ]
    (folder / "texts.jsonl").write_text("".join(json.dumps(each) + "\n" for each in shown))
    (folder / "summary.json").touch()  # as it would be: written after the start
    for split in ("val", "test"):
        draw(folder / "pictures" / f"{split}_confusion.png")
    for step in (10, 50, 90):
        draw(folder / "pictures_over_time" / f"confusion.step-{step:09}.png")
    return folder


def draw(path: Path) -> None:
    """Write a small picture."""
    from PIL import Image

    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (1200, 40), "white").save(path)


def write_grid(folder: Path) -> Path:
    """Write two configurations over three seeds; return the folder that holds them."""
    for lr in (0.01, 0.1):
        for seed in range(3):
            write_whole_run(folder / f"lr{lr}-seed{seed}", seed, lr)
    return folder
