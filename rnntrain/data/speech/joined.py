"""Connected speech made of single recordings: strings of them with pauses between, new ones in every epoch."""

# S samples, N strings

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from rnntrain.data.base import Codec
from rnntrain.data.bucketing import shuffled_batches
from rnntrain.data.speech.audio import Audio, Recording
from rnntrain.data.speech.features import Extractor
from rnntrain.data.speech.frontend import Frontend, Normalization
from rnntrain.data.speech.utterances import Utterance
from rnntrain.errors import UserError
from rnntrain.ranges import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

EVAL_SEED = 20240229  # of the strings for validation and test, which are the same in every run


class Plan(NamedTuple):
    """One string before it is made: numbers of recordings, samples of silence before each and at the end."""

    members: np.ndarray
    pauses: np.ndarray
    noise_seed: int

    def num_samples(self, recordings: Sequence[Recording]) -> int:
        return int(sum(len(recordings[i].samples_S) for i in self.members) + self.pauses.sum())


class JoinedAudio(Audio):
    """Strings of recordings that have one value of a field (one speaker) in common, for `task=ctc`.

    An epoch uses each training recording once: those of each speaker in random order are cut into strings of random
    numbers, too few for a string at the end left out. Strings, pauses and noise are a function of (seed, epoch);
    those of val and test are the same in every run. Waveforms are joined and features computed on the whole.
    White noise is added to all of a string, so that no pause is digital silence.

    Args:
        path, pattern, val, test: as of `rnntrain.data.speech.audio.Audio`.
        join_field: a string's recordings agree in this field; null mixes all.
        min_joined: fewest recordings of a string.
        max_joined: most recordings of a string.
        min_pause_ms: shortest silence before each recording and after the last.
        max_pause_ms: longest silence.
        noise_db: power of the noise against full scale (a square wave of amplitude 1).
        eval_rounds: how many times each recording of val and test is used.
        batch_size: strings in a batch.
        Others: as of `rnntrain.data.speech.audio.Audio`; the unit of transcripts is the word.
    """

    generated = True

    def __init__(
        self,
        path: str,
        pattern: str | None = None,
        val: list[str] | str | None = None,
        test: list[str] | str | None = None,
        join_field: str | None = "speaker",
        min_joined: PositiveInt = 3,
        max_joined: PositiveInt = 7,
        min_pause_ms: NonNegativeFloat = 50.0,
        max_pause_ms: NonNegativeFloat = 400.0,
        noise_db: float = -70.0,
        eval_rounds: PositiveInt = 3,
        batch_size: PositiveInt = 16,
        window_ms: PositiveFloat = 25.0,
        hop_ms: PositiveFloat = 10.0,
        num_mels: PositiveInt = 40,
        low_hz: NonNegativeFloat = 20.0,
        high_hz: PositiveFloat | None = None,
        stack: PositiveInt = 1,
        normalize: Normalization = "utterance",
        time_masks: NonNegativeInt = 0,
        time_mask_ms: PositiveFloat = 200.0,
        freq_masks: NonNegativeInt = 0,
        freq_mask_bands: PositiveInt = 8,
        lm_order: NonNegativeInt = 0,
    ) -> None:
        if min_joined > max_joined:
            raise UserError(f"data.min_joined={min_joined} is more than data.max_joined={max_joined}; lower it")
        if min_pause_ms > max_pause_ms:
            raise UserError(f"data.min_pause_ms={min_pause_ms:g} is more than data.max_pause_ms={max_pause_ms:g}")
        super().__init__(
            path,
            unit="word",
            pattern=pattern,
            val=val,
            test=test,
            batch_size=batch_size,
            window_ms=window_ms,
            hop_ms=hop_ms,
            num_mels=num_mels,
            low_hz=low_hz,
            high_hz=high_hz,
            stack=stack,
            normalize=normalize,
            time_masks=time_masks,
            time_mask_ms=time_mask_ms,
            freq_masks=freq_masks,
            freq_mask_bands=freq_mask_bands,
            lm_order=lm_order,
        )
        self.join_field, self.min_joined, self.max_joined = join_field, min_joined, max_joined
        self.pause_ms = (min_pause_ms, max_pause_ms)
        self.noise_amplitude = 10 ** (noise_db / 20)
        self.eval_rounds = eval_rounds

    def load(self, codec: Codec | None = None) -> None:
        entries = self._find(codec)
        self._recordings = {split: [self._read(entry) for entry in its] for split, its in entries.items()}
        self.splits = tuple(self._recordings)
        self._groups = {split: self._grouped(its, split) for split, its in self._recordings.items()}
        self._planned = lru_cache(2)(self._plan_epoch)
        if codec is None:
            frontend = Frontend.fit(self._feature_settings(), self.normalize, self._raw())
            codec = self._fit(frontend, self._texts())
        self._take(codec)
        self._held = {split: self._fixed(split) for split in self.splits if split != "train"}

    def _grouped(self, recordings: list[Recording], split: str) -> list[np.ndarray]:
        """Return the numbers of the recordings that may share a string."""
        groups: dict[str, list[int]] = defaultdict(list)
        for number, recording in enumerate(recordings):
            fields = recording.entry.fields
            if self.join_field is not None and self.join_field not in fields:
                known = ", ".join(fields)
                raise UserError(f"data.join_field={self.join_field}: there is only {known}; name one or null")
            groups[fields[self.join_field] if self.join_field is not None else ""].append(number)
        largest = max(map(len, groups.values()))
        if largest < self.min_joined:
            raise UserError(
                f"data.min_joined={self.min_joined}: no {self.join_field or 'group'} of {split} has more than "
                f"{largest} recordings; lower it"
            )
        return [np.array(numbers) for numbers in groups.values()]

    def _plans(self, split: str, rng: np.random.Generator) -> list[Plan]:
        """Cut all recordings of a split into strings, each used once."""
        plans = []
        scale = self._rate / 1000
        for numbers in self._groups[split]:
            order = rng.permutation(numbers)
            while len(order) >= self.min_joined:
                size = min(int(rng.integers(self.min_joined, self.max_joined + 1)), len(order))
                pauses = (rng.uniform(*self.pause_ms, size + 1) * scale).astype(np.int64)
                plans.append(Plan(order[:size], pauses, int(rng.integers(2**32))))
                order = order[size:]
        return plans

    def _plan_epoch(self, seed: int, epoch: int) -> tuple[list[Plan], list[np.ndarray]]:
        rng = np.random.default_rng([seed, epoch])
        plans = self._plans("train", rng)
        lengths_N = np.array([plan.num_samples(self._recordings["train"]) for plan in plans])
        return plans, shuffled_batches(lengths_N, self.batch_size, rng)

    def _epoch(self, seed: int, epoch: int) -> tuple[int, Callable[[int], Sequence[Utterance]]]:
        plans, batches = self._planned(seed, epoch)
        return len(batches), lambda number: [self._string("train", plans[i]) for i in batches[number]]

    def num_train_batches(self, seed: int, epoch: int) -> int:
        return len(self._planned(seed, epoch)[1])

    def _fixed(self, split: str) -> list[Utterance]:
        plans = [
            plan
            for number in range(self.eval_rounds)
            for plan in self._plans(split, np.random.default_rng([EVAL_SEED, number]))
        ]
        return [self._string(split, plan) for plan in plans]

    def _texts(self) -> list[str]:
        """Return the transcripts of one epoch, for symbols and n-grams; recordings left out of strings count too."""
        recordings = self._recordings["train"]
        strings = [self._text("train", plan) for plan in self._plans("train", np.random.default_rng(EVAL_SEED))]
        return strings + [each.entry.text for each in recordings]

    def _text(self, split: str, plan: Plan) -> str:
        return " ".join(self._recordings[split][i].entry.text for i in plan.members)

    def _raw(self) -> Iterator[np.ndarray]:
        """Yield the features of one epoch's strings, before normalisation."""
        extract, recordings = Extractor(self._feature_settings()), self._recordings["train"]
        for plan in self._plans("train", np.random.default_rng(EVAL_SEED)):
            yield extract(self._samples(recordings, plan))

    def _string(self, split: str, plan: Plan) -> Utterance:
        recordings = self._recordings[split]
        where = " + ".join(recordings[i].entry.path.name for i in plan.members)
        x_TD = self._frontend_of(self.codec)(self._samples(recordings, plan))
        return self._utterance(where, self._text(split, plan), x_TD)

    def _samples(self, recordings: list[Recording], plan: Plan) -> np.ndarray:
        rng = np.random.default_rng(plan.noise_seed)
        samples_S = rng.standard_normal(plan.num_samples(recordings), np.float32) * np.float32(self.noise_amplitude)
        place = 0
        for number, pause in zip(plan.members, plan.pauses, strict=False):
            place += int(pause)
            part = recordings[number].samples_S
            samples_S[place : place + len(part)] += part
            place += len(part)
        return samples_S

    def sounds(self, split: str, number: int) -> dict[str, tuple[np.ndarray, int]]:
        plans = self._plans(split, np.random.default_rng([EVAL_SEED, 0]))[:number]
        recordings = self._recordings[split]
        return {self._text(split, plan): (self._samples(recordings, plan), self._rate) for plan in plans}

    def fingerprint(self) -> dict[str, Any]:
        recordings = {split: len(its) for split, its in self._recordings.items()}
        return {"bytes": self._bytes, "sha256": self._digest.hexdigest(), "splits": recordings}

    def examples(self, split: str, number: int) -> list[str]:
        if split != "train":
            return super().examples(split, number)
        return [f"{each.entry.where}: {each.entry.text}" for each in self._recordings[split][:number]]

    def describe(self) -> str:
        sizes = ", ".join(
            f"{split} {len(its):,}" + (f" in {len(self._held[split]):,} strings" if split in self._held else "")
            for split, its in self._recordings.items()
        )
        held = sum(each.samples_S.nbytes for its in self._recordings.values() for each in its) / (1 << 20)
        return (
            f"recordings: {sizes}; strings of {self.min_joined} to {self.max_joined}, new ones each epoch; "
            f"{self._measured(self._frontend_of(self.codec).settings)}, {held:.1f} MiB of waveforms in memory"
        )
