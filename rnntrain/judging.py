"""How good a model is on rows that have been answered once: over all, by length, by class, and how sure that is."""

# N rows, B batch, R resamplings

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import torch
from tqdm import tqdm

from rnntrain.batch import Batch
from rnntrain.cells.base import State
from rnntrain.metrics import Metrics, Table
from rnntrain.models.sequence import SequenceModel, evaluating
from rnntrain.tasks.base import Carry, Task, carry_nothing

BUCKETS = 4  # of lengths, about as many rows in each
SHARE = 0.95  # that an interval is to hold
SHOWN_AT_MOST = 3  # metrics of a table by length


@dataclass
class Judged:
    """One pass over labelled rows.

    Attributes:
        metrics: of the whole pass.
        rows: what each row adds to their sums, ``[N, …]`` by name.
        lengths_N: steps of each row.
    """

    metrics: Metrics
    rows: dict[str, np.ndarray] = field(default_factory=dict)
    lengths_N: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def scores(self, weight_N: np.ndarray | None = None) -> dict[str, float]:
        """Return the metrics of all rows, or of each so many times."""
        return self.metrics.scores(self.sums(weight_N))

    def sums(self, weight_N: np.ndarray | None = None) -> dict[str, np.ndarray]:
        if weight_N is None:
            return {name: part.sum(0, dtype=np.float64) for name, part in self.rows.items()}
        return {name: np.tensordot(weight_N, part, 1) for name, part in self.rows.items()}

    def tables(self) -> dict[str, Table]:
        """Return the metrics of each class, type or step, and those of rows of about one length, by title."""
        tables = self.metrics.tables(self.sums())
        by_length = self._by_length()
        return tables | ({"by length": by_length} if len(by_length) > 1 else {})

    def _by_length(self) -> Table:
        edges = np.unique(np.quantile(self.lengths_N, np.linspace(0, 1, BUCKETS + 1), method="higher"))
        table: Table = {}
        low = int(edges[0])
        for high in map(int, edges[1:]):
            chosen_N = (self.lengths_N >= low) & (self.lengths_N <= high)
            if chosen_N.any():
                values = list(self.scores(chosen_N.astype(np.float64)).items())[:SHOWN_AT_MOST]
                steps = f"{low} to {high} steps" if low < high else f"{low} steps"
                table[steps] = {"rows": int(chosen_N.sum()), **dict(values)}
            low = high + 1
        return table

    def intervals(self, resamplings: int, seed: int = 0) -> dict[str, tuple[float, float]]:
        """Return the 95 % interval of each metric: percentiles over samples of as many rows, drawn with replacement.

        The percentile bootstrap of Efron 1979; where rows hang together (`Metrics.block`), over blocks of rows that
        follow each other (Künsch 1989). It says how much the rows at hand may mislead, and nothing of other seeds.
        """
        rng = np.random.default_rng(seed)
        count, block = len(self.lengths_N), min(self.metrics.block, len(self.lengths_N))
        drawn: dict[str, list[float]] = {}
        for _ in range(resamplings):
            starts = rng.integers(0, count - block + 1, -(-count // block))
            chosen = (starts[:, None] + np.arange(block)).ravel()[:count]
            weight_N = np.bincount(chosen, minlength=count).astype(np.float64)
            for name, value in self.scores(weight_N).items():
                drawn.setdefault(name, []).append(value)
        ends = [(1 - SHARE) / 2, (1 + SHARE) / 2]
        return {name: tuple(np.quantile(values, ends).tolist()) for name, values in drawn.items()}


def judge(
    model: SequenceModel,
    task: Task,
    metrics: Metrics,
    batches: Iterable[Batch],
    *,
    carry: Carry = carry_nothing,
    autocast: Callable[[], AbstractContextManager[object]] | None = None,
    each_row: bool = True,
    progress: bool = False,
) -> Judged:
    """Answer labelled batches once and take the answers into metrics, as a split is evaluated in training.

    Args:
        carry: what of the state reaches the next batch.
        autocast: the arithmetic of the forward pass.
        each_row: also keep what each row adds, for intervals and tables.
        progress: show a bar on standard error, where that is a terminal.
    """
    bar = tqdm(batches, unit=" batches", file=sys.stderr, disable=None if progress else True, leave=False)
    device = next(model.parameters()).device
    parts: list[Mapping[str, np.ndarray]] = []
    lengths: list[np.ndarray] = []
    state: State = None
    with evaluating(model):
        for batch in bar:
            batch = batch.to(device)
            with autocast() if autocast is not None else torch.no_grad():
                output, state = task.infer(model, batch, state)
                loss_sum, count = task.loss(output, batch)
            metrics.update(output, batch, loss_sum, count)
            state = carry(state)
            if each_row:
                parts.append({name: part.cpu().numpy() for name, part in metrics.rows(output, batch).items()})
                lengths.append(_lengths(batch))
    if not parts:
        return Judged(metrics)
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Judged(metrics, rows, np.concatenate(lengths))


def _lengths(batch: Batch) -> np.ndarray:
    if batch.lengths_B is None:
        return np.full(batch.batch_size, batch.inputs.shape[1])
    return batch.lengths_B.cpu().numpy()
