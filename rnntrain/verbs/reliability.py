"""`rnntrain verify`, `reproduce` and `replay`: whether a run is whole, repeats, and where it went wrong."""

from __future__ import annotations

import json
from pathlib import Path

from rnntrain.errors import DONE, USER_MISTAKE
from rnntrain.verbs.parsing import Parser, parse, require_run, run_parser


def verify(arguments: list[str]) -> int:
    parser = Parser(
        prog="rnntrain verify",
        description="Check every checkpoint of runs, or single checkpoints: sizes and hashes. Exit code 2 where one is "
        "damaged, or a run has none to go on from.",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="RUN|CHECKPOINT", help="folders of runs or checkpoints")
    parser.add_argument("--json", action="store_true", help="print one JSON object, reports by path")
    parser.add_argument(
        "--accept", action="store_true", help="first take config.yaml and run.json as they stand: you changed them"
    )
    options = parse(parser, arguments)
    from rnntrain.runs.verify import accept
    from rnntrain.runs.verify import verify as verify_one

    if options.accept:
        for path in options.paths:
            accept(path)
    reports = {str(path): verify_one(path) for path in options.paths}
    if options.json:
        print(json.dumps({path: report.to_json() for path, report in reports.items()}, indent=2))
    else:
        print("\n".join(line for report in reports.values() for line in report.lines()))
    return DONE if all(report.sound for report in reports.values()) else USER_MISTAKE


def reproduce(arguments: list[str]) -> int:
    parser = run_parser(
        "reproduce",
        "Train a run anew from what it recorded, in a temporary folder, and compare every logged number to the bit. "
        "Exit code 2 where one differs.",
        "device, threads, kernels, plugins or data.path",
    )
    parser.add_argument("--steps", type=int, metavar="N", help="how far (to its end, at most 1000 steps)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    options = parse(parser, arguments)
    require_run(options.run)
    from rnntrain.runs.reproduce import reproduce as train_anew

    done = train_anew(options.run, options.steps, options.overrides, quiet=options.quiet or options.json)
    print(json.dumps(done.to_json(), indent=2) if options.json else "\n".join(done.lines()))
    return DONE if done.same else USER_MISTAKE


def replay(arguments: list[str]) -> int:
    parser = run_parser(
        "replay",
        "Take a step again that the guard kept away from the weights; say where the first number is not finite.",
        "device, threads, kernels or plugins",
    )
    options = parse(parser, arguments)
    require_run(options.run)
    from rnntrain.runs.replay import replay as take_again

    print("\n".join(take_again(options.run, options.overrides)))
    return DONE
