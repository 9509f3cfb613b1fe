"""What a run came to: `summary.json`, and the lines printed at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Summary:
    """The outcome of a run.

    Attributes:
        status: "finished", or "interrupted" where it can be resumed.
        reason: the limit that ended it, or the signal.
        metrics: final metrics by name, of the weights that the run ends with; test metrics were computed once.
        baselines: what simple methods reach, by the name of the method and that of the metric.
        texts: what shows to a person what the model does, by title.
    """

    status: str
    reason: str
    step: int
    epochs: float
    minutes: float
    units: int
    unit: str
    num_parameters: int
    best_metric: str
    best_value: float | None
    best_step: int
    metrics: dict[str, float] = field(default_factory=dict)
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; metrics stand at the top level under their own names."""
        return {
            "status": self.status,
            "reason": self.reason,
            "step": self.step,
            "epochs": self.epochs,
            "minutes": self.minutes,
            "units_per_second": self.units_per_second,
            "unit": self.unit,
            "num_parameters": self.num_parameters,
            f"best/{self.best_metric}": self.best_value,
            "best/step": self.best_step,
            **{name: value if math.isfinite(value) else str(value) for name, value in self.metrics.items()},
            **{
                f"baseline/{method}/{name}": value if math.isfinite(value) else str(value)
                for method, values in self.baselines.items()
                for name, value in values.items()
            },
        }

    @property
    def units_per_second(self) -> float:
        """Time steps trained on per second of the whole run, evaluations and saves included."""
        return self.units / max(60 * self.minutes, 1e-9)

    def lines(self, run: str) -> list[str]:
        """Return what is printed at the end of a run kept in the folder `run`."""
        time = f"{self.minutes:.1f} min" if self.minutes >= 1 else f"{60 * self.minutes:.1f} s"
        lines = [
            f"{self.status.capitalize()} ({self.reason}): {self.step:,} steps, {self.epochs:.2f} epochs in {time}, "
            f"{self.units_per_second:,.0f} {self.unit}/s, {self.num_parameters:,} parameters"
        ]
        if self.best_value is not None:
            lines.append(f"Best val/{self.best_metric}: {self.best_value:.4f} at step {self.best_step:,}")
        shown = {name: value for name, value in self.metrics.items() if not stands_again(name, self.metrics)}
        lines += self._table(shown)
        lines.append(f"Run: {run}")
        return lines

    def _table(self, shown: dict[str, float]) -> list[str]:
        """Return the metrics one a line, with what the baselines reach beside them."""
        width = max(map(len, shown), default=0)
        if not self.baselines:
            return [f"  {name:<{width}}  {value:.4f}" for name, value in shown.items()]
        columns = {"this run": shown} | self.baselines
        sizes = {method: max(len(method), 10) for method in columns}
        lines = ["  ".join([f"  {'':<{width}}", *(f"{method:>{size}}" for method, size in sizes.items())])]
        for name in shown:
            values = (
                f"{columns[method][name]:>{size}.4f}" if name in columns[method] else " " * size
                for method, size in sizes.items()
            )
            lines.append("  ".join([f"  {name:<{width}}", *values]).rstrip())
        return lines


def stands_again(name: str, metrics: Mapping[str, float]) -> bool:
    """Say whether a metric has a fuller name too, that of the way in which it was evaluated."""
    # Every pass has a loss, so its names tell the ways; `accuracy_len_64` beside `accuracy` is none.
    losses = f"{name.partition('/')[0]}/loss_"
    ways = [other.removeprefix(losses) for other in metrics if other.startswith(losses)]
    return any(metrics.get(f"{name}_{way}") == metrics[name] for way in ways)
