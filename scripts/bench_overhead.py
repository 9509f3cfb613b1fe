"""Time per step of `rnntrain train`, with logging and progress on, over a bare PyTorch loop of the same network.

    python scripts/bench_overhead.py [--blocks 30]

Both sides train in one process, in turn, a block of steps each, so that the machine's drift meets both. The bare loop
is what one writes by hand: an embedding, `nn.LSTM`, a linear layer, cross-entropy, clipping, a fused AdamW. The
printed ratio is the median over pairs of blocks.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import rnntrain
from rnntrain.runs.run import create_run
from rnntrain.watching.logger import Logger
from rnntrain.watching.recorder import Recorder

SHAPES = {"LSTM 64, batch 32, 50 steps": (64, 32, 50, 100), "LSTM 256, batch 64, 128 steps": (256, 64, 128, 5)}
TARGET = 1.05


class BareModel(nn.Module):
    def __init__(self, vocab_size: int, hidden_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, hidden_size)
        self.lstm = nn.LSTM(hidden_size, hidden_size, batch_first=True)
        self.output = nn.Linear(hidden_size, vocab_size)

    def forward(self, tokens_BT: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y_BTH, state = self.lstm(self.embedding(tokens_BT), state)
        return self.output(y_BTH), state


def bare_block(tokens: Tensor, hidden_size: int, batch_size: int, bptt: int, steps: int) -> Callable[[], float]:
    """Return a function that trains a block of steps and gives its seconds."""
    model = BareModel(int(tokens.max()) + 2, hidden_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.002, fused=True)
    length = tokens.numel() // batch_size
    rows = tokens[: length * batch_size].view(batch_size, length)
    position, state = 0, None

    def run() -> float:
        nonlocal position, state
        start = time.perf_counter()
        for _ in range(steps):
            if position + bptt + 1 > length:
                position, state = 0, None
            inputs, targets = rows[:, position : position + bptt], rows[:, position + 1 : position + bptt + 1]
            position += bptt
            optimizer.zero_grad()
            logits, state = model(inputs, state)
            state = (state[0].detach(), state[1].detach())
            F.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        return time.perf_counter() - start

    return run


class Terminal(io.StringIO):
    """Takes the progress bar as a terminal would."""

    def isatty(self) -> bool:
        return True


def compare(name: str, hidden_size: int, batch_size: int, bptt: int, steps: int, blocks: int) -> float:
    experiment = rnntrain.prepare(
        f"model.hidden_size={hidden_size}",
        f"data.batch_size={batch_size}",
        f"data.bptt={bptt}",
        f"trainer.max_steps={steps * (blocks + 1)}",
        f"trainer.eval_every_steps={10**9}",
    )
    tokens = torch.cat([batch.inputs[0] for batch in experiment.data.train_batches(0, 0)])[:1_000_000]
    bare = bare_block(tokens, hidden_size, batch_size, bptt, steps)
    ours: list[float] = []
    theirs: list[float] = []
    started = time.perf_counter()

    def between_steps() -> None:
        nonlocal started
        if experiment.trainer.step % steps == 0:
            ours.append(time.perf_counter() - started)
            theirs.append(bare())
            started = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        run = create_run(Path(folder), "overhead")
        terminal, sys.stderr = sys.stderr, Terminal()
        logger = Logger(run.metrics, run.tensorboard, unit=experiment.data.unit)
        experiment.trainer.watcher = Recorder(run, logger, 2)
        experiment.trainer.fit(between_steps)
        logger.close()
        sys.stderr = terminal
    ratios = [a / b for a, b in zip(ours[1:], theirs[1:], strict=True)]  # the first pair warms up
    ratio = statistics.median(ratios)
    milliseconds = [1000 * statistics.median(times[1:]) / steps for times in (ours, theirs)]
    print(
        f"{name}: rnntrain {milliseconds[0]:.2f} ms a step, bare loop {milliseconds[1]:.2f} ms; "
        f"ratio {ratio:.3f} (min {min(ratios):.3f}, max {max(ratios):.3f}, {len(ratios)} pairs; to reach {TARGET})"
    )
    return ratio


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=30)
    blocks = parser.parse_args().blocks
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    ratios = [compare(name, *shape, blocks) for name, shape in SHAPES.items()]
    return 0 if max(ratios) <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
