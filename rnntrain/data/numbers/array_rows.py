"""What an `.npz` file of sequences and targets holds: read split by split, and checked."""

# N sequences, T time, D features, K targets

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from rnntrain.data.numbers.npz import check_names, find, sequences
from rnntrain.errors import UserError

SPLITS = ("train", "val", "test")
TargetKind: TypeAlias = Literal["auto", "classes", "numbers"]


@dataclass(frozen=True)
class Rows:
    """The sequences of one split as they stand in the file, ``[T, D]`` each, and a target of each."""

    x: list[np.ndarray]
    y: list[Any]

    def joined(self, other: Rows) -> Rows:
        return Rows([*self.x, *other.x], [*self.y, *other.y])

    def take(self, numbers: np.ndarray) -> Rows:
        return Rows([self.x[number] for number in numbers], [self.y[number] for number in numbers])


class RowReader:
    """Reads sequences and targets, and finds out what the targets are.

    Args:
        place: the archive, for messages.
        targets: "auto" guesses by the type of `y_train`.

    Attributes:
        classes: targets are classes, not numbers; known once the training split has been read.
        per_step: targets belong to steps, not to whole sequences; likewise.
    """

    classes: bool
    per_step: bool

    def __init__(self, place: str, targets: TargetKind) -> None:
        self.place = place
        self._targets = targets

    def read(self, arrays: dict[str, np.ndarray]) -> dict[str, Rows]:
        """Return every split that an archive has.

        Raises:
            UserError: names the array, the row in it and the fix.
        """
        check_names(arrays, self.place)
        rows: dict[str, Rows] = {}
        for split in SPLITS:
            x = sequences(arrays, split, self.place)
            if x is None:
                continue
            name = self._name(arrays, "x", split)
            if not x:
                raise UserError(f"{self.place}: {name} is empty; leave it out, or give it sequences")
            x = [self._checked(x_T, f"{name}[{row}]") for row, x_T in enumerate(x)]
            rows[split] = Rows(x, self._read_targets(arrays, split, x))
            if x[0].shape[1] != rows["train"].x[0].shape[1]:
                raise UserError(
                    f"{self.place}: {name} has {x[0].shape[1]} features, "
                    f"{self._name(arrays, 'x', 'train')} {rows['train'].x[0].shape[1]}; they must be the same"
                )
        return rows

    def _name(self, arrays: dict[str, np.ndarray], letter: str, split: str) -> str:
        found = find(arrays, letter, split)
        return found[0] if found else f"{letter}_{split}"

    def _checked(self, x: np.ndarray, row: str) -> np.ndarray:
        """Return one sequence as ``[T, D]``; refuse what is no finite number."""
        if x.dtype.kind not in "biuf":
            raise UserError(f"{self.place}: {row} holds texts; give numbers")
        x_TD = x[:, None] if x.ndim == 1 else x.reshape(len(x), -1)
        wrong_TD = ~np.isfinite(x_TD)
        if wrong_TD.any():
            step, feature = np.argwhere(wrong_TD)[0]
            raise UserError(
                f"{self.place}: {row} is {x_TD[step, feature]} at step {step}, feature {feature}; "
                "fill it or leave the sequence out"
            )
        return x_TD

    def _read_targets(self, arrays: dict[str, np.ndarray], split: str, x: list[np.ndarray]) -> list[Any]:
        found = find(arrays, "y", split)
        if found is None:
            raise UserError(f"{self.place}: has no y_{split} beside x_{split}; add the targets")
        name, y = found
        if split == "train":
            self.classes = self._targets == "classes" or (self._targets == "auto" and y.dtype.kind in "biuU")
        if not self.classes and y.dtype.kind not in "biuf":
            raise UserError(f"{self.place}: {name} holds texts, which are no numbers; set data.targets=classes")
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            row = np.argwhere(~np.isfinite(y))[0].tolist()
            raise UserError(f"{self.place}: {name}{row} is {y[tuple(row)]}; fill it or leave the sequence out")
        steps = sum(map(len, x))
        end_to_end = len(y) == steps != len(x)
        per_step = end_to_end or y.ndim == (2 if self.classes else 3)
        if split == "train":
            self.per_step = per_step
        if len(y) not in (len(x), steps) or per_step != self.per_step or y.ndim > 3:
            what = f"{steps:,} steps" if self.per_step else f"{len(x):,} sequences"
            raise UserError(f"{self.place}: {name} has the shape {list(y.shape)}, which does not fit {what}")
        if not per_step:
            return list(y) if self.classes else list(y.reshape(len(y), -1).astype(np.float64))
        return self._of_steps(y, name, x, end_to_end)

    def _of_steps(self, y: np.ndarray, name: str, x: list[np.ndarray], end_to_end: bool) -> list[np.ndarray]:
        lengths = [len(x_TD) for x_TD in x]
        if not end_to_end and y.shape[1] < max(lengths):
            raise UserError(f"{self.place}: {name} has {y.shape[1]} steps, and the longest sequence {max(lengths)}")
        rows = (
            np.split(y, np.cumsum(lengths)[:-1])
            if end_to_end
            else [row[: len(x_TD)] for row, x_TD in zip(y, x, strict=True)]
        )
        return rows if self.classes else [row.reshape(len(row), -1).astype(np.float64) for row in rows]
