"""A step of the same global batch in two processes of one thread each, over one process of one thread.

    python scripts/bench_parallel.py [--pairs 8] [--hidden-size 512] [--num-layers 2]

Two `torchrun`s stay up, one of a process and one of two; they train in turn, a step each, so that the machine's drift
meets both. The exchange of gradients is timed alone, too, and what `plan_parallel.py` makes of it stands beside what
was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

TARGET = 1.6
POLL_SECONDS = 0.002
WARM_UP = 2  # pairs that build buffers and are not counted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--hidden-size", type=int, default=512)
    parser.add_argument("--num-layers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # of a worker
    options = parser.parse_args()
    if options.folder is not None:
        work(options.folder, options.hidden_size, options.num_layers)
        return 0
    return compare(options)


def compare(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as name:
        folders = {number: Path(name) / str(number) for number in (1, 2)}
        processes = [start(number, folder, options) for number, folder in folders.items()]
        pairs = []
        for turn in range(WARM_UP + options.pairs):
            order = (1, 2) if turn % 2 else (2, 1)
            pairs.append({number: step(folders[number], turn) for number in order})
        for folder in folders.values():
            (folder / "end").touch()
        for process in processes:
            process.wait()
        found = json.loads((folders[2] / "exchange").read_text())
    return report(pairs[WARM_UP:], found["seconds"], found["parameters"], options)


def start(number: int, folder: Path, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    folder.mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(number)]
    command += [__file__, "--folder", str(folder)]
    command += ["--hidden-size", str(options.hidden_size), "--num-layers", str(options.num_layers)]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def step(folder: Path, turn: int) -> float:
    """Let a group take one step; return its seconds."""
    (folder / f"go-{turn}").touch()
    return float(json.loads(wait_for(folder / f"done-{turn}").read_text()))


def wait_for(path: Path) -> Path:
    while not path.exists():
        time.sleep(POLL_SECONDS)
    return path


def report(pairs: list[dict[int, float]], exchange: float, parameters: int, options: argparse.Namespace) -> int:
    from plan_parallel import speedup

    ratios = [pair[1] / pair[2] for pair in pairs]
    alone, together = (statistics.median(pair[number] for pair in pairs) for number in (1, 2))
    predicted = speedup(alone, 2, exchange)
    print(
        f"LSTM {options.hidden_size} × {options.num_layers} ({parameters:,} parameters), batch 64, 128 steps: "
        f"{alone:.3f} s a step in one process, {together:.3f} s in two: {statistics.median(ratios):.2f} times "
        f"(min {min(ratios):.2f}, max {max(ratios):.2f}, {len(ratios)} pairs; to reach {TARGET})\n"
        f"exchange alone {exchange:.3f} s; the plan says {predicted:.2f} times"
    )
    return 0 if statistics.median(ratios) >= TARGET else 1


# -- in the processes of torchrun ---


def work(folder: Path, hidden_size: int, num_layers: int) -> None:
    import torch

    import rnntrain.config as configs
    from rnntrain.build import build
    from rnntrain.processes import distributed
    from rnntrain.processes.joining import joined

    words = [f"model.hidden_size={hidden_size}", f"model.num_layers={num_layers}", "data.batch_size=64"]
    words += ["data.bptt=128", "trainer.max_steps=1000", "device=cpu", "threads=1"]
    config = configs.check(configs.compose(words))
    with joined(lambda: config.device):
        experiment = build(config)
        experiment.model.train()
        turn = 0
        while distributed.from_first(partial(told_to_go_on, folder, turn)):
            started = time.perf_counter()
            experiment.trainer.train_step()
            seconds = time.perf_counter() - started
            if distributed.rank() == 0:
                answer(folder / f"done-{turn}", seconds)
            turn += 1
        if distributed.world_size() > 1:
            gradients = torch.zeros(experiment.num_parameters)
            times = [timed_exchange(gradients) for _ in range(20)]
            if distributed.rank() == 0:
                found = {"seconds": statistics.median(times), "parameters": experiment.num_parameters}
                answer(folder / "exchange", found)


def told_to_go_on(folder: Path, turn: int) -> bool:
    while True:
        if (folder / f"go-{turn}").exists():
            return True
        if (folder / "end").exists():
            return False
        time.sleep(POLL_SECONDS)


def timed_exchange(gradients: object) -> float:
    import torch.distributed as dist

    dist.barrier()
    started = time.perf_counter()
    dist.all_reduce(gradients)
    return time.perf_counter() - started


def answer(path: Path, value: object) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(value))
    temporary.rename(path)


if __name__ == "__main__":
    sys.exit(main())
