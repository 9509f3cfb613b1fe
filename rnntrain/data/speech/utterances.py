"""Utterances as sequences of feature vectors: what recordings and generators of sound have in common."""

# B batch, T steps, D features of a step, S symbols of a target, N utterances

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rnntrain.data.base import DataSet
from rnntrain.data.bucketing import ordered_batches, pad
from rnntrain.data.prefetch import ahead
from rnntrain.data.speech.spec_augment import SpecAugment
from rnntrain.data.speech.transcripts import frames_needed
from rnntrain.errors import UserError

if TYPE_CHECKING:
    from rnntrain.batch import Batch


class Utterance(NamedTuple):
    """One sequence and what it says.

    Attributes:
        name: where it comes from, for messages.
        x_TD: normalised features.
        target: numbers of symbols ``[S]``, or the number of a class ``[]``.
        text: as a person reads it.
    """

    name: str
    x_TD: np.ndarray
    target: np.ndarray
    text: str


class Padded(NamedTuple):
    """A batch as arrays, which a thread can make without torch."""

    inputs_BTD: np.ndarray
    lengths_B: np.ndarray
    targets: np.ndarray
    target_lengths_B: np.ndarray | None

    @classmethod
    def of(cls, utterances: Sequence[Utterance]) -> Padded:
        inputs_BTD, lengths_B = pad([each.x_TD for each in utterances])
        if utterances[0].target.ndim == 0:
            return cls(inputs_BTD, lengths_B, np.array([each.target for each in utterances], np.int64), None)
        return cls(inputs_BTD, lengths_B, *pad([each.target for each in utterances]))

    def to_batch(self) -> Batch:
        """Return it as tensors; rows of one length need no lengths."""
        import torch

        from rnntrain.batch import Batch

        full = bool((self.lengths_B == self.inputs_BTD.shape[1]).all())
        return Batch(
            torch.from_numpy(self.inputs_BTD),
            torch.from_numpy(self.targets),
            None if full else torch.from_numpy(self.lengths_B),
            target_lengths_B=None if self.target_lengths_B is None else torch.from_numpy(self.target_lengths_B),
        )


class Utterances(DataSet):
    """Batches of utterances; a subclass says which utterances make an epoch.

    Attributes:
        augment: masks laid over training batches; which ones is a function of (seed, epoch, number of the batch).
        frame_features: features of one frame, several of which may stand side by side in a step.
        generated: True where training utterances are made when they are asked for, which a thread then does ahead.
    """

    unit = "frames"
    augment: SpecAugment
    frame_features: int
    generated: bool = False

    _held: dict[str, list[Utterance]]

    @abstractmethod
    def _epoch(self, seed: int, epoch: int) -> tuple[int, Callable[[int], Sequence[Utterance]]]:
        """Return how many batches an epoch has, and the function from a batch's number to its utterances."""

    def num_train_batches(self, seed: int, epoch: int) -> int:
        return self._epoch(seed, epoch)[0]

    def train_batches(self, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        number, utterances_of = self._epoch(seed, epoch)

        def padded() -> Iterator[Padded]:
            for index in range(start, number):
                batch = Padded.of(utterances_of(index))
                if self.augment:
                    self._mask(batch, np.random.default_rng([seed, epoch, index]))
                yield batch

        return map(Padded.to_batch, ahead(padded()) if self.generated else padded())

    def eval_batches(self, split: str) -> Iterator[Batch]:
        utterances = self._first_epoch() if split == "train" and split not in self._held else self._held[split]
        lengths_N = np.array([len(each.x_TD) for each in utterances])
        for index_B in ordered_batches(lengths_N, self.batch_size):
            yield Padded.of([utterances[i] for i in index_B]).to_batch()

    def examples(self, split: str, number: int) -> list[str]:
        return [f"{each.name}: {each.text}" for each in self._held[split][:number]]

    def _first_epoch(self) -> list[Utterance]:
        """Return what stands for the training split where none is held: the utterances of the epoch 0 of the seed 0."""
        number, utterances_of = self._epoch(0, 0)
        return [utterance for index in range(number) for utterance in utterances_of(index)]

    def _mask(self, batch: Padded, rng: np.random.Generator) -> None:
        rows, steps, width = batch.inputs_BTD.shape
        stack = width // self.frame_features
        self.augment(batch.inputs_BTD.reshape(rows, steps * stack, self.frame_features), batch.lengths_B * stack, rng)


def check_length(utterance: Utterance, settings_stack: int) -> None:
    """Refuse what CTC cannot align, and what has no step at all.

    Raises:
        UserError: names the file and the fix.
    """
    steps = len(utterance.x_TD)
    if not steps:
        raise UserError(
            f"{utterance.name}: too short for {settings_stack} frames, which make one step; leave it out, or lower "
            "data.stack or data.window_ms"
        )
    if utterance.target.ndim:
        needed = frames_needed(utterance.target)
        if needed > steps:
            raise UserError(
                f"{utterance.name}: its transcript needs {needed} steps ({len(utterance.target)} symbols, and a blank "
                f"between two alike), and the recording has {steps} of {settings_stack} frames; correct the "
                "transcript, leave it out, or lower data.stack or data.hop_ms"
            )
