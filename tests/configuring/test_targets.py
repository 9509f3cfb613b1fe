"""A `_target_` becomes a class of the kind that its place holds, from a package that may be named, or nothing runs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from commandline import TINY, write_package

from rnntrain import commands, using
from rnntrain.configuring.config_files import from_yaml, to_yaml
from rnntrain.configuring.targets import SLOTS, import_plugins, resolve_target
from rnntrain.errors import UserError
from rnntrain.runs.record import accept
from rnntrain.runs.run import RunDir

# A module that leaves a trace when it is imported, and another when what is in it is called.
SPY = """
import os, sys
import torch
from torch import nn
from rnntrain.cells.vanilla import Vanilla
from rnntrain.tasks.language_modeling import LanguageModeling
sys.modules["spied"] = sys

class Mine(Vanilla):
    pass

class Other(nn.Module):
    def __new__(cls, *args, **kwargs):
        sys.modules["called"] = sys

def make(*args, **kwargs):
    sys.modules["called"] = sys
"""


@pytest.fixture
def spy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put the packages `spy_package` and `broken_package` where they could be imported."""
    package = write_package(tmp_path, "spy_package", inner=SPY, script="raise SystemExit(0)", wrong="import no_such")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield package
    for name in [name for name in sys.modules if name.startswith("spy_package") or name in ("spied", "called")]:
        del sys.modules[name]


def refusal(function: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(UserError) as error:
        function(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


RIGHT = {
    "task": "rnntrain.tasks.language_modeling.LanguageModeling",
    "data": "rnntrain.data.text.Text",
    "model": "rnntrain.models.sequence.SequenceModel",
    "model.cell": "rnntrain.cells.gru.GRU",
    "optimizer": "torch.optim.NAdam",
    "schedule": "rnntrain.optim.Cosine",
}


@pytest.mark.parametrize("slot", SLOTS)
def test_each_place_takes_a_class_of_its_kind_and_of_no_other(slot: str) -> None:
    assert resolve_target(slot, RIGHT[slot], []).__name__ == RIGHT[slot].rpartition(".")[2]
    for other in set(SLOTS) - {slot}:
        refusal(resolve_target, slot, RIGHT[other], [])


WRONG = {
    "a walk through imports": "rnntrain.data.source.os.system",
    "a walk through a package": "rnntrain.cells.os.system",
    "an imported module": "rnntrain.runs.run.os",
    "an imported class": "rnntrain.trainer.nn.LSTM",
    "a class imported from elsewhere": "rnntrain.trainer.Optimizer",
    "a function of ours": "rnntrain.cells.base.zero_padding",
    "a class of ours of another kind": "rnntrain.batch.Batch",
    "an abstract class": "rnntrain.cells.base.Cell",
    "a contract": "rnntrain.cells.base.Recurrent",
    "a class that is not there": "rnntrain.cells.gru.Gru",
    "a module that is not there": "rnntrain.cells.nothing.GRU",
    "a class of torch": "torch.nn.LSTM",
    "a class of torch by an optimizer's module": "torch.optim.adam.Adam",
    "code": "builtins.eval",
    "a process": "subprocess.Popen",
    "a shell": "os.system",
    "a pickle": "torch.load",
    "our own main": "rnntrain.__main__.main",
    "a name without a module": "LSTM",
    "a relative name": ".cells.gru.GRU",
    "a name that ends in a point": "rnntrain.cells.gru.",
    "two points": "rnntrain..cells.gru.GRU",
    "spaces": "rnntrain.cells.gru.GRU ",
    "a line break": "rnntrain.cells.gru.GRU\n",
    "a call": "rnntrain.cells.gru.GRU()",
    "a path": "../rnntrain/cells/gru.GRU",
    "letters that look alike": "rnntrain.cells.gru.GRＵ",
    "letters of another alphabet": "rnntrаin.cells.gru.GRU",
    "nothing": "",
    "a number": 3,
    "a list": ["rnntrain.cells.gru.GRU"],
    "a section": {"_target_": "rnntrain.cells.gru.GRU"},
    "null": None,
    "a very long name": "a." * 100_000 + "b",
    "a package of nobody": "spy_package.inner.Mine",
    "a name that begins like ours": "rnntrain_extra.cells.GRU",
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.usefixtures("spy")
def test_what_is_no_cell_of_ours_is_refused_and_not_run(case: str) -> None:
    modules = set(sys.modules)
    line = refusal(resolve_target, "model.cell", WRONG[case], [])
    assert line.startswith("model.cell._target_=")
    assert len(line) < 300
    assert {name for name in set(sys.modules) - modules if not name.startswith("rnntrain")} == set()


@pytest.mark.parametrize("name", ["Optimizer", "lr_scheduler", "Nothing", "lr_scheduler.StepLR"])
def test_of_torch_only_optimizers_are_taken(name: str) -> None:
    refusal(resolve_target, "optimizer", f"torch.optim.{name}", [])


@pytest.mark.usefixtures("spy")
def test_a_package_is_imported_only_when_it_is_named() -> None:
    assert "plugins=[spy_package]" in refusal(resolve_target, "model.cell", "spy_package.inner.Mine", [])
    assert "spied" not in sys.modules
    assert resolve_target("model.cell", "spy_package.inner.Mine", ["spy_package"]).__name__ == "Mine"
    assert "spied" in sys.modules


@pytest.mark.parametrize(
    "name", ["Other", "make", "os", "nn.LSTM", "os.system", "LanguageModeling", "torch.optim.Adam"]
)
@pytest.mark.usefixtures("spy")
def test_a_named_package_still_gives_only_what_the_place_holds(name: str) -> None:
    refusal(resolve_target, "model.cell", f"spy_package.inner.{name}", ["spy_package"])
    assert "called" not in sys.modules


@pytest.mark.usefixtures("spy")
def test_a_package_that_begins_like_a_named_one_is_another() -> None:
    refusal(resolve_target, "model.cell", "spy_package.inner.Mine", ["spy"])
    assert "spied" not in sys.modules


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such_package", "install it"),
        ("spy_package.nothing", "install it"),
        ("spy_package.wrong", "no_such"),
        ("spy_package.script", "exits"),
        ("spy_package.inner.Mine", "install it"),
        ("spy-package", "not the name"),
        ("", "not the name"),
        (".inner", "not the name"),
        ("a b", "not the name"),
        ("a\nb", "not the name"),
    ],
)
@pytest.mark.usefixtures("spy")
def test_a_plugin_that_cannot_be_imported_is_named_with_the_reason(name: str, reason: str) -> None:
    assert reason in refusal(import_plugins, [name])


@pytest.mark.usefixtures("spy")
def test_a_module_of_a_plugin_that_fails_is_named_with_the_reason() -> None:
    line = refusal(resolve_target, "model.cell", "spy_package.wrong.Mine", ["spy_package"])
    assert "no_such" in line
    assert "exits" in refusal(resolve_target, "model.cell", "spy_package.script.Mine", ["spy_package"])


@pytest.mark.usefixtures("spy")
def test_a_plugin_in_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    write_package(elsewhere, "spy_package_here")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    import_plugins(["spy_package_here"])
    assert "spy_package_here" in sys.modules


# -- a config that somebody else has written ---

EDITS: dict[str, tuple[str, Any]] = {
    "a cell": ("model.cell", "spy_package.inner.Mine"),
    "a shell": ("task", "os.system"),
    "an unpickler": ("optimizer", "pickle.loads"),
    "a walk": ("data", "rnntrain.data.source.os.system"),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("plugins", [[], ["spy_package"]], ids=["unnamed", "recorded"])
@pytest.mark.usefixtures("spy")
def test_a_run_cannot_name_what_is_imported_when_it_is_used(
    edit: str, plugins: list[str], trained_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    plain = from_yaml((run / "config.yaml").read_text(), "config.yaml")
    slot, target = EDITS[edit]
    section = plain["model"]["cell"] if slot == "model.cell" else plain[slot]
    section["_target_"] = target
    (run / "config.yaml").write_text(to_yaml({**plain, "plugins": plugins}))
    accept(RunDir(run))  # whoever sends a run can seal it
    for use in (using.load, commands.resume):
        assert "plugins" in refusal(use, run) or not plugins
    refusal(using.evaluate, run, "val")
    assert "spied" not in sys.modules


def test_a_target_typed_on_the_command_line_is_checked_like_any_other(
    refused: Callable[..., str], workspace: Path
) -> None:
    line = refused("train", *TINY, "model.cell._target_=torch.nn.LSTM")
    assert line.startswith("model.cell._target_=torch.nn.LSTM")
    assert "plugins=[torch]" in line
    assert "is no Recurrent" in refused("train", *TINY, "model.cell._target_=torch.nn.LSTM", "plugins=[torch]")


def test_the_kind_of_each_place_is_what_its_name_says() -> None:
    assert issubclass(resolve_target("optimizer", "torch.optim.SGD", []), torch.optim.Optimizer)
