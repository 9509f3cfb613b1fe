"""What `rnntrain predict` costs beside its model, and whether its memory is flat.

Trains the recipe of SMS spam for a few steps on the messages that ship (how well it does is no matter), then answers
lines made of their words:

- throughput: reading, encoding, the model and writing JSON, against the model alone on the same batches, in turn; by
  the wall clock, and by processor time of one thread, which others on the machine do not lengthen;
- memory: the peak of a process of its own that answers a tenth of the lines, and all of them.

    python scripts/bench_predict.py --lines 100000
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import rnntrain
from rnntrain.models.sequence import evaluating
from rnntrain.predicting.predictor import WINDOW, Example, Predictor, batches, windows
from rnntrain.predicting.readers.finding import examples_of, items_of
from rnntrain.predicting.readers.items import Reading
from rnntrain.predicting.writing import deliver, pieces

MEBIBYTE = 1 << 20


def write_lines(path: Path, number: int) -> None:
    """Write lines of the lengths and words of text messages."""
    from rnntrain.data.labelled.labelled_rows import Reading as RowReading
    from rnntrain.data.labelled.labelled_rows import find_rows
    from rnntrain.data.places import resolve

    rows = find_rows(resolve("@sms/messages.tsv.gz", "data.path"), "data.path", RowReading()).rows["all"]
    rng = random.Random(0)
    words = [word for row in rows for word in row.text.split()]
    lengths = [len(row.text.split()) for row in rows]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(number):
            file.write(" ".join(rng.choices(words, k=rng.choice(lengths))) + "\n")


def examples(predictor: Predictor, path: Path) -> list[Example]:
    return list(examples_of(predictor, items_of(predictor, [str(path)], Reading()), labelled=False))


def whole(predictor: Predictor, path: Path, out: Path) -> None:
    """Do what the verb does."""
    found = examples_of(predictor, items_of(predictor, [str(path)], Reading()), labelled=False)
    deliver(pieces(predictor.predict(found), predictor, "jsonl"), out)


def bare(predictor: Predictor, path: Path) -> Callable[[], None]:
    """Return what runs the model alone on the batches of the verb, which are made beforehand."""
    made = [
        predictor.batch([held[number] for number in numbers])
        for held in windows(examples(predictor, path), WINDOW)
        for numbers in batches([len(example.inputs) for example in held])
    ]

    def run() -> None:
        with evaluating(predictor.model):
            for batch in made:
                predictor.task.infer(predictor.model, batch, None)

    return run


def seconds(function: Callable[[], None]) -> tuple[float, float]:
    """Return how long a call takes by the wall clock, and in processor time."""
    wall, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - processor


def peak_mebibytes(run: Path, path: Path, out: Path) -> float:
    """Return the peak of a process that answers a file."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    command = [
        sys.executable,
        "-m",
        "rnntrain",
        "predict",
        str(run),
        str(path),
        "--out",
        str(out),
        "--force",
        "threads=1",
    ]
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # The maximum over all children so far: call it with the smaller file first.
    return max(before, after) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trained = rnntrain.train(
            "experiment=sms",
            "trainer.max_steps=4",
            "task.linear_baseline=false",
            "threads=1",
            "device=cpu",
            f"run.dir={folder / 'run'}",
            quiet=True,
        )
        predictor = rnntrain.load(trained.run.path, "threads=1").predictor()
        few, many = folder / "few.txt", folder / "many.txt"
        write_lines(few, options.lines // 10)
        write_lines(many, options.lines)
        peaks = [peak_mebibytes(folder / "run", path, folder / "out.jsonl") for path in (few, many)]
        print(
            f"peak memory: {options.lines // 10:,} lines {peaks[0]:.0f} MiB, {options.lines:,} lines {peaks[1]:.0f} MiB"
        )
        alone = bare(predictor, many)
        pairs = []
        for _ in range(options.rounds):
            pairs.append((seconds(lambda: whole(predictor, many, folder / "out.jsonl")), seconds(alone)))
        for place, clock in enumerate(("wall clock", "processor")):
            verbs, alones = ([each[place] for each in its] for its in zip(*pairs, strict=True))
            ratio = statistics.median(alone / verb for verb, alone in zip(verbs, alones, strict=True))
            rate = options.lines / statistics.median(verbs)
            times = "; ".join(f"{verb:.1f} and {alone:.1f} s" for verb, alone in zip(verbs, alones, strict=True))
            print(f"{clock}: predict and the model alone {times}", flush=True)
            print(f"  {rate:,.0f} lines a second, {ratio:.3f} of the model alone (median)", flush=True)


if __name__ == "__main__":
    main()
