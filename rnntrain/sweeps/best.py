"""A point of a sweep as a file of the group `experiment`, with the command that repeats it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnntrain import config as configs
from rnntrain.checkpoints import durable
from rnntrain.configuring.config_files import GROUPS, OPTIONAL_GROUPS, config_path, to_yaml
from rnntrain.configuring.overrides import flatten, prepare_overrides
from rnntrain.sweeps.plan import Plan
from rnntrain.sweeps.space import Value

_NOT_IN_IT = ("run", "seed")  # of the experiment: where it was kept, and one of the seeds that it was repeated with


def write_point(plan: Plan, point: Mapping[str, Value], description: str, name: str | None = None) -> str:
    """Write a point into the sweep's folder as `conf/experiment/NAME.yaml`; return the command that trains it.

    Where the config cannot be written as one file, such as one from which a key was taken away, the command says all
    that was typed for it.

    Args:
        description: the first line of the file.
        name: of the file; that of the sweep if None.
    """
    name = name or plan.name
    words = plan.words(point, plan.seeds[0])
    _, chosen = _composed(plan, words)
    start, _ = _composed(plan, [f"{group}={name}" for group, name in chosen.items()])
    wanted = _own(plan.compose(point, plan.seeds[0]))
    changed = {key: value for key, value in wanted.items() if key not in start or start[key] != value}
    defaults = [{f"override /{group}": name} for group, name in chosen.items()]
    text = f"# {description}\n# @package _global_\n" + to_yaml({"defaults": defaults, **_nested(changed)})
    folder = plan.folder / "conf"
    command = ["--config-dir", str(folder), f"experiment={name}"]
    if plan.config_name != "train":
        command[0:0] = ["--config-name", plan.config_name]
    with durable.one_line(folder):
        (folder / "experiment").mkdir(parents=True, exist_ok=True)
        durable.replace_file(folder / "experiment" / f"{name}.yaml", text.encode())
        _copy_own_files(plan, chosen, folder)
    again = _own(configs.compose(command[-1:], folder, plan.config_name))
    if again != wanted:
        own = [] if plan.config_dir is None else ["--config-dir", str(plan.config_dir)]
        command = [*command[:-3], *own, *words[:-1]]
    return shlex.join(["rnntrain", "train", *command, words[-1]])


def _composed(plan: Plan, words: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a config as its files say it, with references and gaps, and what it chooses of each group."""
    from hydra import compose
    from omegaconf import OmegaConf

    from rnntrain.configuring.config_source import hydra_for

    with configs.mistakes_as_user_errors(), hydra_for(plan.config_dir):
        prepared = prepare_overrides(words, plan.config_dir, plan.config_name)
        composed = compose(plan.config_name, prepared, return_hydra_config=True)
        chosen = OmegaConf.to_container(composed.hydra.runtime.choices)
        OmegaConf.set_struct(composed, False)
        del composed["hydra"]
        plain = OmegaConf.to_container(composed, resolve=False)
    assert isinstance(chosen, dict)
    assert isinstance(plain, dict)
    groups = [group for group in GROUPS if group not in OPTIONAL_GROUPS]
    own = _own({str(key): value for key, value in plain.items()})
    return own, {group: str(chosen[group]) for group in groups if chosen.get(group) is not None}


def _own(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in flatten(plain).items() if key.partition(".")[0] not in _NOT_IN_IT}


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, name = key.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return nested


def _copy_own_files(plan: Plan, chosen: Mapping[str, str], folder: Path) -> None:
    """Copy what the user's own config folder gives to the config, since a command takes one such folder."""
    if plan.config_dir is None:
        return
    for name in (plan.config_name, *(f"{group}/{choice}" for group, choice in chosen.items())):
        path = config_path(name, plan.config_dir)
        if path is not None and path.is_relative_to(plan.config_dir):
            copy = folder / path.relative_to(plan.config_dir)
            copy.parent.mkdir(parents=True, exist_ok=True)
            durable.replace_file(copy, path.read_bytes())
