"""A run of a sweep that trains nothing: what a sweep does with runs is tested in some hundredths of a second a run.

It keeps the run's folder as a real run does: lock, config, metrics, checkpoints, summary. What it comes to follows from
the config:

- `optimizer.lr`: how good it ends, best at 0.01;
- `model.hidden_size`: 13 ends with a traceback, 14 refuses, 15 is killed the first time, 16 each time, 17 has no value,
  18 has not the memory to go on, the first time;
- `trainer.max_steps`: evaluations, each after `FAKE_SECONDS` of sleep.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from rnntrain.configuring.config_files import to_yaml
from rnntrain.errors import INTERRUPTED, UserError
from rnntrain.interrupt import StopRequests
from rnntrain.runs.lock import hold_lock
from rnntrain.runs.run import RunDir
from rnntrain.sweeps import job


def loss_of(config: dict[str, Any], seed: int, step: int) -> float:
    """Return the loss of a run after some evaluations."""
    return abs(math.log10(config["optimizer"]["lr"]) + 2) + 0.01 * seed + 1 / step


def train(spec: dict[str, Any], stop: StopRequests) -> tuple[int, dict[str, str]]:
    """Do what `job._train` does, with nothing trained."""
    config = spec["config"]
    run, seed, size = RunDir(Path(config["run"]["dir"])), config.get("seed", 0), config["model"].get("hidden_size")
    try:
        if size == 14:
            raise UserError("model.hidden_size=14: is refused")
        assert size != 13, "thirteen\nis no lucky number"
        if not spec["resume"]:
            run.path.mkdir()
        with hold_lock(run.lock_file):
            return _steps(config, seed, size, run, stop)
    except UserError as error:
        return 2, {"status": "refused", "error": str(error)}
    except AssertionError as error:
        return 1, {"status": "crashed", "error": f"AssertionError: {str(error).splitlines()[0]}"}


def _steps(config: dict[str, Any], seed: int, size: int | None, run: RunDir, stop: StopRequests) -> tuple[int, dict]:
    run.config.write_text(to_yaml(config))
    run.info.write_text(json.dumps({"command": sys.argv}))
    steps = [int(path.name.removeprefix("step-")) for path in run.checkpoints.glob("step-*")]
    first = max(steps, default=0) + 1
    if run.metrics.exists():
        kept = [line for line in run.metrics.read_text().splitlines() if json.loads(line)["step"] < first]
        run.metrics.unlink()
        run.metrics.write_text("".join(line + "\n" for line in kept))
    for step in range(first, config["trainer"]["max_steps"] + 1):
        time.sleep(float(os.environ.get("FAKE_SECONDS", "0.01")))
        loss = math.nan if size == 17 else loss_of(config, seed, step)
        with run.metrics.open("a") as file:
            file.write(json.dumps({"step": step, "val/loss": loss if size != 17 else "nan"}) + "\n")
        if size == 16 or (size == 15 and first == 1 and step == 2):
            os.kill(os.getpid(), signal.SIGKILL)
        if size == 18 and first == 1 and step == 3:
            _summarise(run, "interrupted", step, {})
            raise UserError("out of memory")
        if stop.reason() is not None:
            _summarise(run, stop.status, step, {})
            return INTERRUPTED, {"status": stop.status, "error": f"saved at step {step}"}
        (run.checkpoints / f"step-{step:09d}").mkdir(parents=True, exist_ok=True)
        with (run.path / "trained").open("a") as file:  # a line for each time that a step was done
            file.write(f"{step}\n")
    metrics = {"val/loss": loss if size != 17 else "nan", "best/loss": loss, "num_parameters": 100 * (size or 1)}
    _summarise(run, "finished", step, metrics)
    return 0, {"status": "finished", "error": ""}


def _summarise(run: RunDir, status: str, step: int, metrics: dict[str, Any]) -> None:
    run.summary.write_text(json.dumps({"status": status, "reason": "max_steps", "step": step, **metrics}))


if __name__ == "__main__":
    job._train = train
    with StopRequests():  # as a real run catches signals while it trains
        code = job.main()
    os._exit(code)
