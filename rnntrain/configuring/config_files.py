"""Where the config files lie and how they are read: bounded, UTF-8, plain YAML; no torch, no Hydra."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rnntrain.errors import UserError

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
OTHER_GROUPS = ("sweep", "hydra/launcher")  # which no config of a run chooses from
LIMIT_BYTES = 1 << 16
LIMIT_DEPTH = 30
LIMIT_RESOLVED = 1 << 20  # signs of a whole config, once every `${…}` stands for what it names

_REFERENCE = re.compile(r"\$\{[^${}:]*\}")
_NUMBER_TO_HYDRA = re.compile(r"[-+]?[0-9._]+[eE][-+]?[0-9]+")


def package_config_dir() -> Path:
    """Return the folder of the shipped configs: in the package where installed, beside it in a checkout."""
    here = Path(__file__).resolve().parent.parent
    return here / "configs" if (here / "configs").is_dir() else here.parent / "configs"


def choices(group: str, config_dir: Path | None = None) -> list[str]:
    """Return the names that a config group offers."""
    folders = [package_config_dir(), *([config_dir] if config_dir else [])]
    # A pipe or a device would be passed over by Hydra without a word.
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml") if path.is_file()})


def read_choice(group: str, name: str, config_dir: Path | None = None) -> dict[str, Any]:
    """Return what the file of one choice says, its defaults list left out."""
    path = _choice_path(group, name, config_dir)
    plain = from_yaml(read_file(path), str(path))
    return {key: value for key, value in plain.items() if key != "defaults"}


def description(group: str, name: str, config_dir: Path | None = None) -> str:
    """Return the first comment of the file of one choice."""
    comments = _leading_comments(read_file(_choice_path(group, name, config_dir)))
    return next((line for line in comments if not line.startswith("@")), "")


def package_of(config: str, text: str) -> str | None:
    """Return the section that a config file fills, as its line `# @package` says, or None for that of its group.

    Hydra only sees that line where it is the first; here it may follow other comments. Experiments and debugging aids
    change the whole config, so they need not say so.
    """
    for line in _leading_comments(text):
        if match := re.fullmatch(r"@package\s+(\S+)", line):
            return match.group(1)
    return "_global_" if config.split("/")[0] in OPTIONAL_GROUPS else None


def _leading_comments(text: str) -> Iterator[str]:
    for line in map(str.strip, text.splitlines()):
        if line.startswith("#"):
            yield line.lstrip("#").strip()
        elif line:
            return


def _choice_path(group: str, name: str, config_dir: Path | None) -> Path:
    path = config_path(f"{group}/{name}", config_dir)
    assert path is not None, f"{group}={name} is not among the choices"
    return path


def listed_groups(config_name: str, config_dir: Path | None, depth: int = 0) -> set[str]:
    """Return the groups that a config, or one that it is made from, chooses from in its defaults list."""
    path = config_path(config_name, config_dir)
    if path is None or depth > LIMIT_DEPTH:
        return set()
    entries: Any = from_yaml(read_file(path), str(path)).get("defaults")
    if not isinstance(entries, list):
        return set()
    listed: set[str] = set()
    for entry in entries:
        if isinstance(entry, dict):
            listed |= {str(key).split()[-1].partition("@")[0].lstrip("/") for key in entry}
        elif isinstance(entry, str) and entry != "_self_":
            listed |= listed_groups(entry.lstrip("/"), config_dir, depth + 1)
    return listed


def config_path(name: str, config_dir: Path | None) -> Path | None:
    """Return the file of a config, such as "train" or "data/text", or None where there is none."""
    paths = [folder / f"{name.removesuffix('.yaml')}.yaml" for folder in (config_dir, package_config_dir()) if folder]
    return next((path for path in paths if path.is_file()), None)


# -- text ---


def read_file(path: Path) -> str:
    """Return the text of a config file.

    Raises:
        UserError: it cannot be read, is too large for a config, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT_BYTES + 1)
        if len(data) > LIMIT_BYTES:
            raise UserError(f"{path}: is larger than {LIMIT_BYTES:,} bytes, which no config is; shorten it")
        return data.decode()
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or str(error)).lower()}; make the file readable") from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from error


def from_yaml(text: str, source: str) -> dict[str, Any]:
    """Return a config from YAML text: plain values alone, and no aliases, which can grow without bound.

    Raises:
        UserError: names `source` and the line.
    """
    import yaml

    try:
        check_yaml(text, source)
        plain = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise yaml_error(error, source) from error
    if not isinstance(plain, dict):
        raise UserError(f"{source}: holds no config; expected lines such as key: value")
    return {str(key): value for key, value in plain.items()}


def check_yaml(text: str, source: str) -> list[tuple[int, str]]:
    """Refuse what can make a small YAML text expensive, aliases and deep nesting; return its scalars by line.

    Raises:
        UserError: names `source` and the line.
    """
    import yaml

    depth = 0
    scalars = []
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise UserError(f"{source}:{line}: aliases are not read; write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > LIMIT_DEPTH:
            raise UserError(f"{source}:{line}: is nested deeper than {LIMIT_DEPTH} levels; a config is flat")
        if isinstance(event, yaml.ScalarEvent):
            scalars.append((line, event.value))
    return scalars


def yaml_error(error: Exception, source: str) -> UserError:
    """Return the error to raise for what PyYAML could not read."""
    mark = getattr(error, "problem_mark", None)
    line = "" if mark is None else f":{mark.line + 1}"
    problem = " ".join(str(getattr(error, "problem", None) or error).split())
    return UserError(f"{source}{line}: is no YAML: {problem[:200]}")


def to_yaml(plain: Mapping[str, Any]) -> str:
    """Return a config as YAML text, which reads the same to `from_yaml` and to Hydra."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Quotes texts like 1e5 too, which Hydra takes for numbers though PyYAML does not."""

    def represent(dumper: Any, text: str) -> Any:
        style = "'" if _NUMBER_TO_HYDRA.fullmatch(text) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, represent)
    text: str = yaml.dump(dict(plain), Dumper=Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False)
    return text


def check_references(text: str, source: str) -> None:
    """Refuse `${…}` that does more than name another value, such as reading the environment.

    Raises:
        UserError: names `source`.
    """
    rest, passes = text, 0
    while (shorter := _REFERENCE.sub("", rest)) != rest and passes < LIMIT_DEPTH:
        rest, passes = shorter, passes + 1
    if "${" in rest:
        raise UserError(
            f"{source}: ${{…}} may only name another value of the config, as in ${{model.hidden_size}}; "
            "write the value itself"
        )


def check_growth(plain: Any) -> None:
    """Refuse a config whose `${…}`, each of several others, would grow without bound once they are resolved.

    Raises:
        UserError: it would hold more than `LIMIT_RESOLVED` signs.
    """
    _Growth(plain).size(())


class _Growth:
    """Counts the signs of a config's values as they will be resolved, without resolving them."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain
        self._sizes: dict[tuple[str, ...], int] = {}

    def size(self, path: tuple[str, ...]) -> int:
        if path not in self._sizes:
            self._sizes[path] = 0  # a value that leads back to itself is OmegaConf's to refuse
            self._sizes[path] = self._count(path, self._at(path))
            if self._sizes[path] > LIMIT_RESOLVED:
                raise UserError(
                    f"{'.'.join(path)[:100] or 'the config'}: its ${{…}} come to more than {LIMIT_RESOLVED:,} signs; "
                    "write the value out"
                )
        return self._sizes[path]

    def _count(self, path: tuple[str, ...], value: Any) -> int:
        if isinstance(value, dict):
            return sum(len(str(key)) + self.size((*path, str(key))) for key in value)
        if isinstance(value, list):
            return sum(self.size((*path, str(place))) for place in range(len(value)))
        text = value if isinstance(value, str) else ""
        named = _REFERENCE.findall(text)
        return max(1, len(text)) + sum(self.size(_path_of(path, reference[2:-1])) for reference in named)

    def _at(self, path: tuple[str, ...]) -> Any:
        value = self._plain
        for key in path:
            if isinstance(value, dict):
                value = next((inner for name, inner in value.items() if str(name) == key), None)
            elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
                value = value[int(key)]
            else:
                return None
        return value


def _path_of(path: tuple[str, ...], reference: str) -> tuple[str, ...]:
    """Return the place that a reference at `path` names: from the top, or relative where it begins with points."""
    name = reference.strip().lstrip(".")
    points = len(reference.strip()) - len(name)
    above = path[: len(path) - points] if points else ()
    return (*above, *(key.rstrip("]") for key in name.replace("[", ".").split(".") if key))
