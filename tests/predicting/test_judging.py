"""A file is judged as a split is: the same rows give the same metrics; intervals say how much rows may mislead."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commandline import Answer
from data.series_files import hourly, write
from sounds import spoken, write_wav
from tasks import cases
from tasks.cases import Case
from torch import Tensor

from rnntrain.batch import Batch
from rnntrain.judging import Judged, judge
from rnntrain.metrics import Metrics
from rnntrain.predicting.readers.finding import examples_of, items_of
from rnntrain.predicting.readers.items import Reading
from rnntrain.tasks.base import carry_nothing

Cli = Callable[..., Answer]
Refused = Callable[..., str]


def of_file(case: Case, path: Path, **recorded: Any) -> dict[str, float]:
    """Return the metrics of a file that a run of the case has never seen."""
    experiment = case.experiment
    arguments = {**experiment.config.data.arguments, **recorded}
    predictor = experiment.task.predictor(experiment.data.codec, case.model, arguments)
    found = items_of(predictor, [str(path)], Reading(arguments, labelled=True))
    batches = predictor.judging(examples_of(predictor, found, labelled=True))
    carry = next(iter(experiment.task.evaluations().values()))
    metrics = experiment.task.metrics(experiment.data.codec)
    return judge(case.model, experiment.task, metrics, batches, carry=carry).metrics.compute()


def same(case: Case, path: Path, split: str = "val", **recorded: Any) -> None:
    carry = next(iter(case.experiment.task.evaluations().values()))
    expected = case.experiment.trainer.evaluate(split, carry)
    found = of_file(case, path, **recorded)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


# -- the rows of a split, as a file of their own ---


def test_labelled_texts(tmp_path: Path) -> None:
    case = cases.classification(tmp_path / "case")
    texts, targets = case.experiment.data.texts("val")
    names = case.experiment.data.codec.class_names
    path = tmp_path / "val.csv"
    path.write_text("label,text\n" + "".join(f"{names[n]},{t}\n" for t, n in zip(texts, targets, strict=True)))
    same(case, path)


def test_tagged_sentences(tmp_path: Path) -> None:
    case = cases.tagging_crf(tmp_path / "case")
    path = tmp_path / "val.conll"
    sentences = case.experiment.data.sentences("val")
    blocks = ["".join(f"{a}\t{b}\n" for a, b in zip(tokens, tags, strict=True)) for tokens, tags in sentences]
    path.write_text("\n".join(blocks), encoding="utf-8")
    same(case, path)


def test_labelled_recordings(tmp_path: Path) -> None:
    case = cases.audio_classification(tmp_path / "case")
    folder = tmp_path / "val"
    folder.mkdir()
    for file in (tmp_path / "case" / "letters").glob("*_0.wav"):
        shutil.copy(file, folder)
    same(case, folder)


def test_transcribed_recordings(tmp_path: Path) -> None:
    texts = {"one": "a b", "two": "ba", "three": "c a b", "four": "cab", "five": "b", "six": "ac"}
    for seed, (name, text) in enumerate(texts.items()):
        write_wav(tmp_path / f"{name}.wav", spoken(text, seed=seed))
    lines = [f"{name}.wav,{text},{'val' if name in ('one', 'two') else 'train'}" for name, text in texts.items()]
    (tmp_path / "all.csv").write_text("path,text,split\n" + "\n".join(lines) + "\n")
    (tmp_path / "val.csv").write_text("path,text\none.wav,a b\ntwo.wav,ba\n")
    data = {"_target_": "rnntrain.data.speech.audio.Audio", "path": str(tmp_path / "all.csv"), "num_mels": 8}
    task = {"_target_": "rnntrain.tasks.ctc.CTC"}
    same(cases.case_of(tmp_path, task, data, initial_loss=None, overfit_loss=0.1), tmp_path / "val.csv")


@pytest.mark.parametrize("per_step", [False, True])
def test_arrays(tmp_path: Path, per_step: bool) -> None:
    rng = np.random.default_rng(0)
    lengths = {"train": rng.integers(2, 9, 12), "val": rng.integers(2, 9, 6)}
    arrays = {}
    for split, its in lengths.items():
        arrays |= {f"x_{split}": rng.normal(3, 2, (its.sum(), 2)), f"lengths_{split}": its}
        arrays[f"y_{split}"] = rng.normal(5, 2, (its.sum(), 1) if per_step else (len(its), 2))
    np.savez(tmp_path / "all.npz", **arrays)
    val = {name: arrays[f"{name}_val"] for name in ("x", "y", "lengths")}
    np.savez(tmp_path / "val.npz", **val)
    data = {"_target_": "rnntrain.data.numbers.arrays.Arrays", "path": str(tmp_path / "all.npz"), "batch_size": 4}
    task = {"_target_": "rnntrain.tasks.regression.Regression"}
    same(cases.case_of(tmp_path, task, data, initial_loss=None, overfit_loss=0.1), tmp_path / "val.npz")


def test_images_whose_pixels_are_read_in_disorder(tmp_path: Path) -> None:
    """A new image comes in the order of its pixels, as the file of the data set has it."""
    from rnntrain.data.places import resolve

    data = {"_target_": "rnntrain.data.memory.pixel_digits.PixelDigits", "permuted": True, "permutation_seed": 3}
    task = {"_target_": "rnntrain.tasks.classification.Classification"}
    case = cases.case_of(tmp_path, task, data, initial_loss=None, overfit_loss=0.1)
    arrays = np.load(resolve("@digits/digits.npz", "data.path"))
    np.savez(tmp_path / "val.npz", x=arrays["x_val"], y=arrays["y_val"])
    same(case, tmp_path / "val.npz")


def test_pieces_of_music(tmp_path: Path) -> None:
    case = cases.music(tmp_path / "case")
    pieces = case.experiment.data.pieces("val")
    val = {"x": np.concatenate(pieces), "lengths": np.array(list(map(len, pieces)))}
    np.savez(tmp_path / "val.npz", **val)
    same(case, tmp_path / "val.npz")


@pytest.mark.parametrize("make", ["forecasting", "forecasting_recursive", "forecasting_segments"])
def test_series(tmp_path: Path, make: str) -> None:
    """A table that begins a window before the split gives the windows of the split."""
    case = cases.TASKS[make](tmp_path / "case")
    data = case.experiment.data
    rows = hourly(160, ("a", "b"))
    starts_W = data._windows["val"]
    first, last = int(starts_W[0]), int(starts_W[-1]) + data.window + data.horizon
    path = write(tmp_path, [rows[0], *rows[1 + first : 1 + last]], "val.csv")
    same(case, path)


def test_running_text(tmp_path: Path) -> None:
    from training import make_experiment, write_text

    path = write_text(tmp_path / "case", 600)
    changes = {"task.carry": True, "data.val_fraction": 0.2}
    experiment = make_experiment(path, changes)
    case = Case(experiment, next(iter(experiment.data.train_batches(0, 0))), None, True, 0.0)
    text = path.read_text()
    (tmp_path / "val.txt").write_text(text[int(len(text) * 0.8) :])
    same(case, tmp_path / "val.txt")


# -- intervals and tables ---


class Rates(Metrics):
    """The mean of numbers."""

    def __init__(self, block: int = 1) -> None:
        self.block = block

    def update(self, *seen: Any) -> None: ...

    def compute(self) -> dict[str, float]:
        return {}

    def rows(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        raise NotImplementedError

    def scores(self, sums: Any) -> dict[str, float]:
        return {"rate": float(sums["right"] / sums["count"])}


def judged(values: np.ndarray, block: int = 1) -> Judged:
    rows = {"right": values, "count": np.ones(len(values))}
    return Judged(Rates(block), rows, np.arange(len(values)))


@pytest.mark.parametrize(("count", "rate"), [(400, 0.5), (400, 0.9), (100, 0.8)])
def test_the_interval_of_a_rate_is_the_binomial_one(count: int, rate: float) -> None:
    values = (np.arange(count) < count * rate).astype(float)
    low, high = judged(values).intervals(3000)["rate"]
    half = 1.96 * (rate * (1 - rate) / count) ** 0.5
    assert low == pytest.approx(rate - half, abs=0.15 * half)
    assert high == pytest.approx(rate + half, abs=0.15 * half)


def test_intervals_are_a_function_of_the_seed() -> None:
    rows = judged(np.random.default_rng(0).random(50))
    assert rows.intervals(100, 1) == rows.intervals(100, 1) != rows.intervals(100, 2)


def test_rows_that_hang_together_widen_the_interval() -> None:
    """Fifty values, each ten times in a row, tell as much as fifty: an interval over rows would be √10 too narrow."""
    values = np.repeat(np.random.default_rng(0).random(50), 10)
    widths = [high - low for low, high in (judged(values, block).intervals(1000)["rate"] for block in (1, 10))]
    assert 2.0 < widths[1] / widths[0] < 4.0


def test_lengths_part_the_rows(tmp_path: Path) -> None:
    case = cases.array_classification(tmp_path)
    data, task = case.experiment.data, case.experiment.task
    found = judge(case.model, task, task.metrics(data.codec), data.eval_batches("train"))
    table = found.tables()["by length"]
    assert sum(row["rows"] for row in table.values()) == len(found.lengths_N)
    whole = found.scores()
    weighted = sum(row["rows"] * row["accuracy"] for row in table.values()) / len(found.lengths_N)
    assert weighted == pytest.approx(whole["accuracy"])


def test_judging_leaves_the_model_in_training(tmp_path: Path) -> None:
    case = cases.classification(tmp_path)
    task, data = case.experiment.task, case.experiment.data
    case.model.train()
    judge(case.model, task, task.metrics(data.codec), data.eval_batches("val"), carry=carry_nothing)
    assert case.model.training
    assert torch.is_grad_enabled()


# -- the verb ---


def test_eval_shows_intervals_and_tables(run_cli: Cli, trained_run: Path) -> None:
    plain = json.loads(run_cli("eval", trained_run, "--json").out)
    full = json.loads(run_cli("eval", trained_run, "--json", "--bootstrap", "50", "--detail").out)
    assert {name: full[name] for name in plain} == plain
    low, high = full["intervals"]["val/loss"]
    assert low <= plain["val/loss"] <= high
    text = run_cli("eval", trained_run, "--bootstrap", "50").out
    assert f"[{low:.6f}, {high:.6f}]" in text


def test_eval_takes_a_new_file(run_cli: Cli, trained_run: Path, workspace: Path) -> None:
    (workspace / "new.txt").write_text("the sea was a line, and so we went on.\n" * 10)
    metrics = json.loads(run_cli("eval", trained_run, "new.txt", "--json").out)
    assert metrics["loss"] > 0
    assert metrics["loss"] == metrics["loss_carried"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--bootstrap", "0"], "--bootstrap 0: give 1 to 100,000"),
        (["--seed", "-1"], "--seed -1"),
        (["nowhere.txt"], "nowhere.txt"),
        (["tiny.txt", "model.hidden_size=3"], "model.hidden_size=3"),
        (["--split", "test"], "--split test: this data has train, val"),
        (["tiny.txt", "--split", "test"], "--split test: is for archives of arrays"),
    ],
)
def test_eval_refuses_in_one_line(refused: Refused, trained_run: Path, words: list[str], part: str) -> None:
    assert part in refused("eval", trained_run, *words)
