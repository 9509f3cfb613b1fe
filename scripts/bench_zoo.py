"""What the cells of the zoo can learn and cannot: claims of theory and of papers, each a small training run.

    python scripts/bench_zoo.py [NAME …] [--seeds 0 1 2] [--threads 1] [--runs FOLDER]

Each claim is one command `rnntrain train …` over seeds; the figure is that of the test split, by the weights that were
best on validation. Prints a table in Markdown. With --runs, the runs are kept there, and those that are there already
are taken as they are.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple


class Claim(NamedTuple):
    """A run and what it should come to.

    Attributes:
        overrides: of `rnntrain train`.
        metric: a name in summary.json.
        low, high: the bounds between which the median should lie.
    """

    overrides: str
    metric: str
    low: float
    high: float


PARITY = "experiment=parity"
LONG = "test/accuracy_len_256"
# With plain gradient descent and PyTorch's own start. Adam, which rescales each weight's gradient, trains both stacks.
DEEP = (
    "data=delayed_recall data.delay=3 data.length=30 task=step_classification optimizer=sgd optimizer.lr=0.5 "
    "schedule=cosine model/cell=lstm model.cell.init=uniform model.cell.forget_bias=null model.hidden_size=48 "
    "model.num_layers=8 trainer.max_steps=2000 trainer.eval_every_steps=500"
)
CLAIMS = {
    "parity, rnn": Claim(f"{PARITY} model/cell=rnn", LONG, 0.999, 1.0),
    "parity, lstm": Claim(f"{PARITY} model/cell=lstm", LONG, 0.999, 1.0),
    "parity, sLSTM": Claim(f"{PARITY} model/cell=slstm", LONG, 0.999, 1.0),
    "parity, minGRU (positive eigenvalues)": Claim(f"{PARITY} model/cell=mingru", LONG, 0.45, 0.6),
    "parity, LRU (positive eigenvalues)": Claim(
        f"{PARITY} model/cell=lru model.cell.eigenvalues=positive", LONG, 0.45, 0.6
    ),
    "selective copy over 256 steps, minGRU × 3": Claim(
        "experiment=selective_copy data.length=256 data.num_copied=10 data.batch_size=32 model/cell=mingru "
        "model.num_layers=3 model.residual=true model.norm=true model.hidden_size=64 model.embedding_size=64 "
        "trainer.max_steps=24000 trainer.eval_every_steps=1000 trainer.average_decay=0.995",
        "test/accuracy",
        0.995,
        1.0,
    ),
    # Before the cell, a linear layer would mix the mark with the numbers, whose gradient is a hundred times its own and
    # all that Adam would see. And a long second moment remembers the first steps, which teach the mean alone.
    "adding over 600 steps, chrono LSTM": Claim(
        "experiment=adding data.length=600 model/cell=lstm model.cell.t_max=600 model.raw_inputs=true "
        "model.embedding_size=null model.hidden_size=32 optimizer.lr=0.02 optimizer.betas=[0.9,0.95] "
        "trainer.max_steps=1500 trainer.eval_every_steps=250",
        "test/mse",
        0.0,
        1e-3,
    ),
    "eight layers, plain": Claim(DEEP, "test/accuracy", 0.0, 0.2),
    "eight layers, residual": Claim(
        f"{DEEP} model.residual=true model.norm=true model.embedding_size=48", "test/accuracy", 0.95, 1.0
    ),
}


def train(claim: Claim, run: Path, seed: int, threads: int) -> tuple[float, float]:
    """Return the figure and the minutes of one run, which is trained unless it is there."""
    if not (run / "summary.json").is_file():
        command = [sys.executable, "-m", "rnntrain", "train", *claim.overrides.split(), f"seed={seed}"]
        command += [f"threads={threads}", f"run.dir={run}", "--quiet"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    summary = json.loads((run / "summary.json").read_text())
    return float(summary[claim.metric]), float(summary["minutes"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="the beginning of a claim's name")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=Path, help="where the runs are kept (nowhere)")
    options = parser.parse_args()
    chosen = [name for name in CLAIMS if not options.names or name.startswith(tuple(options.names))]
    print("| claim | metric | median | all seeds | to lie in | minutes a run |\n|---|---|---|---|---|---|", flush=True)
    held = True
    if options.runs is not None:
        options.runs.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        claim = CLAIMS[name]
        with tempfile.TemporaryDirectory() as folder:
            first = (options.runs or Path(folder)) / re.sub(r"\W+", "_", name)
            results = [train(claim, Path(f"{first}-{seed}"), seed, options.threads) for seed in options.seeds]
        median = statistics.median(value for value, _ in results)
        held &= claim.low <= median <= claim.high
        values = ", ".join(f"{value:.4f}" for value, _ in results)
        minutes = statistics.median(each for _, each in results)
        print(
            f"| {name} | {claim.metric} | {median:.4f} | {values} | [{claim.low:g}, {claim.high:g}] | {minutes:.1f} |",
            flush=True,
        )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
