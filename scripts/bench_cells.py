"""Time of every cell over PyTorch's own layers and over the same cell as a plain Python loop.

    python scripts/bench_cells.py [--cells gru rnn …] [--shapes small long …] [--threads 1 2] [--seconds 1] [--no-loop]
                                  [--cpu-time]
    python scripts/bench_cells.py --scaling [--cells gru …]

Cells are those of configs/model/cell. A row times a forward pass and a training step (forward and backward, the input's
gradient included where it is wider than one) of the cell, of its rival in `torch.nn` and of a Python loop over `step`.
The sides take turns in one process, and a ratio is the median over turns. The share is that of the products' work,
2 · weights · batch · time and thrice that in training, in what a large product of `torch.mm` reaches here; kernels of
our own may do better than that. Build them first (`rnntrain build`); without, or with --kernels plain, the plain path
is timed.

--cpu-time takes the processor time of the process in place of that of the wall: on a machine with other work, ratios of
one thread are then right, and those of two compare the work of both.

--scaling prints the time a step of the sequence and the peak memory of a training step at T = 64 … 8192: both grow
linearly in T.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor, nn

from rnntrain.cells.base import Recurrent, map_state
from rnntrain.device import keep_freed_memory
from rnntrain.models.backbone import Backbone
from rnntrain.native import library

CONFIGS = Path(__file__).resolve().parent.parent / "configs" / "model" / "cell"


class Shape(NamedTuple):
    batch: int
    time: int
    input: int
    hidden: int
    layers: int = 1


SHAPES = {
    "small": Shape(32, 50, 32, 64),
    "words": Shape(20, 35, 200, 200),
    "medium": Shape(64, 128, 256, 256),
    "large": Shape(64, 128, 512, 512, 2),
    "long": Shape(8, 2000, 64, 64),
    "pixels": Shape(128, 784, 1, 128),
}
clock = time.perf_counter
LONG_LOOP = 1000  # steps from which the Python loop is timed once only
RIVALS: dict[str, Any] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
PARALLEL = {"mingru", "minlstm", "sru", "qrnn", "lru"}
LSTMS = {"layernorm_lstm", "regularized_lstm", "peephole_lstm", "zoneout_lstm"}


def target(cell: str, shape: Shape) -> tuple[str, float | None]:
    """Return the layer that a cell is measured against, and the ratio of training steps to reach, if there is one."""
    if cell == "gru":
        if shape.hidden == 64:
            return "GRU", 0.14 if shape.time >= 2000 else 0.3
        return "GRU", 0.6 if shape.hidden <= 200 else 0.75
    if cell in ("rnn", "irnn"):
        return "RNN", 0.5 if shape.hidden == 64 else 0.9
    if cell == "lstm":
        return "LSTM", 1.0
    if cell in LSTMS:
        return "LSTM", 1.3
    if cell in PARALLEL:
        return "GRU", 0.15 if shape.time >= 512 else None
    return "LSTM", None


def load_cell(name: str) -> Callable[[int, int], Recurrent]:
    values = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
    module, _, attribute = values.pop("_target_").rpartition(".")
    __import__(module)
    return partial(getattr(sys.modules[module], attribute), **values)


class Side:
    """One thing to time: `forward` and `step` return their seconds.

    Args:
        run: from the input to the outputs.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], x_BTD: Tensor) -> None:
        self.run, self.x_BTD = run, x_BTD
        self.grad_BTH = torch.ones_like(run(x_BTD))

    def forward(self) -> float:
        started = clock()
        with torch.no_grad():
            self.run(self.x_BTD)
        return clock() - started

    def step(self) -> float:
        started = clock()
        self.run(self.x_BTD).backward(self.grad_BTH)
        return clock() - started


def loop(recurrent: Recurrent, x_BTD: Tensor) -> Tensor:
    state, outputs = recurrent.initial_state(len(x_BTD)), []
    for x_BD in x_BTD.unbind(1):
        y_BH, state = recurrent.step(x_BD, state)
        outputs.append(y_BH)
    return torch.stack(outputs, 1)


def in_turn(sides: list[Callable[[], float]], seconds: float) -> list[list[float]]:
    """Time the sides in turn, at least three times each; return their times."""
    for side in sides:
        side()
    taken: list[list[float]] = [[] for _ in sides]
    started = time.perf_counter()
    while len(taken[0]) < 3 or time.perf_counter() - started < seconds:
        for times, side in zip(taken, sides, strict=True):
            times.append(side())
    return taken


def ratio(numerator: list[float], denominator: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def measured_peak() -> float:
    """Return what a large product reaches, in floating-point operations a second."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)

    def product() -> float:
        started = clock()
        torch.mm(a, b)
        return clock() - started

    return 2 * 1024**3 / min(in_turn([product], 0.5)[0])


def build(name: str, shape: Shape) -> Recurrent:
    factory = load_cell(name)
    if shape.layers == 1:
        return factory(shape.input, shape.hidden)
    return Backbone(shape.input, shape.hidden, factory, num_layers=shape.layers)


def bench(name: str, shape: Shape, seconds: float, peak: float, with_loop: bool) -> str:
    torch.manual_seed(0)
    rival_name, limit = target(name, shape)
    recurrent = build(name, shape)
    rival = RIVALS[rival_name](shape.input, shape.hidden, shape.layers, batch_first=True)
    x_BTD = torch.randn(shape.batch, shape.time, shape.input, requires_grad=shape.input > 1)
    own, theirs = Side(lambda x: recurrent(x)[0], x_BTD), Side(lambda x: rival(x)[0], x_BTD)
    forward = in_turn([own.forward, theirs.forward], seconds / 2)
    step = in_turn([own.step, theirs.step], seconds)
    work = 2 * sum(p.numel() for p in recurrent.parameters() if p.dim() > 1) * shape.batch * shape.time
    shares = [w / statistics.median(times[0]) / peak for w, times in ((work, forward), (3 * work, step))]
    reached, mark = ratio(*step), ""
    if limit is not None:
        mark = f"≤ {limit:.2f} {'ok' if reached <= limit else 'NO'}"
    plain_loop = over_loop(recurrent, own, x_BTD, shape) if with_loop else "     -      -"
    milliseconds = [1000 * statistics.median(times[0]) for times in (forward, step)]
    return (
        f"{name:<18} {milliseconds[0]:9.2f} {ratio(*forward):6.2f} {milliseconds[1]:9.2f} {reached:6.2f} "
        f"{rival_name:<5} {mark:<10} {shares[0]:6.0%} {shares[1]:6.0%} {plain_loop}"
    )


def over_loop(recurrent: Recurrent, own: Side, x_BTD: Tensor, shape: Shape) -> str:
    """Return the ratios of forward pass and training step over those of the loop."""
    try:
        looped = Side(partial(loop, recurrent), x_BTD)
    except NotImplementedError:
        return "     -      -"
    if shape.time * shape.layers >= LONG_LOOP:
        return f"{own.forward() / looped.forward():6.2f} {own.step() / looped.step():6.2f}"
    ratios = [ratio(*in_turn([own.forward, looped.forward], 0)), ratio(*in_turn([own.step, looped.step], 0))]
    return f"{ratios[0]:6.2f} {ratios[1]:6.2f}"


HEADER = (
    "cell                forward  over        step   over nn    target     share  share  over the loop\n"
    "                         ms   nn           ms     nn                   fwd   step    fwd   step"
)


def compare(options: argparse.Namespace) -> Iterator[str]:
    for number in options.threads:
        torch.set_num_threads(number)
        peak = measured_peak()
        yield f"\n{number} thread{'s' if number > 1 else ''}; torch.mm reaches {peak / 1e9:.0f} GFLOP/s"
        for key in options.shapes:
            shape = SHAPES[key]
            layers = f" × {shape.layers} layers" if shape.layers > 1 else ""
            yield (
                f"\n{key}: batch {shape.batch}, {shape.time} steps, input {shape.input}, hidden {shape.hidden}{layers}"
                f"\n{HEADER}"
            )
            for name in options.cells:
                yield bench(name, shape, options.seconds, peak, options.loop)


# -- time and memory by length ---


def scaling(cells: list[str]) -> Iterator[str]:
    lengths = [64 * 2**k for k in range(8)]
    yield "batch 8, hidden 64; µs a step of the sequence | peak MiB beyond the smallest\n"
    yield f"{'cell':<18} " + " ".join(f"{'T=' + str(length):>13}" for length in lengths)
    for name in cells:
        entries = []
        for length in lengths:
            seconds, mebibytes = in_child(partial(training_step, name, length))
            entries.append(f"{1e6 * seconds / length:6.1f} |{mebibytes:5.0f}")
        yield f"{name:<18} " + " ".join(entries)


def training_step(name: str, length: int) -> tuple[float, float]:
    cell = load_cell(name)(64, 64)
    cell(torch.randn(8, 16, 64, requires_grad=True))[0].sum().backward()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken = []
    for _ in range(3):
        x_BTD = torch.randn(8, length, 64, requires_grad=True)
        started = time.perf_counter()
        y_BTH, state = cell(x_BTD)
        map_state(Tensor.detach, state)
        y_BTH.sum().backward()
        taken.append(time.perf_counter() - started)
    return min(taken), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def in_child(function: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    """Run in a process of its own, whose peak of memory is nobody else's."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        os.write(writer, " ".join(map(str, function())).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    if os.wait()[1] != 0 or not text:
        raise RuntimeError("a measurement failed; see above")
    first, second = map(float, text.split())
    return first, second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    available = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    parser.add_argument("--cells", nargs="+", choices=available, default=available, metavar="CELL")
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--seconds", type=float, default=1.0, help="time for a comparison (1)")
    parser.add_argument("--kernels", choices=["auto", "plain", "native"], default="auto")
    parser.add_argument("--no-loop", dest="loop", action="store_false", help="leave out the Python loop")
    parser.add_argument("--scaling", action="store_true", help="time and memory by the length of the sequence")
    parser.add_argument("--cpu-time", action="store_true", help="processor time, for a machine that has other work")
    options = parser.parse_args()
    if options.cpu_time:
        global clock
        clock = time.process_time
    library.choose(options.kernels)
    keep_freed_memory()  # as training does
    if options.scaling:
        torch.set_num_threads(options.threads[0])
        lines = scaling(options.cells)
    else:
        lines = compare(options)
    print(f"torch {torch.__version__}, {library.chosen()} kernels", flush=True)
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
