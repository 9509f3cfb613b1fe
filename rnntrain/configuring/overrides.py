"""Command-line overrides: `key=value` for a new run, and for what may change in a recorded one."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rnntrain.configuring.checking import shown
from rnntrain.configuring.config_files import (
    GROUPS,
    LIMIT_BYTES,
    LIMIT_DEPTH,
    OPTIONAL_GROUPS,
    OTHER_GROUPS,
    check_references,
    choices,
    config_path,
    listed_groups,
)
from rnntrain.errors import UserError, closest
from rnntrain.settings import TopSettings

TARGET_SECTIONS = ("task", "data", "model", "optimizer", "schedule")
PLAIN_SECTIONS = ("device", "trainer", "run")
# What Hydra's own keys may refer to beside other values: the time, and Hydra's settings.
_HYDRAS_OWN = re.compile(r"\$\{(now|hydra):[^${}]*\}")
TOP_KEYS = tuple(TopSettings.__dataclass_fields__)


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
        where = "rnntrain; name your folder with --config-dir" if config_dir is None else str(config_dir)
        raise UserError(f"--config-name {shown(config_name)}: there is no such .yaml file in {where}")
    listed = listed_groups(config_name, config_dir)
    prepared = []
    for text in _expand_devices(overrides):
        parsed = parse_override(text)
        override, key = parsed.input_line, parsed.key_or_group
        if re.split(r"[./]", key)[0] == "hydra":
            _check_for_hydra(override)
            prepared.append(override)
            continue
        if key in OTHER_GROUPS:
            raise UserError(f"{shown(override)}: is for many runs; start them with rnntrain {key} {shown(override)}")
        check_references(override, shown(override))
        if parsed.is_sweep_override() and not sweep:
            raise UserError(f"{shown(override)}: several values need -m, one run for each; quote a value with a comma")
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

    if any("\ud800" <= character <= "\udfff" for character in override):  # which no config file could record
        raise UserError(f"{shown(override)}: holds bytes that are not UTF-8; rename what it names")
    if len(override) > LIMIT_BYTES or override.partition("=")[0].count(".") > LIMIT_DEPTH:
        raise UserError(f"{shown(override)}: is longer or deeper than any value of a config; shorten it")
    parser = OverridesParser.create()
    for text in (override, _quote_value(override)):
        try:
            parsed = parser.parse_override(text)
        except (HydraException, RecursionError, ValueError):  # ValueError: a number of thousands of digits
            continue
        if not parsed.key_or_group:
            break
        if text.endswith("=") and not parsed.is_delete():
            raise UserError(f"{override}: no value is given; write {override}VALUE")
        return parsed
    raise UserError(f"{shown(override)}: cannot be read; write key=value")


def _check_for_hydra(override: str) -> None:
    """Refuse what would have Hydra import or call something, or read the environment.

    Launchers and sweepers are chosen by the names of the plugins that are installed: `hydra/launcher=NAME`.

    Raises:
        UserError: names the override.
    """
    if "_target_" in override or "searchpath" in override.partition("=")[0]:
        raise UserError(
            f"{shown(override)}: names no class or package; choose with hydra/launcher=NAME or hydra/sweeper=NAME, and "
            "your own configs with --config-dir"
        )
    check_references(_HYDRAS_OWN.sub("", override), shown(override))


def _quote_value(override: str) -> str:
    """Quote a value that Hydra's grammar has no place for, such as a file's name with an umlaut or a bracket."""
    key, equals, value = override.partition("=")
    quote = '"' if "'" in value else "'"
    return f"{key}={quote}{value}{quote}" if equals else override


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
    known = [*TARGET_SECTIONS, *PLAIN_SECTIONS, *TOP_KEYS]
    if first not in known:
        listed = sorted({*known, *OPTIONAL_GROUPS})
        raise UserError(
            f"{shown(override)}: no such key {first}{closest(first, listed)}; there are: {', '.join(listed)}"
        )
    if "/" in key:
        group, _, name = key.rpartition("/")
        raise UserError(f"{shown(override)}: no such key; a part is chosen with {group}={name}")


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
            changed["device"] = {**section(changed, "device"), **_device_section(text, value)}
        else:
            _set(changed, key, value)
    return changed


def _device_section(text: str, value: Any) -> dict[str, Any]:
    match = re.fullmatch(r"(auto|cpu|cuda)(?::([0-9]+))?", str(value))
    if match is None or (match.group(2) and match.group(1) != "cuda"):
        raise UserError(f"{shown(text)}: no such device; there are: auto, cpu, cuda, cuda:N")
    return {"kind": match.group(1), "index": int(match.group(2) or 0)}


def _set(plain: dict[str, Any], key: str, value: Any) -> None:
    name, _, rest = key.partition(".")
    if rest:
        plain[name] = dict(section(plain, name))
        _set(plain[name], rest, value)
    else:
        plain[name] = value


def flatten(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def section(parent: Mapping[str, Any], name: str, key: str | None = None) -> dict[str, Any]:
    """Return a section of a config; one that is not there is empty.

    Raises:
        UserError: if a value stands in its place.
    """
    key, values = key or name, parent.get(name)
    if values is None:
        return {}
    if not isinstance(values, dict):
        group = key.replace(".", "/")
        choose = f"choose one with {group}=NAME" if group in GROUPS else f"set a key of it, as in {key}.KEY=VALUE"
        raise UserError(f"{key}={shown(values)}: {key} is a section; {choose}")
    return values
