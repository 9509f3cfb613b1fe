"""Compose a config with Hydra and check all of it before anything is read, built or written."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnntrain.checking import check_arguments, parameters_of, shown
from rnntrain.config_files import (
    GROUPS,
    OPTIONAL_GROUPS,
    check_references,
    choices,
    config_path,
    listed_groups,
    read_choice,
)
from rnntrain.config_files import from_yaml as from_yaml
from rnntrain.config_files import to_yaml as to_yaml
from rnntrain.errors import UserError, closest
from rnntrain.settings import DeviceSettings, RunSettings, TopSettings, TrainerSettings
from rnntrain.targets import SLOTS, import_plugins, resolve_target

_PLAIN_SECTIONS = ("device", "trainer", "run")
_TARGET_SECTIONS = ("task", "data", "model", "optimizer", "schedule")


@dataclass(frozen=True)
class Component:
    """A class and the arguments that the config gives it, both checked."""

    section: str
    cls: type
    arguments: dict[str, Any]

    def build(self, **supplied: Any) -> Any:
        """Construct it; what the constructor refuses is the user's to mend.

        Raises:
            UserError: with the constructor's own words and the section's name.
        """
        try:
            return self.cls(**supplied, **self.arguments)
        except (ValueError, TypeError) as error:
            raise UserError(f"{self.section}: {self.cls.__name__} refuses its arguments: {error}") from error


@dataclass(frozen=True)
class Config:
    """A config that has been checked. `plain` is what is recorded: resolved, in plain containers."""

    task: Component
    data: Component
    model: Component
    cell: Component
    optimizer: Component
    schedule: Component
    device: DeviceSettings
    trainer: TrainerSettings
    run: RunSettings
    top: TopSettings
    plain: dict[str, Any]


# -- composing ---


def compose(overrides: Sequence[str], config_dir: Path | None = None, config_name: str = "train") -> dict[str, Any]:
    """Compose the config of one run from command-line overrides; resolve it into plain containers.

    Raises:
        UserError: for an override that cannot be read, or a choice that does not exist.
    """
    from hydra import compose as hydra_compose
    from omegaconf import OmegaConf

    from rnntrain.config_source import hydra_for

    with mistakes_as_user_errors(), hydra_for(config_dir):
        prepared = prepare_overrides(overrides, config_dir, config_name)
        composed = hydra_compose(config_name, prepared)
        missing = OmegaConf.missing_keys(composed)
        if missing:
            raise UserError(f"{min(missing)}: not given; set {min(missing)}=…")
        plain = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(plain, dict)
    named = {str(key): value for key, value in plain.items()}
    name_group(named, prepared)
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


def prepare_overrides(
    overrides: Sequence[str], config_dir: Path | None, config_name: str = "train", *, sweep: bool = False
) -> list[str]:
    """Rewrite overrides to what Hydra takes, and refuse choices that do not exist.

    A key that no YAML mentions needs no `+`: the check by the constructors' own signatures, which comes later, is
    stricter than Hydra's. `device=cuda:1` stands for `device=cuda device.index=1`.

    Args:
        sweep: whether a key may have several values.

    Raises:
        UserError: names the override and what there is to choose from.
    """
    if config_path(config_name, config_dir) is None:
        raise UserError(f"--config-name {config_name}: there is no {config_name}.yaml in {config_dir or 'rnntrain'}")
    listed = listed_groups(config_name, config_dir)
    prepared = []
    for override in _expand_devices(overrides):
        parsed = parse_override(override)
        key = parsed.key_or_group
        if re.split(r"[./]", key)[0] == "hydra":
            prepared.append(override)
            continue
        check_references(override, shown(override))
        if parsed.is_sweep_override() and not sweep:
            raise UserError(f"{shown(override)}: several values need -m; quote a comma in a value: {key}=\"'a,b'\"")
        if _is_group(key, config_dir):
            _check_choice(parsed, key, config_dir)
            prepared += _prepare_choice(override, parsed, key in listed)
        else:
            _check_value_key(override, key)
            prepared.append(override if parsed.is_delete() else "++" + override.lstrip("+"))
    return prepared


def parse_override(override: str) -> Any:
    """Return an override as Hydra reads it.

    Raises:
        UserError: if it is no `key=value`.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(override)
    except (HydraException, RecursionError) as error:
        raise UserError(
            f"{shown(override)}: cannot be read as key=value; quote a value that holds other than letters, digits "
            "and . / - _, as in data.path=\"'my file.txt'\""
        ) from error
    if not parsed.key_or_group:
        raise UserError(f"{shown(override)}: no key is given; write key=value")
    if override.endswith("=") and not parsed.is_delete():
        raise UserError(f"{override}: no value is given; write {override}VALUE")
    return parsed


def _expand_devices(overrides: Sequence[str]) -> Iterator[str]:
    for override in overrides:
        match = re.fullmatch(r"device=cuda:([0-9]+)", override)
        yield from ("device=cuda", f"device.index={match.group(1)}") if match else (override,)


def _is_group(key: str, config_dir: Path | None) -> bool:
    return "." not in key and (key in GROUPS or bool(choices(key, config_dir)))


def _check_choice(parsed: Any, group: str, config_dir: Path | None) -> None:
    from hydra.errors import HydraException

    wanted: list[str] = []
    try:
        if parsed.is_sweep_override():
            wanted = [str(choice) for choice in parsed.sweep_string_iterator()]
        elif not parsed.is_delete():
            value = parsed.value()
            wanted = [] if value is None and group in OPTIONAL_GROUPS else ["null" if value is None else str(value)]
    except HydraException as error:
        raise UserError(f"{parsed.input_line}: is not read here; list the names: {group}=A,B") from error
    known = choices(group, config_dir)
    for name in wanted:
        if name not in known and not (name == "null" and group in OPTIONAL_GROUPS):
            listed = ", ".join(known) or "none are there"
            raise UserError(f"{group}={shown(name)}: no such choice{closest(name, known)}; there are: {listed}")


def _prepare_choice(override: str, parsed: Any, listed: bool) -> list[str]:
    """Return the overrides that make a choice, whether or not the config lists the group."""
    group = parsed.key_or_group
    if not parsed.is_delete() and not parsed.is_sweep_override() and parsed.value() is None:
        return [f"~{group}"] if listed else []
    if listed:
        return [override.lstrip("+")]
    if group in OPTIONAL_GROUPS:
        return [] if parsed.is_delete() else ["+" + override.lstrip("+")]
    return [override]


def _check_value_key(override: str, key: str) -> None:
    first = re.split(r"[./@]", key)[0]
    known = [*_TARGET_SECTIONS, *_PLAIN_SECTIONS, *_top_keys()]
    if first not in known:
        listed = sorted({*known, *OPTIONAL_GROUPS})
        raise UserError(
            f"{shown(override)}: no such key {first}{closest(first, listed)}; there are: {', '.join(listed)}"
        )
    if "/" in key:
        group, _, name = key.rpartition("/")
        raise UserError(f"{shown(override)}: no such key; a part is chosen with {group}={name}")


def _top_keys() -> list[str]:
    return list(TopSettings.__dataclass_fields__)


# -- recorded configs ---


def override(plain: dict[str, Any], overrides: Sequence[str], allowed: tuple[str, ...]) -> dict[str, Any]:
    """Return a recorded config with some values changed.

    Args:
        allowed: keys that may change; one that ends in a point stands for all below it.

    Raises:
        UserError: for an override that cannot be read or is not allowed.
    """
    changed = copy.deepcopy(plain)
    for text in overrides:
        parsed = parse_override(text)
        key = parsed.key_or_group
        if not any(key == name or (name.endswith(".") and key.startswith(name)) for name in allowed):
            raise UserError(
                f"{shown(text)}: cannot change here, where only {', '.join(allowed)} can; start a new run for it"
            )
        if parsed.is_delete() or parsed.is_sweep_override():
            raise UserError(f"{shown(text)}: give one value; null takes a limit away")
        check_references(text, shown(text))
        value = parsed.value()
        if key == "device":
            changed["device"] = {**_section(changed, "device"), **_device_section(text, value)}
        else:
            _set(changed, key, value)
    return changed


def _device_section(text: str, value: Any) -> dict[str, Any]:
    match = re.fullmatch(r"(auto|cpu|cuda)(?::([0-9]+))?", str(value))
    if match is None or (match.group(2) and match.group(1) != "cuda"):
        raise UserError(f"{shown(text)}: no such device; there are: auto, cpu, cuda, cuda:N")
    return {"kind": match.group(1), "index": int(match.group(2) or 0)}


def _set(plain: dict[str, Any], key: str, value: Any) -> None:
    section, _, rest = key.partition(".")
    if rest:
        plain[section] = dict(_section(plain, section))
        _set(plain[section], rest, value)
    else:
        plain[section] = value


def flatten(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


# -- checking ---


def check(plain: dict[str, Any]) -> Config:
    """Check a composed config; nothing is read, built or written.

    Raises:
        UserError: for the first key, type, value, class or combination that is wrong.
    """
    known = [*_TARGET_SECTIONS, *_PLAIN_SECTIONS, *OPTIONAL_GROUPS, *_top_keys()]
    for key in plain:
        if key not in known:
            raise UserError(f"{key}: no such key{closest(key, known)}; there are: {', '.join(sorted(known))}")
    top = TopSettings(**check_arguments("", TopSettings, {key: plain[key] for key in _top_keys() if key in plain}))
    device = DeviceSettings(**check_arguments("device", DeviceSettings, _section(plain, "device")))
    trainer = TrainerSettings(**check_arguments("trainer", TrainerSettings, _section(plain, "trainer")))
    run = RunSettings(**check_arguments("run", RunSettings, _section(plain, "run")))
    _check_limits(trainer)
    import_plugins(top.plugins)
    components = {name: _component(name, _section(plain, name), top.plugins) for name in _TARGET_SECTIONS}
    cell_values = _section(plain["model"], "cell", "model.cell")
    cell = _component("model.cell", cell_values, top.plugins)
    config = Config(**components, cell=cell, device=device, trainer=trainer, run=run, top=top, plain=plain)
    _check_rules(config)
    return config


def _section(parent: Mapping[str, Any], name: str, key: str | None = None) -> dict[str, Any]:
    values = parent.get(name)
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise UserError(f"{key or name}={values}: expected a section; choose one with {key or name}=NAME")
    return values


def _component(section: str, values: dict[str, Any], plugins: Sequence[str]) -> Component:
    if "_target_" not in values:
        raise UserError(f"{section}: no class is named; choose one with {section.replace('.', '/')}=NAME")
    cls = resolve_target(section, values["_target_"], plugins)
    own = {name: value for name, value in values.items() if name != "_target_" and (section, name) != ("model", "cell")}
    return Component(section, cls, check_arguments(section, cls, own, SLOTS[section].supplied))


def _check_limits(trainer: TrainerSettings) -> None:
    if trainer.max_steps is None and trainer.max_epochs is None and trainer.max_minutes is None:
        raise UserError("trainer: the run has no end; set trainer.max_steps, trainer.max_epochs or trainer.max_minutes")


def _check_rules(config: Config) -> None:
    """Check what only shows across sections. The constructors of tasks and data sets take values and read nothing."""
    task, data = config.task.build(), config.data.build()
    if task.generates and config.model.arguments.get("bidirectional"):
        raise UserError(
            "model.bidirectional=true: a bidirectional model cannot generate; set model.bidirectional=false"
        )
    if task.carries and not data.contiguous:
        raise UserError(
            "task.carry=true: the state can only be carried through text in its order; "
            "set data.contiguous=true or task.carry=false"
        )
