"""What a server has done, as numbers in the text format that Prometheus reads."""

from __future__ import annotations

import threading
from collections import defaultdict

_HELP = {
    "requests_total": "requests answered, by path and status",
    "request_seconds_total": "seconds from the first byte of a request to the last of its answer, by path",
    "inputs_total": "inputs that the model was run on",
    "batches_total": "batches that these inputs made",
    "tokens_total": "tokens drawn",
    "draw_steps_total": "steps of the model in which these tokens were drawn, several texts at a time",
}


class Counters:
    """Sums that only grow, safe to add to from several threads."""

    def __init__(self) -> None:
        self._sums: dict[str, dict[str, float]] = {name: defaultdict(float) for name in _HELP}
        self._lock = threading.Lock()

    def add(self, name: str, value: float = 1.0, **labels: str | int) -> None:
        """Add to the sum of a name and labels.

        Raises:
            KeyError: if there is no such name.
        """
        key = ",".join(f'{label}="{text}"' for label, text in labels.items())
        with self._lock:
            self._sums[name][key] += value

    def value(self, name: str) -> float:
        """Return the sum of a name over all labels."""
        with self._lock:
            return sum(self._sums[name].values())

    def text(self, gauges: dict[str, float]) -> str:
        """Return all sums, and values of this moment, in the text format of Prometheus, version 0.0.4."""
        lines = []
        with self._lock:
            for name, sums in self._sums.items():
                lines += [f"# HELP rnntrain_{name} {_HELP[name]}", f"# TYPE rnntrain_{name} counter"]
                rows = sums or {"": 0.0}
                lines += [f"rnntrain_{name}{'{' + key + '}' if key else ''} {value:g}" for key, value in rows.items()]
        for name, value in gauges.items():
            lines += [f"# TYPE rnntrain_{name} gauge", f"rnntrain_{name} {value:g}"]
        return "\n".join(lines) + "\n"
