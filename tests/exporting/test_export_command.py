"""`rnntrain export`: what it writes and prints, and the one line that a mistake gets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import TINY, Answer, write_configs, write_package

from rnntrain.exporting import asked
from rnntrain.runs.run import RunDir

Cli = Callable[..., Answer]
Refused = Callable[..., str]

CELL = """
import torch
from torch import Tensor, nn

from rnntrain.cells.base import Cell


class Own(Cell):
    \"\"\"h = tanh(W x + h)\"\"\"

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.read = nn.Linear(input_size, hidden_size)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.read.weight.new_zeros(batch_size, self.output_size)

    def step(self, x_BD: Tensor, h_BH: Tensor) -> tuple[Tensor, Tensor]:
        h_BH = torch.tanh(self.read(x_BD) + h_BH)
        return h_BH, h_BH
"""
BRANCHES = CELL.replace("        return h_BH, h_BH", "        return (h_BH, h_BH) if h_BH.sum() > 0 else (-h_BH, h_BH)")
RAMP = CELL.replace("new_zeros(batch_size, self.output_size)", "new_zeros(batch_size, 1) + torch.arange(8.0)")


@pytest.fixture
def run(workspace: Path, trained_run: Path) -> Path:
    shutil.copytree(trained_run, workspace / "run")
    return Path("run")


def test_export_writes_a_file_and_its_description(run: Path, run_cli: Cli) -> None:
    answer = run_cli("export", run, "--verify")
    assert answer.code == 0, answer
    assert (run / "model.onnx").exists()
    description = json.loads((run / "model.onnx.json").read_text())
    assert (description["task"], description["cells"], description["step"]) == ("LanguageModeling", ["LSTM"], 4)
    assert description["codec"]["characters"]
    lines = answer.out.splitlines()
    assert lines[0].startswith("run/model.onnx  ")
    assert "state  state_0_0 → next_state_0_0  float32 [batch, 8]" in answer.out
    assert lines[-1].startswith("compared with PyTorch: largest difference ")


def test_export_of_eight_bits_says_what_it_costs(run: Path, run_cli: Cli) -> None:
    answer = run_cli("export", run, "--int8", "--verify", "--out", "small/lm.onnx")
    assert answer.code == 0, answer
    assert Path("small/lm.onnx").exists()
    assert json.loads(Path("small/lm.onnx.json").read_text())["precision"] == "int8"
    assert answer.out.splitlines()[-4].split()[-2:] == ["float32", "int8"]
    assert answer.out.splitlines()[-3].split()[0] == "loss"


MISTAKES = {
    "no run": (["nothing"], "nothing: does not exist"),
    "another ending": (["run", "--out", "model.pt2"], "--out model.pt2: a file of --format onnx ends in .onnx"),
    "eight bits for torch": (["run", "--int8", "--format", "torch"], "--int8: only ONNX files have"),
    "unknown format": (["run", "--format", "tflite"], "invalid choice: 'tflite'"),
    "a key that is not to change": (["run", "model.hidden_size=9"], "model.hidden_size"),
}


@pytest.mark.parametrize(("words", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gets_one_line(words: list[str], says: str, run: Path, refused: Refused) -> None:
    assert says in refused("export", *words)


def test_a_run_without_a_checkpoint_gets_one_line(run: Path, refused: Refused) -> None:
    shutil.rmtree(RunDir(run).checkpoints)
    assert "checkpoint" in refused("export", run)


def test_a_missing_package_gets_the_line_that_installs_it(
    run: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "find_spec", lambda name: None if name == "onnxruntime" else object())
    assert refused("export", run) == "--format onnx needs onnxruntime: pip install 'rnntrain[onnx]'"


def test_a_folder_that_cannot_be_gets_one_line(run: Path, refused: Refused) -> None:
    assert "tiny.txt" in refused("export", run, "--out", "tiny.txt/model.onnx")


OWN = {
    "of tensors": (CELL, None),
    "with a branch": (BRANCHES, "Own cannot be exported"),
    "with a start of its own": (RAMP, "initial state is not one number throughout"),
}


@pytest.mark.parametrize(("source", "says"), OWN.values(), ids=OWN)
def test_a_cell_of_ones_own_is_exported_or_named(
    source: str, says: str | None, workspace: Path, run_cli: Cli, refused: Refused
) -> None:
    name = f"own_{abs(hash(source)) % 10**6}"
    write_package(workspace, name, own=source)
    write_configs(workspace / "conf", {"model/cell/own": f"# One's own\n_target_: {name}.own.Own\n"})
    given = ["--config-dir", "conf", f"plugins=[{name}]", "model/cell=own", "run.dir=mine"]
    assert run_cli("train", *TINY, *given).code == 0
    if says is None:
        assert run_cli("export", "mine", f"plugins=[{name}]", "--verify").code == 0
    else:
        assert says in refused("export", "mine", f"plugins=[{name}]")
