"""Train a run anew from what it recorded, and compare what was logged, to the bit."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rnntrain.build import Experiment, build
from rnntrain.errors import UserError
from rnntrain.out_of_memory import memory_explained
from rnntrain.running import recorder_of
from rnntrain.runs.environment import environment
from rnntrain.runs.record import read_start
from rnntrain.runs.recorded import as_it_began, bits_depend_on, config_of, recorded_bits, section
from rnntrain.runs.run import RunDir, open_run
from rnntrain.using import READABLE

NO_STEP = 1 << 62  # no run has so many
STEPS = 1000  # to which a run is reproduced where nobody says how far

Value = float | str
Numbers = dict[tuple[int, str], Value]  # by step and name


@dataclass(frozen=True)
class Reproduction:
    """How a run compares with itself, trained anew.

    Attributes:
        steps: how far it was trained.
        compared: how many logged numbers were compared.
        differing: how many of them are not the same to the bit.
        first: the first that differs: its step, its name, what was recorded and what came out now.
        changed: what is not as it was when the run was recorded, by name: then and now.
    """

    path: Path
    steps: int
    compared: int
    differing: int
    first: tuple[int, str, Value | None, Value | None] | None
    changed: dict[str, tuple[Any, Any]]

    @property
    def same(self) -> bool:
        return self.differing == 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"path": str(self.path), "same": self.same}

    def lines(self) -> Iterator[str]:
        """Yield what is printed."""
        if self.first is None:
            yield f"Reproduced: all {self.compared:,} numbers logged up to step {self.steps:,} are the same to the bit."
        else:
            step, name, before, now = self.first
            yield (
                f"Not reproduced: {self.differing:,} of {self.compared:,} numbers logged up to step {self.steps:,} "
                f"differ, first at step {step:,}: {name} was {_shown(before)} and is {_shown(now)}."
            )
        if self.changed:
            yield "What is not as it was:"
            width = max(map(len, self.changed))
            yield from (f"  {name:<{width}}  {then} -> {now}" for name, (then, now) in self.changed.items())
        elif self.first is not None:
            yield "Code, data, versions, threads and machine are as they were; uncommitted changes may not be."


def reproduce(
    path: Path, steps: int | None = None, overrides: Sequence[str] = (), *, quiet: bool = False
) -> Reproduction:
    """Train a run anew in a temporary folder, from its config, seed and data; nothing is written into the run.

    A run that was resumed with other limits is compared up to there, since the schedule may have followed them.

    Args:
        steps: how far; to the end of the run where None, and at most 1000 steps.

    Raises:
        UserError: it is no run, or nothing was logged up to there.
    """
    run = open_run(path)
    start = read_start(run)
    text, most = _as_started(start)
    config = as_it_began(run, config_of(run, overrides, READABLE, text))
    recorded, last = _logged(run.metrics, most)
    steps = min(steps or STEPS, last, most)
    recorded = {place: value for place, value in recorded.items() if place[0] <= steps}
    if steps < 1 or not recorded:
        raise UserError(f"{run.path}: nothing was logged up to step {steps}; give more --steps")
    with memory_explained():
        experiment = build(config)
    now = _train_anew(experiment, steps, quiet)
    places = sorted(recorded.keys() | now.keys(), key=lambda place: place[0])
    differing = [place for place in places if recorded.get(place) != now.get(place)]
    first = (*differing[0], recorded.get(differing[0]), now.get(differing[0])) if differing else None
    return Reproduction(run.path, steps, len(places), len(differing), first, _changed(start, experiment))


def _as_started(start: dict[str, Any]) -> tuple[str | None, int]:
    """Return the config that a run had at first, None for that which it has now, and the step up to which it had it."""
    resumed = start.get("resumed")
    for record in resumed if isinstance(resumed, list) else []:
        if isinstance(record, dict) and isinstance(record.get("config_before"), str):
            return record["config_before"], record["step"] if isinstance(record.get("step"), int) else 0
    return None, NO_STEP


def _train_anew(experiment: Experiment, steps: int, quiet: bool) -> Numbers:
    trainer = experiment.trainer
    # A slower machine must not end it before its time; what follows the clock alone does not repeat anyway.
    trainer.settings = replace(trainer.settings, max_minutes=None)
    with tempfile.TemporaryDirectory(prefix="rnntrain-") as folder:
        again = RunDir(Path(folder))
        recorder = recorder_of(experiment, again, resumed_at=None, quiet=quiet)
        trainer.watcher = recorder
        with closing(recorder.logger), memory_explained(trainer), recorder.saver:
            trainer.fit(lambda: "steps" if trainer.step >= steps else None)
        return _logged(again.metrics, steps)[0]


def _logged(path: Path, most: int) -> tuple[Numbers, int]:
    """Return what a run logged while it trained, without what the clock decides over, and its last step up to `most`.

    Lines that only the end of the run gave rise to are left out: a run that goes on has none.
    """
    numbers: Numbers = {}
    last = 0
    try:
        with path.open("rb") as file:
            for text in file:
                line = _parse(text)
                if line is None or line.pop("final", False) or (step := line.pop("step")) > most:
                    continue
                last = max(last, step)
                numbers |= {(step, name): value for name, value in line.items() if not name.startswith("cost/")}
    except FileNotFoundError:
        raise UserError(f"{path}: does not exist; a run that has logged nothing cannot be compared") from None
    return numbers, last


def _parse(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:  # torn by a crash, or still being written
        return None
    return line if isinstance(line, dict) and type(line.get("step")) is int else None


def _changed(start: dict[str, Any], experiment: Experiment) -> dict[str, tuple[Any, Any]]:
    """Return what is not as it was when the run began, by name."""
    then, now = _circumstances(section(start, "environment")), _circumstances(environment())
    then |= recorded_bits(start)
    now |= bits_depend_on(experiment)
    changed = {name: (then[name], now[name]) for name in now if name in then and then[name] != now[name]}
    if start.get("data") != experiment.data.fingerprint():
        changed["data"] = ("its fingerprint in run.json", "another")
    return changed


def _circumstances(environment: dict[str, Any]) -> dict[str, Any]:
    versions = ("rnntrain", "torch", "numpy", "python")
    found: dict[str, Any] = {name: environment[name] for name in versions if name in environment}
    found["processor"] = section(environment, "cpu").get("model")
    for place, state in section(environment, "git").items():
        if isinstance(state, dict):
            name = "code" if place == "rnntrain" else f"code of the {place.replace('_', ' ')}"
            found[name] = str(state.get("commit"))[:12] + (" with changes" if state.get("dirty") else "")
    return found


def _shown(value: Value | None) -> str:
    return "not logged" if value is None else str(value)
