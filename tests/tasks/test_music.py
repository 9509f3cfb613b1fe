"""Nats a step as the papers count them, and the simple methods beside."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from rnntrain.data.numbers.pianoroll import PianoRoll, PianoRollCodec
from rnntrain.watching.pictures import pixels
from tasks.cases import Case
from tasks.cases import music as music_case


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return music_case(tmp_path)


def test_loss_is_summed_over_keys_and_averaged_over_all_steps_of_a_split(case: Case) -> None:
    """By hand, key by key, over pieces of unequal length."""
    total, steps = 0.0, 0
    case.model.eval()
    with torch.no_grad():
        for piece in case.experiment.data.pieces("test"):
            x = torch.from_numpy(piece.astype(np.float32))
            batch = case.row(0).__class__(x[None, :-1], x[None, 1:])
            output, _ = case.model(batch)
            for probability, true in zip(output[0].sigmoid().double(), x[1:], strict=True):
                total -= sum(
                    math.log(p if t else 1 - p) for p, t in zip(probability.tolist(), true.tolist(), strict=True)
                )
                steps += 1
    [carry] = case.experiment.task.evaluations().values()
    assert case.experiment.trainer.evaluate("test", carry)["loss"] == pytest.approx(total / steps, rel=1e-5)


def test_a_new_model_knows_the_frequencies(case: Case) -> None:
    """Its loss is that of the first baseline, to the bit of rounding."""
    data, task = case.experiment.data, case.experiment.task
    baseline = task.baselines(data, "test")["key frequency"]["loss"]
    [carry] = task.evaluations().values()
    assert case.experiment.trainer.evaluate("test", carry)["loss"] == pytest.approx(baseline, rel=1e-5)


def test_last_chord_knows_how_often_keys_change(tmp_path: Path) -> None:
    """A key that flips every step, one that stays, of a song long enough for shares to be near 0 and 1."""
    piece = np.zeros((2001, 2), np.uint8)
    piece[::2, 0] = 1
    piece[1000:, 1] = 1
    np.savez(tmp_path / "a.npz", x_train=piece[None], x_val=piece[None])
    data = PianoRoll(str(tmp_path / "a.npz"))
    data.load()
    losses = music_case(tmp_path / "other").experiment.task.baselines(data, "val")
    assert losses["key frequency"]["loss"] == pytest.approx(2 * math.log(2), rel=1e-3)
    one_change = (math.log(1002 / 2) + 999 * math.log(1002 / 1001)) / 2000
    assert losses["last chord"]["loss"] == pytest.approx(one_change + 2 * math.log(1002 / 1001), rel=0.2)
    assert losses["last chord"]["loss"] < 0.02


def test_frame_accuracy_counts_keys_that_sound_or_are_said_to(case: Case) -> None:
    metrics = case.experiment.task.metrics(case.experiment.data.codec)
    batch = case.row(0)
    targets = torch.zeros(1, 2, 12)
    targets[0, 0, :3] = 1
    logits = torch.full((1, 2, 12), -1.0)
    logits[0, 0, 1:5] = 1
    batch = batch.__class__(torch.zeros(1, 2, 12), targets)
    metrics.update(logits, batch, *case.experiment.task.loss(logits, batch))
    assert metrics.compute()["frame_accuracy"] == pytest.approx(2 / 5)


def test_a_piece_is_drawn(case: Case) -> None:
    [carry] = case.experiment.task.evaluations().values()
    [(title, draw)] = case.experiment.trainer.measure("val", carry).pictures().items()
    assert title == "piano_roll"
    assert pixels(draw()).std() > 1


def test_chords_are_decoded_to_notes(case: Case) -> None:
    batch = case.row(0)
    logits = torch.full(batch.targets.shape, -1.0)
    logits[0, 0, 3] = 1.0
    assert isinstance(case.experiment.data.codec, PianoRollCodec)
    [text] = case.experiment.task.decode(logits, batch, case.experiment.data.codec)
    assert text.split(" | ") == ["C1", *["-"] * (batch.targets.shape[1] - 1)]
