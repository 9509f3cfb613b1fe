"""Why a recurrent network forgets and what cures it: the plain network, its cures one by one, and the gated cells.

    python scripts/vanishing.py [--lags 10 20 50 100 200] [--seeds 0 1 2] [--steps 1000] [--out DIR]

Every network has 64 units and holds one of four symbols while `lag` others go by (the latch problem of Bengio et al.
1994; `experiment=vanishing`). The table has the accuracy on test, the median over seeds and the worst in brackets
(guessing: 0.25), and how many steps a gradient of the new network goes back before less than 1 % of it is left. The
picture shows both.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np

import rnntrain
from rnntrain.watching.gradient_log import diagnose_trainer

NETWORKS: dict[str, list[str]] = {
    "plain tanh": ["model.cell.init=uniform"],
    "+ clipping": ["model.cell.init=uniform", "trainer.grad_clip_mode=norm"],
    "+ orthogonal start": ["model.cell.init=orthogonal"],
    "+ kept orthogonal": ["model/cell=orthogonal"],
    "+ identity start, relu": ["model/cell=irnn", "trainer.grad_clip_mode=norm"],
    "+ leaky units": ["model/cell=leaky"],
    "+ skips through time": ["model/cell=skip"],
    "+ loss at every step": ["model.cell.init=uniform", "data.every_step=true"],
    "LSTM, forget bias 0": ["model/cell=lstm", "model.cell.forget_bias=0.0"],
    "LSTM, forget bias 1": ["model/cell=lstm"],
    "LSTM, chrono": ["model/cell=lstm", "model.cell.t_max={lag}"],
    "LSTM, layer norm": ["model/cell=layernorm_lstm"],
    "GRU": ["model/cell=gru"],
    "minGRU": ["model/cell=mingru"],
}


def run(network: str, lag: int, seed: int, steps: int) -> tuple[float, float, list[float]]:
    """Train one network: return its accuracy on test, the reach of a new one's gradient, and that gradient by lag."""
    own = [word.format(lag=max(lag, 2)) for word in NETWORKS[network]]
    experiment = rnntrain.prepare(
        "experiment=vanishing",
        "trainer.grad_clip_mode=none",
        *own,
        f"data.lag={lag}",
        f"seed={seed}",
        f"trainer.max_steps={steps}",
        "trainer.eval_every_steps=1000000",
        "threads=1",
    )
    [found] = diagnose_trainer(experiment.trainer)
    reach = float(lag if found.memory is None else found.memory)
    experiment.trainer.fit()
    accuracy = experiment.trainer.evaluate("test", lambda state: None)["accuracy"]
    return accuracy, reach, (found.gradient_K / found.gradient_K.max()).tolist()


def draw(accuracy: np.ndarray, curves: dict[str, list[float]], lags: list[int], path: Path) -> None:
    """Draw the accuracies as a heat map and the gradients of new networks at the longest lag as curves."""
    import matplotlib

    from rnntrain.watching.pictures import COLOURS, STYLE, new_figure

    figure = new_figure(12.0, 4.8)
    with matplotlib.rc_context(STYLE):
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    image = left.imshow(accuracy, aspect="auto", cmap="cividis", vmin=0.25, vmax=1.0)
    left.grid(False)
    left.set_xticks(range(len(lags)), lags)
    left.set_yticks(range(len(accuracy)), list(curves))
    left.set_xlabel("lag: steps from the symbol to its target")
    left.set_title("accuracy after training (guessing: 0.25)")
    for (row, column), value in np.ndenumerate(accuracy):
        left.text(column, row, f"{value:.2f}", ha="center", va="center", color="black" if value > 0.65 else "white")
    figure.colorbar(image, ax=left)
    for number, (name, curve) in enumerate(curves.items()):
        style = ("-", "--", ":")[number // len(COLOURS) % 3]
        right.semilogy(np.maximum(curve, 1e-12), style, label=name)
    right.axhline(0.01, color="black", linewidth=0.8, linestyle="--")
    right.set_ylim(1e-12, 2.0)
    right.set_xlabel("steps back from the loss")
    right.set_title("a new network's gradient by its state (largest = 1)")
    right.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=150)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lags", type=int, nargs="+", default=[10, 20, 50, 100, 200])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("outputs/vanishing"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    lines = ["| network | " + " | ".join(f"lag {lag}" for lag in options.lags) + " | gradient reaches |"]
    lines.append("|---" * (len(options.lags) + 2) + "|")
    print("\n".join(lines), flush=True)
    started, medians, curves = time.monotonic(), [], {}
    for network in options.networks:
        cells, row = [], []
        for lag in options.lags:
            results = [run(network, lag, seed, options.steps) for seed in options.seeds]
            accuracies = [accuracy for accuracy, _, _ in results]
            row.append(statistics.median(accuracies))
            cells.append(f"{row[-1]:.2f} ({min(accuracies):.2f})")
            curves[network] = results[0][2]
            reach = statistics.median(reach for _, reach, _ in results)
        medians.append(row)
        last = options.lags[-1]
        reached = f"over {last} steps" if reach >= last else f"{reach:.0f} steps"
        lines.append(f"| {network} | {' | '.join(cells)} | {reached} |")
        print(lines[-1], flush=True)
    (options.out / "vanishing.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    draw(np.array(medians), curves, options.lags, options.out / "vanishing.png")
    print(f"{time.monotonic() - started:.0f} s; table and picture: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
