"""Compose a config with Hydra and check all of it before anything is read, built or written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnntrain.checking import check_arguments
from rnntrain.errors import UserError, closest
from rnntrain.settings import DeviceSettings, RunSettings, TopSettings, TrainerSettings
from rnntrain.targets import SLOTS, import_plugins, resolve_target

GROUPS = (
    "task",
    "data",
    "model",
    "model/cell",
    "optimizer",
    "schedule",
    "device",
    "trainer",
    "experiment",
    "debug",
)
OPTIONAL_GROUPS = ("experiment", "debug")
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


def package_config_dir() -> Path:
    """Return the folder of the shipped configs: in the package where installed, beside it in a checkout."""
    here = Path(__file__).resolve().parent
    return here / "configs" if (here / "configs").is_dir() else here.parent / "configs"


# -- composing ---


def compose(overrides: Sequence[str], config_dir: Path | None = None, config_name: str = "train") -> dict[str, Any]:
    """Compose the config of one run from command-line overrides; resolve it into plain containers.

    Raises:
        UserError: for an override that cannot be read, or a choice that does not exist.
    """
    from hydra import compose as hydra_compose
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    prepared = prepare_overrides(overrides, config_dir)
    try:
        with hydra_search_path(config_dir) as primary:
            from hydra import initialize_config_dir

            with initialize_config_dir(str(primary), version_base="1.3", job_name="rnntrain"):
                composed = hydra_compose(config_name, prepared)
                missing = OmegaConf.missing_keys(composed)
                if missing:
                    raise UserError(_missing(sorted(missing)[0]))
                plain = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_one_line(error)) from error
    assert isinstance(plain, dict)
    named = {str(key): value for key, value in plain.items()}
    name_group(named, prepared)
    return named


def name_group(plain: dict[str, Any], overrides: Sequence[str]) -> None:
    """Fill in the name under which runs of this config lie together: the experiment's, else the task's."""
    run = plain.setdefault("run", {})
    if not isinstance(run, dict) or run.get("group") is not None:
        return
    chosen = [match.group(1) for text in overrides if (match := re.fullmatch(r"\+?experiment=(\w[\w.-]*)", text))]
    task = plain.get("task")
    target = str(task.get("_target_")) if isinstance(task, dict) else ""
    run["group"] = chosen[-1] if chosen else target.split(".")[-2] if "." in target else "task"


@contextmanager
def hydra_search_path(config_dir: Path | None) -> Iterator[Path]:
    """Make Hydra find the shipped groups from a config folder of the user's; yield the folder to start from.

    Raises:
        UserError: if the folder does not exist.
    """
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class ShippedConfigs(SearchPathPlugin):
        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            search_path.append(provider="rnntrain", path=package_config_dir().as_uri())

    if config_dir is not None and not config_dir.is_dir():
        raise UserError(f"--config-dir {config_dir}: no such folder")
    GlobalHydra.instance().clear()
    if config_dir is not None:
        Plugins.instance().register(ShippedConfigs)
    yield (config_dir or package_config_dir()).resolve()


def prepare_overrides(overrides: Sequence[str], config_dir: Path | None) -> list[str]:
    """Rewrite overrides to what Hydra takes, and refuse choices that do not exist.

    A key that no YAML mentions needs no `+`: the check by the constructors' own signatures, which comes later, is
    stricter than Hydra's. `device=cuda:1` stands for `device=cuda device.index=1`.

    Raises:
        UserError: names the override and what there is to choose from.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    expanded: list[str] = []
    for override in overrides:
        match = re.fullmatch(r"device=cuda:(\d+)", override)
        expanded += ["device=cuda", f"device.index={match.group(1)}"] if match else [override]
    prepared = []
    for override in expanded:
        try:
            parsed = OverridesParser.create().parse_override(override)
        except HydraException as error:
            raise UserError(
                f"{override}: cannot be read as key=value; quote values that hold spaces or commas"
            ) from error
        key = parsed.key_or_group
        if key.startswith("hydra"):
            prepared.append(override)
        elif _is_group(key, config_dir):
            _check_choice(parsed, key, config_dir)
            prepared.append(override.lstrip("+") if key in OPTIONAL_GROUPS else override)
        else:
            _check_first_part(override, key)
            prepared.append(override if parsed.is_delete() else "++" + override.lstrip("+"))
    return prepared


def choices(group: str, config_dir: Path | None = None) -> list[str]:
    """Return the names that a config group offers."""
    folders = [package_config_dir(), *([config_dir] if config_dir else [])]
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def read_choice(group: str, name: str, config_dir: Path | None = None) -> dict[str, Any]:
    """Return what the file of one choice says, its defaults list left out."""
    path = _choice_path(group, name, config_dir)
    return {
        key: value for key, value in from_yaml(path.read_text(encoding="utf-8"), str(path)).items() if key != "defaults"
    }


def description(group: str, name: str, config_dir: Path | None = None) -> str:
    """Return the first comment of the file of one choice."""
    first = _choice_path(group, name, config_dir).read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def _choice_path(group: str, name: str, config_dir: Path | None) -> Path:
    paths = [folder / group / f"{name}.yaml" for folder in (config_dir, package_config_dir()) if folder]
    return next(path for path in paths if path.is_file())


def _is_group(key: str, config_dir: Path | None) -> bool:
    return "." not in key and (key in GROUPS or bool(choices(key, config_dir)))


def _check_choice(parsed: Any, group: str, config_dir: Path | None) -> None:
    if parsed.is_delete() or parsed.is_sweep_override():
        wanted = [str(choice) for choice in parsed.sweep_string_iterator()] if parsed.is_sweep_override() else []
    else:
        wanted = [str(parsed.value())]
    known = choices(group, config_dir)
    for name in wanted:
        if name not in (*known, "null", "None") and not (group == "device" and name.startswith("cuda:")):
            listed = ", ".join(known) or "none are there"
            raise UserError(f"{group}={name}: no such choice{closest(name, known)}; there are: {listed}")


def _check_first_part(override: str, key: str) -> None:
    first = re.split(r"[./@]", key)[0]
    known = [*_TARGET_SECTIONS, *_PLAIN_SECTIONS, *OPTIONAL_GROUPS, *_top_keys()]
    if first not in known:
        raise UserError(
            f"{override}: no such key {first}{closest(first, known)}; there are: {', '.join(sorted(known))}"
        )


def _top_keys() -> list[str]:
    return list(TopSettings.__dataclass_fields__)


def _missing(key: str) -> str:
    return f"{key}: not given; set {key}=…"


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines[:2])


# -- recorded configs ---


def to_yaml(plain: Mapping[str, Any]) -> str:
    """Return a config as YAML text."""
    import yaml

    text: str = yaml.safe_dump(dict(plain), sort_keys=False, allow_unicode=True, default_flow_style=False)
    return text


def from_yaml(text: str, source: str) -> dict[str, Any]:
    """Return the config that `to_yaml` wrote; plain values alone, and no aliases, which can grow without bound.

    Raises:
        UserError: names `source` and the line.
    """
    import yaml

    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise UserError(f"{source}:{event.start_mark.line + 1}: aliases are not read; write the value out")
        plain = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f":{mark.line + 1}"
        raise UserError(f"{source}{line}: is no YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(plain, dict):
        raise UserError(f"{source}: holds no config; it was damaged or is not from a run")
    return {str(key): value for key, value in plain.items()}


def override(plain: dict[str, Any], overrides: Sequence[str], allowed: tuple[str, ...]) -> dict[str, Any]:
    """Return a recorded config with some values changed.

    Args:
        allowed: keys that may change; one that ends in a point stands for all below it.

    Raises:
        UserError: for an override that cannot be read or is not allowed.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    changed = OmegaConf.create(plain)
    for text in overrides:
        try:
            parsed = OverridesParser.create().parse_override(text)
            value = parsed.value()
        except HydraException as error:
            raise UserError(f"{text}: cannot be read as key=value") from error
        key = parsed.key_or_group
        if not any(key == name or (name.endswith(".") and key.startswith(name)) for name in allowed):
            raise UserError(f"{text}: cannot change here, where only {', '.join(allowed)} can; start a new run for it")
        if key == "device":
            kind, _, index = str(value).partition(":")
            OmegaConf.update(
                changed, "device", {"kind": kind, "index": int(index) if index.isdigit() else 0}, merge=True
            )
        else:
            OmegaConf.update(changed, key, value, force_add=True)
    result = OmegaConf.to_container(changed, resolve=False)
    assert isinstance(result, dict)
    return {str(key): value for key, value in result.items()}


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
