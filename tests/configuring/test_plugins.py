"""A cell, a task and a config folder of a user's own do all that ours do, and run only where the user names them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import REPOSITORY, TINY, Answer, environment, write_configs, write_package

CELL = """
import torch
from torch import Tensor, nn

from rnntrain.cells.base import Cell
from rnntrain.ranges import Fraction


class Half(Cell):
    \"\"\"h = keep h + (1 - keep) tanh(W x)\"\"\"

    def __init__(self, input_size: int, hidden_size: int, keep: Fraction = 0.5) -> None:
        super().__init__()
        self.input_size, self.output_size, self.keep = input_size, hidden_size, keep
        self.read = nn.Linear(input_size, hidden_size)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.read.weight.new_zeros(batch_size, self.output_size)

    def step(self, x_BD: Tensor, h_BH: Tensor) -> tuple[Tensor, Tensor]:
        h_BH = self.keep * h_BH + (1 - self.keep) * torch.tanh(self.read(x_BD))
        return h_BH, h_BH
"""
TASK = """
from rnntrain.tasks.language_modeling import LanguageModeling


class Mute(LanguageModeling):
    \"\"\"A task that cannot generate.\"\"\"

    causal = False
    generates = False
"""


@pytest.fixture
def mine(workspace: Path) -> list[str]:
    """Write a package and a config folder; return what to type to use its cell."""
    write_package(workspace, "my_cells", half=CELL, mute=TASK)
    write_configs(workspace / "conf", {"model/cell/half": "# Half of it stays\n_target_: my_cells.half.Half\n"})
    return ["--config-dir", "conf", "plugins=[my_cells]", "model/cell=half"]


def command(*words: object) -> Answer:
    """Run `rnntrain` as its console script does: without the working directory on `sys.path`."""
    program = f"import sys; sys.path[:] = ['{REPOSITORY}'] + [p for p in sys.path if p]; import rnntrain.cli as c; "
    run = [sys.executable, "-P", "-c", program + "sys.exit(c.main())", *map(str, words)]
    done = subprocess.run(run, env={**environment(), "PYTHONPATH": ""}, capture_output=True, text=True)
    return Answer(done.returncode, done.stdout, done.stderr)


def test_a_cell_of_ones_own_trains_from_the_console_script(mine: list[str], workspace: Path) -> None:
    answer = command("train", *mine, *TINY, "run.dir=run", "model.cell.keep=0.25")
    assert (answer.code, "Half," in answer.err) == (0, True), answer.err
    assert json.loads((workspace / "run/summary.json").read_text())["step"] == 4


@pytest.mark.usefixtures("mine")
def test_a_cell_of_ones_own_resumes_evaluates_and_samples(
    mine: list[str], workspace: Path, run_cli: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    assert run_cli("train", *mine, *TINY, "run.dir=run", "--quiet").code == 0
    named = "plugins=[my_cells]"
    assert run_cli("resume", "run", "trainer.max_steps=6", named, "--quiet").code == 0
    assert json.loads(run_cli("eval", "run", named, "--json").out)["val/loss"] > 0
    assert len(run_cli("sample", "run", named, "--length", "7").out) == 8
    for words in (["resume", "run"], ["eval", "run"], ["sample", "run"]):
        assert named in refused(*words)


def test_keys_of_a_cell_of_ones_own_are_checked_like_ours(mine: list[str], refused: Callable[..., str]) -> None:
    assert "did you mean keep?" in refused("train", *mine, *TINY, "model.cell.kep=0.5")
    assert "in [0, 1]" in refused("train", *mine, *TINY, "model.cell.keep=2")
    assert "model/cell=halv" in refused("train", *mine, *TINY, "model/cell=halv")


def test_a_package_that_is_not_named_is_not_imported(
    mine: list[str], workspace: Path, refused: Callable[..., str]
) -> None:
    (workspace / "my_cells/__init__.py").write_text("open('caught', 'w')\n")
    line = refused("train", "--config-dir", "conf", "model/cell=half", *TINY)
    assert "plugins=[my_cells]" in line
    assert "my_cells" not in sys.modules


@pytest.mark.usefixtures("mine")
def test_what_one_has_is_listed_without_importing_it(run_cli: Callable[..., Answer]) -> None:
    assert re.search(r"half +Half of it stays", run_cli("info", "model/cell", "--config-dir", "conf").out)
    assert "_target_: my_cells.half.Half" in run_cli("info", "model/cell/half", "--config-dir", "conf").out
    assert "my_cells" not in sys.modules


@pytest.mark.usefixtures("mine")
def test_a_model_that_cannot_generate_is_not_sampled(
    run_cli: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    words = ("plugins=[my_cells]", "task._target_=my_cells.mute.Mute")
    assert run_cli("train", *TINY, *words, "run.dir=run", "--quiet").code == 0
    line = refused("sample", "run", "plugins=[my_cells]")
    assert "run: a model trained for " in line
    assert "Mute cannot generate" in line


@pytest.mark.usefixtures("mine")
def test_a_model_that_does_not_generate_may_read_both_directions(run_cli: Callable[..., Answer]) -> None:
    words = ("plugins=[my_cells]", "task._target_=my_cells.mute.Mute", "task.carry=false", "task.sample_length=0")
    answer = run_cli("train", *TINY, *words, "model.bidirectional=true", "run.dir=run", "--quiet")
    assert answer.code == 0, answer.err


def test_an_optimizer_of_torch_needs_no_config(run_cli: Callable[..., Answer]) -> None:
    words = ("optimizer=sgd", "optimizer._target_=torch.optim.NAdam", "optimizer.momentum_decay=0.01")
    assert run_cli("check", *TINY, *words).code == 0


ANY_KEY = """
from rnntrain.data.text import Text

class Mine(Text):
    def __init__(self, **options):
        super().__init__(**options)
"""


def test_a_class_that_takes_any_key_is_given_it(workspace: Path, run_cli: Callable[..., Answer]) -> None:
    write_package(workspace, "lenient", text=ANY_KEY)
    answer = run_cli("check", *TINY, "plugins=[lenient]", "data._target_=lenient.text.Mine")
    assert answer.code == 0, answer.err
    answer = run_cli("check", *TINY, "plugins=[lenient]", "data._target_=lenient.text.Mine", "data.pth=x")
    assert answer.code == 2
    assert "Mine refuses its arguments" in answer.err


FAILING = {
    "raise ValueError('no\\nluck')": "ValueError: no",
    "import no_such_module": "no_such_module",
    "x = (": "SyntaxError",
    "raise SystemExit(3)": "exits when it is imported (3)",
}


@pytest.mark.parametrize("text", FAILING)
def test_a_package_that_fails_is_not_our_fault(text: str, workspace: Path, refused: Callable[..., str]) -> None:
    (workspace / "failing.py").write_text(text)
    line = refused("check", *TINY, "plugins=[failing]")
    assert line.startswith("plugins=[failing]: ")
    assert FAILING[text] in line


REFUSING = """
from rnntrain.cells.vanilla import Vanilla

class Fussy(Vanilla):
    def __init__(self, input_size: int, hidden_size: int, size: int = 3) -> None:
        raise ValueError("size must\\nbe even")
"""


def test_what_a_constructor_refuses_is_told_in_its_words(workspace: Path, refused: Callable[..., str]) -> None:
    write_package(workspace, "fussy", cells=REFUSING)
    line = refused("train", *TINY, "plugins=[fussy]", "model.cell._target_=fussy.cells.Fussy")
    assert line == "model.cell: Fussy refuses its arguments: size must be even"
