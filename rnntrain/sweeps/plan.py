"""What a sweep is to do, from the command line: its settings, its space, and the config that its points change.

Two calls with the same plan go on with one sweep; a plan that differs is another sweep.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rnntrain import config as configs
from rnntrain.comparing.groups import NOT_THE_EXPERIMENT
from rnntrain.configuring.checking import check_arguments, shown
from rnntrain.configuring.config_files import choices, read_choice
from rnntrain.configuring.overrides import flatten, parse_override
from rnntrain.errors import UserError, closest
from rnntrain.runs.run import check_name
from rnntrain.settings import TopSettings
from rnntrain.sweeps.settings import SweepSettings
from rnntrain.sweeps.space import Dimension, Value, as_override, grid_points, parse_dimension, read_dimension
from rnntrain.sweeps.storage import check_url

# What makes another sweep of it; all other settings may change from call to call.
IDENTITY = ("sampler", "pruner", "metric", "direction", "startup_trials", "reduction_factor", "sampler_seed")
_OWN_KEYS = ("run.name", "run.dir")


@dataclass(frozen=True)
class Plan:
    """A sweep as it was asked for.

    Attributes:
        settings: with the name filled in.
        space: what is searched.
        overrides: of the config that all points share.
        seeds: runs of a point.
        base: the shared config, nested.
    """

    settings: SweepSettings
    space: tuple[Dimension, ...]
    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    base: dict[str, Any]
    config_dir: Path | None = None
    config_name: str = "train"

    @property
    def name(self) -> str:
        assert self.settings.name is not None
        return self.settings.name

    @property
    def folder(self) -> Path:
        return Path(str(self.base["run"]["root"])) / "sweeps" / self.name

    @property
    def trials(self) -> int:
        """Points in all: of a grid no more than it has."""
        if self.settings.sampler != "grid":
            return self.settings.trials
        return min(self.settings.trials, len(grid_points(self.space)))

    def words(self, point: Mapping[str, Value], seed: int) -> list[str]:
        """Return what is typed after `rnntrain train` for one run of a point."""
        return [*self.overrides, *(as_override(key, value) for key, value in point.items()), f"seed={seed}"]

    def compose(self, point: Mapping[str, Value], seed: int, directory: Path | None = None) -> dict[str, Any]:
        """Return the config of one run.

        Raises:
            UserError: names what is wrong with it.
        """
        plain = configs.compose(self.words(point, seed), self.config_dir, self.config_name)
        if plain.get("threads", "auto") == "auto":
            plain["threads"] = 1  # several runs at once, each of which would else measure what the others leave it
        if directory is not None:
            plain["run"] = {**plain["run"], "dir": str(directory)}
        return plain

    def identity(self) -> dict[str, Any]:
        """Return what a sweep that goes on must agree with, in plain values."""
        own = {key: value for key, value in flatten(self.base).items() if not key.startswith("run.")}
        config = {key: value for key, value in own.items() if key.partition(".")[0] not in NOT_THE_EXPERIMENT}
        settings = {f"sweep.{key}": getattr(self.settings, key) for key in IDENTITY}
        space = {dimension.key: dimension.text for dimension in self.space}
        plain = {"space": space, "seeds": list(self.seeds), "settings": settings, "config": config}
        identity: dict[str, Any] = json.loads(json.dumps(plain, default=str))
        return identity


def make_plan(overrides: Sequence[str], config_dir: Path | None = None, config_name: str = "train") -> Plan:
    """Return the plan that a command line asks for.

    Raises:
        UserError: names the override, and what is wrong with it.
    """
    chosen, own, rest = _sort_overrides(overrides)
    file = {} if chosen is None else _read_file(chosen, config_dir)
    fixed, seeds, space = _split_space(rest)
    given = {**_read_space(file.pop("space", {})), **space}
    given = {key: value for key, value in given.items() if key not in {text.partition("=")[0] for text in fixed}}
    settings = SweepSettings(**check_arguments("sweep", SweepSettings, {**file, **own}, sections=("space",)))
    if not given:
        lists = [text for text in fixed if "=[" in text]
        several = lists[0].replace("[", "").replace("]", "") if lists else ""
        note = f" ({lists[0]} is one value, a list; several are {several})" if lists else ""
        raise UserError(
            f"sweep: nothing is searched{note}; give a key several values, such as "
            "optimizer.lr='interval(1e-4,1e-2,log)', or choose a space with sweep=NAME; there are: "
            f"{', '.join(choices('sweep', config_dir))}"
        )
    base = configs.compose(fixed, config_dir, config_name)
    if settings.name is None:
        settings = replace(settings, name=f"{base['run']['group']}-{chosen or settings.sampler}")
    check_name("sweep.name", str(settings.name))
    plan = Plan(settings, tuple(given.values()), tuple(fixed), _seeds(settings, seeds, base), base, config_dir)
    return _checked(replace(plan, config_name=config_name))


def _checked(plan: Plan) -> Plan:
    settings = plan.settings
    several = isinstance(settings.metric, list) and len(settings.metric) > 1
    if several and settings.pruner != "none":
        raise UserError(
            f"sweep.pruner={settings.pruner}: ends runs by one metric, and there are several; set sweep.pruner=none"
        )
    if settings.sampler == "nsga2" and not several:
        raise UserError("sweep.sampler=nsga2: is for several metrics; set sweep.metric=[val/loss,num_parameters]")
    if isinstance(settings.metric, list) and not settings.metric:
        raise UserError("sweep.metric=[]: name at least one metric, such as val/loss")
    if settings.sampler == "grid":
        grid_points(plan.space)
    if settings.storage is not None:
        check_url(settings.storage)
    return plan


def _sort_overrides(overrides: Sequence[str]) -> tuple[str | None, dict[str, Any], list[str]]:
    """Return the chosen file, the settings of the sweep, and what is for the runs."""
    chosen: str | None = None
    own: dict[str, Any] = {}
    rest = []
    for text in overrides:
        key, equals, value = text.partition("=")
        if key == "sweep" and equals:
            chosen = value
        elif key.startswith("sweep."):
            own[key.removeprefix("sweep.")] = _setting(text, key)
        elif key in SweepSettings.__dataclass_fields__ and key not in TopSettings.__dataclass_fields__:
            raise UserError(f"{shown(text)}: is a setting of the sweep; write sweep.{shown(text)}")
        elif key in _OWN_KEYS:
            raise UserError(f"{shown(text)}: a sweep names its runs itself; set sweep.name for the folder of all")
        else:
            rest.append(text)
    return chosen, own, rest


def _setting(text: str, key: str) -> Any:
    parsed = parse_override(text)
    if parsed.is_sweep_override():
        value = text.partition("=")[2]
        raise UserError(f"{shown(text)}: a sweep is not searched over its own settings; a list is {key}=[{value}]")
    return parsed.value()


def _read_file(name: str, config_dir: Path | None) -> dict[str, Any]:
    known = choices("sweep", config_dir)
    if name not in known:
        raise UserError(
            f"sweep={shown(name)}: no such choice{closest(name, known)}; there are: {', '.join(known)}; "
            "the folder of a sweep is named by sweep.name"
        )
    return read_choice("sweep", name, config_dir)


def _read_space(space: object) -> dict[str, Dimension]:
    if not isinstance(space, dict):
        raise UserError(f"sweep.space={shown(space)}: expected lines such as optimizer.lr: interval(1e-4, 1e-2, log)")
    return {str(key): read_dimension(str(key), value) for key, value in space.items()}


def _split_space(overrides: Sequence[str]) -> tuple[list[str], tuple[int, ...], dict[str, Dimension]]:
    """Return the overrides of one value, the seeds where several are given, and what else has several."""
    fixed: list[str] = []
    seeds: tuple[int, ...] = ()
    space: dict[str, Dimension] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        dimension = parse_dimension(key, value) if equals else None
        # The last word for a key counts, of whichever kind it is.
        space.pop(key, None)
        if dimension is None:
            fixed.append(text)
            seeds = () if key == "seed" else seeds
            continue
        fixed = [other for other in fixed if other.partition("=")[0] != key]
        if key == "seed":
            values = dimension.grid()
            if not all(type(each) is int and each >= 0 for each in values):
                raise UserError(f"{shown(text)}: seeds are whole numbers at least 0")
            seeds = tuple(each for each in values if isinstance(each, int))
        else:
            space[key.lstrip("+")] = dimension
    return fixed, seeds, space


def _seeds(settings: SweepSettings, given: tuple[int, ...], base: Mapping[str, Any]) -> tuple[int, ...]:
    if given:
        return given
    if isinstance(settings.seeds, list):
        if not settings.seeds or len(set(settings.seeds)) < len(settings.seeds):
            raise UserError(f"sweep.seeds={settings.seeds}: name at least one seed, and each once")
        return tuple(settings.seeds)
    first = base.get("seed", 0)
    if not isinstance(first, int):
        raise UserError(f"seed={shown(first)}: expected a whole number")
    return tuple(range(first, first + settings.seeds))


def first_difference(stored: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Return in words where two identities part, or None."""
    flat = [flatten(each["config"]) | each["settings"] | {"seeds": each["seeds"]} for each in (stored, now)]
    before, after = (
        values | {f"space of {key}": text for key, text in each["space"].items()}
        for values, each in zip(flat, (stored, now), strict=True)
    )
    for key in [*after, *before]:
        if before.get(key) != after.get(key):
            return f"{key} was {shown(before.get(key, 'not given'))} and is {shown(after.get(key, 'not given'))}"
    return None
