"""What a save costs the training, written beside it and in its place; what the guard costs a step.

    python scripts/bench_save.py [--rounds 12] [--hidden 1110] [--folder DIR]

An LSTM of about 10 million parameters trains with AdamW, and so a checkpoint holds about 120 MB. In turn, a round each:

- beside: the state is copied, and a thread hashes, writes and fsyncs it while the training goes on;
- in its place: the training waits until the checkpoint stands and the old one is deleted.

The stall is the time that the call takes, its work the time of the training's thread on a processor, which other work
on the machine does not stretch. The whole cost is how much longer the steps took, stall included, until the
checkpoint stood, than as many steps take without a save: the thread shares the processor with them. The guard is
timed by itself, over the step of a small model, where it weighs most.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import timeit
from contextlib import closing
from pathlib import Path

import torch

import rnntrain
from rnntrain.build import Experiment
from rnntrain.guard import Guard, Origin
from rnntrain.runs.run import create_run
from rnntrain.watching.logger import Logger
from rnntrain.watching.recorder import Recorder

STALL_MILLISECONDS = 50.0
GUARD_SHARE = 0.01
STEPS_BETWEEN = 4


def prepare(hidden_size: int, batch_size: int, bptt: int, *more: str) -> Experiment:
    return rnntrain.prepare(
        f"model.hidden_size={hidden_size}", f"data.batch_size={batch_size}", f"data.bptt={bptt}", *more
    )


def step_seconds(experiment: Experiment, number: int) -> float:
    """Train some steps; return their median."""
    taken = []
    for _ in range(number):
        started = time.perf_counter()
        experiment.trainer.train_step()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def save_round(experiment: Experiment, recorder: Recorder, beside: bool) -> tuple[float, float, float]:
    """Save once; return the milliseconds of the stall, of its work on a processor, and of the whole cost."""
    trainer = experiment.trainer
    usual = step_seconds(experiment, STEPS_BETWEEN)
    recorder.log(trainer, {"train/loss": 1.0})  # what a save has to flush first
    started, worked = time.perf_counter(), time.thread_time()
    recorder.save(trainer, "interval")
    if not beside:
        recorder.settle(trainer)
    stall, work = time.perf_counter() - started, time.thread_time() - worked
    steps = 0
    while not recorder.saver.settled():
        trainer.train_step()
        steps += 1
    recorder.settle(trainer)
    return 1000 * stall, 1000 * work, 1000 * (time.perf_counter() - started - steps * usual)


def bench_saves(hidden_size: int, rounds: int, folder: Path) -> float:
    experiment = prepare(hidden_size, 8, 16)
    run = create_run(folder, "save")
    logger = Logger(run.metrics, run.tensorboard, quiet=True)
    recorder = Recorder(run, logger, 1)
    found: dict[str, list[tuple[float, float, float]]] = {"beside the training": [], "in its place": []}
    with closing(logger), recorder.saver:
        for side in found:  # the first of each gets its memory from the system
            save_round(experiment, recorder, side == "beside the training")
        for _ in range(rounds):
            for side, costs in found.items():
                costs.append(save_round(experiment, recorder, side == "beside the training"))
        newest = max((run.checkpoints).glob("step-*"))
        size = sum(path.stat().st_size for path in newest.iterdir()) / 1e6
    print(f"\n{experiment.num_parameters:,} parameters, a checkpoint of {size:.0f} MB, {rounds} rounds\n")
    print("| a save | stall, median (ms) | worst | its work, median (ms) | whole cost, median (ms) | worst |")
    print("|---|---|---|---|---|---|")
    for side, costs in found.items():
        stalls, works, wholes = zip(*costs, strict=True)
        stall, work, whole = (statistics.median(each) for each in (stalls, works, wholes))
        print(f"| {side} | {stall:.0f} | {max(stalls):.0f} | {work:.0f} | {whole:.0f} | {max(wholes):.0f} |")
    return statistics.median(stall for stall, _, _ in found["beside the training"])


def bench_guard(hidden_size: int) -> float:
    """Return the share of the guard in a step."""
    shares = []
    print("\n| guard | time a step (µs) | step (ms) | share |\n|---|---|---|---|")
    for name, more in {"not finite alone": (), "with spikes": ("trainer.spike_factor=10",)}.items():
        experiment = prepare(hidden_size, 32, 50, *more)
        trainer = experiment.trainer
        step_seconds(experiment, 120)
        guard, loss_sum, count = Guard(trainer.settings), torch.tensor(3.0), torch.tensor(2.0)

        def judge(trainer=trainer, guard=guard, loss_sum=loss_sum, count=count) -> None:  # type: ignore[no-untyped-def]
            Origin.here(trainer.epoch, trainer.offset, trainer.state, trainer.device)
            guard.problem(loss_sum, count, 1.0, False)
            guard.stepped(trainer.step)

        number = 2000
        alone = min(timeit.repeat(judge, number=number, repeat=5)) / number
        step = step_seconds(experiment, 200)
        shares.append(alone / step)
        print(f"| {name} | {1e6 * alone:.1f} | {1000 * step:.2f} | {alone / step:.2%} |")
    return max(shares)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=1110)
    parser.add_argument("--folder", type=Path, help="the disk that is written to; the system's for temporary files")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        stall = bench_saves(options.hidden, options.rounds, Path(folder))
    share = bench_guard(64)
    print(f"\nto reach: a stall of {STALL_MILLISECONDS:.0f} ms, a share of {GUARD_SHARE:.0%}")
    return 0 if stall <= STALL_MILLISECONDS and share <= GUARD_SHARE else 1


if __name__ == "__main__":
    sys.exit(main())
