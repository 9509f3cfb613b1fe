"""How Hydra finds and reads our config files and the user's own."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from hydra import version
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf

from rnntrain.configuring.checking import shown
from rnntrain.configuring.config_files import (
    check_references,
    check_yaml,
    package_config_dir,
    package_of,
    read_file,
    yaml_error,
)
from rnntrain.errors import UserError


class CheckedFiles(FileConfigSource):
    """A folder of config groups; files of the user's own are checked before Hydra makes anything of them."""

    @staticmethod
    def scheme() -> str:
        return "rnntrain"

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path, self._normalize_file_name(config_path))
        text = read_file(path)
        try:
            if Path(self.path) != package_config_dir():
                _check_own(text, str(path))
            config = OmegaConf.load(io.StringIO(text))
        except (yaml.YAMLError, ValueError) as error:
            raise yaml_error(error, str(path)) from error
        header = {"package": package_of(config_path, text)}
        return ConfigResult(config=config, path=self.full_path(), provider=self.provider, header=header)


def _check_own(text: str, source: str) -> None:
    for line, scalar in check_yaml(text, source):
        check_references(scalar, f"{source}:{line}")
    plain = yaml.safe_load(text)
    if not isinstance(plain, dict | None):
        raise UserError(f"{source}: holds no config; expected lines such as key: value")
    # Hydra would import the packages that a search path names.
    if isinstance(plain, dict) and isinstance(plain.get("hydra"), dict) and "searchpath" in plain["hydra"]:
        raise UserError(f"{source}: hydra.searchpath is not read from files; use --config-dir")
    if isinstance(plain, dict) and plain.get("plugins"):  # they run when they are imported
        raise UserError(f"{source}: plugins are not read from files; name them where you start it: plugins=[NAME]")
    if isinstance(plain, dict) and not isinstance(plain.get("defaults"), list | None):
        raise UserError(f"{source}: defaults: expected a list of entries such as - data: text")


@contextmanager
def hydra_for(config_dir: Path | None) -> Iterator[Hydra]:
    """Make a Hydra that finds configs in the user's folder, then in ours; put back the one that was there before.

    Raises:
        UserError: if the folder does not exist.
    """
    if config_dir is not None and not os.path.isdir(config_dir):
        raise UserError(f"--config-dir {shown(config_dir)}: no such folder")
    shipped = f"{CheckedFiles.scheme()}://{package_config_dir()}"
    own = None if config_dir is None else f"{CheckedFiles.scheme()}://{os.path.realpath(config_dir)}"
    search_path = create_config_search_path(own or shipped)
    SourcesRegistry.instance().register(CheckedFiles)
    if own:
        search_path.append("rnntrain", shipped, anchor=SearchPathQuery(provider="main"))
    current = GlobalHydra.instance()
    before, current.hydra = current.hydra, None
    version.setbase("1.3")
    try:
        yield Hydra.create_main_hydra2("rnntrain", search_path)
    finally:
        current.hydra = before
