"""How long a report of many runs takes, and how large its page is.

The runs are written, not trained: five configurations over four seeds, each with a log of 20,000 steps, 40 evaluations
with texts, four pictures, two of them at eight moments, and what simple methods reach; as much as a long run leaves.

    python scripts/bench_report.py --runs 20
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from rnntrain.configuring.config_files import to_yaml
from rnntrain.runs.run import RunDir
from rnntrain.runs.shown_pictures import keep_picture
from rnntrain.watching.pictures import confusion_matrix, new_figure, pixels

CELLS = ("lstm.LSTM", "gru.GRU", "mingru.MinGRU", "rnn.RNN", "lru.LRU")
STEPS, LOG_EVERY, EVAL_EVERY = 20_000, 50, 500
CLASSES = [f"class {number}" for number in range(12)]
MEGABYTE = 1e6


def write_run(folder: Path, number: int) -> None:
    """Write the folder of a run."""
    cell, seed = CELLS[number % len(CELLS)], number // len(CELLS)
    rng = random.Random(number)
    folder.mkdir(parents=True)
    plain = {
        "task": {"_target_": "rnntrain.tasks.classification.Classification"},
        "data": {"_target_": "rnntrain.data.labelled.labelled_text.LabelledText", "path": "texts.csv"},
        "model": {"hidden_size": 256, "cell": {"_target_": f"rnntrain.cells.{cell}"}},
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.001 * 2 ** (number % len(CELLS))},
        "trainer": {"max_steps": STEPS},
        "run": {"root": "outputs"},
        "seed": seed,
    }
    (folder / "config.yaml").write_text(to_yaml(plain))
    (folder / "run.json").write_text(json.dumps({"format": 1, "command": ["rnntrain", "train", f"seed={seed}"]}))
    with (folder / "metrics.jsonl").open("w") as metrics, (folder / "texts.jsonl").open("w") as texts:
        for step in range(LOG_EVERY, STEPS + 1, LOG_EVERY):
            loss = 0.3 + 2 * math.exp(-step / 3000) + rng.gauss(0, 0.08)
            line = {"step": step, "train/loss": loss, "train/grad_norm": abs(rng.gauss(1, 0.3)), "train/lr": 0.001}
            line |= {"train/clipped": rng.random(), "cost/units_per_second": 1e5, "cost/memory_mebibytes": 400.0}
            metrics.write(json.dumps(line) + "\n")
            if step % EVAL_EVERY == 0:
                scores = {f"val/f1_{name}": rng.random() for name in CLASSES}
                metrics.write(
                    json.dumps({"step": step, "val/loss": loss, "val/accuracy": 1 - loss / 4, **scores}) + "\n"
                )
                text = "\n".join(f"right  class {n} → class {n} (0.9): {'a text of some words ' * 4}" for n in range(8))
                texts.write(json.dumps({"step": step, "title": "predictions", "text": text}) + "\n")
    accuracy = rng.gauss(0.9 - 0.02 * (number % len(CELLS)), 0.01)
    summary = {"status": "finished", "reason": "max_steps", "step": STEPS, "minutes": 12.5, "best/accuracy": accuracy}
    summary |= {"best/step": STEPS - 500, "val/accuracy": accuracy, "test/accuracy": accuracy - 0.01, "test/loss": 0.4}
    summary |= {f"test/f1_{name}": rng.random() for name in CLASSES}
    summary |= {"baseline/majority class/test/accuracy": 0.2, "num_parameters": 1_000_000}
    (folder / "summary.json").write_text(json.dumps(summary))


def draw(run: RunDir) -> None:
    """Draw what a run would have drawn."""
    run.pictures.mkdir()
    rng = np.random.default_rng(0)
    for split in ("test", "val"):
        confusion = confusion_matrix(rng.integers(0, 300, (12, 12)), CLASSES)
        confusion.savefig(run.pictures / f"{split}_confusion.png", dpi=120)
        alignment = new_figure(9.0, 5.0)
        alignment.subplots().imshow(rng.normal(size=(80, 200)), aspect="auto", cmap="magma")
        alignment.savefig(run.pictures / f"{split}_alignment.png", dpi=120)
    for step in range(EVAL_EVERY, STEPS, STEPS // 10):
        keep_picture(run.pictures_over_time, "confusion", step, pixels(confusion))
        keep_picture(run.pictures_over_time, "alignment", step, pixels(alignment))


def _processor_seconds() -> float:
    """Return the time of a processor that all children have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", type=Path, metavar="D", help="leave runs and page in D")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        for number in range(options.runs):
            write_run(folder / "runs" / f"run-{number:02}", number)
        first, *others = (RunDir(path) for path in sorted((folder / "runs").iterdir()))
        draw(first)
        for run in others:
            shutil.copytree(first.pictures, run.pictures)
            shutil.copytree(first.pictures_over_time, run.pictures_over_time)
        page, seconds, processor = folder / "report.html", [], []
        for _ in range(options.repeats):
            began, before = time.perf_counter(), _processor_seconds()
            command = [sys.executable, "-m", "rnntrain", "report", str(folder / "runs"), "--out", str(page)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - began)
            processor.append(_processor_seconds() - before)
        size = page.stat().st_size / MEGABYTE
        one = folder / "one.html"
        command = [sys.executable, "-m", "rnntrain", "report", str(folder / "runs" / "run-00"), "--out", str(one)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        kept = sum(path.stat().st_size for path in RunDir(folder / "runs" / "run-00").pictures_over_time.iterdir())
        told_of_one = f"one of them: {one.stat().st_size / MEGABYTE:.2f} MB; kept over time {kept / MEGABYTE:.2f} MB"
    told = ", ".join(f"{each:.2f}" for each in seconds)
    print(f"{options.runs} runs: {sorted(seconds)[len(seconds) // 2]:.2f} s (all: {told}; to reach 5 s)")
    print(f"processor time: {sorted(processor)[len(processor) // 2]:.2f} s, whatever else the machine does")
    print(f"page: {size:.2f} MB (to reach 5 MB); {told_of_one}")


if __name__ == "__main__":
    main()
