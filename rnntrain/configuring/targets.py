"""Turn the `_target_` of a config section into a class, and nothing else into anything."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from rnntrain.configuring.checking import shown
from rnntrain.errors import UserError


@dataclass(frozen=True)
class Slot:
    """A place in the config that holds a class.

    Attributes:
        kind: "module:Class" that the class must descend from; a string so that naming it imports nothing.
        supplied: constructor arguments that the program gives, not the user.
        library: a module of torch whose own classes of this kind may be named too.
    """

    kind: str
    supplied: tuple[str, ...] = ()
    library: str | None = None


SLOTS = {
    "task": Slot("rnntrain.tasks.base:Task"),
    "data": Slot("rnntrain.data.base:DataSet"),
    "model": Slot("rnntrain.models.sequence:SequenceModel", ("input_layer", "head", "cell")),
    "model.cell": Slot("rnntrain.cells.base:Recurrent", ("input_size", "hidden_size")),
    "optimizer": Slot("torch.optim:Optimizer", ("params",), library="torch.optim"),
    "schedule": Slot("rnntrain.optim:Schedule"),
}


def import_plugins(plugins: Sequence[str]) -> None:
    """Import the packages that the user named, also from the working directory.

    Raises:
        UserError: if one is not found, or fails while it is imported.
    """
    if plugins and "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # a console script starts without it
    for name in plugins:
        if not _is_dotted_name(name):
            raise UserError(f"plugins=[{shown(name)}]: not the name of a Python package, such as my_package")
        try:
            _import(name)
        except ModuleNotFoundError as error:
            raise UserError(f"plugins=[{name}]: {error}; install it, or start from the folder that holds it") from error
        except Exception as error:
            raise UserError(f"plugins=[{name}]: {_failure(name, error)}") from error


def resolve_target(section: str, target: object, plugins: Sequence[str]) -> type:
    """Return the class that `target` names for the slot `section`.

    The name is split once: a module, which must be importable by that very name and belong to rnntrain, to the slot's
    part of torch, or to a plugin; and a class in it. So no path can walk through a module's imports, and the class
    that was found must itself come from one of these and be of the slot's kind.

    Raises:
        UserError: if any of this does not hold.
    """
    slot = SLOTS[section]
    key = f"{section}._target_"
    if not isinstance(target, str) or not _is_dotted_name(target) or "." not in target:
        raise UserError(f"{key}={shown(target)}: expected the dotted path of a class, such as package.module.Class")
    module_name, _, class_name = target.rpartition(".")
    own, library = ["rnntrain", *plugins], [slot.library] if slot.library else []
    if not _is_within(module_name, own) and module_name not in library:
        raise UserError(
            f"{key}={shown(target)}: comes from none of {', '.join([*own, *library])}; "
            f"to use classes of your own, name their package: plugins=[{shown(target.split('.')[0])}]"
        )
    found = _find_class(key, target, module_name, class_name)
    kind = _load(slot.kind)
    if not issubclass(found, kind) or not _is_within(found.__module__, [*own, *library]):
        raise UserError(f"{key}={target}: is no {kind.__name__}, which this place holds")
    if inspect.isabstract(found) or (found is kind and slot.library is not None):
        raise UserError(f"{key}={target}: only says what a {kind.__name__} must do; name one that does it")
    return found


def _find_class(key: str, target: str, module_name: str, class_name: str) -> type:
    try:
        module = _import(module_name)
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and _is_within(module_name, [missing]):
            raise UserError(f"{key}={target}: there is no module {missing}") from error
        if _is_within(module_name, ["rnntrain"]):
            raise
        raise UserError(f"{key}={target}: {_failure(module_name, error)}") from error
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        raise UserError(f"{key}={target}: {module_name} has no class {class_name}")
    return found


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except SystemExit as error:  # a script without `if __name__ == "__main__"`
        raise ImportError(f"it exits when it is imported ({error.code})") from error


def _failure(name: str, error: Exception) -> str:
    return f"importing {name} fails with {type(error).__name__}: {error}; mend it (--debug shows where)"


def _is_dotted_name(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _is_within(name: str, roots: Sequence[str]) -> bool:
    return any(name == root or name.startswith(root + ".") for root in roots)


def _load(path: str) -> type:
    module_name, _, name = path.partition(":")
    loaded: type = getattr(importlib.import_module(module_name), name)
    return loaded
