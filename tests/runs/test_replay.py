"""A step that was not finite can be taken again, and says where it begins."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training import make_config, write_text

from rnntrain import commands
from rnntrain.cells.lstm import LSTM
from rnntrain.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from rnntrain.errors import NonFiniteError, UserError
from rnntrain.runs.replay import replay
from rnntrain.trainer import Trainer

STEP = "step-000000009"


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run with dropout that stopped at a gradient which a fault of the machine had made NaN."""
    folder = tmp_path_factory.mktemp("replay")
    accumulate = Trainer._accumulate_gradients

    def faulty(self: Trainer) -> tuple[Tensor, Tensor]:
        sums = accumulate(self)
        if self.step + 1 == 9:
            self.parameters[1].grad.fill_(math.nan)
        return sums

    changes = {"run.dir": str(folder / "run"), "model.dropout": 0.4, "model.num_layers": 2, "trainer.accumulate": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_accumulate_gradients", faulty)
        with pytest.raises(NonFiniteError):
            commands.train(make_config(write_text(folder), changes), quiet=True)
    return folder / "run"


@pytest.fixture
def replayed(written: Path) -> Callable[[Callable[[dict[str, Any]], None]], str]:
    """Replay the step with a change to what was written aside."""

    def run(change: Callable[[dict[str, Any]], None]) -> str:
        tree = load_checkpoint(written / "nonfinite" / STEP)
        change(tree)
        path = save_checkpoint(written / "changed", STEP, tree, reason="test")
        return "\n".join(replay(path))

    return run


def test_step_is_taken_again_with_its_state_and_its_noise(written: Path) -> None:
    """The loss is the recorded one to the bit; a NaN that does not come again is said to be the machine's."""
    text = "\n".join(replay(written / "nonfinite" / STEP))
    assert f"{STEP}, step 9: the gradient's norm is not finite" in text
    assert "(as recorded)" in text
    assert "4 sequences of 8 steps, 4 sequences of 8 steps" in text
    assert "It begins in nothing that can be seen here" in text


@pytest.mark.parametrize("key", ["state", "generators", "batches", "model"])
def test_all_that_was_written_aside_is_used(replayed, key: str) -> None:
    """Without the state, the noise, a batch or the weights of that step its loss is another."""

    def change(tree: dict[str, Any]) -> None:
        if key == "state":
            tree["state"] = None
        elif key == "generators":
            tree["generators"]["cpu"] = torch.Generator().manual_seed(5).get_state()
        elif key == "batches":
            tree["batches"].reverse()
        else:
            tree["model"]["input.weight"] = tree["model"]["input.weight"] + 0.1

    assert "(recorded " in replayed(change)


def test_weights_that_are_not_finite_are_named(replayed) -> None:
    def change(tree: dict[str, Any]) -> None:
        tree["model"]["input.weight"][3, 2] = math.nan

    text = replayed(change)
    assert "weights    input.weight" in text
    assert "It begins in the weights" in text


def test_layer_whose_output_is_not_finite_is_named_with_the_place(replayed, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = LSTM.forward

    def faulty(self: LSTM, *args: Any) -> Any:
        y_BTH, state = forward(self, *args)
        where = torch.zeros_like(y_BTH)
        where[2, 5:], where[1, 6:] = math.inf, math.nan
        return y_BTH + where, state

    monkeypatch.setattr(LSTM, "forward", faulty)
    text = replayed(lambda tree: None)
    assert "forward    the output of backbone.layers.0 (LSTM), first at row 2, step 5" in text
    assert "It begins in the forward pass, in the output of backbone.layers.0" in text


def test_overflow_in_the_loss_is_told(replayed) -> None:
    """Hidden units are driven to nearly 1, and each is multiplied by nearly the largest number for the logits."""

    def change(tree: dict[str, Any]) -> None:
        for name, weight in tree["model"].items():
            if "bias" in name and name.startswith("backbone"):
                weight.fill_(20.0)
            if name.startswith("head") and weight.dim() == 2:
                weight.fill_(3e38)

    text = replayed(change)
    assert "weights    finite, up to 3e+38" in text
    assert "loss       nan" in text
    assert "It begins in the loss" in text


def test_gradient_whose_norm_overflows_is_told_from_one_that_is_not_finite(replayed) -> None:
    def change(tree: dict[str, Any]) -> None:
        for name in tree["model"]:
            if name.startswith("head") and "weight" in name:
                tree["model"][name] *= 1e25

    text = replayed(change)
    assert "It begins in the norm of the gradient" in text, text


def test_what_is_no_such_step_is_refused(written: Path) -> None:
    checkpoint = next((written / "checkpoints").glob("step-*"))
    with pytest.raises(UserError, match="is a checkpoint, not a step written aside"):
        replay(checkpoint)
