"""`rnntrain report` and `board`: runs to look at, on one page or in TensorBoard."""

from __future__ import annotations

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
