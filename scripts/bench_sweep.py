"""What sweeps promise, measured: what pruning saves, what a sweep costs, and that nothing is lost when it is killed.

    python scripts/bench_sweep.py hyperband [--repeats 3] [--points 24]      on characters of Shakespeare
    python scripts/bench_sweep.py plateaus [--repeats 3] [--points 24]       Hyperband on the adding problem
    python scripts/bench_sweep.py overhead [--runs 8]
    python scripts/bench_sweep.py two [--runs 6]
    python scripts/bench_sweep.py kill [--kills 20] [--seed 0]
    python scripts/bench_sweep.py starts [--starts 20]
    python scripts/bench_sweep.py compare [--runs 200]

Each prints one line a measurement and ends with 1 where a target is missed. Times are of whole processes on this
machine, both sides in one call, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

RNNTRAIN = [sys.executable, "-m", "rnntrain"]
# The adding problem over 30 steps: a rate too low or too high learns nothing within 540 steps.
ADDING = [
    "experiment=adding",
    "data.length=30",
    "model.hidden_size=24",
    "trainer.max_steps=540",
    "trainer.eval_every_steps=20",
]
# Characters of the plays that ship, with small networks: half a minute a run on a busy core, 24 of them in minutes on a
# quiet one. The space is one that a person would search.
SHAKESPEARE = [
    "data.batch_size=24",
    "data.bptt=50",
    "data.eval_batch_size=64",
    "task.sample_length=20",
    "trainer.max_steps=540",
    "trainer.eval_batches=2",
    "optimizer.lr=interval(3e-4,3e-2,log)",
    "model.hidden_size=interval(16,64,log,int)",
    "model.output_dropout=interval(0.0,0.5)",
    "model/cell=choice(rnn,lstm,gru)",
]
# Of Hyperband: 108 evaluations of a run. Chosen with the sampler's seeds 10, 11 and 12, by the curves of full runs
# (every 5, 10 or 20 steps, reduction 2, 3 or 4); measured with 0, 1 and 2.
# One run at a time: which of two runs is compared first would hang on the clock.
HALVING = ["trainer.eval_every_steps=5", "sweep.reduction_factor=4", "sweep.workers=1"]
SPACE = ["optimizer.lr=interval(1e-4,1e-1,log)", "model/cell=choice(rnn,lstm,gru)"]


def run(*words: str, check: bool = True) -> float:
    """Run `rnntrain`; return how long it took."""
    began = time.perf_counter()
    subprocess.run([*RNNTRAIN, *words], check=check, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def cost(*words: str) -> list[float]:
    """Run `rnntrain`; return the seconds it took, and those of a processor that it and its runs used."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = run(*words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return [seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime]


def summaries(name: str) -> list[dict]:
    """Return the summaries of a sweep's runs."""
    return [json.loads(path.read_text()) for path in sorted(Path(f"outputs/sweeps/{name}/runs").glob("*/summary.json"))]


def hyperband(repeats: int, points: int) -> bool:
    """Characters, whose learning curves rank early."""
    return _hyperband(SHAKESPEARE, repeats, points)


def plateaus(repeats: int, points: int) -> bool:
    """The adding problem, whose curves stay on a plateau before they fall: early evaluations may mislead."""
    return _hyperband([*ADDING, *SPACE], repeats, points)


def _hyperband(words: list[str], repeats: int, points: int) -> bool:
    """The same random points, each trained to its end and pruned by Hyperband: compute, and the best value."""
    shares, of_processor, ratios = [], [], []
    for repeat in range(repeats):
        best, steps, seconds = {}, {}, {}
        for pruner in ("none", "hyperband"):
            name = f"{pruner}-{repeat}"
            settings = [f"sweep.name={name}", f"sweep.pruner={pruner}", f"sweep.trials={points}"]
            settings += ["sweep.sampler=random", f"sweep.sampler_seed={repeat}"]
            seconds[pruner] = cost("sweep", *words, *HALVING, *settings)[1]
            runs = summaries(name)
            steps[pruner] = sum(each["step"] for each in runs)
            best[pruner] = min(each["val/loss"] for each in runs if each["status"] == "finished")
        shares.append(steps["hyperband"] / steps["none"])
        of_processor.append(seconds["hyperband"] / seconds["none"])
        ratios.append(best["hyperband"] / best["none"])
        print(
            f"repeat {repeat}: {points} points, Hyperband {steps['hyperband']:,} steps, best {best['hyperband']:.4g}; "
            f"all to their end {steps['none']:,} steps, best {best['none']:.4g}; "
            f"share of the steps {shares[-1]:.2f}, of the processor's time {of_processor[-1]:.2f}",
            flush=True,
        )
    print(f"share of the steps {statistics.median(shares):.2f} (worst {max(shares):.2f}; to reach 0.4)")
    print(
        f"share of the processor's time, starts of processes included, {statistics.median(of_processor):.2f} (worst "
        f"{max(of_processor):.2f})"
    )
    print(f"best value over that of full runs {statistics.median(ratios):.2f} (worst {max(ratios):.2f}; to reach 1)")
    return max(shares) <= 0.4 and max(ratios) <= 1.0


def overhead(runs: int) -> bool:
    """Runs by hand and in a sweep, in turn; what each costs more in a sweep, in time of the clock and the processor."""
    short = [*ADDING, "trainer.max_steps=60"]
    settings = ["sweep.sampler=grid", "sweep.workers=1"]
    by_hand, in_sweep = [], []
    for number in range(runs):
        by_hand.append(cost("train", *short, f"seed={number}", "threads=1", f"run.name=hand{number}"))
        again = cost("sweep", *short, "optimizer.lr=choice(0.5,0.4)", *settings, f"sweep.name=two{number}")
        alone = cost("sweep", *short, "optimizer.lr=choice(0.5)", *settings, f"sweep.name=one{number}")
        in_sweep.append([more - less for more, less in zip(again, alone, strict=True)])
    for place, what in enumerate(("s of the clock", "s of a processor")):
        hand, swept = (statistics.median(each[place] for each in side) for side in (by_hand, in_sweep))
        print(f"a run by hand {hand:.2f} {what}, one more in a sweep {swept:.2f}: {swept - hand:+.2f} (to reach +0.2)")
    return swept - hand <= 0.2


def two(runs: int) -> bool:
    """Two runs at once of one thread each, against one after the other with two threads."""
    short = [*ADDING, "trainer.max_steps=400", "trainer.eval_every_steps=200"]
    settings = ["sweep.sampler=grid", "optimizer.lr=choice(" + ",".join(f"0.00{n + 1}" for n in range(runs)) + ")"]
    ratios = []
    for repeat in range(3):
        at_once = run("sweep", *short, *settings, "sweep.workers=2", "threads=1", f"sweep.name=two{repeat}")
        in_turn = run("sweep", *short, *settings, "sweep.workers=1", "threads=2", f"sweep.name=turn{repeat}")
        ratios.append(in_turn / at_once)
        print(f"two at once {at_once:.1f} s, one after the other {in_turn:.1f} s: {ratios[-1]:.2f} times", flush=True)
    print(f"{statistics.median(ratios):.2f} times the runs per hour (worst {min(ratios):.2f}; to reach 1.6)")
    return statistics.median(ratios) >= 1.6


def jobs(folder: Path) -> list[int]:
    """Return the processes of runs that were started from a folder."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if process.name.isdigit() and b"rnntrain.sweeps.job" in (process / "cmdline").read_bytes():
                found += [int(process.name)] if Path(os.readlink(process / "cwd")) == folder else []
    return found


def kill(kills: int, seed: int) -> bool:
    """Kill a sweep, its runs, or both, at random instants; start it again; see what it ends with."""
    rng, here = random.Random(seed), Path.cwd().resolve()
    points, seeds = 10, 2
    settings = [f"sweep.trials={points}", f"sweep.seeds={seeds}", "sweep.sampler=random", "sweep.retries=100"]
    command = [*RNNTRAIN, "sweep", *ADDING, "trainer.max_steps=3000", "trainer.checkpoint_every_steps=50", *SPACE]
    command += [*settings, "sweep.name=killed"]
    words = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    sweep, done = subprocess.Popen(command, **words), 0
    while done < kills and sweep.poll() is None:
        time.sleep(rng.uniform(1.0, 8.0))
        what = rng.choice(["parent", "child", "both"])
        running = jobs(here)
        if what != "parent" and running:
            for process in running if what == "both" else [rng.choice(running)]:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        if what != "child":
            sweep.kill()
            sweep.wait()
            sweep = subprocess.Popen(command, **words)
        done += 1
    code = sweep.wait()
    time.sleep(1.0)
    runs, orphans = summaries("killed"), len(jobs(here))
    finished = sum(each["status"] == "finished" for each in runs)
    board = json.loads(Path("outputs/sweeps/killed/leaderboard.json").read_text())
    values = [group["metrics"]["val/loss"]["runs"] for group in board["groups"] if group["metrics"]]
    print(
        f"{done} kills, exit code {code}: {finished} of {points * seeds} runs finished, {len(values)} of {points} "
        f"points with {seeds} seeds each, {orphans} orphans"
    )
    return code == 0 and finished == points * seeds and values == [seeds] * points and orphans == 0


def starts(number: int) -> bool:
    """Start many sweeps at once on one study of as many points, and many runs at once in one folder."""
    settings = ["sweep.sampler=random", "sweep.workers=1", f"sweep.trials={number}", "sweep.name=starts"]
    tiny = [*ADDING, "trainer.max_steps=4", "trainer.eval_every_steps=2"]
    good = True
    for name, words in (("sweep", ["sweep", *tiny, *SPACE, *settings]), ("train", ["train", *tiny, "threads=1"])):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        processes = [subprocess.Popen([*RNNTRAIN, *words], **quiet) for _ in range(number)]
        errors = [process.communicate()[1].decode() for process in processes]
        codes = [process.returncode for process in processes]
        where = "outputs/sweeps/starts/runs" if name == "sweep" else "outputs/adding"
        ended = [json.loads(path.read_text())["status"] for path in Path(where).glob("*/summary.json")]
        print(f"{number} times rnntrain {name} at once: {codes.count(0)} ended well, {ended.count('finished')} runs")
        for error, code in zip(errors, codes, strict=True):
            if code:
                print(error[-300:])
        good = good and codes == [0] * number and ended.count("finished") == number
    return good


def compare(number: int) -> bool:
    """Compare many runs; their folders are copies of one real run with other values."""
    run("train", *ADDING, "trainer.max_steps=60", "threads=1", "run.dir=one")
    config, rng = Path("one/config.yaml").read_text(), random.Random(0)
    start = json.loads(Path("one/run.json").read_text())
    del start["sha256"], start["config_sha256"]
    start["format"] = 1  # that vouches for no config
    for index in range(number):
        folder = Path(f"many/{index:04}")
        folder.mkdir(parents=True)
        rate = 10 ** rng.uniform(-4, -1) if index % 4 == 0 else rate  # noqa: F821
        (folder / "config.yaml").write_text(config.replace("lr: 0.005", f"lr: {rate}") + f"seed: {index % 4}\n")
        (folder / "run.json").write_text(json.dumps(start))
        summary = json.loads(Path("one/summary.json").read_text()) | {"val/loss": rng.random()}
        (folder / "summary.json").write_text(json.dumps(summary))
    seconds = statistics.median(run("compare", "many") for _ in range(5))
    print(f"{number} runs compared in {seconds:.2f} s (median of 5; to reach 3)")
    return seconds <= 3.0


MEASUREMENTS: dict[str, tuple[Callable[..., bool], dict[str, int]]] = {
    "hyperband": (hyperband, {"repeats": 3, "points": 24}),
    "plateaus": (plateaus, {"repeats": 3, "points": 24}),
    "overhead": (overhead, {"runs": 8}),
    "two": (two, {"runs": 6}),
    "kill": (kill, {"kills": 20, "seed": 0}),
    "starts": (starts, {"starts": 20}),
    "compare": (compare, {"runs": 200}),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="what", required=True)
    for name, (_, options) in MEASUREMENTS.items():
        kind = kinds.add_parser(name)
        for option, default in options.items():
            kind.add_argument(f"--{option}", type=int, default=default)
    chosen = parser.parse_args(arguments)
    measure, options = MEASUREMENTS[chosen.what]
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [path, os.getcwd()]))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        return 0 if measure(*(getattr(chosen, option) for option in options)) else 1


if __name__ == "__main__":
    sys.exit(main())
