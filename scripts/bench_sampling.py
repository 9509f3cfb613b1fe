"""Time of one step at batch 1: a cell's over PyTorch's own cell, and a whole token of sampled text over both.

    python scripts/bench_sampling.py [--sizes 64 256 512] [--rounds 15] [--kernels auto] [--cpu-time]

The sides take turns in one process, on one thread; ratios are medians over rounds. With --cpu-time it is the thread's
processor time, for a machine that has other work. A token is embedding, cell, output
layer over 65 characters, softmax and draw. Build the kernels first (`rnntrain build`), or give --kernels plain.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from rnntrain.cells.gru import GRU
from rnntrain.cells.lstm import LSTM
from rnntrain.cells.rnn import RNN
from rnntrain.models.sequence import SequenceModel
from rnntrain.models.vocabulary import VocabularyHead
from rnntrain.native import library
from rnntrain.sample import DrawOptions, SamplingOptions, draw

CELLS = {"lstm": (LSTM, nn.LSTMCell), "gru": (GRU, nn.GRUCell), "rnn": (RNN, nn.RNNCell)}
VOCABULARY = 65
CALLS = 200


def microseconds(function: Callable[[], object], clock: Callable[[], float]) -> float:
    started = clock()
    for _ in range(CALLS):
        function()
    return (clock() - started) / CALLS * 1e6


def sides(name: str, size: int) -> list[Callable[[], object]]:
    """Return the step of PyTorch's cell, that of ours, and a token of a model with ours."""
    cell_class, bare_class = CELLS[name]
    model = SequenceModel(
        lambda width: nn.Embedding(VOCABULARY, width),
        lambda width: VocabularyHead(width, VOCABULARY),
        cell_class,
        hidden_size=size,
    ).eval()
    cell, bare = model.backbone.layers[0], bare_class(size, size)
    x_BD, generator = torch.randn(1, size), torch.Generator().manual_seed(0)
    state, whole_state = cell.initial_state(1), model.initial_state(1)
    token_B, options = torch.zeros(1, dtype=torch.long), DrawOptions.of([SamplingOptions()])

    def token() -> object:
        output, _ = model.step(token_B, whole_state)
        return draw(output.compute(), torch.rand(1, generator=generator, dtype=torch.float64), options)

    return [lambda: bare(x_BD, state), lambda: cell.step(x_BD, state), token]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 256, 512])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--kernels", choices=["auto", "plain", "native"], default="auto")
    parser.add_argument(
        "--cpu-time", action="store_true", help="the processor time of the thread, not that of the wall"
    )
    options = parser.parse_args()
    clock = time.thread_time if options.cpu_time else time.perf_counter
    library.choose(options.kernels)
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {library.chosen()} kernels\n")
    print(
        "| cell, size | torch's step, µs | our step | ratio | a token | over torch's step |\n|---|---|---|---|---|---|"
    )
    for name in CELLS:
        for size in options.sizes:
            functions = sides(name, size)
            with torch.no_grad():
                rounds = [[microseconds(function, clock) for function in functions] for _ in range(options.rounds)]
            bare, step, token = (statistics.median(column) for column in zip(*rounds, strict=True))
            ratios = [statistics.median(taken[k] / taken[0] for taken in rounds) for k in (1, 2)]
            print(
                f"| {name}, {size} | {bare:.1f} | {step:.1f} | {ratios[0]:.2f} | {token:.1f} | {ratios[1]:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
