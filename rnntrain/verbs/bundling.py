"""`rnntrain bundle`: a trained model as one folder to pass on."""

from __future__ import annotations

from pathlib import Path

from rnntrain.errors import DONE
from rnntrain.verbs.parsing import Parser, parse, require_run
from rnntrain.verbs.predicting import paths_and_overrides


def bundle(arguments: list[str]) -> int:
    parser = Parser(
        prog="rnntrain bundle",
        description="Write a folder that holds a run's best weights, its config and codec, and a card that tells what "
        "it was trained on, how good it is and how to train it again. Whatever takes a run takes a bundle.",
    )
    parser.add_argument("run", type=Path, help="the run to bundle")
    parser.add_argument(
        "words", nargs="*", metavar="RUN|key=value", help="runs of other seeds, for the figures; plugins=[NAME]"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="a folder that does not exist yet (NAME-bundle)")
    options = parse(parser, arguments)
    others, overrides = paths_and_overrides(options.words)
    paths = [options.run, *map(Path, others)]
    for path in paths:
        require_run(path)

    from rnntrain.bundling.bundle import make_bundle

    print(f"Bundle: {make_bundle(paths, options.out, overrides)}")
    return DONE
