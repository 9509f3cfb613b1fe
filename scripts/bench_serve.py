"""Sampling over HTTP: how soon the first token comes, and what 32 clients at once get together against one alone.

    python scripts/bench_serve.py [--hidden-size 256] [--clients 32]

Trains a language model for a few steps, serves it in a process of its own on the loopback address, and asks as any
client would: streamed samples of a prompt of 200 characters. One thread for the model. One client and many take turns.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx

import rnntrain

PROMPT = "First Citizen:\nBefore we proceed any further, hear me speak.\n" * 4


@contextmanager
def served(run: Path) -> Iterator[str]:
    """Serve a run; give its address."""
    command = [sys.executable, "-m", "rnntrain", "serve", str(run), "--port", "0", "threads=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://[\d.:]+", process.stdout.readline())
            assert found is not None
            yield found[0]
        finally:
            process.terminate()


def streamed(client: httpx.Client, address: str, length: int, seed: int) -> tuple[float, int]:
    """Ask for one sample; return the seconds until its first token, and how many characters came."""
    asked = {"prompt": PROMPT[:200], "length": length, "seed": seed, "stream": True}
    started, first, characters = time.perf_counter(), 0.0, 0
    with client.stream("POST", f"{address}/sample", json=asked, timeout=600) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            record = json.loads(line.removeprefix("data: ")) if line else {}
            if "error" in record:
                raise RuntimeError(record["error"])
            if "text" in record:
                first = first or time.perf_counter() - started
                characters += len(record["text"])
    return first, characters


def throughput(address: str, clients: int, length: int) -> float:
    """Return the tokens a second that some clients get together."""
    with httpx.Client(limits=httpx.Limits(max_connections=clients)) as client, ThreadPoolExecutor(clients) as pool:
        started = time.perf_counter()
        came = list(pool.map(lambda seed: streamed(client, address, length, seed)[1], range(clients)))
        return sum(came) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--length", type=int, default=500, help="tokens of each sample")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        sizes = (f"model.hidden_size={options.hidden_size}", "trainer.max_steps=20", "trainer.eval_every_steps=20")
        rnntrain.train(*sizes, "trainer.eval_batches=1", "threads=1", f"run.dir={run}", quiet=True)
        with served(run) as address, httpx.Client() as client:
            streamed(client, address, 50, 0)
            firsts = [1000 * streamed(client, address, 20, seed)[0] for seed in range(40)]
            rates = [
                (throughput(address, 1, options.length), throughput(address, options.clients, options.length))
                for _ in range(options.repeats)
            ]
    ratios = [many / one for one, many in rates]
    print(f"LSTM of {options.hidden_size}, one thread, prompt of 200 characters, {options.length} tokens a sample")
    print(f"first token     {statistics.median(firsts):6.1f} ms median, {max(firsts):6.1f} ms worst of {len(firsts)}")
    print(f"one client      {statistics.median(one for one, _ in rates):8,.0f} tokens/s")
    print(f"{options.clients:2d} clients      {statistics.median(many for _, many in rates):8,.0f} tokens/s together")
    print(f"ratio           {statistics.median(ratios):6.1f} median, {min(ratios):.1f} worst of {options.repeats}")


if __name__ == "__main__":
    main()
