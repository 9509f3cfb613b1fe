"""Tagged sentences in columns (CoNLL): named entities, parts of speech, anything with one tag a token."""

# N sentences, B batch, T time, U distinct tokens, F features of a token, M tokens of a split

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rnntrain.data.base import Codec, DataSet
from rnntrain.data.bucketing import ordered_batches, pad, shuffled_batches
from rnntrain.data.fractions import check_fractions
from rnntrain.data.places import resolve
from rnntrain.data.source import Document, find_documents, find_splits
from rnntrain.data.spelt_words import trimmed
from rnntrain.data.tagged.bio import has_ends, marks_spans, spans_of, tokens_with_spans
from rnntrain.data.tagged.conll import Layout, Sentence, read_sentences
from rnntrain.data.tagged.mending import Alternatives, Bio, choose_alternatives, mend_tags
from rnntrain.data.tagged.tag_codec import TagCodec
from rnntrain.errors import UserError, closest
from rnntrain.ranges import Fraction, PositiveInt

if TYPE_CHECKING:
    from rnntrain.batch import Batch

SPLITS = ("train", "val", "test")


class Split(NamedTuple):
    """Sentences laid end to end: which of the distinct tokens, and which tag; sentence n begins at `bounds_N[n]`."""

    tokens_M: np.ndarray
    tags_M: np.ndarray
    bounds_N: np.ndarray


class Columns(DataSet):
    """Sentences of tokens with one tag each: one token a line, columns parted by tabs or spaces, a blank line between
    sentences.

    A folder whose files have the names of splits (`train.txt`, `emerging.dev.conll`, `test/`) gives these splits; a
    single file is cut in its order, train first, then val, then test. Text is UTF-8, a byte-order mark is dropped.
    Words, characters and tags are those of the training split.

    Args:
        path: a file or folder; `@NAME/FILE` is one of a known data set.
        val_path: a file or folder for validation.
        test_path: a file or folder for the test.
        val_fraction: share of the sentences for validation, where it has no file.
        test_fraction: share of the sentences for the test, where it has no file.
        suffixes: of the files to read in a folder; if null, all that look like text.
        token_column: counted from 1; the first if null.
        tag_column: counted from 1; the last if null.
        comments: skip lines that begin with `#`.
        bio: what to do with tags that break the rules of their scheme, such as I- without B- before it: refuse the
            file, repair them by reading spans as the CoNLL script does (also IOB1 becomes BIO), or keep them.
        alternatives: what to do with several tags of one token, as in `B-person,B-group`: refuse the file, or take
            the first that may follow the tag before.
        lower: look words up in lower case; characters and shapes keep their case.
        digits: take each digit of a word as 0.
        min_count: words seen less often in train are `<unk>`.
        max_vocab: at most so many words, the most frequent.
        max_word_length: characters of a token that are read, its first ones.
        batch_size: sentences in a batch.
        eval_batch_size: sentences in a batch of evaluation; `batch_size` if null.
    """

    unit = "tokens"

    def __init__(
        self,
        path: str,
        val_path: str | None = None,
        test_path: str | None = None,
        val_fraction: Fraction = 0.1,
        test_fraction: Fraction = 0.0,
        suffixes: list[str] | None = None,
        token_column: PositiveInt | None = None,
        tag_column: PositiveInt | None = None,
        comments: bool = False,
        bio: Bio = "refuse",
        alternatives: Alternatives = "refuse",
        lower: bool = False,
        digits: bool = False,
        min_count: PositiveInt = 1,
        max_vocab: PositiveInt | None = None,
        max_word_length: PositiveInt = 32,
        batch_size: PositiveInt = 32,
        eval_batch_size: PositiveInt | None = None,
    ) -> None:
        check_fractions(val_fraction, test_fraction)
        self.path, self.paths = path, {"val": val_path, "test": test_path}
        self.fractions = {"val": val_fraction, "test": test_fraction}
        self.suffixes = tuple(suffixes or ())
        self.layout = Layout(token_column, tag_column, comments)
        self.bio: Bio = bio
        self.alternatives: Alternatives = alternatives
        self.fit_options: dict[str, Any] = {
            "lower": lower,
            "digits": digits,
            "min_count": min_count,
            "max_vocab": max_vocab,
            "max_word_length": max_word_length,
        }
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size

    # -- reading ---

    def load(self, codec: Codec | None = None) -> None:
        if codec is not None and not isinstance(codec, TagCodec):
            raise UserError(f"the model reads no tags ({type(codec).__name__}); give it the data of its kind")
        self.layout = replace(self.layout, width=None)
        sentences = self._cut(self._read())
        self._repaired = 0
        self._settle(sentences)
        if codec is None:
            self._check_tags(sentences["train"])
            codec = TagCodec.fit(((s.tokens, s.tags) for s in sentences["train"]), **self.fit_options)
        self.codec: TagCodec = codec
        self.splits = tuple(split for split in SPLITS if split in sentences)
        self._forms = list(dict.fromkeys(token for its in sentences.values() for s in its for token in s.tokens))
        self._features_UF = codec.encode(self._forms)
        numbers = {form: number for number, form in enumerate(self._forms)}
        self._splits = {split: self._encode(its, split, numbers) for split, its in sentences.items()}

    def _read(self) -> dict[str, list[Sentence]]:
        """Return the sentences of each split that has files of its own; "train" or "all" are cut for the others."""
        found = find_splits(resolve(self.path, "data.path"), "data.path", self.suffixes, any_file=False)
        for split, path in self.paths.items():
            if path is not None:
                key = f"data.{split}_path"
                found[split] = find_documents(resolve(path, key), key, self.suffixes, any_file=False)
        sentences = {split: list(self._read_all(its)) for split, its in found.items()}
        self._scans = [document.scan(as_bytes=True) for its in found.values() for document in its]
        return sentences

    def _read_all(self, documents: list[Document]) -> Iterator[Sentence]:
        for document in documents:
            sentences = list(read_sentences(document, self.layout))
            if not sentences:
                raise UserError(f"{document.name}: holds no sentence; give a file with a token and its tag a line")
            yield from sentences

    def _cut(self, found: dict[str, list[Sentence]]) -> dict[str, list[Sentence]]:
        """Cut from the training sentences, in their order, what has no file of its own."""
        whole = found["train" if "train" in found else "all"]
        shares = {split: 0.0 if split in found else self.fractions[split] for split in ("val", "test")}
        train_end, val_end = (
            int(len(whole) * (1 - shares["val"] - shares["test"])),
            int(len(whole) * (1 - shares["test"])),
        )
        parts = {"train": whole[:train_end], "val": whole[train_end:val_end], "test": whole[val_end:]}
        for split in ("val", "test"):
            if split in found:
                parts[split] = found[split]
            elif not self.fractions[split]:
                del parts[split]
        for split, its in parts.items():
            if not its:
                raise UserError(
                    f"data.path={self.path}: {len(whole)} sentences leave none for {split}; give more, or change "
                    "data.val_fraction and data.test_fraction"
                )
        return parts

    # -- tags ---

    def _settle(self, sentences: dict[str, list[Sentence]]) -> None:
        """Choose among alternatives, then refuse or repair tags that break the rules of their scheme."""
        everyone = list(chain.from_iterable(sentences.values()))
        for sentence in everyone:
            choose_alternatives(sentence, self.alternatives)
        tags = {tag for sentence in sentences["train"] for tag in sentence.tags}
        if self.bio != "keep" and marks_spans(tags):
            self._repaired = sum(mend_tags(sentence, has_ends(tags), self.bio) for sentence in everyone)

    def _check_tags(self, train: list[Sentence]) -> None:
        tags = {tag for sentence in train for tag in sentence.tags}
        if len(tags) == 1:
            raise UserError(
                f"{train[0].source}: every token of the training split has the tag {tags.pop()}, so there is nothing "
                "to learn; is it the right data.tag_column?"
            )

    def _encode(self, sentences: list[Sentence], split: str, numbers: dict[str, int]) -> Split:
        tags: list[int] = []
        for sentence in sentences:
            for place, tag in enumerate(sentence.tags):
                number = self.codec.tag_id(tag)
                if number is None:
                    raise UserError(
                        f"{sentence.place(place)}: the tag {tag} of the {split} split does not occur in training"
                        f"{closest(tag, self.codec.tags)}; correct it, or add a training sentence that has it"
                    )
                tags.append(number)
        tokens = np.fromiter((numbers[token] for s in sentences for token in s.tokens), np.int32)
        bounds_N = np.cumsum([0, *(len(s.tokens) for s in sentences)])
        return Split(tokens, np.array(tags, np.int32), bounds_N)

    # -- batches ---

    def train_batches(self, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        lengths_N = np.diff(self._splits["train"].bounds_N)
        order = shuffled_batches(lengths_N, self.batch_size, np.random.default_rng([seed, epoch]))
        return (self.batch("train", index_B) for index_B in order[start:])

    def num_train_batches(self, seed: int, epoch: int) -> int:
        return -(-self.num_sentences("train") // self.batch_size)

    def eval_batches(self, split: str) -> Iterator[Batch]:
        order = ordered_batches(np.diff(self._splits[split].bounds_N), self.eval_batch_size)
        return (self.batch(split, index_B) for index_B in order)

    def batch(self, split: str, index_B: Sequence[int] | np.ndarray) -> Batch:
        """Return the batch of the given sentences."""
        import torch  # here, since a config is checked without it

        from rnntrain.batch import Batch

        its = self._splits[split]
        stretches = [slice(its.bounds_N[n], its.bounds_N[n + 1]) for n in index_B]
        tokens_BT, lengths_B = pad([its.tokens_M[stretch] for stretch in stretches])
        tags_BT, _ = pad([its.tags_M[stretch] for stretch in stretches])
        inputs_BTF = self._features_UF[tokens_BT]
        inputs_BTF[np.arange(tokens_BT.shape[1]) >= lengths_B[:, None]] = 0
        full = lengths_B.min() == tokens_BT.shape[1]
        return Batch(
            torch.from_numpy(trimmed(inputs_BTF).astype(np.int64)),
            torch.from_numpy(tags_BT.astype(np.int64)),
            None if full else torch.from_numpy(lengths_B),
        )

    # -- for people, baselines and resume ---

    def num_sentences(self, split: str) -> int:
        return len(self._splits[split].bounds_N) - 1

    def sentence(self, split: str, number: int) -> tuple[list[str], list[str]]:
        """Return the tokens and tags of a sentence as they were read, unknown words and all."""
        its = self._splits[split]
        stretch = slice(its.bounds_N[number], its.bounds_N[number + 1])
        return (
            [self._forms[i] for i in its.tokens_M[stretch]],
            [self.codec.tags[i] for i in its.tags_M[stretch]],
        )

    def sentences(self, split: str) -> Iterator[tuple[list[str], list[str]]]:
        return (self.sentence(split, number) for number in range(self.num_sentences(split)))

    def counts(self, split: str) -> dict[str, int]:
        """Return how many spans of each type a split has; how many tokens of each tag where tags mark no spans."""
        counted: Counter[str] = Counter()
        for _, tags in self.sentences(split):
            counted.update((span.type for span in spans_of(tags)) if self.codec.marks_spans else tags)
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))

    def examples(self, split: str, number: int) -> list[str]:
        last = min(number, self.num_sentences(split))
        return [tokens_with_spans(*self.sentence(split, place)) for place in range(last)]

    def fingerprint(self) -> dict[str, Any]:
        together = "".join(f"{scan.sha256}\n" for scan in self._scans)
        return {
            "num_files": len(self._scans),
            "sha256": hashlib.sha256(together.encode()).hexdigest(),
            "splits": {split: self.num_sentences(split) for split in self.splits},
        }

    def describe(self) -> str:
        sizes = ", ".join(
            f"{split} {self.num_sentences(split):,} sentences ({len(self._splits[split].tokens_M):,} tokens)"
            for split in self.splits
        )
        codec = self.codec
        kinds = f"{len(codec.types)} types of spans" if codec.marks_spans else f"{len(codec.tags)} tags"
        repaired = f", {self._repaired:,} tags repaired" if self._repaired else ""
        words = f"{len(codec.words):,} words and {len(codec.characters):,} characters"
        return f"{sizes}; {self.layout.describe()}; {kinds}{repaired}; vocabulary of {words}"
