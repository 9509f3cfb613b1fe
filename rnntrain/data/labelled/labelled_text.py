"""Labelled texts: one label for each text, from tables or folders, in batches of about one length."""

# N texts, B batch, T time, U distinct words, F features of a word

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from rnntrain.data.base import Codec, DataSet
from rnntrain.data.bucketing import ordered_batches, pad, shuffled_batches
from rnntrain.data.codecs import ByteCodec, CharCodec, TextCodec
from rnntrain.data.fractions import check_fractions
from rnntrain.data.labelled.classes import ClassCodec, SpeltInputs, TextInputs, prepare, tokens_of
from rnntrain.data.labelled.labelled_rows import Found, Reading, Row, digest_of, find_rows, label_counts
from rnntrain.data.labelled.stratify import stratified_split
from rnntrain.data.places import resolve
from rnntrain.data.spelt_words import SpeltWords, fitted_words, trimmed
from rnntrain.data.text import STEP_NAMES, Unit
from rnntrain.errors import UserError, closest
from rnntrain.ranges import Fraction, NonNegativeInt, PositiveInt, Range

if TYPE_CHECKING:
    from rnntrain.batch import Batch

EXAMPLE_LENGTH = 160  # characters of a text that a listing shows


class LabelledText(DataSet):
    """Texts with one label each.

    Reads CSV, TSV and JSON lines (also `.gz`), any file of delimited cells, a folder with one folder of text files a
    class, and a folder with such folders or tables called train, val (valid, dev) and test. Columns, delimiter and
    header are guessed where not given, and what was guessed is said. A split without files of its own is drawn from
    the training rows at random, every class in its share; equal texts are never parted. Text is UTF-8; a byte-order
    mark is dropped.

    Args:
        path: a file or folder; `@NAME/FILE` is one of a known data set.
        text: the column with the texts: its name, or its number from 1 where there is no header.
        label: the column with the labels.
        unit: what a step is: a character, a byte, a word, or a byte pair.
        batch_size: texts in a batch.
        eval_batch_size: texts in a batch of evaluation; `batch_size` if null.
        val_path: a file or folder for validation.
        test_path: a file or folder for the test.
        val_fraction: share of the rows for validation, where it has no files.
        test_fraction: share of the rows for the test, where it has no files.
        split_seed: of the split alone, so that runs of several seeds share it.
        classes: the labels to take, in this order; rows of others are left out. All that occur in train if null.
        max_length: steps of a text that are read; what follows is cut off.
        lowercase: upper and lower case are the same.
        split_punctuation: a word and the sign after it are two words; only for the unit word.
        spelling: words come with their characters and outward form, from which a model makes out words that it has
            never seen (`task.char_features`); only for the unit word.
        digits: each digit of such a word counts as 0 in the vocabulary, so that `07` and `90` are one entry.
        min_count: characters or words seen less often in train are unknown, so that the model learns what that means.
        max_vocab: at most so many entries, the most frequent words; only for the unit word.
        vocab_size: entries of the vocabulary; only for the unit bpe.
        delimiter: what parts the cells of a row.
        header: the first row names the columns.
        quotes: cells may stand in double quotes; where null, they may but in files parted by tabs.
    """

    def __init__(
        self,
        path: str,
        text: str | int | None = None,
        label: str | int | None = None,
        unit: Unit = "word",
        batch_size: PositiveInt = 32,
        eval_batch_size: PositiveInt | None = None,
        val_path: str | None = None,
        test_path: str | None = None,
        val_fraction: Fraction = 0.1,
        test_fraction: Fraction = 0.1,
        split_seed: NonNegativeInt = 0,
        classes: list[str | int] | None = None,
        max_length: PositiveInt | None = 1024,
        lowercase: bool = False,
        split_punctuation: bool = True,
        spelling: bool = False,
        digits: bool = False,
        min_count: PositiveInt = 2,
        max_vocab: Annotated[int, Range(3)] | None = None,
        vocab_size: Annotated[int, Range(256)] = 4096,
        delimiter: str | None = None,
        header: bool | None = None,
        quotes: bool | None = None,
    ) -> None:
        check_fractions(val_fraction, test_fraction)
        if unit != "word" and max_vocab is not None:
            raise UserError(f"data.max_vocab is for words, not data.unit={unit}; leave it out, or set data.unit=word")
        if spelling and unit != "word":
            raise UserError(f"data.spelling=true is for words, not data.unit={unit}; leave it out, or set unit=word")
        if digits and not spelling:
            raise UserError(
                "data.digits=true is for words with their spelling; leave it out, or set data.spelling=true"
            )
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
            raise UserError(f"data.delimiter={delimiter!r}: expected one sign, and no quote; give one such as ';'")
        if classes is not None and len(set(classes)) < max(2, len(classes)):
            raise UserError(f"data.classes={classes}: expected two distinct labels or more; name them, or leave it out")
        self.path, self.val_path, self.test_path = path, val_path, test_path
        text, label = (None if column is None else str(column) for column in (text, label))
        self.reading = Reading(text, label, delimiter, header, quotes)
        self.codec_unit, self.unit = unit, STEP_NAMES[unit]
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.fractions, self.split_seed = {"val": val_fraction, "test": test_fraction}, split_seed
        self.classes = None if classes is None else [str(name) for name in classes]
        self.max_length, self.lowercase = max_length, lowercase
        self.split_punctuation = split_punctuation and unit == "word"
        self.spelling, self.digits = spelling, digits
        self.min_count, self.max_vocab, self.vocab_size = min_count, max_vocab, vocab_size

    # -- reading ---

    def load(self, codec: Codec | None = None) -> None:
        if codec is not None:
            self._check_codec(codec)
        self._rows = self._split(self._find())
        self.splits = tuple(self._rows)
        assert codec is None or isinstance(codec, ClassCodec)
        self.codec: ClassCodec = codec or self._fit(self._rows["train"])
        self._targets = {split: self._numbers(rows) for split, rows in self._rows.items()}
        self._encoded = self._encode_all()
        self._lengths = {split: np.array([len(x) for x in rows], np.int64) for split, rows in self._encoded.items()}

    def _check_codec(self, codec: Codec) -> None:
        inputs = codec.inputs if isinstance(codec, ClassCodec) else None
        if not isinstance(inputs, TextInputs | SpeltInputs):
            raise UserError(f"the model reads no labelled text ({type(codec).__name__}); give it the data of its kind")
        if isinstance(inputs, SpeltInputs) != self.spelling:
            own, needed = (str(flag).lower() for flag in (self.spelling, not self.spelling))
            raise UserError(f"data.spelling={own}: the model reads words otherwise; set data.spelling={needed}")
        if isinstance(inputs, SpeltInputs):
            return
        if inputs.text.unit != self.codec_unit:
            raise UserError(
                f"data.unit={self.codec_unit}: the model reads by {inputs.text.unit}; set data.unit={inputs.text.unit}"
            )

    def _find(self) -> dict[str, list[Row]]:
        """Read all files; "all" becomes "train", from which splits without rows of their own are drawn."""
        found = find_rows(resolve(self.path, "data.path"), "data.path", self.reading)
        self._found = found
        rows = {"train": found.rows["all"]} if "all" in found.rows else dict(found.rows)
        for split, path in (("val", self.val_path), ("test", self.test_path)):
            if path is not None:
                key = f"data.{split}_path"
                own: Found = find_rows(resolve(path, key), key, self.reading)
                rows[split] = [row for its in own.rows.values() for row in its]
                self._found = Found(found.rows, self._found.notes, [*self._found.files, *own.files])
        if self.classes is None:
            return rows
        there = label_counts(rows["train"])
        missing = [name for name in self.classes if name not in there]
        if missing:
            raise UserError(f"data.classes: no row of train has the label {missing[0]}{closest(missing[0], [*there])}")
        wanted = set(self.classes)
        return {split: [row for row in its if row.label in wanted] for split, its in rows.items()}

    def _split(self, rows: dict[str, list[Row]]) -> dict[str, list[Row]]:
        """Draw the splits that have no files from the training rows."""
        shares = {split: share for split, share in self.fractions.items() if share and split not in rows}
        train = rows["train"]
        drawn = stratified_split([row.label for row in train], shares, self.split_seed, [row.text for row in train])
        parts = {split: [train[index] for index in its] for split, its in drawn.items()} | {
            split: its for split, its in rows.items() if split != "train"
        }
        for split, its in parts.items():
            if not its:
                fix = "give it rows"
                if split in shares:
                    fix = f"give more rows (equal texts stay in one split), or a larger data.{split}_fraction"
                raise UserError(f"data.path={self.path}: the {split} split of {len(train)} rows is empty; {fix}")
        return {split: parts[split] for split in ("train", "val", "test") if split in parts}

    def _fit(self, rows: list[Row]) -> ClassCodec:
        counts = label_counts(rows)
        if len(counts) < 2:
            raise UserError(
                f"data.path={self.path}: every row of train has the label {next(iter(counts))!r}; there is nothing to "
                "tell apart: name another column with data.label=, or give rows of other classes"
            )
        names = self.classes or sorted(counts)
        return ClassCodec(self._fit_inputs([row.text for row in rows]), names, [counts[name] for name in names])

    def _fit_inputs(self, texts: Sequence[str]) -> TextInputs | SpeltInputs:
        if self.spelling:
            counts = Counter(word for text in texts for word in tokens_of(text, self.split_punctuation))
            words = fitted_words(
                counts, lower=self.lowercase, digits=self.digits, min_count=self.min_count, max_vocab=self.max_vocab
            )
            return SpeltInputs(SpeltWords(**words), self.split_punctuation, self.max_length)
        text = self._vocabulary([prepare(text, self.lowercase, self.split_punctuation) for text in texts])
        return TextInputs(text, self.lowercase, self.split_punctuation, self.max_length)

    def _encode_all(self) -> dict[str, list[np.ndarray]]:
        """Return the entries of each text by split; of spelt words, their places in a table of all that occur."""
        inputs = self.codec.inputs
        assert isinstance(inputs, TextInputs | SpeltInputs)
        if isinstance(inputs, TextInputs):
            return {split: [inputs.encode(row.text) for row in rows] for split, rows in self._rows.items()}
        places: dict[str, int] = {}
        found = {
            split: [
                np.array([places.setdefault(word, len(places)) for word in inputs.tokens(row.text)], np.int32)
                for row in rows
            ]
            for split, rows in self._rows.items()
        }
        self._features_UF = inputs.words.encode(list(places))
        return found

    def _vocabulary(self, texts: Sequence[str]) -> TextCodec:
        if self.codec_unit == "byte":
            return ByteCodec()
        if self.codec_unit == "char":
            counts: Counter[str] = Counter()
            for text in texts:
                counts.update(text)
            return CharCodec("".join(sorted(sign for sign, count in counts.items() if count >= self.min_count)))
        if self.codec_unit == "bpe":
            from rnntrain.data.bpe import BpeCodec  # needs an optional package

            return BpeCodec.fit(iter(texts), self.vocab_size)
        from rnntrain.data.words import WordCodec

        return WordCodec.fit(texts, self.max_vocab, self.min_count)

    def _numbers(self, rows: Iterable[Row]) -> np.ndarray:
        numbers = []
        for row in rows:
            number = self.codec.number(row.label)
            if number is None:
                names = self.codec.class_names
                raise UserError(
                    f"{row.place}: the label {row.label!r} is not among those of train{closest(row.label, names)}; "
                    f"mend it, or leave such rows out with data.classes=[{','.join(names[:8])}]"
                )
            numbers.append(number)
        return np.array(numbers, np.int64)

    # -- batches ---

    def train_batches(self, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        rng = np.random.default_rng([seed, epoch])
        order = shuffled_batches(self._lengths["train"], self.batch_size, rng)
        return (self._batch("train", index_B) for index_B in order[start:])

    def num_train_batches(self, seed: int, epoch: int) -> int:
        return -(-len(self._rows["train"]) // self.batch_size)

    def eval_batches(self, split: str) -> Iterator[Batch]:
        order = ordered_batches(self._lengths[split], self.eval_batch_size)
        return (self._batch(split, index_B) for index_B in order)

    def _batch(self, split: str, index_B: np.ndarray) -> Batch:
        import torch  # here, since a config is checked without it

        from rnntrain.batch import Batch

        inputs, lengths_B = pad([self._encoded[split][index].astype(np.int64) for index in index_B])
        if not inputs.shape[1]:  # texts without a single entry: a recurrence needs a step, if only of padding
            inputs = np.zeros((len(index_B), 1), np.int64)
        full = lengths_B.min() == inputs.shape[1]
        if self.spelling:
            padded_BT = np.arange(inputs.shape[1]) >= lengths_B[:, None]
            inputs = self._features_UF[inputs].astype(np.int64)
            inputs[padded_BT] = 0
            inputs = trimmed(inputs)
        return Batch(
            torch.from_numpy(inputs),
            torch.from_numpy(self._targets[split][index_B]),
            None if full else torch.from_numpy(lengths_B),
        )

    # -- for people ---

    def texts(self, split: str) -> tuple[list[str], np.ndarray]:
        """Return the texts of a split as they were read, and the numbers of their classes."""
        return [row.text for row in self._rows[split]], self._targets[split]

    def lengths(self, split: str) -> np.ndarray:
        """Return the number of steps of each text."""
        return self._lengths[split]

    def fingerprint(self) -> dict[str, Any]:
        return {
            "num_files": len(self._found.files),
            "sha256": digest_of(self._found.files, "data.path"),
            "unit": self.codec_unit,
            "split_seed": self.split_seed,
            "splits": {split: len(rows) for split, rows in self._rows.items()},
        }

    def describe(self) -> str:
        sizes = ", ".join(f"{split} {len(rows):,}" for split, rows in self._rows.items())
        lengths_N = np.concatenate(list(self._lengths.values()))
        cut = int((lengths_N == self.max_length).sum()) if self.max_length else 0
        ends = f", {cut:,} of them cut at that length" if cut else ""
        inputs = self.codec.inputs
        assert isinstance(inputs, TextInputs | SpeltInputs)
        return (
            f"{sizes} texts ({'; '.join(self._found.notes)}); {self.codec.num_classes} classes; {self.unit}: median "
            f"{np.median(lengths_N):.0f}, longest {lengths_N.max():,}{ends}; vocabulary of {inputs.vocab_size:,}"
        )

    def counts(self, split: str) -> dict[str, int]:
        return label_counts(self._rows[split])

    def examples(self, split: str, number: int) -> list[str]:
        return [f"{row.label}: {' '.join(row.text.split())[:EXAMPLE_LENGTH]}" for row in self._rows[split][:number]]
