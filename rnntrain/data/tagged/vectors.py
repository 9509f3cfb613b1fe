"""Word vectors in a text file, as GloVe and word2vec write them: one word and its numbers a line."""

# V vocabulary, D width

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from rnntrain.data.places import resolve
from rnntrain.data.source import Document
from rnntrain.data.tagged.conll import lines_of
from rnntrain.errors import UserError

_COUNTS = re.compile(r"\d+ \d+")


def read_vectors(path: str, word_ids: Mapping[str, int], key: str) -> dict[int, np.ndarray]:
    """Return the vectors of the words that are asked for, by their numbers, all of one width.

    The file is read line by line and only what is asked for is kept. A first line of two whole numbers, as word2vec
    writes, is skipped. A word that the file lacks takes the vector of its lower-case form, where the file has that.

    Args:
        key: the config key that the path comes from, for messages.

    Raises:
        UserError: names file and line, for a line that is no vector or is of another width; or says that the file
            has none of the words.
    """
    document = Document.of_file(resolve(path, key), key)
    lower_ids: dict[str, list[int]] = {}
    for word, number in word_ids.items():
        lower_ids.setdefault(word.lower(), []).append(number)
    exact: dict[int, np.ndarray] = {}
    lowered: dict[int, np.ndarray] = {}
    width = 0
    for number, line in enumerate(lines_of(document), start=1):
        line = line.rstrip()
        if number == 1 and _COUNTS.fullmatch(line):
            continue
        # From the right: some files have entries with spaces in them, which are nobody's word.
        word, *numbers = line.rsplit(" ", width or -1)
        width = width or len(numbers)
        if not width or len(numbers) < width:
            raise UserError(f"{document.name}:{number}: {len(numbers)} numbers after the word, not {width}; mend it")
        if word in word_ids or word in lower_ids:
            vector_D = _vector(numbers, f"{document.name}:{number}")
            if word in word_ids:
                exact[word_ids[word]] = vector_D
            lowered |= dict.fromkeys(lower_ids.get(word, ()), vector_D)
    found = lowered | exact
    if not found:
        raise UserError(
            f"{key}={path}: has none of the {len(word_ids):,} words of the vocabulary; is it a text file with a word "
            "and its numbers a line, in the language of the data?"
        )
    return found


def _vector(numbers: list[str], place: str) -> np.ndarray:
    try:
        vector_D = np.array(numbers, np.float32)
    except ValueError as error:
        raise UserError(f"{place}: not a word and its numbers ({error}); mend the line") from error
    if not np.isfinite(vector_D).all():
        raise UserError(f"{place}: a number is not finite; mend the line")
    return vector_D
