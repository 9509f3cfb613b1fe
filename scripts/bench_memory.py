"""Memory and time per step over a long run, and what a text of 100 MB costs to load.

python scripts/bench_memory.py [--steps 4000] [--megabytes 100]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def over_a_run(folder: Path, steps: int) -> None:
    run = folder / "run"
    command = [sys.executable, "-m", "rnntrain", "train", "model.hidden_size=64", "data.bptt=50", f"run.dir={run}"]
    command += [f"trainer.max_steps={steps}", "trainer.eval_every_steps=1000000", "--quiet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    logged = [line for line in lines if "cost/memory_mebibytes" in line]
    tenth = max(1, len(logged) // 10)
    for name, part in (("first tenth", logged[1 : tenth + 1]), ("last tenth", logged[-tenth:])):
        memory = statistics.median(line["cost/memory_mebibytes"] for line in part)
        milliseconds = 1000 / statistics.median(line["cost/steps_per_second"] for line in part)
        print(f"{name} of {steps:,} steps: {memory:.1f} MiB, {milliseconds:.2f} ms a step")
    waits = statistics.median(line["cost/data_wait"] for line in logged)
    print(f"waiting for data: {waits:.2%} of the time")


LOAD = """
import resource, sys, time
from rnntrain.data.text import Text
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
data = Text(sys.argv[1]); data.load()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(f"{time.perf_counter() - start:.1f} s, {(peak - before) / 1024:.0f} MiB beyond the imports")
"""


def of_a_large_text(folder: Path, megabytes: int) -> None:
    path = folder / "large.txt"
    generator = random.Random(0)
    words = ["".join(generator.choices("abcdefghijklmnopqrstuvwxyz", k=generator.randint(2, 9))) for _ in range(5000)]
    with path.open("w") as file:
        while file.tell() < megabytes * 10**6:
            file.write(" ".join(generator.choices(words, k=10000)) + "\n")
    done = subprocess.run([sys.executable, "-c", LOAD, str(path)], check=True, capture_output=True, text=True)
    print(f"loading a text of {megabytes} MB: {done.stdout.strip()}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--megabytes", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        of_a_large_text(Path(temporary), options.megabytes)
        over_a_run(Path(temporary), options.steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
