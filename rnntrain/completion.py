"""Shell completion: verbs, choices and keys, read from the shipped files alone so that it answers at once."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import get_type_hints

from rnntrain.configuring.checking import choices_of
from rnntrain.configuring.config_files import GROUPS, choices, read_choice
from rnntrain.configuring.targets import SLOTS
from rnntrain.settings import DeviceSettings, RunSettings, TopSettings, TrainerSettings
from rnntrain.sweeps.settings import SweepSettings
from rnntrain.verbs import VERBS
from rnntrain.verbs.finding import WHAT

_SECTIONS = {"": TopSettings, "trainer": TrainerSettings, "run": RunSettings, "device": DeviceSettings}
DATA_VERBS = ("list", "get", "show")
SHELLS = ("bash", "zsh", "fish")

# The shells hand over the words of the line; `rnntrain __complete` prints whole words, one a line. Bash breaks words at
# '=' and ':', so what stands before the last of these in the word is cut from each answer.
_SCRIPTS = {
    "bash": """\
_rnntrain() {
  local line="${COMP_LINE:0:COMP_POINT}" words whole broken
  read -ra words <<< "$line"
  [[ "$line" == *" " ]] && words+=("")
  whole="${words[-1]}"
  broken="${whole%"${COMP_WORDS[COMP_CWORD]#=}"}"
  local IFS=$'\\n'
  COMPREPLY=($(rnntrain __complete -- "${words[@]:1}" 2>/dev/null))
  COMPREPLY=("${COMPREPLY[@]#"$broken"}")
  [[ "${COMPREPLY[0]}" == *[=.] ]] && compopt -o nospace
}
complete -o default -F _rnntrain rnntrain
""",
    "zsh": """\
_rnntrain() {
  local -a found
  found=(${(f)"$(rnntrain __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)"})
  compadd -Q -S '' -- $found
  _files
}
compdef _rnntrain rnntrain
""",
    "fish": """\
complete -c rnntrain -a '(rnntrain __complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
""",
}


def script(shell: str) -> str:
    """Return the completion script of a shell."""
    return _SCRIPTS[shell]


def candidates(words: Sequence[str]) -> list[str]:
    """Return whole words that the last of `words` (what follows `rnntrain`) may become."""
    words = [word for word in words if word != "--"]
    last = words[-1] if words else ""
    if len(words) <= 1:
        return [verb for verb in VERBS if verb.startswith(last)]
    verb = words[0]
    takes = VERBS[verb].takes if verb in VERBS else "other"
    if verb == "find" and len(words) == 2:
        return [what for what in WHAT if what.startswith(last)]
    if verb == "sweep":
        return [*_of_sweep(last), *_overrides(last)]
    if takes == "config":
        return _overrides(last)
    if verb == "data":
        return _data(words)
    if takes == "run":
        return [str(path.parent) for path in Path("outputs").glob("*/*/config.yaml") if str(path).startswith(last)]
    offered = {
        "info": [f"{group}/{name}" for group in GROUPS for name in choices(group)],
        "completion": list(SHELLS),
    }
    return [word for word in offered.get(verb, []) if word.startswith(last)]


def _data(words: Sequence[str]) -> list[str]:
    """Return verbs of `data`, names of known sets, or what a config may say."""
    last = words[-1]
    if len(words) == 2:
        return [verb for verb in DATA_VERBS if verb.startswith(last)]
    if words[1] == "show":
        return _overrides(last)
    from rnntrain.data.known.catalog import ENTRIES

    return [entry.name for entry in ENTRIES if words[1] == "get" and entry.name.startswith(last)]


def _overrides(last: str) -> list[str]:
    group, equals, start = last.partition("=")
    if equals:
        names = choices(group) if group in GROUPS else _values(group)
        return [f"{group}={name}" for name in names if name.startswith(start)]
    return [word for word in (*(f"{group}=" for group in GROUPS), *_keys()) if word.startswith(last)]


def _of_sweep(last: str) -> list[str]:
    """Return what a sweep is told beside the config of its runs."""
    hints = get_type_hints(SweepSettings, include_extras=True)
    key, equals, start = last.partition("=")
    if equals:
        offered = choices("sweep") if key == "sweep" else choices_of(hints.get(key.removeprefix("sweep.")))
        return [f"{key}={each}" for each in offered if key.startswith("sweep") and str(each).startswith(start)]
    return [word for word in ("sweep=", *(f"sweep.{name}=" for name in hints)) if word.startswith(last)]


def _values(key: str) -> list[str]:
    """Return the values that a key of the fixed sections names one by one."""
    section, _, name = key.rpartition(".")
    hints = get_type_hints(_SECTIONS.get(section, object), include_extras=True)
    annotation = hints.get(name)
    return ["true", "false"] if annotation is bool else [str(choice) for choice in choices_of(annotation)]


def _keys() -> list[str]:
    keys = [f"{section}.{name}=".lstrip(".") for section, cls in _SECTIONS.items() for name in get_type_hints(cls)]
    for section, slot in SLOTS.items():
        group = section.replace(".", "/")
        for name in choices(group):
            values = read_choice(group, name)
            known = {*values, *_constructor_arguments(str(values.get("_target_", "")))}
            keys += [f"{section}.{key}=" for key in known - {"_target_", "self", *slot.supplied}]
    return sorted(set(keys))


def _constructor_arguments(target: str) -> list[str]:
    """Return the argument names of one of our classes from its source: importing it would import torch."""
    module, _, cls = target.rpartition(".")
    path = Path(__file__).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
    if not module.startswith("rnntrain.") or not path.is_file():
        return []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == cls:
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                    return [argument.arg for argument in (*item.args.args, *item.args.kwonlyargs)]
    return []
