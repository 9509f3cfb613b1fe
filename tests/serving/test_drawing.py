"""Texts drawn side by side: each is what it would be alone, whoever comes and goes meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training import CELLS, make_experiment, words

from rnntrain.build import Experiment
from rnntrain.sample import SamplingOptions, sample_text
from rnntrain.serving import drawing
from rnntrain.serving.drawing import Drawing, Text


@pytest.fixture
def experiment(tmp_path: Path, request: pytest.FixtureRequest) -> Experiment:
    path = tmp_path / "text.txt"
    path.write_text(words(200), encoding="utf-8")
    made = make_experiment(path, {"data.val_fraction": 0.2}, cell=getattr(request, "param", "lstm"))
    with torch.no_grad():
        for parameter in made.model.parameters():  # further from uniform than a new model is
            parameter.mul_(2.5)
    return made


class Reader:
    """Takes what is drawn of one text, and may leave after some pieces."""

    def __init__(self, prompt: str, leaves_after: int | None = None, **options: float) -> None:
        self.pieces: list[str] = []
        self.ends: list[Exception | None] = []
        self.leaves_after = leaves_after
        self.text = Text(prompt, SamplingOptions(**options), self.take, self.gone)

    def take(self, piece: str | Exception | None) -> None:
        if isinstance(piece, str):
            self.pieces.append(piece)
        else:
            self.ends.append(piece)

    def gone(self) -> bool:
        return self.leaves_after is not None and len(self.pieces) >= self.leaves_after


def alone(experiment: Experiment, reader: Reader) -> str:
    whole = sample_text(experiment.model, experiment.data.codec, reader.text.prompt, reader.text.options)
    return whole[len(reader.text.prompt) :]


@pytest.mark.parametrize("experiment", CELLS, indirect=True)
def test_each_text_is_what_it_would_be_alone(experiment: Experiment) -> None:
    readers = [
        Reader("the sea", length=30, seed=1, temperature=1.0),
        Reader("", length=12, seed=2, temperature=1.5, top_k=3),
        Reader("a line and so we went on", length=25, seed=3, temperature=0),
        Reader("sea", length=20, seed=4, temperature=2.0, top_p=0.6),
    ]
    drawn = Drawing(experiment.model, experiment.data.codec)
    for reader in readers:  # one more at each step
        drawn.admit(reader.text)
        drawn.step()
    while len(drawn):
        drawn.step()
    for reader in readers:
        assert "".join(reader.pieces) == alone(experiment, reader)
        assert reader.ends == [None]


def test_a_long_prompt_is_read_in_pieces(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "PIECE", 7)
    drawn = Drawing(experiment.model, experiment.data.codec)
    short, long = Reader("sea", length=10, seed=1), Reader("the sea was a line " * 3, length=10, seed=2)
    for reader in (short, long):
        drawn.admit(reader.text)
    assert drawn.step() == 1  # the short one need not wait
    while len(drawn):
        drawn.step()
    assert "".join(long.pieces) == alone(experiment, long)


@pytest.mark.parametrize("leaves_after", [0, 3])
def test_who_leaves_costs_no_further_step(experiment: Experiment, leaves_after: int) -> None:
    drawn = Drawing(experiment.model, experiment.data.codec)
    leaving = Reader("the sea", leaves_after, length=10**6)
    staying = Reader("the sea", length=20, seed=5)
    drawn.admit(leaving.text)
    drawn.admit(staying.text)
    for _ in range(20):
        drawn.step()
    assert not len(drawn)
    assert len(leaving.pieces) <= max(leaves_after, 1)
    assert "".join(staying.pieces) == alone(experiment, staying)


def test_a_fault_ends_all_texts_and_new_ones_are_drawn(experiment: Experiment) -> None:
    drawn = Drawing(experiment.model, experiment.data.codec)
    first, fault = Reader("the", length=5), ValueError("broken")
    drawn.admit(first.text)
    drawn.fail(fault)
    assert first.ends == [fault]
    second = Reader("the", length=5)
    drawn.admit(second.text)
    while len(drawn):
        drawn.step()
    assert "".join(second.pieces) == alone(experiment, second)


def test_the_model_is_left_in_its_training_state(experiment: Experiment) -> None:
    experiment.model.train()
    drawn = Drawing(experiment.model, experiment.data.codec)
    drawn.admit(Reader("the", length=2).text)
    drawn.step()
    assert experiment.model.training
