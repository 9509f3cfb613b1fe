"""Words per second and perplexity against the word language model of pytorch/examples, in turn, on the same text.

    python scripts/bench_word_lm.py PEER TEXT [--epochs 3] [--pairs 3]

PEER is the folder `word_language_model` of a checkout of pytorch/examples; TEXT a folder with WikiText-2's valid.txt
and test.txt. Both sides train on valid.txt and validate and test on test.txt (for this comparison alone), with the
same vocabulary, the same two LSTM layers of 200, batch 20, window 35, dropout 0.2, gradient descent at rate 20 with
clipping at 0.25. The peer runs as it is, as a process of its own, and its speed is read from its own log; ours
likewise, first in float32 and then in bfloat16.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

BATCH_SIZE, BPTT = 20, 35


class Result(NamedTuple):
    words_per_second: float
    perplexity: float


def lay_out(text: Path, folder: Path) -> None:
    """Put the two files where both sides read train, valid and test, and write the vocabulary that they share."""
    for name, source in (("train.txt", "valid.txt"), ("valid.txt", "test.txt"), ("test.txt", "test.txt")):
        shutil.copy(text / source, folder / name)
    words = {"<eos>": 0, "<unk>": 0}
    for name in ("train.txt", "valid.txt"):
        words |= dict.fromkeys((folder / name).read_text(encoding="utf-8").split(), 0)
    (folder.parent / "vocabulary.txt").write_text("\n".join(words) + "\n", encoding="utf-8")


def run_peer(peer: Path, folder: Path, epochs: int, seed: int) -> Result:
    command = [sys.executable, "main.py", "--data", str(folder), "--epochs", str(epochs), "--seed", str(seed)]
    command += ["--log-interval", "50", "--save", str(folder.parent / "peer.pt")]
    # Its evaluation of the saved model asks for classes to be allowed; the figures stand in the log before that.
    done = subprocess.run(command, cwd=peer, capture_output=True, text=True)
    milliseconds = [float(value) for value in re.findall(r"ms/batch +([\d.]+)", done.stdout)]
    perplexities = [float(value) for value in re.findall(r"valid ppl +([\d.]+)", done.stdout)]
    if not milliseconds or not perplexities:
        raise SystemExit(f"the peer gave no figures:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return Result(BATCH_SIZE * BPTT / (statistics.median(milliseconds) / 1000), min(perplexities))


def run_ours(folder: Path, epochs: int, seed: int, precision: str) -> Result:
    run = folder.parent / f"{precision}-{seed}"
    shutil.rmtree(run, ignore_errors=True)
    command = [sys.executable, "-m", "rnntrain", "train", "experiment=word_lm", f"data.path={folder}", f"seed={seed}"]
    command += [f"data.vocab_path={folder.parent / 'vocabulary.txt'}", f"trainer.max_epochs={epochs}", f"run.dir={run}"]
    subprocess.run([*command, f"precision={precision}", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    speeds = [line["cost/units_per_second"] for line in lines if "cost/units_per_second" in line]
    perplexity = min(line["val/perplexity"] for line in lines if "val/perplexity" in line)
    return Result(statistics.median(speeds), perplexity)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    results: dict[str, list[Result]] = {"peer": [], "float32": [], "bfloat16": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "wikitext"
        folder.mkdir()
        lay_out(options.text, folder)
        for seed in range(options.pairs):
            results["peer"].append(run_peer(options.peer, folder, options.epochs, seed))
            results["float32"].append(run_ours(folder, options.epochs, seed, "float32"))
            results["bfloat16"].append(run_ours(folder, options.epochs, seed, "bfloat16"))
            print(
                "; ".join(
                    f"{name} {r[-1].words_per_second:,.0f} words/s, perplexity {r[-1].perplexity:.1f}"
                    for name, r in results.items()
                ),
                flush=True,
            )
    for name in ("float32", "bfloat16"):
        ratios = [a.words_per_second / b.words_per_second for a, b in zip(results[name], results["peer"], strict=True)]
        ours, theirs = (statistics.median(r.perplexity for r in results[side]) for side in (name, "peer"))
        print(
            f"{name}: {statistics.median(ratios):.2f} times the peer's words per second (min {min(ratios):.2f}, "
            f"max {max(ratios):.2f}); perplexity {ours:.1f} against {theirs:.1f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
