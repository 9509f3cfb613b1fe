"""How long each recipe of `configs/experiment/` waits for its data, and what its batches cost beside its steps.

    python scripts/bench_waits.py [NAME …] [--steps 200] [--seconds 60] [--threads 1] [--write]

Each recipe trains in a process of its own, without evaluations, for so many steps or seconds, whichever ends first. The
share of waits is that of `cost/data_wait` in a run's log: the time in which the loop stood still for want of a batch.
On a machine that others use it says as much about them, so that the same share in processor time stands beside it, and
what a batch costs that is made alone, whoever makes it: some are made ahead, by a thread. Batches are those of a late
epoch, in which whatever begins small has come to its full size. `--write` puts the rows into BENCHMARKS.md.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from bench_recipes import RECIPES

from rnntrain.batch import Batch
from rnntrain.build import build
from rnntrain.config import check, compose
from rnntrain.trainer import Trainer
from rnntrain.watching.watcher import Watcher
from rnntrain.watching.window import StepResult

BENCHMARKS = Path(__file__).resolve().parent.parent / "BENCHMARKS.md"
BEGIN, END = "<!-- waits -->", "<!-- end of waits -->"
HEAD = [
    "| recipe | waits, % of the time | % of processor time | a step, ms of it | a batch alone, ms of it |",
    "|---|---|---|---|---|",
]
GOAL = 0.02
WARM_UP = 10  # steps before the clock is read
LATE_EPOCH = 1000
MOST_BATCHES = 100  # that are made alone
NEVER = 10**9
FREE = ["trainer.max_epochs=null", f"trainer.max_steps={NEVER}", f"trainer.eval_every_steps={NEVER}"]


class Mark(NamedTuple):
    """Readings of clocks, in seconds: of the wall and of this process, and of the time spent on batches by either."""

    wall: float
    processor: float
    waits: float
    fetching: float


class Clock(Watcher):
    """Reads the clocks after the warm-up and after each step, and says when it is enough."""

    def __init__(self, steps: int, seconds: float) -> None:
        self.steps, self.seconds = steps, seconds
        self.first = self.last = Mark(0.0, 0.0, 0.0, 0.0)
        self.taken = 0
        self.fetching = 0.0

    def timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield the batches, and add up the processor time that this thread takes to get them."""
        while True:
            before = time.thread_time()
            batch = next(batches, None)
            self.fetching += time.thread_time() - before
            if batch is None:
                return
            yield batch

    def stepped(self, trainer: Trainer, result: StepResult) -> None:
        self.last = Mark(time.perf_counter(), time.process_time(), trainer.data_seconds, self.fetching)
        if trainer.step <= WARM_UP:
            self.first = self.last
        self.taken = trainer.step - WARM_UP

    def enough(self) -> str | None:
        over = self.taken > 0 and self.last.wall - self.first.wall > self.seconds
        return "enough" if over or self.taken >= self.steps else None


def measure(name: str, steps: int, seconds: float, threads: int) -> dict[str, float]:
    """Train one recipe and make its batches alone; return the waits' share, and processor time in seconds."""
    clock = Clock(steps, seconds)
    experiment = build(check(compose([f"experiment={name}", f"threads={threads}", *FREE])), watcher=clock)
    data, trainer = experiment.data, experiment.trainer
    trainer.epoch, make = LATE_EPOCH, data.train_batches
    setattr(data, "train_batches", lambda *place: clock.timed(iter(make(*place))))  # noqa: B010  of this object alone
    trainer.fit(clock.enough)
    passed = Mark(*(after - before for after, before in zip(clock.last, clock.first, strict=True)))
    whole = data.num_train_batches(0, LATE_EPOCH)
    before = time.process_time()
    made = sum(1 for _ in islice(make(0, LATE_EPOCH), min(whole, MOST_BATCHES)))
    return {
        "waits": passed.waits / passed.wall,
        "fetching": passed.fetching / passed.processor,
        "batch": (time.process_time() - before) / made,
        "step": passed.processor / clock.taken,
    }


def row(name: str, found: dict[str, float]) -> str:
    """Return one line of the table."""
    missed = ", missed" if found["waits"] > GOAL else ""
    return (
        f"| {name} | {100 * found['waits']:.1f}{missed} | {100 * found['fetching']:.1f} | {1e3 * found['step']:.1f} | "
        f"{1e3 * found['batch']:.2f} |"
    )


def write(rows: dict[str, str]) -> None:
    """Put rows between the markers in BENCHMARKS.md; other recipes' rows stay."""
    before, _, rest = BENCHMARKS.read_text(encoding="utf-8").partition(BEGIN)
    table, _, after = rest.partition(END)
    known = {match[1]: match[0] for match in re.finditer(r"^\| (\w+) \| .*$", table, re.MULTILINE)} | rows
    lines = [*HEAD, *(known[name] for name in RECIPES if name in known)]
    BENCHMARKS.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0, help="of training, at most")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="put the rows into BENCHMARKS.md")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # measured here, in a process of its own
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.steps, options.seconds, options.threads)))
        return 0
    limits = [f"--steps={options.steps}", f"--seconds={options.seconds}", f"--threads={options.threads}"]
    missed = False
    print("\n".join(HEAD), flush=True)
    for name in options.names or RECIPES:
        command = [sys.executable, __file__, "--one", name, *limits]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        missed |= found["waits"] > GOAL
        print(row(name, found), flush=True)
        if options.write:
            write({name: row(name, found)})
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
