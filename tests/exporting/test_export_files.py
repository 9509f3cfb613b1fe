"""What an exported file says of itself, and that it runs without rnntrain."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from commandline import REPOSITORY, environment
from exported import Exported, exported, language_model, task_model

from rnntrain.exporting.int8 import write_int8
from rnntrain.exporting.measured import measure


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("onnx")
    return exported(folder, language_model(folder, "lstm", "vanilla"))


def test_dimensions_have_names(case: Exported) -> None:
    graph = onnx.load(case.path).graph
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    described = {
        **{each["name"]: each["shape"] for each in case.description["inputs"] + case.description["outputs"]},
        **{each["input"]: each["shape"] for each in case.description["state"]},
        **{each["output"]: each["shape"] for each in case.description["state"]},
    }
    assert shapes == described
    assert list(described)[:4] == ["inputs", "lengths", "logits", "state_0_0"]


def test_the_file_holds_its_description(case: Exported) -> None:
    model = onnx.load(case.path)
    assert json.loads(model.metadata_props[0].value) == json.loads(json.dumps(case.description))
    onnx.checker.check_model(model, full_check=True)


def test_the_file_tells_nothing_of_the_machine(case: Exported) -> None:
    assert str(REPOSITORY).encode() not in case.path.read_bytes()


def test_a_stream_read_with_onnxruntime_alone_is_the_whole(case: Exported) -> None:
    session = onnxruntime.InferenceSession(case.path)
    inputs = np.array([[3, 1, 4, 1, 5]])
    state = {each["input"]: np.zeros((1, each["shape"][1]), np.float32) for each in case.description["state"]}
    names = ["logits", *(each["output"] for each in case.description["state"])]
    whole = session.run(["logits"], {"inputs": inputs, "lengths": np.array([5]), **state})[0]
    for step in range(5):
        logits, *after = session.run(names, {"inputs": inputs[:, [step]], "lengths": np.array([1]), **state})
        state = dict(zip(state, after, strict=True))
        np.testing.assert_allclose(logits[:, 0], whole[:, step], atol=1e-6)


def test_a_torch_program_runs_without_rnntrain(tmp_path: Path) -> None:
    case = exported(tmp_path, language_model(tmp_path, "janet"), "torch")
    arguments = {"inputs": torch.tensor([[3, 1, 4]]), "lengths": torch.tensor([3]), "state_0": torch.zeros(1, 12)}
    true = case.file.run(arguments)["logits"]
    program = (
        "import sys, torch\n"
        f"program = torch.export.load({str(case.path)!r}).module()\n"
        "logits, state = program(torch.tensor([[3, 1, 4]]), torch.tensor([3]), torch.zeros(1, 12))\n"
        "assert 'rnntrain' not in sys.modules\n"
        "print(logits.sum().item())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(true.sum().item(), abs=1e-5)


def test_a_bidirectional_model_has_no_state_to_carry(tmp_path: Path) -> None:
    description = exported(tmp_path, task_model(tmp_path, "classification_weighted")).description
    assert description["state"] == []
    assert description["chunks"] is False
    assert [each["in_chunks"] for each in description["outputs"]] == ["none"]


@pytest.mark.parametrize("cell", ["lstm", pytest.param("gru", marks=pytest.mark.slow)])
def test_weights_of_eight_bits_take_a_quarter_and_little_away(cell: str, tmp_path: Path) -> None:
    made = language_model(tmp_path, cell, hidden_size=96)
    whole = exported(tmp_path, made)
    size = whole.path.stat().st_size
    small = exported(tmp_path, made, write=write_int8)
    assert small.path.stat().st_size < 0.4 * size
    assert small.description["precision"] == "int8"
    before, after = (measure(each.experiment, each.file.run, "val")["loss"] for each in (whole, small))
    assert before != after
    assert after == pytest.approx(before, rel=0.02)
