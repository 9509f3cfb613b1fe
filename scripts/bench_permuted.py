"""IndRNN against LSTM on permuted pixel digits: the same search for each, then seeds.

    python scripts/bench_permuted.py --runs FOLDER [--seeds 0 1 2]

Both read the 64 pixels in one direction and a fixed disorder. Each is trained at four rates, with the last output or
the mean of all outputs read, with one seed; the settings with the best accuracy on validation, of equal ones the least
loss, are then trained over seeds and tested. The LSTM has one layer of 128; IndRNN is the stack of six that its paper
trains, of 128 units each and with |u| held at 2^(1/64). Runs stay in FOLDER and are taken as they are.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

COMMON = (
    "experiment=pixel_digits data.permuted=true model.bidirectional=false model.hidden_size=128 "
    "model.output_dropout=0.2 optimizer.weight_decay=0.1"
)
NETWORKS = {
    "LSTM": "model/cell=lstm",
    "IndRNN × 6": "model/cell=indrnn model.cell.t_max=64 model.num_layers=6 model.residual=true model.norm=true "
    "model.embedding_size=128",
}
RATES = (0.0006, 0.002, 0.006, 0.02)
POOLINGS = ("last", "mean")


def train(name: str, pooling: str, rate: float, seed: int, runs: Path) -> dict[str, Any]:
    """Return the summary of a run, which is trained unless it is there."""
    overrides = f"{COMMON} {NETWORKS[name]} task.pooling={pooling} optimizer.lr={rate}"
    run = runs / f"{name.split()[0]}-{pooling}-{rate:g}-{seed}"
    if not (run / "summary.json").is_file():
        command = [sys.executable, "-m", "rnntrain", "train", *overrides.split(), f"seed={seed}", "threads=1"]
        subprocess.run([*command, f"run.dir={run}", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return summary


def search(name: str, runs: Path) -> tuple[str, float]:
    """Return the pooling and the rate that are best on validation, with one seed."""
    found = {}
    for pooling, rate in itertools.product(POOLINGS, RATES):
        summary = train(name, pooling, rate, 0, runs)
        found[pooling, rate] = summary["val/accuracy"], -summary["val/loss"]
        print(f"{name}, {pooling}, {rate:g}: validation {summary['val/accuracy']:.4f}", file=sys.stderr, flush=True)
    return max(found, key=lambda setting: found[setting])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="where the runs are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    medians = {}
    print("| network | pooling | rate | test/accuracy, median | worst | all seeds | on validation |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in NETWORKS:
        pooling, rate = search(name, options.runs)
        summaries = [train(name, pooling, rate, seed, options.runs) for seed in options.seeds]
        tested = [float(summary["test/accuracy"]) for summary in summaries]
        settings = f"{pooling} | {rate:g}"
        medians[name] = statistics.median(tested)
        seen = statistics.median(summary["val/accuracy"] for summary in summaries)
        print(
            f"| {name} | {settings} | {medians[name]:.4f} | {min(tested):.4f} | "
            f"{', '.join(f'{each:.4f}' for each in tested)} | {seen:.4f} |",
            flush=True,
        )
    return 0 if medians["IndRNN × 6"] > medians["LSTM"] else 1


if __name__ == "__main__":
    sys.exit(main())
