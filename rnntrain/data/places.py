"""Where known data sets lie: `@NAME/FILE` in a config stands for a file of one, wherever it is kept here.

In this order: a folder that `RNNTRAIN_DATA` names, the cache of `rnntrain data get`, and what ships in the package.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from rnntrain.errors import UserError, closest

SHIPPED = Path(__file__).resolve().parent / "shipped"
_REFERENCE = re.compile(r"@([A-Za-z0-9_-]+)(?:/(.*))?", re.DOTALL)


def cache_folder() -> Path:
    """Return the folder of downloaded data sets: `RNNTRAIN_CACHE`, or `rnntrain` in the user's cache."""
    if chosen := os.environ.get("RNNTRAIN_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnntrain"


def search_folders() -> list[Path]:
    """Return the folders in which known data sets are looked for, each with one folder a data set."""
    own = os.environ.get("RNNTRAIN_DATA")
    return [*([Path(own)] if own else []), cache_folder(), SHIPPED]


def resolve(path: str, key: str) -> Path:
    """Return the place of a file or folder; one of a known data set is written `@NAME` or `@NAME/FILE`.

    Args:
        key: the config key that the path comes from, for messages.

    Raises:
        UserError: the data set, or the file in it, is not here.
    """
    match = _REFERENCE.fullmatch(path)
    if match is None:
        return Path(path).expanduser()
    name, inner = match.group(1), match.group(2) or ""
    if ".." in Path(inner).parts or Path(inner).is_absolute():
        raise UserError(f"{key}={path}: leads out of the data set; name a file in it")
    for folder in search_folders():
        place = folder / name / inner
        if place.exists():
            return place
    for folder in search_folders():
        if (folder / name).is_dir():
            raise UserError(f"{key}={path}: {folder / name} has no {inner}; get it anew: rnntrain data get {name}")
    near = closest(name, sorted({p.name for folder in search_folders() if folder.is_dir() for p in folder.iterdir()}))
    raise UserError(
        f"{key}={path}: the data set {name} is not here{near}; get it with `rnntrain data get {name}`, or set "
        "RNNTRAIN_DATA to the folder that holds it"
    )
