"""Language modelling: what is reported is what it is called, and the state is carried where it should be."""

# B batch, T time

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from training import CELLS, make_experiment, words, write_documents, write_text

from rnntrain.batch import Batch, length_mask
from rnntrain.build import Experiment
from rnntrain.cells.base import State, detach, map_state
from rnntrain.models.sequence import SequenceModel

UNITS: dict[str, dict[str, Any]] = {
    "char": {},
    "byte": {"data.unit": "byte"},
    "word": {"data.unit": "word"},
    "bpe": {"data.unit": "bpe", "data.vocab_size": 280},
}
FOREIGN = "Füße – 日本 😀 "  # of one to four bytes a character
MODES: dict[str, dict[str, Any]] = {
    "streams": {},
    "random_lengths": {"data.random_bptt": True},
    "documents": {"data.documents": True},
}


@pytest.fixture(params=UNITS)
def unit(request: pytest.FixtureRequest) -> str:
    if request.param == "bpe":
        pytest.importorskip("tokenizers", reason="the unit bpe needs the package tokenizers")
    return str(request.param)


def nats_by_hand(model: SequenceModel, batches: list[Batch], carried: bool) -> tuple[float, int, list[int]]:
    """Sum the negative log-likelihoods row by row, step by step of the sequence, each row with a state of its own."""
    total, count, targets = 0.0, 0, []
    states: dict[int, State] = {}
    model.eval()
    with torch.no_grad():
        for batch in batches:
            for row in range(batch.batch_size):
                length = batch.inputs.shape[1] if batch.lengths_B is None else int(batch.lengths_B[row])
                fresh = batch.fresh_B is not None and bool(batch.fresh_B[row])
                state = model.initial_state(1) if fresh or not carried or row not in states else states[row]
                for t in range(length):
                    output, state = model.step(batch.inputs[row, t : t + 1], state)
                    target = batch.targets[row, t]
                    total -= float(F.log_softmax(output.compute().double(), -1)[0, target])
                    targets.append(int(target))
                    count += 1
                states[row] = state
    return total, count, targets


def way(experiment: Experiment, name: str) -> dict[str, float]:
    return experiment.trainer.evaluate("val", experiment.task.evaluations()[name])


@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize("name", ["cold", "carried"])
def test_evaluation_equals_a_loop_by_hand(tmp_path: Path, name: str, documents: bool) -> None:
    path = write_documents(tmp_path) if documents else write_text(tmp_path)
    changes = {"data.documents": documents, "data.val_fraction": 0.4, "data.eval_batch_size": 3}
    experiment = make_experiment(path, changes)
    batches = list(experiment.data.eval_batches("val"))
    nats, count, _ = nats_by_hand(experiment.model, batches, carried=name == "carried")
    metrics = way(experiment, name)
    assert len(batches) > 3
    assert metrics["loss"] == pytest.approx(nats / count, rel=1e-5)
    assert metrics["perplexity"] == pytest.approx(math.exp(nats / count), rel=1e-5)


def test_cold_and_carried_differ(tmp_path: Path) -> None:
    experiment = make_experiment(write_text(tmp_path))
    assert way(experiment, "cold")["loss"] != way(experiment, "carried")["loss"]


@pytest.mark.parametrize(("carry", "first"), [(True, "carried"), (False, "cold")])
def test_watched_evaluation_is_as_training_reads(tmp_path: Path, carry: bool, first: str) -> None:
    experiment = make_experiment(write_text(tmp_path), {"task.carry": carry})
    ways = experiment.task.evaluations()
    assert list(ways) == sorted(ways, key=lambda name: name != first)
    assert set(ways) == {"cold", "carried"}


def test_bits_per_char_are_total_nats_over_characters(tmp_path: Path, unit: str) -> None:
    """Whatever the unit, the sum is taken over the characters that the targets stand for."""
    text = "".join(line + " " + FOREIGN * (i % 3 == 0) + "\n" for i, line in enumerate(words(900).splitlines()))
    text = "\n".join(" ".join(line.split()) for line in text.split("\n") if line.split()) + "\n"
    path = tmp_path / "text.txt"
    path.write_text(text, encoding="utf-8")
    experiment = make_experiment(path, {**UNITS[unit], "data.val_fraction": 0.2, "data.eval_batch_size": 1})
    batches = list(experiment.data.eval_batches("val"))
    nats, count, targets = nats_by_hand(experiment.model, batches, carried=False)
    predicted = experiment.data.codec.decode(targets)
    assert "日本" in predicted
    if unit == "word" and not predicted.endswith("\n"):
        predicted += " "  # a word stands for the space after it too
    name, length = ("bits_per_byte", len(targets)) if unit == "byte" else ("bits_per_char", len(predicted))
    metrics = way(experiment, "cold")
    assert metrics["loss"] == pytest.approx(nats / count, rel=1e-5)
    assert metrics[name] == pytest.approx(nats / length / math.log(2), rel=1e-5)


@pytest.mark.parametrize("exact", ["char", "byte"])
def test_bits_per_char_are_loss_over_log_two_where_a_token_is_a_character(tmp_path: Path, exact: str) -> None:
    experiment = make_experiment(write_text(tmp_path), UNITS[exact])
    metrics = way(experiment, "cold")
    name = "bits_per_byte" if exact == "byte" else "bits_per_char"
    assert metrics[name] == pytest.approx(metrics["loss"] / math.log(2))


def test_perplexity_of_a_diverged_model_is_finite(tmp_path: Path) -> None:
    experiment = make_experiment(write_text(tmp_path))
    with torch.no_grad():
        experiment.model.head.bias[3] = 1e5
    metrics = way(experiment, "cold")
    assert metrics["loss"] > 1000
    assert math.isfinite(metrics["perplexity"])


def test_sums_stay_exact_over_many_tokens(tmp_path: Path) -> None:
    """In float32, 2^24 + 1 is 2^24."""
    experiment = make_experiment(write_text(tmp_path))
    metrics = experiment.task.metrics(experiment.data.codec)
    batch = Batch(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.int64))
    metrics.update(None, batch, torch.tensor(2.0**26), torch.tensor(2.0**26))
    for _ in range(64):
        metrics.update(None, batch, torch.tensor(1.0), torch.tensor(2.0**20))
    assert metrics.compute()["loss"] == (2**26 + 64) / 2**27


# -- what is carried ---


@pytest.mark.parametrize("cell", CELLS)
def test_chunks_of_training_lose_as_the_whole(tmp_path: Path, cell: str) -> None:
    """With the state carried, the windows' losses are those of one window over all of the text."""
    path = write_text(tmp_path, 60)
    changes = {"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.0}, "data.batch_size": 2}
    totals = []
    for bptt in (5, 10_000):
        experiment = make_experiment(path, changes | {"data.bptt": bptt}, cell=cell)
        trainer = experiment.trainer
        number = trainer.data.num_train_batches(0, 0)
        results = [trainer.train_step() for _ in range(number)]
        totals.append((number, sum(float(r.loss_sum) for r in results), sum(float(r.count) for r in results)))
    (many, chunked, count), (one, whole, same_count) = totals
    assert many > 10
    assert one == 1
    assert count == same_count
    assert chunked == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("carry", [True, False])
def test_training_loss_equals_a_loop_by_hand(tmp_path: Path, mode: str, carry: bool) -> None:
    """Over two epochs, so that the streams begin anew; fresh rows forget what was carried."""
    path = write_documents(tmp_path) if mode == "documents" else write_text(tmp_path, 80)
    optimizer = {"_target_": "torch.optim.SGD", "lr": 0.0}
    changes = {**MODES[mode], "task.carry": carry, "data.batch_size": 3, "optimizer": optimizer}
    experiment = make_experiment(path, changes)
    trainer = experiment.trainer
    trainer.model.eval()
    for epoch in range(2):
        batches = list(experiment.data.train_batches(0, epoch))
        assert batches[0].fresh_B is not None
        assert batches[0].fresh_B.all()
        nats, count, _ = nats_by_hand(experiment.model, batches, carried=carry)
        results = [trainer.train_step() for _ in batches]
        assert trainer.epoch == epoch + 1
        assert sum(float(result.count) for result in results) == count
        assert sum(float(result.loss_sum) for result in results) == pytest.approx(nats, rel=1e-5)


def test_carry_makes_a_difference(tmp_path: Path) -> None:
    path = write_text(tmp_path)
    losses = []
    for carry in (True, False):
        trainer = make_experiment(path, {"task.carry": carry}).trainer
        losses.append([float(trainer.train_step().loss_sum) for _ in range(3)])
    assert losses[0][0] == losses[1][0]
    assert losses[0][1] != losses[1][1]


def test_fresh_rows_begin_from_the_initial_state(tmp_path: Path) -> None:
    model = make_experiment(write_text(tmp_path)).model
    generator = torch.Generator().manual_seed(0)
    tokens_BT = torch.randint(10, (3, 6), generator=generator)
    state = map_state(lambda part: torch.randn(part.shape, generator=generator), model.initial_state(3))
    fresh_B = torch.tensor([True, False, True])
    mixed, mixed_state = model(Batch(tokens_BT, tokens_BT, fresh_B=fresh_B), state)
    cold, cold_state = model(Batch(tokens_BT, tokens_BT))
    warm, warm_state = model(Batch(tokens_BT, tokens_BT), state)
    for row, (expected, expected_state) in enumerate([(cold, cold_state), (warm, warm_state), (cold, cold_state)]):
        torch.testing.assert_close(mixed.compute()[row], expected.compute()[row])
        for got, wanted in zip(mixed_state[0], expected_state[0], strict=True):
            torch.testing.assert_close(got[row], wanted[row])
    assert not torch.allclose(cold.compute(), warm.compute())


def test_gradient_never_crosses_a_window(tmp_path: Path) -> None:
    """The second window's gradient equals that from a state that is a mere constant."""
    experiment = make_experiment(write_text(tmp_path), {"trainer.grad_clip_mode": "none"})
    trainer = experiment.trainer
    trainer.train_step()
    state = detach(trainer.state)
    batches = list(experiment.data.train_batches(0, 0))
    loss_sum, count = experiment.task.loss(experiment.model(batches[1], state)[0], batches[1])
    expected = torch.autograd.grad(loss_sum / count, trainer.parameters)
    trainer.train_step()
    for parameter, gradient in zip(trainer.parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_random_windows_have_many_lengths_and_one_state(tmp_path: Path) -> None:
    changes = {"data.random_bptt": True, "data.bptt": 20, "trainer.max_steps": 30}
    experiment = make_experiment(write_text(tmp_path, 3000), changes)
    lengths = {batch.inputs.shape[1] for batch in experiment.data.train_batches(0, 0)}
    assert len(lengths) > 5
    assert experiment.trainer.fit() == "max_steps"


def test_padding_of_the_last_batch_leaves_the_carried_state(tmp_path: Path) -> None:
    """A row that has run out keeps its state, and the state keeps its size."""
    experiment = make_experiment(write_documents(tmp_path), {"data.documents": True})
    trainer = experiment.trainer
    for _ in range(2 * trainer.data.num_train_batches(0, 0)):
        trainer.train_step()
        assert all(part.shape == (4, 12) for layer in trainer.state for part in layer)


def test_words_in_padded_places_are_no_characters(tmp_path: Path) -> None:
    experiment = make_experiment(write_documents(tmp_path), {"data.documents": True, "data.unit": "word"})
    codec = experiment.data.codec
    batch = next(b for b in experiment.data.eval_batches("train") if b.lengths_B is not None)
    valid = batch.targets[length_mask(batch.lengths_B, batch.targets.shape[1])]
    metrics = experiment.task.metrics(codec)
    metrics.update(None, batch, torch.tensor(1.0), torch.tensor(float(valid.numel())))
    characters = int(np.asarray(codec.chars_per_token_V)[valid.numpy()].sum())
    assert metrics.compute()["bits_per_char"] == pytest.approx(1 / characters / math.log(2))
