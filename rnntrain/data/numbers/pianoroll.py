"""Piano rolls: which keys sound at each time step, for models that predict the next chord."""

# N pieces, B batch, T time, K keys

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnntrain.data.base import Codec, DataSet
from rnntrain.data.bucketing import ordered_batches, shuffled_batches
from rnntrain.data.codecs import malformed
from rnntrain.data.numbers.matlab import read_matlab
from rnntrain.data.numbers.npz import check_names, read_npz, sequences, sha256_of
from rnntrain.data.numbers.played import SAMPLE_RATE, play
from rnntrain.data.places import resolve
from rnntrain.errors import UserError
from rnntrain.ranges import NonNegativeInt, PositiveInt

if TYPE_CHECKING:
    from rnntrain.batch import Batch

SPLITS = ("train", "val", "test")
MATLAB_NAMES = {"train": "traindata", "val": "validdata", "test": "testdata"}
LOWEST_PITCH = 21  # the A of the lowest key of a piano of 88, as MIDI counts
NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
MOST_KEYS = 1024


class PianoRollCodec(Codec):
    """How often each key sounds in the training split: what a model knows before it has heard anything.

    Attributes:
        counts_K: chords of the training split in which each key sounds, those that have a chord before them.
        num_steps: how many chords that is out of.
    """

    def __init__(self, counts_K: list[int], num_steps: int) -> None:
        self.counts_K, self.num_steps = counts_K, num_steps
        self.num_keys = len(counts_K)

    @property
    def frequency_K(self) -> np.ndarray:
        """Share of chords in which a key sounds, by the rule of succession, so that none is 0 or 1."""
        return (np.array(self.counts_K, np.float64) + 1.0) / (self.num_steps + 2.0)

    def chord(self, on_K: np.ndarray) -> str:
        """Return a chord as a person reads it, lowest note first; "-" for silence."""
        pitches = (int(key) + LOWEST_PITCH for key in np.flatnonzero(on_K))
        return " ".join(f"{NOTES[pitch % 12]}{pitch // 12 - 1}" for pitch in pitches) or "-"

    def state_dict(self) -> dict[str, Any]:
        return {"counts": self.counts_K, "num_steps": self.num_steps}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> PianoRollCodec:
        counts, steps = state.get("counts"), state.get("num_steps")
        if type(steps) is not int or not isinstance(counts, list) or not 1 <= len(counts) <= MOST_KEYS:
            raise malformed("`counts` must be a list, and `num_steps` a whole number")
        if any(type(count) is not int or not 0 <= count <= steps for count in counts):
            raise malformed("`counts` must be whole numbers from 0 to `num_steps`")
        return cls(counts, steps)


class PianoRoll(DataSet):
    """Pieces of music as zeros and ones, ``[T, K]`` each, in three splits.

    Reads the MATLAB 5 files of Boulanger-Lewandowski et al. 2012 (arXiv:1206.6392) as Bai et al. 2018
    (arXiv:1803.01271) pass them on (cells `traindata`, `validdata`, `testdata`), and NPZ files with `x_train`,
    `x_val`, `x_test` and lengths (see `rnntrain.data.numbers.npz.sequences`).

    An example is a whole piece: the chords x_1 … x_{T-1} as input, and x_2 … x_T as targets, so that the first chord,
    which nothing foretells, is not predicted; Bai et al. evaluate so too. `predict_first` puts silence before x_1 and
    predicts all T.

    Args:
        path: the file.
        batch_size: pieces in a batch, those of about one length together.
        transpose: move each training piece by up to so many semitones, up or down, anew in each epoch, as far
            as no note falls off the keyboard.
        predict_first: predict the first chord of a piece too.
        eval_batch_size: pieces in a batch of an evaluation.
    """

    unit = "steps"

    def __init__(
        self,
        path: str,
        batch_size: PositiveInt = 16,
        transpose: NonNegativeInt = 0,
        predict_first: bool = False,
        eval_batch_size: PositiveInt = 32,
    ) -> None:
        self.path = path
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.transpose, self.predict_first = transpose, predict_first
        self.splits = SPLITS

    def load(self, codec: Codec | None = None) -> None:
        self._file = resolve(self.path, "data.path")
        pieces = _read(self._file, f"data.path={self.path}")
        self.splits = tuple(split for split in SPLITS if split in pieces)
        self.num_keys = pieces["train"][0].shape[1]
        shortest = 1 if self.predict_first else 2
        self._pieces: dict[str, list[np.ndarray]] = {}
        for split in self.splits:
            _check(pieces[split], self.num_keys, f"data.path={self.path}: {split}")
            self._pieces[split] = [piece for piece in pieces[split] if len(piece) >= shortest]
        self._free_keys = [_free_keys(piece) for piece in self._pieces["train"]]
        if codec is None:
            targets = [piece[shortest - 1 :] for piece in self._pieces["train"]]
            counts_K = sum(piece.sum(0, dtype=np.int64) for piece in targets)
            codec = PianoRollCodec(np.asarray(counts_K).tolist(), sum(map(len, targets)))
        self.codec = codec

    def pieces(self, split: str) -> list[np.ndarray]:
        """Return the pieces of a split with what stands before the first predicted chord, ``[T, K]`` bytes each."""
        if not self.predict_first:
            return self._pieces[split]
        return [np.concatenate([np.zeros_like(piece[:1]), piece]) for piece in self._pieces[split]]

    def train_batches(self, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        rng = np.random.default_rng((seed, epoch))
        pieces = self.pieces("train")
        chosen = shuffled_batches(_lengths(pieces), self.batch_size, rng)
        shifts_N = rng.uniform(-1.0, 1.0, len(pieces)).tolist()
        for numbers in chosen[start:]:
            yield _batch(
                [pieces[number] for number in numbers],
                [_shift(shifts_N[number], self.transpose, self._free_keys[number]) for number in numbers],
            )

    def num_train_batches(self, seed: int, epoch: int) -> int:
        return -(-len(self._pieces["train"]) // self.batch_size)

    def eval_batches(self, split: str) -> Iterator[Batch]:
        pieces = self.pieces(split)
        for numbers in ordered_batches(_lengths(pieces), self.eval_batch_size):
            yield _batch([pieces[number] for number in numbers])

    def sounds(self, split: str, number: int) -> dict[str, tuple[np.ndarray, int]]:
        pieces = self._pieces[split][:number]
        return {f"piece {place}": (play(piece, LOWEST_PITCH), SAMPLE_RATE) for place, piece in enumerate(pieces, 1)}

    def fingerprint(self) -> dict[str, Any]:
        return sha256_of(self._file) | {"splits": {split: len(self._pieces[split]) for split in self.splits}}

    def describe(self) -> str:
        sizes = ", ".join(
            f"{len(self._pieces[split]):,} {split} ({sum(map(len, self._pieces[split])):,} chords)"
            for split in self.splits
        )
        return f"Piano rolls of {self.num_keys} keys, pieces: {sizes}"

    def examples(self, split: str, number: int) -> list[str]:
        assert isinstance(self.codec, PianoRollCodec)
        return [" | ".join(map(self.codec.chord, piece[:8])) for piece in self._pieces[split][:number]]


def _read(path: Path, place: str) -> dict[str, list[np.ndarray]]:
    """Return the pieces of each split; of a file without a validation split, none is made up."""
    if path.suffix.lower() == ".mat":
        variables = read_matlab(path, "data.path")
        found = {split: variables.get(name) for split, name in MATLAB_NAMES.items()}
        if not isinstance(found["train"], list):
            raise UserError(f"{place}: has no cell traindata; it has: {', '.join(sorted(variables)) or 'nothing'}")
    else:
        arrays = read_npz(path, "data.path")
        check_names(arrays, place)
        found = {split: sequences(arrays, split, place) for split in SPLITS}
    pieces = {split: rows for split, rows in found.items() if rows}
    for split in ("train", "val"):
        if split not in pieces:
            raise UserError(f"{place}: has no pieces for {split}; add them as x_{split} or {MATLAB_NAMES[split]}")
    return pieces


def _check(pieces: list[np.ndarray], num_keys: int, place: str) -> None:
    for number, piece in enumerate(pieces):
        if piece.ndim != 2 or piece.shape[1] != num_keys:
            raise UserError(f"{place} piece {number} has the shape {list(piece.shape)}; all must be [time, {num_keys}]")
        if not np.isin(piece, (0, 1)).all():
            raise UserError(f"{place} piece {number} holds other values than 0 and 1")
    if all(len(piece) < 2 for piece in pieces):
        raise UserError(f"{place}: no piece has two chords; there is nothing to predict")


def _lengths(pieces: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([len(piece) - 1 for piece in pieces], np.int64)


def _free_keys(piece_TK: np.ndarray) -> tuple[int, int]:
    """Return how many keys below and above those of a piece are never struck; none where it is silent throughout."""
    sounding = np.flatnonzero(piece_TK.any(0))
    return (int(sounding[0]), piece_TK.shape[1] - 1 - int(sounding[-1])) if len(sounding) else (0, 0)


def _shift(share: float, most: int, free: tuple[int, int]) -> int:
    """Return `share` of `most` semitones, rounded, but none that would move a note off the keyboard."""
    # Shares are uniform on (-1, 1): half a semitone more at both ends gives each of the 2k + 1 shifts one chance.
    return max(-min(most, free[0]), min(round(share * (most + 0.5)), most, free[1]))


def _batch(pieces: Sequence[np.ndarray], shifts: Sequence[int] | None = None) -> Batch:
    """Return pieces as a batch, each moved by so many keys."""
    import torch  # here, since a config is checked without it

    from rnntrain.batch import Batch

    lengths_B, keys = _lengths(pieces), pieces[0].shape[1]
    rolls_BTK = np.zeros((len(pieces), int(lengths_B.max()) + 1, keys), np.float32)
    for roll_TK, piece_TK, shift in zip(rolls_BTK, pieces, shifts or [0] * len(pieces), strict=True):
        up, down = max(shift, 0), max(-shift, 0)
        roll_TK[: len(piece_TK), up : keys - down] = piece_TK[:, down : keys - up]
    inputs_BTK, targets_BTK = (np.ascontiguousarray(part) for part in (rolls_BTK[:, :-1], rolls_BTK[:, 1:]))
    full = int(lengths_B.min()) == inputs_BTK.shape[1]
    lengths = None if full else torch.from_numpy(lengths_B)
    return Batch(torch.from_numpy(inputs_BTK), torch.from_numpy(targets_BTK), lengths)
