"""Training never loads torch's compiler, and whoever wants it after all has it whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from commandline import TINY

STAND_IN = """
import sys, torch
from rnntrain.eager import defer_compiler
defer_compiler()
def is_real():
    return type(sys.modules["torch._dynamo"]).__name__ == "module"
assert not is_real()
"""
FIT = """
weight = torch.nn.Parameter(torch.ones(2))
optimizer = getattr(torch.optim, name)([weight], lr=0.5)
def closure():
    optimizer.zero_grad()
    loss = weight.square().sum()
    loss.backward()
    return loss
optimizer.step(closure)
assert float(weight.detach().sum()) < 2, (name, weight)
"""

USES = {
    "torch.compile": "assert torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1)).item() == 2",
    "torch.export": (
        "exported = torch.export.export(torch.nn.Linear(2, 3), (torch.ones(1, 2),))\n"
        "assert exported.module()(torch.ones(1, 2)).shape == (1, 3)"
    ),
    "import of the package": "import torch._dynamo; assert torch._dynamo.config.cache_size_limit > 0",
    "import of a module": "import torch._dynamo.eval_frame as frame; assert frame.innermost_fn",
    "import of a name": "from torch._dynamo import optimize; assert callable(optimize)",
    "import from a module": "from torch._dynamo.utils import counters; assert counters is not None",
    "attribute": "assert torch._dynamo.is_compiling() is False",
    "reset": "torch._dynamo.reset()",
    "deterministic mode": "torch.use_deterministic_algorithms(True)",
}


QUICK = ("torch.compile", "torch.export", "import from a module")


@pytest.mark.parametrize("use", [use if use in QUICK else pytest.param(use, marks=pytest.mark.slow) for use in USES])
def test_whoever_asks_for_the_compiler_has_the_real_one(use: str, python: Callable[[str], str]) -> None:
    name = "AdamW"
    program = f"{STAND_IN}\nname = {name!r}\n{FIT}\nassert not is_real()\n{USES[use]}\nassert is_real()\n{FIT}\n"
    python(program.replace("assert is_real()", "") if use == "deterministic mode" else program)


def test_no_optimizer_loads_the_compiler(python: Callable[[str], str]) -> None:
    python(
        f"{STAND_IN}\nfor name in ('SGD', 'Adam', 'AdamW', 'RMSprop', 'Adagrad', 'NAdam', 'LBFGS'):\n"
        + FIT.replace("\n", "\n    ")
        + "\nassert not is_real()\nassert 'torch._inductor' not in sys.modules\n"
    )


@pytest.mark.slow
def test_the_real_one_is_left_alone_where_it_is_loaded_already(python: Callable[[str], str]) -> None:
    python(
        "import sys, torch, torch._dynamo\nreal = sys.modules['torch._dynamo']\n"
        "from rnntrain.eager import defer_compiler\ndefer_compiler()\nassert sys.modules['torch._dynamo'] is real\n"
    )


def test_looking_at_all_modules_does_not_load_the_compiler(python: Callable[[str], str]) -> None:
    python(f"{STAND_IN}\nimport inspect\nfor module in list(sys.modules.values()):\n    inspect.getmodule(module)\n")


def test_a_whole_run_does_without_the_compiler(python: Callable[[str], str]) -> None:
    assert python(
        "import sys, os, rnntrain\n"
        f"rnntrain.train(*{TINY!r}, quiet=True)\n"
        "print('torch._inductor' in sys.modules, 'torch._dynamo.eval_frame' in sys.modules)\n"
    ).split() == ["False", "False"]
