"""`rnntrain transcribe`: speech to text, of whole recordings or while it is spoken."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rnntrain.errors import DONE, UserError
from rnntrain.verbs.parsing import parse, require_run
from rnntrain.verbs.predicting import answering_parser, paths_and_overrides

if TYPE_CHECKING:
    from rnntrain.predicting.transcripts import TranscriptPredictor

PIECE_SECONDS = 0.5


def transcribe(arguments: list[str]) -> int:
    parser = answering_parser(
        "transcribe", "Write down what is said in recordings: WAV, FLAC and Ogg files, folders of them, manifests."
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="read piece by piece and print what is settled as it comes; - reads raw sound from standard input (signed "
        "16 bits, one channel, the model's rate)",
    )
    parser.add_argument(
        "--piece-seconds", type=float, default=PIECE_SECONDS, metavar="S", help=f"of a stream ({PIECE_SECONDS:g})"
    )
    options = parse(parser, arguments)
    require_run(options.run)
    paths, overrides = paths_and_overrides(options.words)
    if not paths:
        raise UserError(f"transcribe {options.run}: name a recording, a folder or a manifest")
    if not 0.01 <= options.piece_seconds <= 60:
        raise UserError(f"--piece-seconds {options.piece_seconds:g}: give 0.01 to 60")
    if options.stream and (len(paths) > 1 or options.out is not None or options.format == "csv"):
        raise UserError("--stream: takes one recording and prints to standard output, as text or jsonl")

    from rnntrain import using
    from rnntrain.predicting import writing
    from rnntrain.predicting.readers.finding import examples_of, items_of
    from rnntrain.predicting.readers.items import Reading
    from rnntrain.predicting.transcripts import TranscriptPredictor

    writing.check_out(options.out, options.force)
    run = using.load(options.run, overrides)
    predictor = run.predictor()
    if not isinstance(predictor, TranscriptPredictor):
        name = type(run.task).__name__
        raise UserError(f"{options.run}: a model trained for {name} writes no transcripts; transcribe takes task=ctc")
    if options.stream:
        for line in _streamed(predictor, paths[0], options.piece_seconds, options.format == "jsonl"):
            print(line, end="", flush=True)
        return DONE
    reading = Reading(run.config.data.arguments)
    examples = examples_of(predictor, items_of(predictor, paths, reading), labelled=False)
    shown = options.out is not None or not sys.stdout.isatty()
    records = writing.counted(reading.told(predictor.predict(examples)), "recordings", shown)
    how = writing.format_of(options.format, options.out)
    writing.deliver(writing.pieces(records, predictor, how), options.out)
    return DONE


def _streamed(predictor: TranscriptPredictor, path: str, seconds: float, as_json: bool) -> Iterator[str]:
    """Yield what is to be printed: the text as it is settled, or a JSON record a piece."""
    from rnntrain.predicting.streaming import StreamTranscriber, pieces_of_file, pieces_of_stream

    transcriber = StreamTranscriber(predictor)
    rate = predictor.codec.frontend.settings.sample_rate
    if path == "-":
        pieces = pieces_of_stream(sys.stdin.buffer, seconds, rate)
    else:
        pieces = pieces_of_file(Path(path).expanduser(), path, seconds, rate)
    printed = ""
    for samples_S in pieces:
        text = transcriber.push(samples_S)
        if as_json:
            yield _record(text, transcriber.seconds, final=False)
        elif len(text) > len(printed):
            yield text[len(printed) :]
            printed = text
    whole = transcriber.finish()
    yield _record(whole, transcriber.seconds, final=True) if as_json else f"{whole[len(printed) :]}\n"


def _record(text: str, seconds: float, *, final: bool) -> str:
    record = {"seconds": round(seconds, 3), "text": text, "final": final}
    return json.dumps(record, ensure_ascii=False) + "\n"
