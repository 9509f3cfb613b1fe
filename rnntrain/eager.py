"""Keep eager training from paying for the compiler: a stand-in for `torch._dynamo` until somebody needs it.

Every torch optimizer imports `torch._dynamo` (819 modules, over a second) when it is built and when it steps, only to
say "no graph here". That is as long as importing torch itself. The stand-in answers those two calls and loads the
real package as soon as anything else is asked of it, so `torch.compile` and `torch.export` work as ever.
`scripts/bench_startup.py` shows what it saves; `tests/test_eager.py` that compiling still works.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

NAME = "torch._dynamo"


class _DynamoOnDemand(ModuleType):
    """Answers what eager optimizers ask of `torch._dynamo`; everything else loads the real one."""

    @staticmethod
    def graph_break(msg: str = "") -> None:
        """Outside a compiled graph there is nothing to break."""

    @staticmethod
    def disable(fn: Callable[..., Any], recursive: bool = True, **_: Any) -> Callable[..., Any]:
        """Outside a compiled graph there is nothing to switch off."""
        return fn

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # inspection of all modules; a submodule asks for the path
            raise AttributeError(name)
        if sys.modules.get(NAME) is self:
            del sys.modules[NAME]
        return getattr(importlib.import_module(NAME), name)


def defer_compiler() -> None:
    """Put the stand-in in place, unless the real package is loaded already."""
    import torch

    if NAME not in sys.modules:
        stand_in = _DynamoOnDemand(NAME)
        sys.modules[NAME] = stand_in
        torch._dynamo = stand_in


def load_compiler() -> None:
    """Put the real package in place, for whoever traces programs.

    The stand-in would load it too, but only once something has been asked of it, and what torch traces with looks at
    parts of the package in places where that comes too late.
    """
    if isinstance(sys.modules.get(NAME), _DynamoOnDemand):
        del sys.modules[NAME]
    importlib.import_module(NAME)
