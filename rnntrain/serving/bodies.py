"""What a client sent, as raw inputs of a predictor: JSON, a sound file, or a table of series."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from rnntrain.errors import UserError
from rnntrain.predicting.forecasts import ForecastPredictor
from rnntrain.predicting.predictor import Predictor
from rnntrain.predicting.readers.histories import read_histories
from rnntrain.predicting.readers.items import Reading
from rnntrain.serving.limits import Limits

SOUNDS = ("audio/", "application/octet-stream")
TABLES = ("text/csv", "text/tab-separated-values")
JSON = "application/json"
MOST_LISTS = 500_000  # and objects, of one body


class Refused(Exception):
    """A request that is answered with a status of HTTP and one line.

    Attributes:
        status: 4xx where the client can mend it, 503 and 504 where it may come again.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def parse_json(body: bytes) -> Any:
    """Return what a body of JSON holds.

    Raises:
        Refused: it is none, is nested too deeply, or holds NaN, infinities, signs that are no text, or so many lists
            that it would come to thirty times its size in memory.
    """
    if body.count(b"[") + body.count(b"{") > MOST_LISTS:
        raise Refused(413, f"the body has more than {MOST_LISTS:,} lists and objects; send fewer inputs at once")
    try:
        parsed = json.loads(body.decode(), parse_constant=_no_constant)
        if b"\\ud" in body.lower():  # half of a pair of surrogates, which no text holds
            json.dumps(parsed, ensure_ascii=False).encode()
        return parsed
    except (ValueError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise Refused(400, f"the body is not JSON: {said[:200]}") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON; use null")


def object_of(body: bytes, known: Mapping[str, str]) -> dict[str, Any]:
    """Return a body that must be a JSON object with no keys but the known ones, which are named with what they are."""
    parsed = parse_json(body)
    if not isinstance(parsed, dict):
        raise Refused(400, f"the body must be a JSON object with {_listed(known)}")
    strange = [key for key in parsed if key not in known]
    if strange:
        raise Refused(400, f"{strange[0][:40]!r}: no such key; there are {_listed(known)}")
    return parsed


def _listed(known: Mapping[str, str]) -> str:
    return ", ".join(f"{key} ({what})" for key, what in known.items())


def raw_inputs(predictor: Predictor, reading: Mapping[str, Any], kind: str, body: bytes, limits: Limits) -> list[Any]:
    """Return the raw inputs of a request.

    Args:
        reading: how the run's data set read its own files.
        kind: the content type that the request names, without its parameters.

    Raises:
        Refused: of another type than the model reads, or not well formed.
        UserError: a table is not as the model needs it.
    """
    if kind == JSON:
        inputs = object_of(body, {"inputs": "a list"}).get("inputs")
        if not isinstance(inputs, list) or not inputs:
            raise Refused(400, 'the body must be {"inputs": [one, another, …]} with at least one input')
        if predictor.kind == "sound":
            raise Refused(415, "this model hears: send a sound file with the content type audio/wav")
    elif predictor.kind == "sound" and kind.startswith(SOUNDS):
        inputs = [body]
    elif predictor.kind == "series" and kind in TABLES:
        assert isinstance(predictor, ForecastPredictor)
        inputs = _histories(predictor, reading, body)
    else:
        raise Refused(415, f"the content type {kind or 'of nothing'!r} is not read here; send {_types(predictor)}")
    if len(inputs) > limits.max_inputs:
        raise Refused(413, f"{len(inputs):,} inputs; at most {limits.max_inputs:,} in one request")
    return inputs


def _types(predictor: Predictor) -> str:
    return {"sound": "audio/wav", "series": f"{JSON} or text/csv"}.get(predictor.kind, JSON)


def _histories(predictor: ForecastPredictor, reading: Mapping[str, Any], body: bytes) -> list[Any]:
    """Read a table through the reader of files, which names lines; the file is gone when this returns."""
    with tempfile.TemporaryDirectory(prefix="rnntrain-") as folder:
        path = Path(folder) / "table.csv"
        path.write_bytes(body)
        try:
            return [item.raw for item in read_histories(str(path), predictor.layout, Reading(reading))]
        except UserError as error:
            raise UserError(str(error).replace(f"{path}", "table")) from error
