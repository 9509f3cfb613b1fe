"""`rnntrain predict`: what a trained model says of files, folders and standard input."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from rnntrain.errors import DONE, UserError
from rnntrain.verbs.parsing import Parser, parse, require_run

_OVERRIDE = re.compile(r"\+{0,2}[A-Za-z_][\w.]*=")


def predict(arguments: list[str]) -> int:
    parser = answering_parser(
        "predict",
        "Say what a run's model makes of new inputs: classes with probabilities, tags and spans, transcripts, "
        "forecasts, numbers, or how probable a text is. Without a file, or for -, it reads standard input.",
    )
    parser.add_argument(
        "--input",
        choices=["auto", "lines", "table", "jsonl", "conll"],
        default="auto",
        help="form of text files; guessed from the name's end and the first lines (auto)",
    )
    parser.add_argument("--split", choices=["train", "val", "test"], help="of an archive of arrays that has several")
    options = parse(parser, arguments)
    require_run(options.run)
    paths, overrides = paths_and_overrides(options.words)
    if not paths and sys.stdin.isatty():
        raise UserError(f"predict {options.run}: name a file or folder, or - to type a text a line")

    from rnntrain import using
    from rnntrain.predicting import writing
    from rnntrain.predicting.predictor import WINDOW
    from rnntrain.predicting.readers.finding import examples_of, items_of
    from rnntrain.predicting.readers.items import Reading

    writing.check_out(options.out, options.force)
    run = using.load(options.run, overrides)
    predictor = run.predictor()
    reading = Reading(run.config.data.arguments, options.input, split=options.split)
    examples = examples_of(predictor, items_of(predictor, paths or ["-"], reading), labelled=False)
    # Who types a line waits for its answer.
    typed = "-" in (paths or ["-"]) and sys.stdin.isatty()
    records = reading.told(predictor.predict(examples, 1 if typed else WINDOW))
    shown = options.out is not None or not sys.stdout.isatty()
    how = writing.format_of(options.format, options.out)
    writing.deliver(writing.pieces(writing.counted(records, "answers", shown), predictor, how), options.out)
    return DONE


def answering_parser(verb: str, description: str) -> Parser:
    """Return the parser of a verb that answers inputs: a run, then files and `key=value` in any order."""
    parser = Parser(prog=f"rnntrain {verb}", description=description)
    parser.add_argument("run", type=Path, help="the folder of a run or a bundle")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="FILE|key=value",
        help="what to read, and how: data.text=COLUMN and the like; device, threads",
    )
    parser.add_argument("--format", choices=["text", "jsonl", "csv"], help="as --out ends, else text")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write to a file, which appears when it is whole")
    parser.add_argument("--force", action="store_true", help="replace a file that exists")
    return parser


def paths_and_overrides(words: list[str]) -> tuple[list[str], list[str]]:
    """Part what is to be read from what is to be changed; a file may have an equal sign in its name."""
    overrides = [word for word in words if _OVERRIDE.match(word) and not Path(word).exists()]
    return [word for word in words if word not in overrides], overrides
