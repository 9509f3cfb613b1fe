"""Nats per character on tinyshakespeare after some minutes of training, over seeds.

    python scripts/bench_learning.py FILE [--minutes 3] [--seeds 0 1 2] [key=value …]

FILE is tinyshakespeare's input.txt: the first 90 % train, the last 10 % validate, in windows of 256 from a zero
state. Each run is the command `rnntrain train experiment=tinyshakespeare` with the clock as its only limit,
evaluations included. The recipe was chosen on a part of the training text; the validation text was looked at for the
results alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def train(file: Path, minutes: float, seed: int, overrides: list[str], folder: str) -> dict[str, float]:
    run = Path(folder) / f"seed-{seed}"
    command = [sys.executable, "-m", "rnntrain", "train", "experiment=tinyshakespeare", f"data.path={file}"]
    command += [
        f"trainer.max_minutes={minutes}",
        "trainer.max_steps=null",
        f"seed={seed}",
        f"run.dir={run}",
        *overrides,
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    summary: dict[str, float] = json.loads((run / "summary.json").read_text())
    return summary


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_intermixed_args()
    losses = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            summary = train(options.file.resolve(), options.minutes, seed, options.overrides, folder)
            losses.append(summary["val/loss_cold"])
            print(
                f"seed {seed}: val/loss_cold {losses[-1]:.4f}, carried {summary['val/loss_carried']:.4f}; "
                f"{summary['step']:,} steps, best at {summary['best/step']:,}, {summary['minutes']:.2f} min, "
                f"{summary['units_per_second']:,.0f} characters/s",
                flush=True,
            )
    print(
        f"after {options.minutes:g} min: median {statistics.median(losses):.4f}, worst {max(losses):.4f} nats/character"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
