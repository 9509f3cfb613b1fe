"""Sweeps whose runs train nothing; `python -m sweeps.fake sweep …` is `rnntrain sweep …` with such runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rnntrain.cli import main
from rnntrain.sweeps import outcome, process, scheduler, sweep
from rnntrain.sweeps.probe import Findings

TESTS = Path(__file__).resolve().parent.parent
FINDINGS = Findings("val/loss", False, ["val/loss", "val/accuracy"], ["val/loss", "val/accuracy"], 4, 0)


# What puts fake runs in the place of real ones, looks at them more often, and draws no pictures.
PATCHES: list[tuple[Any, str, Any]] = [
    (process, "JOB", "sweeps.fake_job"),
    (sweep, "probe", lambda configs, environment: FINDINGS),
    (outcome, "_draw", lambda board, folder: []),
    (scheduler, "TICK_SECONDS", 0.05),
    (scheduler, "OTHERS_SECONDS", 0.2),
]


if __name__ == "__main__":
    for place, name, value in PATCHES:
        setattr(place, name, value)
    sys.exit(main(sys.argv[1:]))
