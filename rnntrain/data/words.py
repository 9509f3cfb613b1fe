"""The codec of words, by the convention of the Penn Treebank and WikiText files."""

# V vocabulary

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnntrain.data.codecs import TextCodec, cut_at_words, listed, malformed
from rnntrain.data.source import Document
from rnntrain.errors import UserError

UNKNOWN = "<unk>"
END_OF_LINE = "<eos>"


class WordCodec(TextCodec):
    """One entry a word, which is what stands between white space; every newline is the word `<eos>`.

    A line gives its words and `<eos>`, an empty one `<eos>` alone. Words outside the vocabulary, and `<unk>`
    where a file says so itself, are `<unk>`. A word stands for its characters and the one space or newline
    after it, an `<eos>` for none besides: exact for text with single spaces, but for empty lines, which count
    nothing.
    """

    unit = "word"

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.vocab_size = len(self.words)
        self._ids = {word: i for i, word in enumerate(self.words)}
        self.unknown_id: int = self._ids[UNKNOWN]

    @classmethod
    def fit(cls, chunks: Iterable[str], max_vocab: int | None = None, min_count: int = 1) -> WordCodec:
        """Take the words seen at least `min_count` times, the most frequent first.

        No word may go on from chunk to chunk. `max_vocab` limits the entries, `<unk>` and `<eos>` among them.
        """
        counts: Counter[str] = Counter()
        for chunk in chunks:
            counts.update(chunk.split())
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        special = [UNKNOWN, END_OF_LINE]
        kept = [word for word, count in ranked if count >= min_count and word not in special]
        return cls(special + kept[: None if max_vocab is None else max(0, max_vocab - len(special))])

    @classmethod
    def from_file(cls, path: str | Path) -> WordCodec:
        """Read a closed vocabulary, one word a line; `<unk>` and `<eos>` come last if it lacks them."""
        text = "".join(Document.of_file(Path(path).expanduser(), "data.vocab_path").text())
        lines = text.rstrip("\n").split("\n") if text else []
        seen: dict[str, int] = {}
        for number, line in enumerate(lines, start=1):
            word = line.strip()
            if len(word.split()) != 1:
                raise UserError(f"data.vocab_path={path}:{number}: one word a line, not {line!r}")
            if word in seen:
                raise UserError(f"data.vocab_path={path}:{number}: {word!r} stands on line {seen[word]} already")
            seen[word] = number
        if not seen:
            raise UserError(f"data.vocab_path={path}: the file is empty; write one word a line")
        return cls([*seen, *(word for word in (UNKNOWN, END_OF_LINE) if word not in seen)])

    @property
    def chars_per_token_V(self) -> np.ndarray:
        return np.array([0 if word == END_OF_LINE else len(word) + 1 for word in self.words], np.int64)

    def encode(self, text: str) -> np.ndarray:
        tokens = text.replace("\n", f" {END_OF_LINE} ").split()
        find, unknown = self._ids.get, self.unknown_id
        return np.fromiter((find(token, unknown) for token in tokens), self.dtype, len(tokens))

    def encode_chunks(self, chunks: Iterable[Any]) -> Iterator[np.ndarray]:
        return map(self.encode, cut_at_words(chunks))

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        lines: list[list[str]] = [[]]
        for word in (self.words[i] for i in ids):
            if word == END_OF_LINE:
                lines.append([])
            else:
                lines[-1].append(word)
        return "\n".join(map(" ".join, lines))

    def check_prompt(self, text: str) -> None:
        outside = [word for word in dict.fromkeys(text.split()) if word not in self._ids]
        if outside:
            raise UserError(
                f"the prompt has {listed(outside)}, not among the {self.vocab_size} words of the vocabulary; "
                f"leave out what is not there, or write {UNKNOWN} in its place"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"unit": self.unit, "words": self.words}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> WordCodec:
        words = state.get("words")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise malformed("`words` must be a list of strings")
        if len(set(words)) != len(words) or not {UNKNOWN, END_OF_LINE} <= set(words):
            raise malformed(f"`words` must be distinct and have {UNKNOWN} and {END_OF_LINE}")
        return cls(words)
