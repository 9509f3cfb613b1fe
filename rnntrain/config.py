"""Compose a config with Hydra and check all of it before anything is read, built or written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnntrain.configuring.checking import accepts, check_arguments, check_value, parameters_of, shown
from rnntrain.configuring.config_files import check_growth, choices, read_choice
from rnntrain.configuring.config_files import from_yaml as from_yaml
from rnntrain.configuring.config_files import to_yaml as to_yaml
from rnntrain.configuring.overrides import PLAIN_SECTIONS, TARGET_SECTIONS, TOP_KEYS, prepare_overrides, section
from rnntrain.configuring.overrides import flatten as flatten
from rnntrain.configuring.overrides import override as override
from rnntrain.configuring.targets import SLOTS, import_plugins, resolve_target
from rnntrain.errors import UserError, closest
from rnntrain.ranges import LayerCount
from rnntrain.settings import ByKind, DeviceSettings, GroupSettings, RunSettings, TopSettings, TrainerSettings

# What stands in a section beside its class's own arguments.
PARTS = {"model": ("cell", "cells"), "optimizer": ("weight_decay_by", "lr_by")}


@dataclass(frozen=True)
class Component:
    """A class and the arguments that the config gives it, both checked."""

    section: str
    cls: type
    arguments: dict[str, Any]

    def value_of(self, name: str) -> Any:
        """Return an argument, or its default where the config gives none."""
        return self.arguments.get(name, parameters_of(self.cls)[name][1])

    def build(self, **supplied: Any) -> Any:
        """Construct it; what the constructor refuses is the user's to mend.

        Raises:
            UserError: with the constructor's own words and the section's name.
        """
        try:
            return self.cls(**supplied, **self.arguments)
        except (ValueError, TypeError, RuntimeError, OverflowError, MemoryError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"{self.section}: {self.cls.__name__} refuses its arguments: {reason}") from error


@dataclass(frozen=True)
class Config:
    """A config that has been checked.

    Attributes:
        cells: one for each layer, where the layers differ; else empty, and all are as `cell` says.
        groups: what the optimizer does to single kinds of parameters.
        plain: what is recorded: resolved, in plain containers.
    """

    task: Component
    data: Component
    model: Component
    cell: Component
    cells: tuple[Component, ...]
    optimizer: Component
    groups: GroupSettings
    schedule: Component
    device: DeviceSettings
    trainer: TrainerSettings
    run: RunSettings
    top: TopSettings
    plain: dict[str, Any]

    @property
    def cell_names(self) -> str:
        return ", ".join(component.cls.__name__ for component in self.cells or (self.cell,))


# -- composing ---


def compose(overrides: Sequence[str], config_dir: Path | None = None, config_name: str = "train") -> dict[str, Any]:
    """Compose the config of one run from command-line overrides; resolve it into plain containers.

    Raises:
        UserError: for an override that cannot be read, or a choice that does not exist.
    """
    from hydra import compose as hydra_compose
    from omegaconf import OmegaConf

    from rnntrain.configuring.config_source import hydra_for

    with mistakes_as_user_errors(), hydra_for(config_dir):
        prepared = prepare_overrides(overrides, config_dir, config_name)
        composed = hydra_compose(config_name, prepared)
        check_growth(OmegaConf.to_container(composed, resolve=False))  # first of all: whatever looks at it resolves it
        missing = OmegaConf.missing_keys(composed)
        if missing:
            raise UserError(f"{min(missing)}: not given; set {min(missing)}=…")
        plain = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(plain, dict)
    named = {str(key): value for key, value in plain.items()}
    name_group(named, prepared)
    _read_cells(named, config_dir)
    return named


@contextmanager
def mistakes_as_user_errors() -> Iterator[None]:
    """Turn what Hydra and OmegaConf refuse into errors of one line."""
    from hydra.errors import HydraException
    from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

    try:
        yield
    except InterpolationKeyError as error:
        text = " ".join(str(error).split()).partition(" full_key")[0]
        raise UserError(f"{error.full_key}: {text}: only what a config file states can be referred to") from error
    except RecursionError as error:
        raise UserError("the config: its files or values refer to each other without end; part them") from error
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(" ".join(str(error).split())[:400]) from error


def name_group(plain: dict[str, Any], overrides: Sequence[str]) -> None:
    """Fill in the name under which runs of this config lie together: the experiment's, else the task's."""
    run = plain.setdefault("run", {})
    if not isinstance(run, dict) or run.get("group") is not None:
        return
    chosen = [match.group(1) for text in overrides if (match := re.fullmatch(r"\+?experiment=(\w[\w.-]*)", text))]
    task = plain.get("task")
    target = str(task.get("_target_")) if isinstance(task, dict) else ""
    run["group"] = chosen[-1] if chosen else target.split(".")[-2] if "." in target else "task"


def _read_cells(plain: dict[str, Any], config_dir: Path | None) -> None:
    """Put what the files of `model/cell` say in place of the names in `model.cells`, so that a run records it."""
    model = plain.get("model")
    names = model.get("cells") if isinstance(model, dict) else None
    if not isinstance(names, list):
        return
    known = choices("model/cell", config_dir)
    for place, name in enumerate(names):
        if isinstance(name, str):
            if name not in known:
                raise UserError(
                    f"model.cells[{place}]={shown(name)}: no such choice of model/cell{closest(name, known)}; "
                    f"there are: {', '.join(known)}"
                )
            names[place] = read_choice("model/cell", name, config_dir)


# -- checking ---


def check(plain: dict[str, Any]) -> Config:
    """Check a composed config; nothing is read, built or written.

    Raises:
        UserError: for the first key, type, value, class or combination that is wrong.
    """
    known = [*TARGET_SECTIONS, *PLAIN_SECTIONS, *TOP_KEYS]
    for key in plain:
        if key not in known:
            raise UserError(f"{key}: no such key{closest(key, known)}; there are: {', '.join(sorted(known))}")
    top = TopSettings(**check_arguments("", TopSettings, {key: plain[key] for key in TOP_KEYS if key in plain}))
    device = DeviceSettings(**check_arguments("device", DeviceSettings, section(plain, "device")))
    trainer = TrainerSettings(**check_arguments("trainer", TrainerSettings, section(plain, "trainer")))
    run = RunSettings(**check_arguments("run", RunSettings, section(plain, "run")))
    _check_limits(trainer)
    _check_run(run)
    import_plugins(top.plugins)
    components = {name: _component(name, section(plain, name), top.plugins) for name in TARGET_SECTIONS}
    cell_values = section(plain["model"], "cell", "model.cell")
    cell = _component("model.cell", cell_values, top.plugins)
    cells = _cells(plain["model"], components["model"], top.plugins)
    config = Config(
        **components,
        cell=cell,
        cells=cells,
        groups=_groups(plain["optimizer"], components["optimizer"]),
        device=device,
        trainer=trainer,
        run=run,
        top=top,
        plain=plain,
    )
    _check_rules(config)
    _check_optimizer(config)
    return config


def _cells(model_values: dict[str, Any], model: Component, plugins: Sequence[str]) -> tuple[Component, ...]:
    """Check the cells of a stack whose layers differ; its depth follows from them where none is given."""
    values = model_values.get("cells")
    if values is None:
        return ()
    if not isinstance(values, list) or not values or not all(isinstance(each, dict) for each in values):
        raise UserError(f"model.cells={shown(values)}: expected a list of cells, one a layer, such as [lstm, gru]")
    model.arguments.setdefault("num_layers", check_value("model.cells: their number", LayerCount, len(values)))
    return tuple(_component("model.cell", each, plugins) for each in values)


def _groups(values: dict[str, Any], optimizer: Component) -> GroupSettings:
    """Check what the optimizer section says of single kinds of parameters."""
    found = {}
    for part, argument in (("weight_decay_by", "weight_decay"), ("lr_by", "lr")):
        key = f"optimizer.{part}"
        found[part] = ByKind(**check_arguments(key, ByKind, section(values, part, key)))
        if found[part] != ByKind() and not {argument, "weight_decay"} <= set(parameters_of(optimizer.cls)):
            raise UserError(f"{key}: {optimizer.cls.__name__} has no {argument} by groups of parameters; leave it out")
    return GroupSettings(**found)


def check_section(plain: dict[str, Any], name: str) -> Component:
    """Check one section alone, such as "data", whatever the others say.

    Raises:
        UserError: for the first key, type, value or class in it that is wrong.
    """
    plugins = check_arguments("", TopSettings, {key: plain[key] for key in ("plugins",) if key in plain})
    import_plugins(plugins.get("plugins", []))
    return _component(name, section(plain, name), plugins.get("plugins", []))


def _component(name: str, values: dict[str, Any], plugins: Sequence[str]) -> Component:
    group, parts = name.replace(".", "/"), PARTS.get(name, ())
    if "_target_" not in values:
        raise UserError(f"{name}: no class is named; choose one with {group}=NAME")
    cls = resolve_target(name, values["_target_"], plugins)
    own = {key: value for key, value in values.items() if key not in ("_target_", *parts)}
    for key in own:
        if not accepts(cls, key) and (other := _choice_with(name, key, cls)):
            raise UserError(
                f"{name}.{key}: {cls.__name__} has no such key, but {group}={other} has; add {group}={other}"
            )
    return Component(name, cls, check_arguments(name, cls, own, SLOTS[name].supplied, parts))


def _choice_with(name: str, key: str, cls: type) -> str | None:
    """Return a choice of a group whose class takes an argument, such as "text" for data.path.

    The first of them, unless a class that `cls` descends from is among them.
    """
    group = name.replace(".", "/")
    found = {choice: resolve_target(name, read_choice(group, choice)["_target_"], []) for choice in choices(group)}
    taking = [choice for choice, other in found.items() if accepts(other, key) and key not in SLOTS[name].supplied]
    return min(taking, key=lambda choice: not issubclass(cls, found[choice]), default=None)


def _check_limits(trainer: TrainerSettings) -> None:
    if trainer.max_steps is None and trainer.max_epochs is None and trainer.max_minutes is None:
        raise UserError("trainer: the run has no end; set trainer.max_steps, trainer.max_epochs or trainer.max_minutes")


def _check_run(run: RunSettings) -> None:
    from rnntrain.runs.run import check_name

    for key, name in (("run.group", run.group), ("run.name", run.name)):
        if name is not None:
            check_name(key, name)
    if run.resume and run.name is None and run.dir is None:
        raise UserError("run.resume=true: which run is not said; set run.name or run.dir")


def _check_rules(config: Config) -> None:
    """Check what only shows across sections. The constructors of tasks and data sets take values and read nothing."""
    task, data = config.task.build(), config.data.build()
    if task.causal and config.model.arguments.get("bidirectional"):
        what = "cannot generate" if task.generates else "sees what it is to predict from what came before"
        raise UserError(f"model.bidirectional=true: a bidirectional model {what}; set model.bidirectional=false")
    if task.carries and not data.contiguous:
        fix = "set data.contiguous=true" if accepts(config.data.cls, "contiguous") else "choose the task with task="
        raise UserError(
            f"task.carry=true: the state can only be carried through text in its order; {fix}, or set task.carry=false"
        )


def _check_optimizer(config: Config) -> None:
    """Let the optimizer's constructor see its arguments, whose ranges torch does not annotate, before data is read."""
    import torch

    from rnntrain.eager import defer_compiler

    defer_compiler()
    config.optimizer.build(params=[torch.nn.Parameter(torch.zeros(1, 1))])
    config.schedule.build()
