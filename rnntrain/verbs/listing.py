"""`rnntrain runs`: list runs, follow a live one, clean up."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from rnntrain.errors import DONE, UserError
from rnntrain.verbs.parsing import Parser, parse

DESCRIPTION = """\
List the runs in the given folders (outputs if left out), the latest last, those alone whose config says key=value.

  rnntrain runs                                 all of them
  rnntrain runs model.cell=gru optimizer.lr=0.01 --status finished --sort val/loss
  rnntrain runs --tail RUN                      follow one that is being trained
  rnntrain runs clean --status failed           delete those, after asking
"""


def runs(arguments: list[str]) -> int:
    import argparse

    from rnntrain.comparing.records import STATUSES

    parser = Parser(prog="rnntrain runs", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="RUN|key=value", help="folders, and what a run's config must say")
    parser.add_argument("--task", help="of this task alone, such as ctc")
    parser.add_argument("--status", choices=STATUSES, help="of this status alone")
    parser.add_argument("--sort", default="started", metavar="BY", help="started, minutes, …, a metric or a key")
    parser.add_argument("--reverse", action="store_true", help="the other way round")
    parser.add_argument("--limit", type=int, metavar="N", help="the last N alone; with --sort, the first N")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--tail", type=Path, metavar="RUN", help="follow a run until it ends")
    parser.add_argument("--yes", action="store_true", help="with clean: do not ask")
    options = parse(parser, arguments)
    if options.tail is not None:
        return _tail(options.tail)
    cleans = options.words[:1] == ["clean"]
    words = options.words[1:] if cleans else options.words
    filters = [word for word in words if "=" in word and not Path(word).exists()]
    paths = [Path(word) for word in words if word not in filters]
    if options.limit is not None and options.limit < 1:
        raise UserError(f"--limit {options.limit}: give a number from 1 on")
    if options.yes and not cleans:
        raise UserError("--yes: belongs to `rnntrain runs clean`; leave it out")
    if cleans and not (filters or paths or options.task or options.status):
        raise UserError("runs clean: say which runs: their folders, key=value, --task or --status (such as failed)")
    from rnntrain.comparing.records import read_runs
    from rnntrain.listing.listed import as_json, choose, order, table

    found = choose(read_runs(paths or [Path("outputs")]), filters, options.task, options.status)
    found = order(found, options.sort, options.reverse)
    if options.limit is not None:
        found = found[-options.limit :] if options.sort == "started" else found[: options.limit]
    if cleans:
        from rnntrain.listing.clean import clean

        lines = clean(found, (lambda question: True) if options.yes else _asked)
    else:
        lines = as_json(found) if options.json else table(found, options.sort)
    print("\n".join(lines))
    return DONE


def _tail(run: Path) -> int:
    from rnntrain.listing.follow import follow

    with suppress(KeyboardInterrupt):
        for line in follow(run):
            print(line, flush=True)
    return DONE


def _asked(question: str) -> bool:
    from rnntrain.listing.clean import NO_TERMINAL

    if not sys.stdin.isatty():
        raise UserError(f"runs clean: {NO_TERMINAL}")
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
