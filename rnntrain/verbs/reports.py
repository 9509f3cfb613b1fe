"""`rnntrain report` and `board`: runs to look at, on one page or in TensorBoard."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from rnntrain.errors import DONE
from rnntrain.verbs.parsing import Parser, parse


def report(arguments: list[str]) -> int:
    parser = Parser(
        prog="rnntrain report",
        description="Write one HTML page that shows a run, or several beside each other. It needs no network.",
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of runs, or folders that hold some")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page (RUN/report.html; of several ./report.html)")
    parser.add_argument("--pictures", type=Path, metavar="D", help="also write curves and pictures as PNG files into D")
    parser.add_argument("--metric", help="what several runs are ordered by (what their best weights were chosen by)")
    options = parse(parser, arguments)
    from rnntrain.reporting.report import write_report

    print("\n".join(write_report(options.runs, options.out, options.pictures, options.metric)))
    return DONE


def board(arguments: list[str]) -> int:
    parser = Parser(
        prog="rnntrain board",
        description="Show runs in TensorBoard, to this machine alone, until Ctrl-C.",
    )
    parser.add_argument(
        "runs", type=Path, nargs="*", metavar="RUN", help="folders of runs, or that hold some (outputs if left out)"
    )
    parser.add_argument("--port", type=int, help="the port (the first free one from 6006 on)")
    parser.add_argument("--host", default="127.0.0.1", help="127.0.0.1, localhost or ::1")
    options = parse(parser, arguments)
    from rnntrain.watching.board import board as serve

    with serve(options.runs or [Path("outputs")], options.host, options.port) as address:
        print(f"TensorBoard: {address} (Ctrl-C ends it)", flush=True)
        with suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
    return DONE
