"""The codec of byte pairs: pieces of words, learnt from the training text by the `tokenizers` package."""

# V vocabulary

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from rnntrain.data.codecs import TextCodec, cut_at_words, malformed
from rnntrain.errors import UserError

PIECE = 1 << 16  # characters that one thread of `tokenizers` gets at once
SEEN_AT_LEAST = 2  # a pair seen once says nothing about other text


class BpeCodec(TextCodec):
    """One entry a sequence of bytes, frequent in the training text (Sennrich et al. 2016; bytes as in GPT-2).

    All 256 bytes are entries, so that no text is outside the vocabulary.
    """

    unit = "bpe"

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.vocab_size: int = tokenizer.get_vocab_size()

    @classmethod
    def fit(cls, chunks: Iterable[str], vocab_size: int) -> BpeCodec:
        """Merge the most frequent pairs until there are `vocab_size` entries, or no pair is frequent.

        No word may go on from chunk to chunk.
        """
        tokenizer = _tokenizer()
        from tokenizers.pre_tokenizers import ByteLevel
        from tokenizers.trainers import BpeTrainer

        trainer = BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=SEEN_AT_LEAST,
            initial_alphabet=ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(iter(chunks), trainer)
        return cls(tokenizer)

    @property
    def chars_per_token_V(self) -> np.ndarray:
        # Each character begins with one byte that is no continuation byte (10xxxxxx), wherever it may be cut.
        byte_of = _bytes_by_sign()
        entries = (self._tokenizer.id_to_token(i) for i in range(self.vocab_size))
        return np.array([sum(byte_of[sign] & 0xC0 != 0x80 for sign in entry) for entry in entries], np.int64)

    def encode(self, text: str) -> np.ndarray:
        clean = text.encode("utf-8", "replace").decode("utf-8")
        pieces = list(cut_at_words(clean[i : i + PIECE] for i in range(0, len(clean), PIECE)))
        encoded = self._tokenizer.encode_batch_fast(pieces, add_special_tokens=False)
        return np.concatenate([np.array([], self.dtype), *(np.array(e.ids, self.dtype) for e in encoded)])

    def encode_chunks(self, chunks: Iterable[Any]) -> Iterator[np.ndarray]:
        return map(self.encode, cut_at_words(chunks))

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return self._tokenizer.decode([int(i) for i in ids])

    def state_dict(self) -> dict[str, Any]:
        return {"unit": self.unit, "tokenizer": json.loads(self._tokenizer.to_str())}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> BpeCodec:
        """Take the entries and merges; how they are applied is our own and not read from the state."""
        try:
            model = state["tokenizer"]["model"]
            entries, merges = (
                dict(model["vocab"]),
                [(str(left), str(right)) for left, right in model["merges"]],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise malformed("`tokenizer` must hold a model with vocab and merges") from error
        byte_of = _bytes_by_sign()
        numbers = list(entries.values())
        if any(type(number) is not int for number in numbers) or sorted(numbers) != list(range(len(numbers))):
            raise malformed("the entries of `vocab` must be numbered from 0 without a gap")
        if not byte_of.keys() <= entries.keys() or any(set(entry) - byte_of.keys() for entry in entries):
            raise malformed("`vocab` must hold all 256 bytes, and sequences of them alone")
        try:
            return cls(_tokenizer(entries, merges))
        except UserError:
            raise
        except Exception as error:  # `tokenizers` raises no narrower class
            raise malformed(f"`merges` do not fit `vocab` ({error})") from error


def _tokenizer(entries: dict[str, int] | None = None, merges: list[tuple[str, str]] | None = None) -> Any:
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    except ImportError as error:
        raise UserError("data.unit=bpe needs the package tokenizers; pip install 'rnntrain[bpe]'") from error
    tokenizer = Tokenizer(models.BPE(entries, merges) if entries is not None else models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _bytes_by_sign() -> dict[str, int]:
    """Return the byte that each sign of GPT-2's alphabet stands for; what does not print is past 255."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}
