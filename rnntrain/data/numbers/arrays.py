"""Sequences of numbers from an `.npz` file, with classes or numbers as targets."""

# N sequences, B batch, T time, D features, K targets, or draws of a sequence

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from rnntrain.data.base import Codec
from rnntrain.data.bucketing import ordered_batches, pad, shuffled_batches
from rnntrain.data.codecs import listed
from rnntrain.data.fractions import check_fractions
from rnntrain.data.labelled.classes import ClassCodec, FeatureInputs
from rnntrain.data.labelled.stratify import stratified_split
from rnntrain.data.numbers.array_rows import SPLITS, RowReader, Rows, TargetKind
from rnntrain.data.numbers.npz import read_npz, sha256_of
from rnntrain.data.numbers.sequences import Baselines, NumbersCodec, SequenceData, StepClassesCodec
from rnntrain.data.places import resolve
from rnntrain.errors import UserError
from rnntrain.ranges import Fraction, NonNegativeInt, PositiveInt

if TYPE_CHECKING:
    from rnntrain.batch import Batch

SHOWN_STEPS = 6
Sequences: TypeAlias = list[np.ndarray] | np.ndarray  # one array where all are of one length


class Arrays(SequenceData):
    """Sequences of numbers in an `.npz` file, standardised by the training split.

    The file holds `x_train` and `y_train`, and the like for `val` (`valid`, `validation`, `dev`) and `test`; the names
    `X_train` and `train_x` are found as well. Or it holds `x` and `y` alone, of which all splits are drawn. `x` is
    ``[N, T, D]``, or ``[N, T]`` for one feature. Where lengths differ, `lengths_train` (or `lengths`) says them, and
    `x` is padded or holds the sequences end to end, ``[sum of lengths, D]``.

    Targets are one a sequence, ``[N]`` classes or ``[N]`` or ``[N, K]`` numbers; or one a step, where they are as
    long as the sequences: ``[N, T]`` classes, ``[N, T, K]`` numbers, or end to end. Whole numbers, texts and truth
    values are taken for classes, all others for numbers; `describe` says which.

    Classes of sequences go with `task=classification`, classes of steps with `task=step_classification`, numbers with
    `task=regression`. Where the file has no validation split, one is drawn from the training split; classes keep their
    shares.

    Args:
        path: the file.
        batch_size: sequences in a batch, those of about one length together.
        targets: "auto" guesses by the type of `y_train`.
        standardize: take mean and deviation of the training split out of every feature, and out of targets that are
            numbers.
        val_fraction: share of the training split that is for validation, where the file has none.
        test_fraction: share of `x` and `y` that is for the test, where the file has no splits at all.
        split_seed: those shares are drawn by this seed, whatever the run's.
        train_on_val: train on the sequences of val too, for the last fit once all has been chosen. The metrics of val
            then say nothing, and the weights of the end are to be kept: `trainer.restore_best=false`.
        eval_batch_size: sequences in a batch of an evaluation.
    """

    num_draws: ClassVar[int] = 0

    def __init__(
        self,
        path: str,
        batch_size: PositiveInt = 32,
        targets: TargetKind = "auto",
        standardize: bool = True,
        val_fraction: Fraction = 0.1,
        test_fraction: Fraction = 0.1,
        split_seed: NonNegativeInt = 0,
        train_on_val: bool = False,
        eval_batch_size: PositiveInt = 128,
    ) -> None:
        check_fractions(val_fraction, test_fraction)
        self.path = path
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.targets = targets
        self.standardize = standardize
        self.fractions, self.split_seed = {"val": val_fraction, "test": test_fraction}, split_seed
        self.train_on_val = train_on_val
        self.splits = SPLITS

    # -- reading ---

    def load(self, codec: Codec | None = None) -> None:
        self._place = f"data.path={self.path}"
        self._file = resolve(self.path, "data.path")
        self._reader = RowReader(self._place, self.targets)
        arrays = read_npz(self._file, "data.path")
        rows = {split: self.transform(each) for split, each in self._reader.read(arrays).items()}
        whole = rows.keys() == {"train"} and not arrays.keys().isdisjoint(("x", "X"))
        self._drawn = {
            split: fraction
            for split, fraction in self.fractions.items()
            if split not in rows and (whole or split == "val")
        }
        if self._drawn:
            rows |= self._draw(rows["train"])
        if self.train_on_val:
            rows["train"] = rows["train"].joined(rows["val"])
        self.splits = tuple(split for split in SPLITS if split in rows)
        self.codec = codec or self._fit(rows["train"])
        inputs = self._inputs()
        width = rows["train"].x[0].shape[1]
        if inputs.num_features != width:
            raise UserError(f"{self._place}: has {width} features, the trained model {inputs.num_features}")
        self._x = {split: _stacked([inputs.encode(x_TD) for x_TD in rows[split].x]) for split in self.splits}
        self._lengths = {split: np.array([len(x_TD) for x_TD in its], np.int64) for split, its in self._x.items()}
        self._y = {split: self._encode_targets(rows[split].y, split) for split in self.splits}

    def transform(self, rows: Rows) -> Rows:
        """Return the sequences of one split as they are to be read; a subclass may change their order."""
        return rows

    def vary(self, x: Sequences, draws_BK: np.ndarray) -> Sequences:
        """Return training sequences, standardised, as one epoch reads them.

        Args:
            x: the ``x_TD`` of a batch, or ``x_BTD`` where all sequences of the split are of one length.
            draws_BK: numbers for each of them, new in each epoch, uniform on [0, 1); K is `num_draws`.
        """
        return x

    def _draw(self, train: Rows) -> dict[str, Rows]:
        sorts = (
            [_text(y) for y in train.y]
            if self._reader.classes and not self._reader.per_step
            else ["all"] * len(train.x)
        )
        drawn = stratified_split(sorts, self._drawn, self.split_seed)
        for split, fraction in (("train", 1 - sum(self._drawn.values())), *self._drawn.items()):
            if not len(drawn[split]) and (split != "test" or fraction):
                key = "val" if split == "train" else split
                raise UserError(
                    f"data.{key}_fraction={self._drawn[key]:g}: of {len(train.x):,} sequences none is left for "
                    f"{split}; change it, or add x_{split} and y_{split} to the file"
                )
        return {split: train.take(numbers) for split, numbers in drawn.items() if len(numbers)}

    # -- what is fitted ---

    def _fit(self, train: Rows) -> Codec:
        inputs = FeatureInputs.fit(train.x, self.standardize)
        if not self._reader.classes:
            targets = train.y if self._reader.per_step else [np.stack(train.y)]
            return NumbersCodec(inputs, FeatureInputs.fit(targets, self.standardize), self._reader.per_step)
        steps = np.concatenate(train.y) if self._reader.per_step else np.stack(train.y)
        values, counts = np.unique(steps, return_counts=True)
        if len(values) < 2:
            raise UserError(f"{self._place}: y_train has the one class {_text(values[0])}; there is nothing to learn")
        names = list(map(_text, values))
        return StepClassesCodec(inputs, names) if self._reader.per_step else ClassCodec(inputs, names, counts.tolist())

    def _inputs(self) -> FeatureInputs:
        codec = self.codec
        assert isinstance(codec, ClassCodec | StepClassesCodec | NumbersCodec)
        assert isinstance(codec.inputs, FeatureInputs)
        return codec.inputs

    def _encode_targets(self, y: list[Any], split: str) -> list[np.ndarray]:
        codec = self.codec
        if isinstance(codec, NumbersCodec):
            return [codec.targets.encode(row) for row in y]
        assert isinstance(codec, ClassCodec | StepClassesCodec)
        numbers = {name: number for number, name in enumerate(codec.class_names)}
        for row, target in enumerate(y):
            strange = {_text(value) for value in np.atleast_1d(target)} - numbers.keys()
            if strange:
                raise UserError(
                    f"{self._place}: y_{split}[{row}] is {listed(sorted(strange))}, which no training sequence is; the "
                    f"classes are {listed(codec.class_names)}"
                )
        return [np.array([numbers[_text(value)] for value in np.atleast_1d(target)]) for target in y]

    # -- batches ---

    def train_batches(self, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        rng = np.random.default_rng((seed, epoch))
        chosen = shuffled_batches(self._lengths["train"], self.batch_size, rng)
        draws_NK = rng.random((len(self._x["train"]), self.num_draws))
        for numbers in chosen[start:]:
            yield self._batch("train", numbers, self.vary(_take(self._x["train"], numbers), draws_NK[numbers]))

    def num_train_batches(self, seed: int, epoch: int) -> int:
        return -(-len(self._x["train"]) // self.batch_size)

    def eval_batches(self, split: str) -> Iterator[Batch]:
        for numbers in ordered_batches(self._lengths[split], self.eval_batch_size):
            yield self._batch(split, numbers, _take(self._x[split], numbers))

    def _batch(self, split: str, numbers: np.ndarray, x: Sequences) -> Batch:
        import torch  # here, since a config is checked without it

        from rnntrain.batch import Batch

        inputs_BTD, lengths_B = pad(x)
        targets = [self._y[split][number] for number in numbers]
        if isinstance(self.codec, ClassCodec):
            joined = np.concatenate(targets)
        else:
            joined = pad(targets)[0] if self._steps_have_targets() else np.stack(targets)
        full = int(lengths_B.min()) == inputs_BTD.shape[1]
        lengths = None if full else torch.from_numpy(lengths_B)
        return Batch(torch.from_numpy(inputs_BTD), torch.from_numpy(joined), lengths)

    def _steps_have_targets(self) -> bool:
        return isinstance(self.codec, StepClassesCodec) or (
            isinstance(self.codec, NumbersCodec) and self.codec.per_step
        )

    # -- for people ---

    def fingerprint(self) -> dict[str, Any]:
        return sha256_of(self._file) | {"splits": {split: len(self._x[split]) for split in self.splits}}

    def describe(self) -> str:
        sizes = ", ".join(f"{len(self._x[split]):,} {split}" for split in self.splits)
        lengths = np.concatenate([self._lengths[split] for split in self.splits])
        steps = f"{lengths.min():,}" if lengths.min() == lengths.max() else f"{lengths.min():,} to {lengths.max():,}"
        shares = " and ".join(f"{split} {fraction:.0%}" for split, fraction in self._drawn.items() if fraction)
        drawn = f"; drawn by seed {self.split_seed}: {shares}" if shares else ""
        trained = "; val is trained on too" if self.train_on_val else ""
        return (
            f"Sequences: {sizes}, of {steps} steps of {self._inputs().num_features} features; "
            f"{self._what()}{drawn}{trained}"
        )

    def _what(self) -> str:
        each = "a step" if self._reader.per_step else "a sequence"
        guessed = " (guessed; see data.targets)" if self.targets == "auto" else ""
        if isinstance(self.codec, NumbersCodec):
            return f"{self.codec.num_targets} number{'s' * (self.codec.num_targets > 1)} {each}{guessed}"
        assert isinstance(self.codec, ClassCodec | StepClassesCodec)
        return f"one of {self.codec.num_classes} classes {each}{guessed}"

    def counts(self, split: str) -> dict[str, int]:
        if isinstance(self.codec, NumbersCodec):
            return {}
        assert isinstance(self.codec, ClassCodec | StepClassesCodec)
        counted = Counter(np.concatenate(self._y[split]).tolist())
        return {self.codec.class_names[number]: count for number, count in counted.most_common()}

    def examples(self, split: str, number: int) -> list[str]:
        lines = []
        for x_TD, y in list(zip(self._x[split], self._y[split], strict=True))[:number]:
            shown = " | ".join(" ".join(f"{value:.2f}" for value in x_D[:SHOWN_STEPS]) for x_D in x_TD[:2])
            said = " ".join(map(self._target_text, y[:SHOWN_STEPS].ravel()[:SHOWN_STEPS].tolist()))
            lines.append(f"{len(x_TD)} steps: {shown} … → {said}")
        return lines

    def _target_text(self, value: float) -> str:
        if isinstance(self.codec, NumbersCodec):
            return f"{value:.2f}"
        assert isinstance(self.codec, ClassCodec | StepClassesCodec)
        return self.codec.class_names[int(value)]

    def trivial(self, split: str) -> Baselines:
        """Return what the training mean, or the share of each class in training, reaches on a split."""
        if isinstance(self.codec, NumbersCodec):
            y = np.concatenate([target.reshape(-1, self.codec.num_targets) for target in self._y[split]]).astype(float)
            raw, mean_K = y * self.codec.targets.scale_D, 0.0 if self.standardize else self._training_mean()
            loss = float(np.square(y - mean_K).mean())
            error = raw - mean_K * self.codec.targets.scale_D
            return {
                "training mean": {"loss": loss, "mse": float(np.square(error).mean()), "mae": float(abs(error).mean())}
            }
        assert isinstance(self.codec, ClassCodec | StepClassesCodec)
        trained = np.bincount(np.concatenate(self._y["train"]), minlength=self.codec.num_classes)
        seen = np.concatenate(self._y[split])
        loss = float(-np.log(trained / trained.sum())[seen].mean())
        return {"class shares": {"loss": loss, "accuracy": float((seen == trained.argmax()).mean())}}

    def _training_mean(self) -> np.ndarray:
        assert isinstance(self.codec, NumbersCodec)
        return np.concatenate([y.reshape(-1, self.codec.num_targets) for y in self._y["train"]]).mean(0)


def _stacked(x: list[np.ndarray]) -> Sequences:
    """Return sequences as one array where they are of one length."""
    return np.stack(x) if len({len(x_TD) for x_TD in x}) == 1 else x


def _take(x: Sequences, numbers: np.ndarray) -> Sequences:
    return x[numbers] if isinstance(x, np.ndarray) else [x[number] for number in numbers]


def _text(value: Any) -> str:
    """Return the name of a class: as it is written, without NumPy's own words for its type."""
    value = value.item() if isinstance(value, np.generic) else value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
