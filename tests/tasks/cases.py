"""Every task with data and a model that it understands, for the tests that run over all of them.

A new task is one function and one line in `TASKS`.
"""

# B batch, T time

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from sounds import write_letters
from torch import Tensor
from training import make_config, write_documents

from rnntrain.batch import Batch
from rnntrain.build import Experiment, build
from rnntrain.models.sequence import SequenceModel

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
        alone = take(self.batch, torch.tensor([index]))
        if self.batch.lengths_B is None:
            return alone
        return replace(self.cut(alone, int(self.batch.lengths_B[index])), lengths_B=None)


def change(batch: Batch, names: tuple[str, ...], function: Callable[[Tensor], Tensor]) -> Batch:
    """Return the batch with a function applied to some of the fields that it has."""
    return replace(batch, **{name: function(part) for name in names if (part := getattr(batch, name)) is not None})


def take(batch: Batch, index_B: Tensor) -> Batch:
    """Return some rows of a batch."""
    return change(batch, tuple(f.name for f in fields(batch)), lambda part: part[index_B])


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
    "_target_": "rnntrain.data.morse.Morse",
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
        "_target_": "rnntrain.data.audio.Audio",
        "path": str(folder / "letters"),
        "pattern": "{label}_{speaker}_{index}.wav",
        "target": "label",
        "val": "index:0",
        "num_mels": 8,
        "batch_size": 6,
        "time_masks": 1,
    }
    return case_of(folder, task, data, initial_loss=math.log(3), overfit_loss=0.1)


def classification(folder: Path, task: dict[str, Any] | None = None, changes: dict[str, Any] | None = None) -> Case:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "texts.csv"
    kinds = {"even": "abc", "odd": "cde", "none": "xyz"}
    rows = [(name, signs[i % 3] * (1 + i % 7) + signs[(i * i) % 3]) for i in range(20) for name, signs in kinds.items()]
    path.write_text("label,text\n" + "".join(f"{label},{text}\n" for label, text in rows), encoding="utf-8")
    section = {"_target_": "rnntrain.tasks.classification.Classification", "linear_baseline": False, **(task or {})}
    data = {"_target_": "rnntrain.data.labelled_text.LabelledText", "path": str(path), "unit": "char", "batch_size": 16}
    data |= {"split_seed": 1, "min_count": 1}
    return case_of(folder, section, data, changes, initial_loss=math.log(3), overfit_loss=0.05)


def classification_weighted(folder: Path) -> Case:
    task = {"pooling": "attention", "class_weights": [0.5, 1.0, 2.0], "monitor": "macro_f1"}
    return classification(folder, task, {"model.bidirectional": True, "model.hidden_size": 16})


TASKS: dict[str, Callable[[Path], Case]] = {
    "language_modeling": language_modeling,
    "ctc": ctc,
    "audio_classification": audio_classification,
    "classification": classification,
    "classification_weighted": classification_weighted,
}
# Tasks whose rows all have one length by their nature.
FIXED_LENGTH: set[str] = set()
