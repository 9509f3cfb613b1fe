"""What there is to choose from, in one line each, and every key of one part."""

from __future__ import annotations

import inspect
import os
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from rnntrain.configuring import config_files as files
from rnntrain.configuring.checking import describe_type, parameters_of, shown
from rnntrain.configuring.targets import SLOTS, resolve_target
from rnntrain.errors import UserError, closest
from rnntrain.settings import ByKind, DeviceSettings, TrainerSettings
from rnntrain.sweeps.settings import SweepSettings

_SETTINGS: dict[str, type] = {"trainer": TrainerSettings, "device": DeviceSettings, "sweep": SweepSettings}
_GROUPS = (*files.GROUPS, *files.OTHER_GROUPS)


def info_lines(what: str | None, config_dir: Path | None = None) -> list[str]:
    """Return the lines of `rnntrain info [WHAT]`.

    Raises:
        UserError: if there is no such group or part.
    """
    if config_dir is not None and not os.path.isdir(config_dir):
        raise UserError(f"--config-dir {shown(config_dir)}: no such folder")
    if what is None:
        lines = [line for group in _GROUPS for line in [*group_lines(group, config_dir), ""]]
        return [*lines, *environment_lines()]
    group, _, name = what.replace("=", "/").rpartition("/")
    if what in _GROUPS:
        return group_lines(what, config_dir)
    if group not in _GROUPS:
        raise UserError(f"{what}: no such group{closest(what, list(_GROUPS))}; there are: {', '.join(_GROUPS)}")
    if name not in files.choices(group, config_dir):
        known = files.choices(group, config_dir)
        raise UserError(f"{what}: no such part{closest(name, known)}; there are: {', '.join(known)}")
    return part_lines(group, name, config_dir)


def group_lines(group: str, config_dir: Path | None) -> list[str]:
    """Return the choices of one group with their descriptions."""
    names = files.choices(group, config_dir)
    width = max(map(len, names), default=0)
    return [
        f"{group}=",
        *(f"  {name:<{width}}  {files.description(group, name, config_dir)}" for name in names),
    ]


def part_lines(group: str, name: str, config_dir: Path | None) -> list[str]:
    """Return the keys of one part: type, default, what the YAML sets, and the documentation of its class."""
    values = files.read_choice(group, name, config_dir)
    section = group.replace("/", ".")
    if section in SLOTS and str(values.get("_target_")).startswith(("rnntrain.", "torch.")):  # no class of a plugin
        supplied: tuple[str, ...] = SLOTS[section].supplied
        cls = resolve_target(section, values["_target_"], [])
    elif section in _SETTINGS:
        supplied, cls = (), _SETTINGS[section]
    else:
        return [
            f"{group}={name}: {files.description(group, name, config_dir)}",
            "",
            files.to_yaml(values).rstrip(),
        ]
    lines = [f"{group}={name}: {files.description(group, name, config_dir)}", ""]
    for key, (annotation, default) in parameters_of(cls).items():
        if key not in supplied:
            lines.append(
                f"  {section}.{key} = {shown_default(values.get(key, default))}    {describe_type(annotation)}"
            )
    if group == "optimizer":
        kinds = ", ".join(parameters_of(ByKind))
        lines += [f"  optimizer.{key}.KIND = null    KIND: {kinds}" for key in ("weight_decay_by", "lr_by")]
    lines += [f"  {section}.space: {key} = {shown_default(value)}" for key, value in values.get("space", {}).items()]
    documentation = re.sub(r"\.\. math::\n(?:[ ].*\n|\n)*", "", inspect.getdoc(cls) or "")  # formulas are for a browser
    return [*lines, "", *documentation.splitlines()]


def shown_default(value: Any) -> str:
    """Return a default as a person writes it."""
    return "(to be given)" if value is inspect.Parameter.empty or value == "???" else shown(value)


def environment_lines() -> list[str]:
    """Return versions, device, threads and kernels."""
    import torch

    from rnntrain.native.library import library_path

    packages = ("rnntrain", "torch", "hydra-core", "omegaconf", "tensorboard", "numpy")
    versions = []
    for package in packages:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{package} (not installed)")
    cuda = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return [
        "versions: " + ", ".join([*versions, f"Python {sys.version.split()[0]}"]),
        f"device:   {', '.join(cuda) or 'cpu'} ({torch.backends.cpu.get_cpu_capability()})",
        f"threads:  {torch.get_num_threads()}",
        f"kernels:  {'native' if library_path().is_file() else 'plain; `rnntrain build` compiles faster ones'}",
    ]
