"""The reader for what a model reads: one for each kind of input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias, cast

from rnntrain.errors import UserError
from rnntrain.predicting.forecasts import ForecastPredictor
from rnntrain.predicting.predictor import Example, Predictor
from rnntrain.predicting.readers.arrays import read_arrays, read_rolls
from rnntrain.predicting.readers.histories import read_histories, read_origins
from rnntrain.predicting.readers.items import Item, Reading
from rnntrain.predicting.readers.sounds import read_sounds
from rnntrain.predicting.readers.texts import read_documents, read_texts
from rnntrain.predicting.readers.tokens import read_tokens

Reader: TypeAlias = Callable[[str, Reading], Iterator[Item]]

# What is read more than once or in several places is named by its kind; single files are read to their end first.
READERS: dict[str, Reader] = {
    "text": read_texts,
    "tokens": read_tokens,
    "sound": read_sounds,
    "numbers": read_arrays,
    "symbols": read_arrays,
    "roll": read_rolls,
}


def reader_of(predictor: Predictor, reading: Reading) -> Reader:
    """Return the reader of a predictor's inputs."""
    if predictor.kind == "series":
        layout = cast(ForecastPredictor, predictor).layout
        read = read_origins if reading.labelled else read_histories
        return lambda path, how: read(path, layout, how)
    if reading.labelled and predictor.judged_whole:
        return read_documents
    return READERS[predictor.kind]


def items_of(predictor: Predictor, paths: Sequence[str], reading: Reading) -> Iterator[Item]:
    """Yield the raw inputs of files, folders and standard input (`-`), in their order.

    Raises:
        UserError: names the place of what cannot be read.
    """
    if reading.split is not None and predictor.kind not in ("numbers", "roll"):
        raise UserError(
            f"--split {reading.split}: is for archives of arrays; a file of {predictor.kind} is taken whole"
        )
    if paths.count("-") > 1:
        raise UserError("-: standard input can be read once; name it once")
    read = reader_of(predictor, reading)
    for path in paths:
        for item in read(path, reading):
            if len(paths) == 1 or "source" in item.shown:
                yield item
            else:
                yield item._replace(shown={"source": path, **item.shown})


def examples_of(predictor: Predictor, items: Iterable[Item], labelled: bool) -> Iterator[Example]:
    """Yield raw inputs as examples, with what is true of them where that is asked for."""
    for raw, where, shown, truth in items:
        example = predictor.labelled(raw, truth, where) if labelled else predictor.example(raw, where)
        yield example._replace(shown=shown)
