"""What training in several processes is worth, and how many runs a shared store bears: arithmetic, not a simulation.

    python scripts/plan_parallel.py [--gigaflops 120] [--processes 2,4,8,16,32]

A step of W processes takes what its arithmetic takes, divided by W, and one exchange of all gradients, a ring
all-reduce: 2(W - 1)/W times the bytes of the weights through each process's link, and 2(W - 1) messages. Nothing of
it is taken to be hidden behind the arithmetic: a recurrent layer's weight gradients are complete when its backward
pass is. `scripts/bench_parallel.py` compares one point with a measurement.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

FLOAT_BYTES = 4
# Multiplications and additions of one LSTM step are 2 · 4H(D + H), and a backward pass costs twice a forward pass.
FORWARD_AND_BACKWARD = 3
PAYS = 0.5  # the efficiency below which a second model on the other half of the processes is the better use of them


class Link(NamedTuple):
    """What gradients travel through."""

    name: str
    gigabytes_per_second: float
    microseconds: float  # of one message


LINKS = (
    Link("loopback, gloo", 1.0, 60.0),
    Link("1 Gbit/s Ethernet", 0.11, 50.0),
    Link("10 Gbit/s Ethernet", 1.1, 30.0),
    Link("100 Gbit/s InfiniBand", 11.0, 5.0),
    Link("NVLink", 200.0, 5.0),
)


class Network(NamedTuple):
    """A stack of LSTM layers over a vocabulary, and its batch."""

    hidden_size: int
    num_layers: int = 2
    vocab_size: int = 65
    batch_size: int = 64
    bptt: int = 128

    @property
    def num_parameters(self) -> int:
        layer = 4 * self.hidden_size * (2 * self.hidden_size + 2)
        return self.num_layers * layer + 2 * self.vocab_size * self.hidden_size + self.vocab_size

    @property
    def step_flops(self) -> float:
        per_token = self.num_layers * 16 * self.hidden_size**2 + 2 * self.vocab_size * self.hidden_size
        return float(FORWARD_AND_BACKWARD * per_token * self.batch_size * self.bptt)


def exchange_seconds(num_parameters: int, processes: int, link: Link) -> float:
    """Return the seconds of one ring all-reduce of all gradients."""
    size = num_parameters * FLOAT_BYTES
    through_each = 2 * (processes - 1) / processes * size / (link.gigabytes_per_second * 1e9)
    return through_each + 2 * (processes - 1) * link.microseconds * 1e-6


def speedup(alone_seconds: float, processes: int, exchange: float) -> float:
    """Return how many times faster a step is in so many processes than in one."""
    return alone_seconds / (alone_seconds / processes + exchange)


def still_pays(network: Network, gigaflops: float, link: Link, most: int = 1024) -> int:
    """Return the largest number of processes, a power of two, at which each is worth half of one alone or more."""
    alone, number = network.step_flops / (gigaflops * 1e9), 1
    while number < min(most, network.batch_size):
        more = 2 * number
        if speedup(alone, more, exchange_seconds(network.num_parameters, more, link)) / more < PAYS:
            break
        number = more
    return number


def data_parallel_lines(gigaflops: float, processes: list[int]) -> list[str]:
    """Return the table of speed-ups, by width and link."""
    heads = " | ".join(f"{number} processes" for number in processes)
    lines = [f"| width | weights | s a step alone | link | {heads} | pays up to |", "|---" * (5 + len(processes)) + "|"]
    for hidden_size in (128, 512, 2048):
        network = Network(hidden_size)
        alone = network.step_flops / (gigaflops * 1e9)
        for link in LINKS:
            cells = [
                f"{speedup(alone, number, exchange_seconds(network.num_parameters, number, link)):.1f}"
                for number in processes
            ]
            cells.append(str(still_pays(network, gigaflops, link)))
            size = f"{network.num_parameters / 1e6:.1f} M"
            lines.append(f"| {hidden_size} | {size} | {alone:.3f} | {link.name} | {' | '.join(cells)} |")
    return lines


class Store(NamedTuple):
    """A file system that all machines share."""

    name: str
    megabytes_per_second: float
    operations_per_second: float


STORES = (Store("NFS, one server", 500.0, 2_000.0), Store("parallel file system", 20_000.0, 50_000.0))
# Of one save and the rotation after it: the calls that open, sync, rename, delete or look at files; of one logged
# line, an append.
OPERATIONS_OF_A_SAVE = 50
BYTES_OF_A_LINE = 300


def sweep_lines(seconds_between_saves: float = 600.0, seconds_between_lines: float = 10.0) -> list[str]:
    """Return how many runs write at once before the store is busy, by the size of their models."""
    lines = ["| store | weights | MB a save | runs at once by bytes | by operations |", "|---" * 5 + "|"]
    for store in STORES:
        for hidden_size in (128, 512, 2048):
            network = Network(hidden_size)
            save = 3 * network.num_parameters * FLOAT_BYTES  # weights and the two moments of Adam
            by_bytes = (
                store.megabytes_per_second
                * 1e6
                / (save / seconds_between_saves + BYTES_OF_A_LINE / seconds_between_lines)
            )
            by_operations = store.operations_per_second / (
                OPERATIONS_OF_A_SAVE / seconds_between_saves + 1 / seconds_between_lines
            )
            size = f"{network.num_parameters / 1e6:.1f} M"
            lines.append(f"| {store.name} | {size} | {save / 1e6:.1f} | {by_bytes:,.0f} | {by_operations:,.0f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--gigaflops", type=float, default=120.0, help="of one process: a core has about 120, a GPU 20000"
    )
    parser.add_argument("--processes", default="2,4,8,16,32", help="numbers of processes, separated by commas")
    options = parser.parse_args()
    numbers = [int(number) for number in options.processes.split(",")]
    print(f"LSTM, 2 layers, batch 64, 128 steps, {options.gigaflops:g} GF/s a process: speed-up over one process\n")
    print("\n".join(data_parallel_lines(options.gigaflops, numbers)))
    print("\nRuns that save every 10 minutes and log every 10 seconds, until their store is busy\n")
    print("\n".join(sweep_lines()))


if __name__ == "__main__":
    main()
