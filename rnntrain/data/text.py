"""Text for language models: a file or a folder, cut into splits, encoded once and read in windows."""

# D documents

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np

from rnntrain.data.base import Codec, DataSet
from rnntrain.data.codecs import ByteCodec, CharCodec, TextCodec, cut_at_words
from rnntrain.data.fractions import check_fractions
from rnntrain.data.places import resolve
from rnntrain.data.source import Document, Piece, Scan, cut, find_documents, find_splits
from rnntrain.data.windows import (
    Laid,
    Plan,
    Shuffled,
    Streams,
    batches,
    document_windows,
    equal_ends,
    phased_windows,
    random_ends,
    stream_steps,
)
from rnntrain.errors import UserError
from rnntrain.ranges import Fraction, PositiveInt, Range

if TYPE_CHECKING:
    from rnntrain.batch import Batch

Unit = Literal["char", "byte", "word", "bpe"]
STEP_NAMES = {"char": "characters", "byte": "bytes", "word": "words", "bpe": "tokens"}
LISTED_FILES = 100  # that a fingerprint names one by one


class Split(NamedTuple):
    """The tokens of a split, and where its documents begin, with the end of the last."""

    ids: np.ndarray
    bounds_D: np.ndarray


class Text(DataSet):
    """Text to predict: the targets are the inputs one place later.

    A file is cut by position, whatever the unit: train first, then val, then test. A folder with files, or
    folders, of a split's name (`train.txt`, `wiki.valid.tokens`, `test/`) gives these splits; the text files
    of any other are documents, laid end to end in the order of their names and cut by position. Splits that
    have files of their own need no fraction. Text is UTF-8; a byte-order mark is dropped, CRLF and CR become
    LF. Bytes are read as they are.

    Args:
        path: a file or folder; `@NAME/FILE` is one of a known data set.
        unit: what is predicted: a character, a byte, a word between white space, or a byte pair.
        batch_size: number of windows, or parallel streams, in a batch.
        bptt: steps in a window, which is as far as gradients reach.
        val_fraction: share of the text for validation, where it has no file.
        test_fraction: share of the text for the test, where it has no file.
        val_path: a file or folder for validation.
        test_path: a file or folder for the test.
        contiguous: each row of a batch goes on where it ended in the batch before, so that the state can be
            carried; if false, windows of the whole text come in random order.
        random_bptt: lengths of windows drawn about `bptt`.
        documents: no window crosses the end of a file, and files are shuffled.
        eval_bptt: steps in a window of evaluation, which matters where no state is carried; `bptt` if null.
        eval_batch_size: number of parallel streams in evaluation; `batch_size` if null.
        suffixes: of the files to read in a folder; if null, all that look like text.
        vocab_size: entries of the vocabulary; only for the unit bpe.
        max_vocab: at most so many entries, the most frequent words; only for the unit word.
        min_count: words seen less often in train are `<unk>`; only for the unit word.
        vocab_path: a file with one word a line, which are the vocabulary; only for the unit word.
    """

    def __init__(
        self,
        path: str,
        unit: Unit = "char",
        batch_size: PositiveInt = 32,
        bptt: PositiveInt = 128,
        val_fraction: Fraction = 0.1,
        test_fraction: Fraction = 0.0,
        val_path: str | None = None,
        test_path: str | None = None,
        contiguous: bool = True,
        random_bptt: bool = False,
        documents: bool = False,
        eval_bptt: PositiveInt | None = None,
        eval_batch_size: PositiveInt | None = None,
        suffixes: list[str] | None = None,
        vocab_size: Annotated[int, Range(256)] = 4096,
        max_vocab: Annotated[int, Range(3)] | None = None,
        min_count: PositiveInt = 1,
        vocab_path: str | None = None,
    ) -> None:
        check_fractions(val_fraction, test_fraction)
        if random_bptt and (documents or not contiguous):
            raise UserError("data.random_bptt=true needs data.contiguous=true and data.documents=false; set these")
        if unit != "word" and (max_vocab is not None or min_count != 1 or vocab_path is not None):
            raise UserError(
                f"data.max_vocab, data.min_count and data.vocab_path are for words, not data.unit={unit}; "
                "leave them out, or set data.unit=word"
            )
        self.path, self.val_path, self.test_path = path, val_path, test_path
        self.fractions = {"val": val_fraction, "test": test_fraction}
        self.codec_unit, self.unit = unit, STEP_NAMES[unit]
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.bptt, self.eval_bptt, self.random_bptt = bptt, eval_bptt or bptt, random_bptt
        self.contiguous, self.documents = contiguous, documents
        self.suffixes = tuple(suffixes or ())
        self.vocab_size, self.max_vocab, self.min_count, self.vocab_path = (
            vocab_size,
            max_vocab,
            min_count,
            vocab_path,
        )

    def find(self) -> dict[str, list[Document]]:
        """Return the documents of each split that has its own; "train" or "all" are cut for the others."""
        any_file = self.codec_unit == "byte"
        found = find_splits(resolve(self.path, "data.path"), "data.path", self.suffixes, any_file)
        for split, path in (("val", self.val_path), ("test", self.test_path)):
            if path is not None:
                key = f"data.{split}_path"
                found[split] = find_documents(resolve(path, key), key, self.suffixes, any_file)
        return found

    def load(self, codec: Codec | None = None) -> None:
        if codec is not None and not isinstance(codec, TextCodec):
            raise UserError(f"the model reads no text ({type(codec).__name__}); give it the data of its kind")
        if codec is not None and codec.unit != self.codec_unit:
            raise UserError(f"data.unit={self.codec_unit}: the model reads by {codec.unit}; set data.unit={codec.unit}")
        pieces = self._cut(self.find())
        self.codec: TextCodec = codec or self._fit(pieces["train"])
        self._splits = {split: self._encode(its) for split, its in pieces.items()}
        self.splits = tuple(self._splits)
        for split in self.splits:
            self._check_length(split)

    def train_batches(self, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        return batches(self._splits["train"].ids, self._plan(seed, epoch), start)

    def num_train_batches(self, seed: int, epoch: int) -> int:
        return self._plan(seed, epoch).num_batches

    def eval_batches(self, split: str) -> Iterator[Batch]:
        """Yield windows of `eval_bptt` in order, laid on rows that go on from batch to batch.

        Right both with a fresh state for each window and with a state that is carried.
        """
        windows = document_windows(self._bounds_D(split), self.eval_bptt)
        return batches(self._splits[split].ids, Laid(windows, self.eval_batch_size))

    def preview(self, split: str, n_chars: int) -> str:
        """Return the beginning of a split as the model meets it, unknown entries and all."""
        return self.codec.decode(self._splits[split].ids[: 4 * n_chars])[:n_chars]

    def examples(self, split: str, number: int) -> list[str]:
        return [" ".join(self.preview(split, 160).split())] if number else []

    def fingerprint(self) -> dict[str, Any]:
        files = [{"name": Path(s.name).name, "bytes": s.size, "sha256": s.sha256} for s in self._scans]
        together = "".join(f"{scan.sha256}\n" for scan in self._scans)
        return {
            "num_files": len(files),
            "files": files[:LISTED_FILES],
            "sha256": hashlib.sha256(together.encode()).hexdigest(),
            "unit": self.codec_unit,
            "splits": {split: len(its.ids) for split, its in self._splits.items()},
        }

    def describe(self) -> str:
        sizes = ", ".join(f"{split} {len(its.ids):,}" for split, its in self._splits.items())
        number = len(self._scans)
        files = f"{number} documents" if number > 1 else Path(self._scans[0].name).name
        return f"{sizes} {self.unit} of {files}; vocabulary of {self.codec.vocab_size:,}"

    def _cut(self, found: dict[str, list[Document]]) -> dict[str, list[Piece]]:
        """Scan all documents; cut from the training text what has no documents of its own."""
        as_bytes = self.codec_unit == "byte"
        scans = {split: [document.scan(as_bytes) for document in its] for split, its in found.items()}
        self._scans: list[Scan] = list(chain.from_iterable(scans.values()))
        whole = "train" if "train" in found else "all"
        lengths = [scan.length for scan in scans[whole]]
        val, test = (0.0 if split in found else self.fractions[split] for split in ("val", "test"))
        total = sum(lengths)
        if not total:
            raise UserError(f"data.path={self.path}: there is no text, only an empty file; give a file with text")
        bounds = [int(total * (1 - val - test)), int(total * (1 - test)), total]
        parts = dict(zip(("train", "val", "test"), cut(found[whole], lengths, bounds), strict=True))
        for split in ("val", "test"):
            if split in found:
                own = [scan.length for scan in scans[split]]
                parts[split] = cut(found[split], own, [sum(own)])[0]
            elif not self.fractions[split]:
                del parts[split]
        return parts

    def _fit(self, pieces: list[Piece]) -> TextCodec:
        if self.codec_unit == "byte":
            return ByteCodec()
        chunks = chain.from_iterable(cut_at_words(piece.text()) for piece in pieces)
        if self.codec_unit == "char":
            return CharCodec.fit(chunks)
        if self.codec_unit == "bpe":
            from rnntrain.data.bpe import BpeCodec  # needs an optional package

            return BpeCodec.fit(chunks, self.vocab_size)
        from rnntrain.data.words import WordCodec

        if self.vocab_path is not None:
            return WordCodec.from_file(self.vocab_path)
        return WordCodec.fit(chunks, self.max_vocab, self.min_count)

    def _encode(self, pieces: list[Piece]) -> Split:
        parts, bounds = [np.array([], self.codec.dtype)], [0]
        for piece in pieces:
            chunks: Iterator[Any] = piece.blocks() if self.codec_unit == "byte" else piece.text()
            encoded = list(self.codec.encode_chunks(chunks))
            parts += encoded
            bounds.append(bounds[-1] + sum(map(len, encoded)))
        return Split(np.concatenate(parts), np.array(bounds))

    def _bounds_D(self, split: str) -> np.ndarray:
        bounds_D = self._splits[split].bounds_D
        return bounds_D if self.documents else bounds_D[[0, -1]]

    def _plan(self, seed: int, epoch: int) -> Plan:
        rng = np.random.default_rng([seed, epoch])
        num_tokens = len(self._splits["train"].ids)
        if self.documents:
            bounds_D = self._bounds_D("train")
            if self.contiguous:
                order_D = rng.permutation(len(bounds_D) - 1)
                return Laid(document_windows(bounds_D, self.bptt, order_D), self.batch_size)
            windows = document_windows(bounds_D, self.bptt)
        elif self.contiguous:
            steps = stream_steps(num_tokens, self.batch_size)
            ends_K = random_ends(steps, self.bptt, rng) if self.random_bptt else equal_ends(steps, self.bptt)
            return Streams(num_tokens, self.batch_size, ends_K)
        else:
            windows = phased_windows(num_tokens, self.bptt, rng)
        return Shuffled(windows, self.batch_size, rng.permutation(len(windows.starts_W)))

    def _check_length(self, split: str) -> None:
        """Refuse a split that gives no batch."""
        longest = int(np.diff(self._bounds_D(split)).max(initial=0))
        needed, reason, fix = 2, "an input and its target", "give more text"
        if split == "train" and not self.documents and not self.contiguous:
            needed, reason, fix = self.bptt + 1, f"a window of data.bptt={self.bptt}", "lower data.bptt"
        elif split == "train" and not self.documents:
            size = self.batch_size
            needed, reason, fix = size + 1, f"data.batch_size={size} streams", "lower data.batch_size"
        elif split != "train" and self.fractions[split]:
            fix = f"give more text, or a larger data.{split}_fraction"
        if split == "train" and longest < 2:
            needed, reason, fix = 2, "an input and its target", "give more text"
        if longest < needed:
            what = f"longest {split} document" if self.documents else f"{split} split"
            raise UserError(
                f"data.path={self.path}: the {what} has {longest} {self.unit}, "
                f"and {needed} are needed for {reason}; {fix}"
            )
