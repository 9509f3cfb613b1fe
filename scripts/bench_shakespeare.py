"""Every cell on tinyshakespeare: about equal parameter counts, equal processor time, one table.

    python scripts/bench_shakespeare.py FILE --runs FOLDER [--cells lstm gru …] [--minutes 10] [--parameters 1000000]
    python scripts/bench_shakespeare.py FILE --runs FOLDER --table

FILE is tinyshakespeare's input.txt: the first 90 % train, the last 10 % validate, in windows of 256 from a zero state.
Each run is `rnntrain train experiment=tinyshakespeare` in float32 on one thread with the cell in place of the LSTM:

- The hidden size, a multiple of 16, is the one whose model comes closest to the number of parameters.
- The budget is processor time, so that other work on the machine does not matter: the seconds of a step are measured
  before the run, and its steps are as many as fit. Evaluations come on top. The rate falls to nothing at the last step.
- The rate is that of three whose training loss is lowest after a short trial of each, the same for every cell.
- One layer, or the stack that a cell is made for (`STACKS`).

What has been measured and trained stays in FOLDER and is taken as it is, and an interrupted run goes on: the table can
be filled over several calls. --table trains nothing and prints what is there.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CELLS = Path(__file__).resolve().parent.parent / "configs" / "model" / "cell"
# Those first that say most; all others follow in the order of their names.
FIRST = ["lstm", "gru", "rnn", "mingru", "transformer", "slstm", "lru", "janet", "indrnn", "qrnn", "sru", "deltanet"]
FIRST += ["mlstm", "rglru", "layernorm_lstm", "tcn"]
# Gates that read the input alone, or units that meet in the layer above: a stack is what their papers train.
DEEP = ["model.num_layers=4", "model.residual=true", "model.norm=true"]
STACKS: dict[str, list[str]] = dict.fromkeys(
    ("mingru", "minlstm", "sru", "qrnn", "lru", "rglru", "gated_linear", "indrnn", "mlstm", "deltanet"), DEEP
) | {
    "transformer": ["model.num_layers=4", "model.norm=true"],
    "tcn": ["model.cell.levels=6"],
}
SAID = {"transformer": "4, norm", "tcn": "1 of 6 levels"}
RATES = (0.015, 0.005, 0.0015)
UNIT = 16  # hidden sizes are its multiples: heads, groups and projections divide them
WARM_UP, TRIAL = 3.0, 30.0  # seconds of processor time


def overrides_of(cell: str, file: Path, hidden_size: int) -> list[str]:
    stack = STACKS.get(cell, [])
    # A residual stream has one width.
    width = [f"model.embedding_size={hidden_size}"] if "model.residual=true" in stack else []
    return [
        "experiment=tinyshakespeare",
        f"data.path={file}",
        f"model/cell={cell}",
        f"model.hidden_size={hidden_size}",
        *stack,
        *width,
        "schedule=cosine",
        "precision=float32",
        "threads=1",
    ]


def size_for(cell: str, file: Path, parameters: int) -> int:
    """Return the hidden size whose model is nearest to a number of parameters, which grow with it."""
    from rnntrain import config as configs
    from rnntrain.build import build_model

    def check(hidden_size: int) -> configs.Config:
        return configs.check(configs.compose(overrides_of(cell, file, hidden_size)))

    first = check(UNIT)
    task, data = first.task.build(), first.data.build()
    data.load()

    def count(multiple: int) -> int:
        return sum(p.numel() for p in build_model(check(UNIT * multiple), task, data.codec).parameters())

    low, high = 1, 2
    while count(high) < parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < parameters else (low, middle)
    return UNIT * min((low, high), key=lambda multiple: abs(math.log(count(multiple) / parameters)))


def trial(overrides: list[str], rate: float) -> tuple[float, float]:
    """Train for some seconds at a constant rate; return a step's seconds and the loss of the last quarter of the steps.

    Both are of processor time, and leave out what the first steps set up. A loss that is not finite is infinite.
    """
    import rnntrain
    from rnntrain.errors import NonFiniteError

    trainer = rnntrain.prepare(*overrides, "schedule=constant", f"optimizer.lr={rate}").trainer
    trainer.model.train()
    times: list[float] = []
    losses: list[float] = []
    began = time.process_time()
    while not times or times[-1] < WARM_UP + TRIAL:
        try:
            result = trainer.train_step()
        except NonFiniteError:
            losses.append(math.inf)
            break
        losses.append(float(result.loss_sum / result.count))
        times.append(time.process_time() - began)
    timed = [each for each in times if each > WARM_UP] or times
    seconds = (timed[-1] - timed[0]) / max(1, len(timed) - 1) if times else math.inf
    return seconds, statistics.fmean(losses[-math.ceil(len(losses) / 4) :])


def plan(cell: str, file: Path, parameters: int, minutes: float) -> dict[str, Any]:
    """Return what one cell's run is to be: its size, its rate and its steps."""
    overrides = overrides_of(cell, file, size_for(cell, file, parameters))
    trials = {rate: trial(overrides, rate) for rate in RATES}
    rate = min(RATES, key=lambda each: trials[each][1])
    seconds = statistics.median(seconds for seconds, _ in trials.values())
    steps = max(1, round(60 * minutes / seconds))
    overrides += [f"optimizer.lr={rate}", f"trainer.max_steps={steps}", f"trainer.eval_every_steps={steps}"]
    losses = {str(rate): loss for rate, (_, loss) in trials.items()}
    return {"overrides": overrides, "rate": rate, "steps": steps, "seconds_a_step": seconds, "trials": losses}


def carry_out(planned: dict[str, Any], run: Path, seed: int) -> None:
    """Train a run, or go on with it, to its end."""
    verb = ["train", *planned["overrides"], f"seed={seed}", f"run.dir={run}"]
    if any((run / "checkpoints").glob("step-*")):
        verb = ["resume", str(run)]
    subprocess.run([sys.executable, "-m", "rnntrain", *verb, "--quiet"], check=True, stdout=subprocess.DEVNULL)


def row(cell: str, planned: dict[str, Any], summary: dict[str, Any]) -> tuple[float, str]:
    """Return the loss to sort by, and a line of the table."""
    values = dict(override.split("=", 1) for override in planned["overrides"])
    loss = float(summary["val/loss_cold"])
    parts = [
        f"`{cell}`",
        SAID.get(cell) or ("4, residual" if cell in STACKS else "1"),
        values["model.hidden_size"],
        f"{summary['num_parameters']:,}",
        f"{planned['rate']:g}",
        f"{planned['steps']:,}",
        f"{1e6 * planned['seconds_a_step']:,.0f}",
        f"{loss:.4f}",
        f"{loss / math.log(2):.3f}",
    ]
    return loss, f"| {' | '.join(parts)} |"


def print_table(runs: Path, cells: list[str]) -> None:
    lines = []
    for cell in cells:
        planned, summary = runs / f"{cell}.json", runs / cell / "summary.json"
        if planned.is_file() and summary.is_file():
            lines.append(row(cell, json.loads(planned.read_text()), json.loads(summary.read_text())))
    print("| cell | layers | hidden | parameters | rate | steps | µs a step | val/loss_cold | bits |")
    print("|---|---|---|---|---|---|---|---|---|")
    for _, line in sorted(lines):
        print(line)
    missing = [cell for cell in cells if not (runs / cell / "summary.json").is_file()]
    print(f"\n{len(lines)} of {len(cells)} cells; missing: {', '.join(missing) or 'none'}", flush=True)


def main() -> int:
    every = sorted(path.stem for path in CELLS.glob("*.yaml"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--runs", type=Path, required=True, help="where plans and runs are kept")
    parser.add_argument("--cells", nargs="+", choices=every, metavar="CELL")
    parser.add_argument("--minutes", type=float, default=10, help="of processor time, a cell")
    parser.add_argument("--parameters", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="print what is there")
    options = parser.parse_args()
    cells = options.cells or [*FIRST, *(cell for cell in every if cell not in FIRST)]
    options.runs.mkdir(parents=True, exist_ok=True)
    for cell in [] if options.table else cells:
        place, run = options.runs / f"{cell}.json", options.runs / cell
        if not place.is_file():
            text = json.dumps(plan(cell, options.file.resolve(), options.parameters, options.minutes), indent=1)
            place.write_text(text + "\n")
        if not (run / "summary.json").is_file():
            carry_out(json.loads(place.read_text()), run.resolve(), options.seed)
            print_table(options.runs, cells)
    print_table(options.runs, cells)
    return 0


if __name__ == "__main__":
    sys.exit(main())
