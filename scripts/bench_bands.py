"""How often the values that came lie within the 80 % band, up to three times the horizon that a model was trained for.

Beyond that horizon a forecast goes on along paths drawn from it; beside these stands what feeding back the median gave.
Generated series: an autoregression of first order and a random walk, 4,000 steps to train on, judged on 2,000 others.
Real ones: Seattle's maximum temperature without the columns that would have to be known ahead, by rolling origins over
the validation split.

    python scripts/bench_bands.py [walk] [autoregression] [weather] [--seeds 0 1 2] [--stride 5]
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import rnntrain
from rnntrain.data.forecast.time_index import Times
from rnntrain.data.places import resolve
from rnntrain.predicting.forecasts import ForecastPredictor
from rnntrain.predicting.history import History
from rnntrain.predicting.readers.finding import items_of
from rnntrain.predicting.readers.items import Reading

TIMES = 3  # the trained horizon
TRAIN, FRESH = 4000, 2000  # rows of a generated series
PHI = {"walk": 1.0, "autoregression": 0.9}
GENERATED = [
    "task=forecasting",
    "data=series",
    "data.target=y",
    "data.window=16",
    "data.horizon=5",
    "data.calendar=none",
    "task.output=quantiles",
    "task.quantiles=[0.05,0.1,0.25,0.5,0.75,0.9,0.95]",
    "task.window_norm=last",
    "model/cell=gru",
    "model.hidden_size=32",
    "optimizer.lr=0.003",
    "trainer.max_steps=1500",
    "trainer.eval_every_steps=100",
]
WEATHER = ["experiment=weather", "data.observed=[]", "data.val_fraction=0.2"]


def generated(phi: float, seed: int) -> np.ndarray:
    """Return x_t = φ x_{t-1} + ε_t, each ε normal with deviation 1."""
    rng = np.random.default_rng(seed)
    values = [0.0]
    for noise in rng.standard_normal(TRAIN + FRESH):
        values.append(phi * values[-1] + noise)
    return np.array(values[1:])


def write(path: Path, values: np.ndarray) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["y"], *([value] for value in values)])


def train(words: list[str], seed: int, folder: Path) -> ForecastPredictor:
    command = [sys.executable, "-m", "rnntrain", "train", *words, f"seed={seed}", f"run.dir={folder}", "threads=1"]
    subprocess.run([*command, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    predictor = rnntrain.load(folder).predictor()
    assert isinstance(predictor, ForecastPredictor)
    return predictor


def origins(history: History, rows: range, ahead: int) -> Iterator[tuple[History, np.ndarray]]:
    """Yield what was known before each row, and what came."""
    for row in rows:
        times = history.times
        times = None if times is None else Times(times.index_T[:row], times.local_T[:row])
        yield History(history.name, history.values_TD[:row], times, zone=history.zone), history.values_TD[row:][:ahead]


def fed_back(predictor: ForecastPredictor, history: History) -> tuple[np.ndarray, np.ndarray]:
    """Return the band where each block goes on from the median of the one before."""
    low, high, _ = next(band for band in predictor.task.output.bands if round(band[2], 6) == 0.8)
    lower, upper = [], []
    for _ in range(TIMES):
        told = predictor.tell(*predictor.block([predictor.windows.history(history, "history")]))
        assert told.quantiles_BSCQ is not None
        lower.append(told.quantiles_BSCQ[0, :, 0, low])
        upper.append(told.quantiles_BSCQ[0, :, 0, high])
        history = history.after(told.points_BSC[0], predictor.windows.frequency)
    return np.concatenate(lower), np.concatenate(upper)


def along_paths(predictor: ForecastPredictor, history: History) -> tuple[np.ndarray, np.ndarray]:
    [record] = predictor([history])
    quantiles = next(iter(record["targets"].values()))["quantiles"]
    return np.array(quantiles["0.1"]), np.array(quantiles["0.9"])


def measure(
    predictor: ForecastPredictor, history: History, first: int, stop: int, stride: int
) -> tuple[list[float], list[float]]:
    """Return the share of values within the band by block, of paths and of the median fed back."""
    import torch

    horizon = predictor.horizon
    far = predictor.ahead(TIMES * horizon)
    inside: list[list[np.ndarray]] = [[], []]
    predictor.model.eval()
    with torch.no_grad():
        rows = range(first, stop - TIMES * horizon + 1, stride)
        for known, came in origins(history, rows, TIMES * horizon):
            for found, (low, high) in zip(inside, (along_paths(far, known), fed_back(predictor, known)), strict=True):
                found.append((low <= came[:, 0]) & (came[:, 0] <= high))
    shares = [np.stack(found).reshape(-1, TIMES, horizon).mean((0, 2)).tolist() for found in inside]
    return shares[0], shares[1]


def case(name: str, seed: int, folder: Path, stride: int) -> tuple[list[float], list[float]]:
    if name == "weather":
        predictor = train(WEATHER, seed, folder / "run")
        path = resolve(str(predictor.reading["path"]), "data.path")
        [item] = items_of(predictor, [str(path)], Reading(dict(predictor.reading)))
        rows = len(item.raw)
        val = round(rows * 0.6)  # 60 % train, then 20 % each
        return measure(predictor, item.raw, val, round(rows * 0.8), stride)
    values = generated(PHI[name], seed)
    write(folder / "series.csv", values[:TRAIN])
    predictor = train([*GENERATED, f"data.path={folder / 'series.csv'}"], seed, folder / "run")
    return measure(predictor, History("", values[:, None]), TRAIN, TRAIN + FRESH, stride)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["walk", "autoregression", "weather"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--stride", type=int, default=5, help="rows between two origins")
    options = parser.parse_args()
    for name in options.names:
        found = []
        for seed in options.seeds:
            with tempfile.TemporaryDirectory() as folder:
                found.append(case(name, seed, Path(folder), options.stride))
        for title, place in (("along paths", 0), ("median fed back", 1)):
            blocks = list(zip(*(each[place] for each in found), strict=True))
            told = "; ".join(
                f"{statistics.median(shares):.1%} ({min(shares):.1%} to {max(shares):.1%})" for shares in blocks
            )
            print(f"{name}, {title}: within the 80 % band at 1, 2, 3 horizons {told}", flush=True)


if __name__ == "__main__":
    main()
