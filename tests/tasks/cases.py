"""Every task with data and a model that it understands, for the tests that run over all of them.

A new task is one function and one line in `TASKS`.
"""

# B batch, T time

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sounds import write_letters
from torch import Tensor
from training import make_config, write_documents

from rnntrain.batch import Batch
from rnntrain.build import Experiment, build
from rnntrain.models.sequence import SequenceModel
from tasks.forecasting_cases import sections as forecasting_sections

SMALL = {"batch_size": 6, "epoch_batches": 5, "eval_rows": 12}  # of generated problems
TIMED = ("inputs", "counted_BT")  # the fields of a batch whose second dimension is the time of its inputs


@dataclass
class Case:
    """A task with a model and data that it understands.

    Attributes:
        batch: has rows of several lengths, and padding, where the task has such rows at all.
        initial_loss: the mean loss of a model that knows nothing; None where it depends on the data's scale.
        targets_per_step: True where the second dimension of the targets is the time of the inputs.
        overfit_loss: what the mean loss of one batch comes to when it is learnt by heart.
        overfit_steps: in how many steps.
    """

    experiment: Experiment
    batch: Batch
    initial_loss: float | None
    targets_per_step: bool
    overfit_loss: float
    overfit_steps: int = 120

    @property
    def model(self) -> SequenceModel:
        return self.experiment.model

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        output, _ = self.model(batch)
        return self.experiment.task.loss(output, batch)

    def metrics(self, *batches: Batch) -> dict[str, float]:
        metrics = self.experiment.task.metrics(self.experiment.data.codec)
        with torch.no_grad():
            for batch in batches:
                output, _ = self.model(batch)
                metrics.update(output, batch, *self.experiment.task.loss(output, batch))
        return metrics.compute()

    def timed(self) -> tuple[str, ...]:
        return (*TIMED, "targets") if self.targets_per_step else TIMED

    def cut(self, batch: Batch, length: int) -> Batch:
        """Return the first `length` steps of every row."""
        return change(batch, self.timed(), lambda part: part[:, :length])

    def padded(self, batch: Batch, more: int) -> Batch:
        """Return the batch with `more` padded steps at the end of every row."""
        return change(batch, self.timed(), lambda part: torch.cat([part, part[:, :1].repeat_interleave(more, 1)], 1))

    def row(self, index: int) -> Batch:
        """Return one row as a batch of its own, without padding."""
        alone = self.batch.take(torch.tensor([index]))
        if self.batch.lengths_B is None:
            return alone
        return replace(self.cut(alone, int(self.batch.lengths_B[index])), lengths_B=None)


def change(batch: Batch, names: tuple[str, ...], function: Callable[[Tensor], Tensor]) -> Batch:
    """Return the batch with a function applied to some of the fields that it has."""
    return replace(batch, **{name: function(part) for name in names if (part := getattr(batch, name)) is not None})


def language_modeling(folder: Path) -> Case:
    changes = {"data.documents": True, "data.contiguous": False, "data.batch_size": 6, "data.bptt": 30}
    changes |= {"task.carry": False, "model.hidden_size": 48}
    experiment = build(make_config(write_documents(folder), changes))
    batch = next(batch for batch in experiment.data.train_batches(0, 0) if batch.lengths_B is not None)
    initial_loss = math.log(experiment.data.codec.vocab_size)
    # The first step of a row cannot be known where several rows begin alike.
    return Case(experiment, batch, initial_loss, targets_per_step=True, overfit_loss=0.12 * initial_loss)


def case_of(
    folder: Path,
    task: dict[str, Any],
    data: dict[str, Any],
    changes: dict[str, Any] | None = None,
    *,
    initial_loss: float | None,
    targets_per_step: bool = False,
    overfit_loss: float,
    overfit_steps: int = 120,
) -> Case:
    """Build the case of a task from its two sections and changes to the rest of the config."""
    changes = {"task": task, "data": data, "model.hidden_size": 32} | (changes or {})
    experiment = build(make_config(folder / "none.txt", changes))
    batches = list(experiment.data.train_batches(0, 0))
    batch = next((batch for batch in batches if batch.lengths_B is not None), batches[0])
    return Case(experiment, batch, initial_loss, targets_per_step, overfit_loss, overfit_steps)


# Short texts, sent fast: few steps.
MORSE = {
    "_target_": "rnntrain.data.speech.morse.Morse",
    "batch_size": 6,
    "epoch_batches": 3,
    "eval_size": 8,
    "min_chars": 1,
    "max_chars": 4,
    "min_wpm": 30.0,
    "max_wpm": 30.0,
    "num_mels": 8,
    "stack": 5,
}


def ctc(folder: Path) -> Case:
    task = {"_target_": "rnntrain.tasks.ctc.CTC"}
    # What a model that knows nothing comes to depends on lengths; the overfit takes the plateau of blanks first.
    return case_of(
        folder, task, MORSE, {"model.bidirectional": True}, initial_loss=None, overfit_loss=0.2, overfit_steps=300
    )


def audio_classification(folder: Path) -> Case:
    write_letters(folder / "letters")
    task = {"_target_": "rnntrain.tasks.classification.Classification", "pooling": "mean"}
    data = {
        "_target_": "rnntrain.data.speech.audio.Audio",
        "path": str(folder / "letters"),
        "pattern": "{label}_{speaker}_{index}.wav",
        "target": "label",
        "val": "index:0",
        "num_mels": 8,
        "batch_size": 6,
        "time_masks": 1,
    }
    return case_of(folder, task, data, initial_loss=math.log(3), overfit_loss=0.1)


def classification(
    folder: Path,
    task: dict[str, Any] | None = None,
    changes: dict[str, Any] | None = None,
    reading: dict[str, Any] | None = None,
    between: str = "",
) -> Case:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "texts.csv"
    kinds = {"even": "abc", "odd": "cde", "none": "xyz"}
    rows = [(name, signs[i % 3] * (1 + i % 7) + signs[(i * i) % 3]) for i in range(20) for name, signs in kinds.items()]
    lines = "".join(f"{label},{between.join(text)}\n" for label, text in rows)
    path.write_text(f"label,text\n{lines}", encoding="utf-8")
    section = {"_target_": "rnntrain.tasks.classification.Classification", "linear_baseline": False, **(task or {})}
    data = {
        "_target_": "rnntrain.data.labelled.labelled_text.LabelledText",
        "path": str(path),
        "unit": "char",
        "batch_size": 16,
    }
    data |= {"split_seed": 1, "min_count": 1} | (reading or {})
    return case_of(folder, section, data, changes, initial_loss=math.log(3), overfit_loss=0.05)


def classification_spelt(folder: Path) -> Case:
    task = {"pooling": "max", "once_dropout": 0.0}
    changes = {"model.bidirectional": True, "model.embedding_size": 36}
    return classification(folder, task, changes, {"unit": "word", "spelling": True}, " ")


def classification_weighted(folder: Path) -> Case:
    task = {"pooling": "attention", "class_weights": [0.5, 1.0, 2.0], "monitor": "macro_f1"}
    return classification(folder, task, {"model.bidirectional": True, "model.hidden_size": 16})


def regression(folder: Path) -> Case:
    data = {"_target_": "rnntrain.data.memory.adding.Adding", "length": 8, "vary": 1.0, **SMALL}
    task = {"_target_": "rnntrain.tasks.regression.Regression"}
    return case_of(folder, task, data, initial_loss=None, overfit_loss=0.02)


def step_regression(folder: Path) -> Case:
    data = {"_target_": "rnntrain.data.memory.signals.MixedSines", "length": 12, **SMALL}
    task = {"_target_": "rnntrain.tasks.regression.Regression"}
    return case_of(folder, task, data, initial_loss=None, targets_per_step=True, overfit_loss=0.02)


def step_classification(folder: Path) -> Case:
    data = {"_target_": "rnntrain.data.memory.parity.ModularArithmetic", "max_length": 6, **SMALL}
    data["test_lengths"] = [4, 8]
    task = {"_target_": "rnntrain.tasks.step_classification.StepClassification"}
    return case_of(folder, task, data, initial_loss=math.log(5), targets_per_step=True, overfit_loss=0.1)


def array_classification(folder: Path) -> Case:
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 15, 24)
    arrays = {"x_train": rng.normal(5.0, 2.0, (lengths.sum(), 3)), "lengths_train": lengths, "y_train": lengths % 3}
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "arrays.npz", **arrays)
    data = {"_target_": "rnntrain.data.numbers.arrays.Arrays", "path": str(folder / "arrays.npz"), "batch_size": 8}
    task = {"_target_": "rnntrain.tasks.classification.Classification"}
    return case_of(folder, task, data, initial_loss=None, overfit_loss=0.05)


def music(folder: Path) -> Case:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for split in ("train", "val", "test"):
        lengths = rng.integers(3, 12, 10)
        arrays |= {f"x_{split}": rng.random((lengths.sum(), 12)) < 0.2, f"lengths_{split}": lengths}
    np.savez(folder / "pieces.npz", **arrays)
    data = {
        "_target_": "rnntrain.data.numbers.pianoroll.PianoRoll",
        "path": str(folder / "pieces.npz"),
        "batch_size": 6,
    }
    data["transpose"] = 3
    task = {"_target_": "rnntrain.tasks.music.Music"}
    return case_of(folder, task, data, initial_loss=None, targets_per_step=True, overfit_loss=1.0, overfit_steps=200)


def write_tagged(folder: Path, sentences: int = 14) -> Path:
    """Write sentences of one to seven tokens, some of which are names of one or two tokens; return the file."""
    rng = random.Random(0)
    names = {"person": ["Ada", "Bo", "Cleo Dee", "Ed Eff"], "place": ["Rome", "New York", "Ulm"]}
    lines: list[str] = []
    for number in range(sentences):
        for _ in range(number % 4):
            lines.append(f"{rng.choice(['saw', 'met', 'in', 'and', '.'])}\tO")
        kind = rng.choice(list(names))
        first, *others = rng.choice(names[kind]).split()
        lines += [f"{first}\tB-{kind}", *(f"{other}\tI-{kind}" for other in others)]
        lines += ["slept\tO", ""] if number % 3 else [""]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tagged.conll"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def tagging(folder: Path, crf: bool = False, char_features: str = "lstm") -> Case:
    task = {"_target_": "rnntrain.tasks.tagging.Tagging", "crf": crf, "char_features": char_features}
    task |= {"char_size": 12, "once_dropout": 0.0}
    data = {"_target_": "rnntrain.data.tagged.columns.Columns", "path": str(write_tagged(folder)), "batch_size": 6}
    changes = {"model.embedding_size": 40, "model.bidirectional": True}
    loss = math.log(5)
    return case_of(folder, task, data, changes, initial_loss=loss, targets_per_step=True, overfit_loss=0.05)


def tagging_crf(folder: Path) -> Case:
    return tagging(folder, crf=True, char_features="cnn")


def forecasting(folder: Path, **task: Any) -> Case:
    sections = forecasting_sections(folder, task, {"window": 12, "horizon": 4})
    return case_of(folder, *sections, initial_loss=None, overfit_loss=0.05)


TASKS: dict[str, Callable[[Path], Case]] = {
    "language_modeling": language_modeling,
    "ctc": ctc,
    "audio_classification": audio_classification,
    "classification": classification,
    "classification_spelt": classification_spelt,
    "classification_weighted": classification_weighted,
    "regression": regression,
    "step_regression": step_regression,
    "step_classification": step_classification,
    "array_classification": array_classification,
    "music": music,
    "tagging": tagging,
    "tagging_crf": tagging_crf,
    "forecasting": forecasting,
    "forecasting_recursive": partial(forecasting, head="recursive"),
    "forecasting_segments": partial(forecasting, head="segments", segment=4, window_norm="last", loss="mae"),
}
# Tasks whose rows all have one length by their nature.
FIXED_LENGTH: set[str] = {"step_regression", "forecasting", "forecasting_recursive", "forecasting_segments"}
