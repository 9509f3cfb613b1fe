"""What the products of a cell take by torch.mm alone, beside the cell and beside nn.GRU: the floor of a training step.

    python scripts/bench_products.py [--rounds 4]

One thread, by the processor time of the thread, so that other work does not matter; the sides take turns, medians.
Products over all steps are taken 1,024 rows at a time, whose numbers stay in the cache, and those of one step with the
rows of the batch: what a cell with the same products could reach through torch.mm, if all else cost nothing.
"""

# B batch, T time, D input, H hidden, P projection, N = B · T

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from bench_cells import SHAPES, Shape, load_cell
from torch import Tensor, nn

from rnntrain.device import keep_freed_memory
from rnntrain.native import library

ROWS = 1024
# M, K, N and how often of the product (M × K) (K × N)
Product = tuple[int, int, int, int]


def over_time(shape: Shape, inputs: int, outputs: int) -> dict[str, Product]:
    """Return the products of a linear layer over all steps: forward, by its input, by its weights."""
    times = max(1, shape.batch * shape.time // ROWS)
    rows = min(ROWS, shape.batch * shape.time)
    return {
        "forward": (rows, inputs, outputs, times),
        "by input": (rows, outputs, inputs, times),
        "by weights": (outputs, rows, inputs, times),
    }


def each_step(shape: Shape, inputs: int, outputs: int) -> dict[str, Product]:
    """Likewise where every step waits for the last; the gradient of the weights does not."""
    return over_time(shape, inputs, outputs) | {
        "forward": (shape.batch, inputs, outputs, shape.time),
        "by input": (shape.batch, outputs, inputs, shape.time),
    }


def products(cell: str, shape: Shape) -> dict[str, dict[str, Product]]:
    H, D = shape.hidden, shape.input
    if cell == "lru":  # those with an input of one number are left out: they cost nothing
        return {"Re(C s)": over_time(shape, 2 * H, H), "gated linear unit": over_time(shape, H, 2 * H)}
    return {
        "W x": over_time(shape, D, 4 * H),
        "U h": each_step(shape, H // 2, 4 * H),
        "P m": each_step(shape, H, H // 2),
    }


def seconds(run: Callable[[], object]) -> float:
    started = time.thread_time()
    run()
    return time.thread_time() - started


def multiply(product: Product) -> Callable[[], None]:
    M, K, N, times = product
    a, b, out = torch.randn(M, K), torch.randn(K, N), torch.empty(M, N)

    def run() -> None:
        for _ in range(times):
            torch.mm(a, b, out=out)

    return run


def training_step(layer: nn.Module, x_BTD: Tensor) -> None:
    y_BTH = layer(x_BTD)[0]
    y_BTH.backward(torch.ones_like(y_BTH))


def report(cell: str, name: str, rounds: int) -> str:
    shape = SHAPES[name]
    layers = {
        cell: load_cell(cell)(shape.input, shape.hidden),
        "nn.GRU": nn.GRU(shape.input, shape.hidden, batch_first=True),
    }
    x_BTD = torch.randn(shape.batch, shape.time, shape.input, requires_grad=shape.input > 1)
    sides: dict[str, Callable[[], object]] = {
        f"{group}, {kind}": multiply(product)
        for group, kinds in products(cell, shape).items()
        for kind, product in kinds.items()
    }
    sides |= {key: (lambda layer=layer: training_step(layer, x_BTD)) for key, layer in layers.items()}  # type: ignore[misc]
    for run in sides.values():
        run()
    taken = [{key: seconds(run) for key, run in sides.items()} for _ in range(rounds)]
    median = {key: 1000 * statistics.median(each[key] for each in taken) for key in sides}
    floor = sum(ms for key, ms in median.items() if key not in layers)
    lines = [f"\n{cell}, {name} {tuple(shape)}, ms", *(f"  {key:<32} {ms:9.2f}" for key, ms in median.items())]
    return "\n".join(
        [
            *lines,
            f"  {'all products by torch.mm':<32} {floor:9.2f}",
            f"  products / nn.GRU {floor / median['nn.GRU']:.2f}, cell / nn.GRU {median[cell] / median['nn.GRU']:.2f}, "
            f"cell / products {median[cell] / floor:.2f}",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    library.choose("auto")
    keep_freed_memory()  # as training does
    print(f"torch {torch.__version__}, {library.chosen()} kernels")
    for cell, shapes in (("lru", ("pixels",)), ("projected_lstm", ("small", "words", "medium"))):
        for shape in shapes:
            print(report(cell, shape, options.rounds), flush=True)


if __name__ == "__main__":
    main()
