"""Recordings of speech or other sound with a transcript or a label each: a manifest, or a folder of named files."""

# S samples

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rnntrain.data.base import Codec
from rnntrain.data.bucketing import shuffled_batches
from rnntrain.data.labelled.classes import ClassCodec
from rnntrain.data.places import resolve
from rnntrain.data.source import Document
from rnntrain.data.speech.features import Extractor, FeatureKind, FeatureSettings
from rnntrain.data.speech.frontend import Frontend, Normalization
from rnntrain.data.speech.recordings import Entry, assign_splits, find_recordings
from rnntrain.data.speech.sound import Stereo, at_rate, read_sound
from rnntrain.data.speech.spec_augment import SpecAugment
from rnntrain.data.speech.transcripts import SymbolUnit, TranscriptCodec
from rnntrain.data.speech.utterances import Utterance, Utterances, check_length
from rnntrain.errors import UserError
from rnntrain.ranges import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Recording:
    """An entry of the data and its waveform."""

    entry: Entry
    samples_S: np.ndarray


class Audio(Utterances):
    """Sound files, read once: features are computed on load and kept in memory, four bytes each.

    `data.path` is a manifest (CSV or TSV with a header, or JSONL), whose paths stay within its folder, or a folder.
    Splits come from `val` and `test`, from a column `split`, or are drawn: a share of all recordings by a fixed seed.

    Args:
        path: a manifest or folder; `@NAME/FILE` is one of a known data set.
        target: what is learnt: "text", a transcript for `task=ctc`, or "label", a class for `task=classification`.
        unit: of transcripts: one symbol a "char", or a "word" between white space.
        pattern: how the files of a folder are named, a field in braces for each part, such as
            `{label}_{speaker}_{index}.wav`; `{label}/{name}` where null.
        path_field: column of a manifest with the path; guessed where null.
        text_field: column or field with the transcript or label; guessed where null.
        split_field: column with the split; one of a usual name where null.
        val: recordings for validation, as `FIELD:VALUE` or `FIELD:FIRST-LAST`, or a list of these of which one holds.
        test: the same for the test, which takes them first: `speaker:theo` leaves one speaker out.
        val_fraction: share for validation, where nothing else says which.
        test_fraction: share for the test, where nothing else says which.
        batch_size: utterances in a batch.
        bucket: utterances of about one length share a training batch, which saves padding; false where length tells
            the class, since batches of one class teach little.
        sample_rate: in Hz; that of the first training recording where null.
        resample: convert recordings of other rates rather than refuse them.
        stereo: "refuse" recordings of several channels, or "mix" them to one.
        features: "log_mel" or "mfcc".
        window_ms, hop_ms, num_mels, num_cepstra, low_hz, high_hz: see `rnntrain.data.speech.features.FeatureSettings`.
        stack: so many frames side by side make one step of the model.
        normalize: features to mean 0 and deviation 1 over each "utterance", which takes away microphone and voice, but
            of a single word also what tells it from others; over the "train" split; or "none".
        time_masks, time_mask_ms: SpecAugment on training batches: how many stretches are hidden, the longest of them.
        freq_masks, freq_mask_bands: the same for bands of features.
        lm_order: symbols of the n-grams that are counted for the beam search; 0 for none.
        lm_path: text for these, a line a transcript; the training transcripts where null.
    """

    def __init__(
        self,
        path: str,
        target: Literal["text", "label"] = "text",
        unit: SymbolUnit = "char",
        pattern: str | None = None,
        path_field: str | None = None,
        text_field: str | None = None,
        split_field: str | None = None,
        val: list[str] | str | None = None,
        test: list[str] | str | None = None,
        val_fraction: Fraction = 0.1,
        test_fraction: Fraction = 0.0,
        batch_size: PositiveInt = 32,
        bucket: bool = True,
        sample_rate: PositiveInt | None = None,
        resample: bool = False,
        stereo: Stereo = "refuse",
        features: FeatureKind = "log_mel",
        window_ms: PositiveFloat = 25.0,
        hop_ms: PositiveFloat = 10.0,
        num_mels: PositiveInt = 40,
        num_cepstra: PositiveInt = 13,
        low_hz: NonNegativeFloat = 20.0,
        high_hz: PositiveFloat | None = None,
        stack: PositiveInt = 1,
        normalize: Normalization = "utterance",
        time_masks: NonNegativeInt = 0,
        time_mask_ms: PositiveFloat = 200.0,
        freq_masks: NonNegativeInt = 0,
        freq_mask_bands: PositiveInt = 8,
        lm_order: NonNegativeInt = 0,
        lm_path: str | None = None,
    ) -> None:
        if lm_path is not None and not lm_order:
            raise UserError(f"data.lm_path={lm_path}: needs the number of symbols of an n-gram; set data.lm_order=3")
        if target == "label" and lm_order:
            raise UserError(f"data.lm_order={lm_order}: labels have no n-grams; set data.target=text")
        self.path, self.target, self.symbol_unit, self.pattern = path, target, unit, pattern
        self.path_field, self.text_field, self.split_field = path_field, text_field, split_field
        self.conditions = {"val": _listed(val), "test": _listed(test)}
        self.fractions = {"val": val_fraction, "test": test_fraction}
        self.batch_size, self.bucket = batch_size, bucket
        self.sample_rate, self.resample, self.stereo = sample_rate, resample, stereo
        self.normalize: Normalization = normalize
        self._settings: dict[str, Any] = {
            "kind": features,
            "window_ms": window_ms,
            "hop_ms": hop_ms,
            "num_mels": num_mels,
            "num_cepstra": num_cepstra,
            "low_hz": low_hz,
            "high_hz": high_hz,
            "stack": stack,
        }
        self.augment = SpecAugment(time_masks, round(time_mask_ms / hop_ms), freq_masks, freq_mask_bands)
        self.lm_order, self.lm_path = lm_order, lm_path

    # -- reading ---

    def load(self, codec: Codec | None = None) -> None:
        entries = self._find(codec)
        settings = self._feature_settings() if codec is None else self._frontend_of(codec).settings
        extract = Extractor(settings)
        # Waveforms are not kept: those of a large corpus would not fit where its features do.
        raw = {split: [extract(self._read(entry).samples_S) for entry in its] for split, its in entries.items()}
        if codec is None:
            frontend = Frontend.fit(settings, self.normalize, raw["train"])
            codec = self._fit(frontend, [entry.text for entry in entries["train"]])
        self._take(codec)
        normalized = self._frontend_of(codec).normalized
        self._held = {
            split: [
                self._utterance(entry.name, entry.text, normalized(x_TD))
                for entry, x_TD in zip(its, raw.pop(split), strict=True)
            ]
            for split, its in entries.items()
        }
        self.splits = tuple(self._held)

    def _find(self, codec: Codec | None) -> dict[str, list[Entry]]:
        """Find the recordings of each split, and settle the sample rate."""
        found = find_recordings(
            resolve(self.path, "data.path"), self.pattern, self.path_field, self.text_field, self.split_field
        )
        self._said = found.said
        entries = assign_splits(found, self.conditions, self.fractions)
        if codec is not None:
            self._rate = self._frontend_of(codec).settings.sample_rate
        elif self.sample_rate is not None:
            self._rate = self.sample_rate
        else:
            first = entries["train"][0]
            self._rate = read_sound(first.path, first.name, self.stereo).sample_rate
        self._feature_settings()  # impossible ones are told before all is read
        self._digest, self._bytes = hashlib.sha256(), 0
        self._entries = entries
        return entries

    def _take(self, codec: Codec) -> None:
        self.codec = codec
        self.frame_features = self._frontend_of(codec).settings.frame_features

    def _read(self, entry: Entry) -> Recording:
        sound = read_sound(entry.path, entry.name, self.stereo)
        self._digest.update(f"{entry.path.name} {sound.sha256} {entry.text}\n".encode("utf-8", "replace"))
        self._bytes += sound.size
        return Recording(entry, at_rate(sound, self._rate, entry.name, self.resample))

    # -- fitting ---

    def _feature_settings(self) -> FeatureSettings:
        return FeatureSettings(sample_rate=self._rate, **self._settings)

    def _frontend_of(self, codec: Codec) -> Frontend:
        """Return the front end of a codec that was fitted before.

        Raises:
            UserError: if it is not that of a model for this data and target.
        """
        frontend = codec.frontend if isinstance(codec, TranscriptCodec) else getattr(codec, "inputs", None)
        if not isinstance(frontend, Frontend):
            raise UserError(f"the model reads no sound ({type(codec).__name__}); give it the data of its kind")
        if isinstance(codec, TranscriptCodec) != (self.target == "text"):
            other = "text" if isinstance(codec, TranscriptCodec) else "label"
            raise UserError(f"data.target={self.target}: the model was trained for another; set data.target={other}")
        return frontend

    def _fit(self, frontend: Frontend, texts: Sequence[str]) -> Codec:
        if self.target == "label":
            counts = Counter(texts)
            if len(counts) < 2:
                raise UserError(f"data.path={self.path}: all recordings for training have the label {texts[0]!r}")
            names = sorted(counts)
            return ClassCodec(frontend, names, [counts[name] for name in names])
        codec = TranscriptCodec.fit(frontend, self.symbol_unit, texts, 0 if self.lm_path else self.lm_order)
        if self.lm_path is not None:
            lines = "".join(Document.of_file(resolve(self.lm_path, "data.lm_path"), "data.lm_path").text()).split("\n")
            codec.fit_language_model(lines, self.lm_order)
        return codec

    def _utterance(self, where: str, text: str, x_TD: np.ndarray) -> Utterance:
        if isinstance(self.codec, ClassCodec):
            number = self.codec.number(text)
            if number is None:
                raise UserError(
                    f"{where}: no recording for training has the label {text!r}; correct it, or train on some"
                )
            target = np.array(number, np.int64)
        else:
            assert isinstance(self.codec, TranscriptCodec)
            target = self.codec.encode(text, where)
        utterance = Utterance(where, x_TD, target, text)
        check_length(utterance, self._frontend_of(self.codec).settings.stack)
        return utterance

    # -- what a data set gives ---

    def _epoch(self, seed: int, epoch: int) -> tuple[int, Callable[[int], Sequence[Utterance]]]:
        utterances = self._held["train"]
        # Equal lengths have no order of their own.
        lengths_N = np.array([len(each.x_TD) if self.bucket else 1 for each in utterances])
        batches = shuffled_batches(lengths_N, self.batch_size, np.random.default_rng([seed, epoch]))
        return len(batches), lambda number: [utterances[i] for i in batches[number]]

    def num_train_batches(self, seed: int, epoch: int) -> int:
        return -(-len(self._held["train"]) // self.batch_size)

    def counts(self, split: str) -> dict[str, int]:
        if self.target == "text":
            return {}
        return dict(Counter(each.text for each in self._held[split]).most_common())

    def sounds(self, split: str, number: int) -> dict[str, tuple[np.ndarray, int]]:
        found = {}
        for entry in self._entries.get(split, [])[:number]:
            sound = read_sound(entry.path, entry.name, self.stereo)
            samples_S = at_rate(sound, self._rate, entry.name, self.resample)
            found[f"{entry.path.name}: {entry.text}"] = samples_S, self._rate
        return found

    def fingerprint(self) -> dict[str, Any]:
        return {
            "bytes": self._bytes,
            "sha256": self._digest.hexdigest(),
            "splits": {split: len(its) for split, its in self._held.items()},
        }

    def describe(self) -> str:
        settings = self._frontend_of(self.codec).settings
        sizes = ", ".join(
            f"{split} {len(its):,} ({sum(len(u.x_TD) for u in its) * settings.step_seconds / 60:.1f} min)"
            for split, its in self._held.items()
        )
        held = sum(each.x_TD.nbytes for its in self._held.values() for each in its) / MEBIBYTE
        return f"{sizes}; {self._said}; {self._measured(settings)}, {held:.1f} MiB in memory"

    def _measured(self, settings: FeatureSettings) -> str:
        name = {"log_mel": "log-mel energies", "mfcc": "cepstra"}[settings.kind]
        return (
            f"{settings.frame_features} {name} every {settings.hop_ms:g} ms at {settings.sample_rate} Hz, "
            f"{settings.stack} frames a step"
        )


def _listed(value: list[str] | str | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])
