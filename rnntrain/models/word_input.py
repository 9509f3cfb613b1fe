"""The input layer of words: what a word is, how it is spelt, and what it looks like."""

# B batch, T time, D width, F = 3 + C features of a word, C characters, N = B·T words, E width of a character,
# H of spelling, M characters and marks of a word's ends, G n-grams

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.batch import length_mask
from rnntrain.cells.lstm import LSTM
from rnntrain.data.spelt_words import FIRST_CHAR, NUM_CHARS, SHAPE, SHAPES, UNKNOWN_ID, WORD, SpeltWords
from rnntrain.errors import UserError
from rnntrain.models.backbone import Bidirectional

CharFeatures = Literal["cnn", "lstm", "ngrams", "none"]
CHAR_EMBEDDING = 32
KERNEL = 3
SHAPE_EMBEDDING = 8
SHORTEST, LONGEST = 2, 5  # n-grams, in characters and marks of a word's ends
BUCKETS = 1 << 14  # vectors that all n-grams share
HASH_BASE, HASH_MODULUS = 1_000_003, (1 << 31) - 1


class WordInput(nn.Module):
    """Word embedding, spelling and shape side by side, `size` wide together; n-grams are added to the word instead.

    Embeddings start as U(-√(3/d), √(3/d)), variance 1/d. In training, words become `<unk>` at random, so that the
    model learns to do without them: those seen once at one rate, all of them at another.

    Args:
        codec: fitted; its features are this module's input.
        size: width D of the output; the word embedding gets what spelling and shape leave.
        char_features: spelling by a convolution over three characters and the maximum over the word (Ma and Hovy
            2016, arXiv:1603.01354), by the last states of an LSTM from either end (Lample et al. 2016,
            arXiv:1603.01360), or by the mean vector of its n-grams, which is added to the word's own (Bojanowski et
            al. 2017, arXiv:1607.04606).
        char_size: width of the spelling; n-grams are as wide as the word embedding.
        shape: whether there is an embedding of the shape.
        once_dropout: rate at which words of the training split that occur once become `<unk>`.
        word_dropout: rate at which any word does.

    Raises:
        UserError: if nothing is left for the word embedding, or an LSTM's `char_size` is odd.
    """

    def __init__(
        self,
        codec: SpeltWords,
        size: int,
        *,
        char_features: CharFeatures,
        char_size: int,
        shape: bool,
        once_dropout: float,
        word_dropout: float,
    ) -> None:
        super().__init__()
        beside = char_features in ("cnn", "lstm")
        self.shape = nn.Embedding(len(SHAPES), SHAPE_EMBEDDING) if shape else None
        rest = (char_size if beside else 0) + (SHAPE_EMBEDDING if shape else 0)
        if size <= rest:
            raise UserError(
                f"model.embedding_size={size}: spelling and shape take {rest} of it and leave nothing for the words; "
                f"set model.embedding_size={rest + 100}, or lower task.char_size"
            )
        self.spelling = _spelling(char_features, len(codec.characters) + 1, char_size if beside else size - rest)
        self.word = nn.Embedding(len(codec.words), size - rest)
        for embedding in (self.word, self.shape):
            if embedding is not None:
                spread_(embedding)
        self.first_once = len(codec.words) - codec.num_once
        self.once_dropout, self.word_dropout = once_dropout, word_dropout

    def forward(self, inputs_BTF: Tensor) -> Tensor:
        word_BTD = self.word(self._drop_words(inputs_BTF[..., WORD]))
        parts = [word_BTD]
        if self.spelling is not None:
            chars_NC = inputs_BTF[..., FIRST_CHAR:].flatten(0, 1)
            spelling_NH = self.spelling(chars_NC, inputs_BTF[..., NUM_CHARS].flatten())
            spelling_BTH = spelling_NH.view(*inputs_BTF.shape[:2], -1)
            parts = [word_BTD + spelling_BTH] if isinstance(self.spelling, CharNgrams) else [word_BTD, spelling_BTH]
        if self.shape is not None:
            parts.append(self.shape(inputs_BTF[..., SHAPE]))
        return torch.cat(parts, -1)

    def _drop_words(self, words_BT: Tensor) -> Tensor:
        if not self.training or not (self.once_dropout or self.word_dropout):
            return words_BT
        rate_BT = torch.where(words_BT >= self.first_once, max(self.once_dropout, self.word_dropout), self.word_dropout)
        dropped_BT = torch.rand(words_BT.shape, device=words_BT.device) < rate_BT
        return words_BT.masked_fill(dropped_BT, UNKNOWN_ID)


class CharCNN(nn.Module):
    """The maximum over a word of a convolution over its characters, zeros beyond its ends."""

    def __init__(self, num_chars: int, size: int) -> None:
        super().__init__()
        self.num_chars = num_chars
        self.embedding = nn.Embedding(num_chars, CHAR_EMBEDDING)
        spread_(self.embedding)
        self.convolution = nn.Conv1d(CHAR_EMBEDDING, size, KERNEL, padding=KERNEL // 2)

    def forward(self, chars_NC: Tensor, counts_N: Tensor) -> Tensor:
        beyond_NC = ~length_mask(counts_N, chars_NC.shape[1])
        x_NCE = self.embedding(chars_NC).masked_fill(beyond_NC[..., None], 0)
        # Not below zero, so that zeros beyond the word's end never are the maximum of one that has characters.
        y_NHC = F.relu(self.convolution(x_NCE.transpose(1, 2)))
        return y_NHC.masked_fill(beyond_NC[:, None], 0).amax(2)


class CharLSTM(nn.Module):
    """The last states of two LSTMs over a word's characters, one from each end."""

    def __init__(self, num_chars: int, size: int) -> None:
        super().__init__()
        if size % 2:
            raise UserError(f"task.char_size={size}: is shared between two directions; give an even number")
        self.num_chars = num_chars
        self.embedding = nn.Embedding(num_chars, CHAR_EMBEDDING)
        spread_(self.embedding)
        self.lstm = Bidirectional(LSTM(CHAR_EMBEDDING, size // 2), LSTM(CHAR_EMBEDDING, size // 2))

    def forward(self, chars_NC: Tensor, counts_N: Tensor) -> Tensor:
        _, ((ahead_NH, _), (back_NH, _)) = self.lstm(self.embedding(chars_NC), None, counts_N)
        return torch.cat([ahead_NH, back_NH], -1)


class CharNgrams(nn.Module):
    """The mean of vectors of a word's n-grams, of two to five characters with a mark at either end of the word.

    As in fastText (Bojanowski et al. 2017, arXiv:1607.04606, section 3.2) n-grams are hashed into a table, where some
    share a vector; the word's own is an embedding beside it. The mean, not their sum, so that long words are no louder.
    """

    def __init__(self, num_chars: int, size: int) -> None:
        super().__init__()
        self.num_chars = num_chars
        self.embedding = nn.Embedding(BUCKETS + 1, size, padding_idx=0)
        spread_(self.embedding)
        with torch.no_grad():
            self.embedding.weight[0] = 0

    def forward(self, chars_NC: Tensor, counts_N: Tensor) -> Tensor:
        ngrams_NG = hashed_ngrams(chars_NC, counts_N, self.num_chars)
        total_NH: Tensor = self.embedding(ngrams_NG).sum(1)
        return total_NH / (ngrams_NG > 0).sum(1).clamp(min=1)[:, None]


def hashed_ngrams(chars_NC: Tensor, counts_N: Tensor, num_chars: int) -> Tensor:
    """Return the places of each word's n-grams in the table, ``[N, G]``, 0 where a shorter word has none.

    Of an n-gram c_1 … c_n with h = Σ c_i · b^(n-i) modulo the prime p = 2^31 - 1, the place is h² + h modulo p, modulo
    the size of the table: without the square, n-grams that differ in few characters would lie close.
    """
    chars_NC = F.pad(chars_NC, (0, LONGEST - 1))  # the longest n-gram has a place whatever the words
    at_C = torch.arange(chars_NC.shape[1], device=chars_NC.device)
    end_NM = torch.where(at_C == counts_N[:, None], num_chars + 1, chars_NC)
    marked_NM = F.pad(end_NM, (1, 0), value=num_chars) + 1
    places = []
    for size in range(SHORTEST, LONGEST + 1):
        number = marked_NM.shape[1] - size + 1
        hash_NG = marked_NM[:, :number]
        for place in range(1, size):
            hash_NG = (hash_NG * HASH_BASE + marked_NM[:, place : place + number]) % HASH_MODULUS
        inside_NG = (at_C[:number] < counts_N[:, None] + 3 - size) & (counts_N[:, None] > 0)
        mixed_NG = (hash_NG * hash_NG + hash_NG) % HASH_MODULUS  # below 2^63, as a whole
        places.append(torch.where(inside_NG, mixed_NG % BUCKETS + 1, 0))
    return torch.cat(places, 1)


def _spelling(kind: CharFeatures, num_chars: int, size: int) -> nn.Module | None:
    if kind == "none":
        return None
    kinds = {"cnn": CharCNN, "lstm": CharLSTM, "ngrams": CharNgrams}
    spelling: nn.Module = kinds[kind](num_chars, size)
    return spelling


@torch.no_grad()
def spread_(embedding: nn.Embedding) -> None:
    """Fill an embedding with U(-√(3/d), √(3/d)), so that its vectors have a length of about 1."""
    nn.init.uniform_(embedding.weight, -((3 / embedding.embedding_dim) ** 0.5), (3 / embedding.embedding_dim) ** 0.5)
