"""Time from typing `rnntrain train` to the end of the first step, over importing torch and hydra alone.

    python scripts/bench_startup.py [--pairs 7]

Whole processes, in turn. The first step is seen from outside: the run is told to stop after one step, and the time is
taken when its line of the first step arrives, before the evaluation and the save that end a run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

TARGET = 1.5
IMPORTS = [sys.executable, "-c", "import torch, hydra"]
TRAIN = [sys.executable, "-m", "rnntrain", "train", "trainer.max_steps=1", "trainer.log_every_steps=1"]


def seconds_to_import() -> float:
    start = time.perf_counter()
    subprocess.run(IMPORTS, check=True)
    return time.perf_counter() - start


def seconds_to_first_step(folder: str) -> float:
    start = time.perf_counter()
    with subprocess.Popen(TRAIN, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step 1:"):
                elapsed = time.perf_counter() - start
                process.kill()
                return elapsed
    raise SystemExit("the first step was never reported")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    pairs = parser.parse_args().pairs
    os.environ.setdefault("PYTHONPATH", os.getcwd())
    with tempfile.TemporaryDirectory() as folder:
        seconds_to_first_step(folder), seconds_to_import()  # warm the file cache
        times = [(seconds_to_first_step(folder), seconds_to_import()) for _ in range(pairs)]
    ratios = [first / imports for first, imports in times]
    first, imports = (statistics.median(side) for side in zip(*times, strict=True))
    ratio = statistics.median(ratios)
    print(
        f"first step after {first:.2f} s, importing torch and hydra {imports:.2f} s; ratio {ratio:.2f} "
        f"(min {min(ratios):.2f}, max {max(ratios):.2f}, {pairs} pairs; to reach {TARGET})"
    )
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
