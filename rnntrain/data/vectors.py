"""Word vectors in a text file, as GloVe and word2vec write them: one word and its numbers a line."""

# V vocabulary, D width

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnntrain.data.conll import lines_of
from rnntrain.data.places import resolve
from rnntrain.data.source import Document
from rnntrain.errors import UserError


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
    wanted: dict[str, list[int]] = {}
    for word, number in word_ids.items():
        for form in dict.fromkeys((word, word.lower())):
            wanted.setdefault(form, []).append(number)
    found: dict[int, np.ndarray] = {}
    exact: set[int] = set()
    width: int | None = None
    for number, line in enumerate(lines_of(document), start=1):
        word, _, rest = line.rstrip().partition(" ")
        if number == 1 and word.isdigit() and rest.isdigit():
            continue
        count = rest.count(" ") + 1
        width = count if width is None else width
        if count != width or not rest:
            raise UserError(f"{document.name}:{number}: {count} numbers, where the lines before have {width}; mend it")
        if word not in wanted:
            continue
        vector_D = _vector(rest, f"{document.name}:{number}")
        for word_id in wanted[word]:
            is_exact = word_ids.get(word) == word_id
            if is_exact or word_id not in exact:
                found[word_id] = vector_D
                exact |= {word_id} if is_exact else set()
    if not found:
        raise UserError(
            f"{key}={path}: has none of the {len(word_ids):,} words of the vocabulary; is it a text file with a word "
            "and its numbers a line, in the language of the data?"
        )
    return found


def _vector(text: str, place: str) -> np.ndarray:
    try:
        vector_D = np.array(text.split(" "), np.float32)
    except ValueError as error:
        raise UserError(f"{place}: not a word and its numbers ({error}); mend the line") from error
    if not np.isfinite(vector_D).all():
        raise UserError(f"{place}: a number is not finite; mend the line")
    return vector_D
