"""`rnntrain compare`: runs and sweeps beside each other."""

from __future__ import annotations

from pathlib import Path

from rnntrain.errors import DONE, UserError
from rnntrain.verbs.parsing import Parser, parse

_FORMATS = ("csv", "json", "markdown")


def compare(arguments: list[str]) -> int:
    parser = Parser(
        prog="rnntrain compare",
        description="Order runs by a metric: mean, deviation and worst over seeds, what differs, how sure it is.",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="RUNS", help="runs, sweeps, or folders that hold them")
    parser.add_argument("--metric", action="append", metavar="M", help="such as test/loss; the first of several orders")
    parser.add_argument("--sort", default="mean", choices=["mean", "median", "worst", "best"], help="over seeds (mean)")
    parser.add_argument("--by", action="append", metavar="KEY", help="group by this key alone, such as optimizer.lr")
    parser.add_argument("--front", action="store_true", help="those that no other beats in every --metric")
    parser.add_argument("--pictures", type=Path, metavar="D", help="draw importances, slices and coordinates into D")
    for name in _FORMATS:
        parser.add_argument(f"--{name}", nargs="?", const="-", metavar="FILE", help=f"write {name}, to FILE if given")
    options = parse(parser, arguments)
    if options.front and len(options.metric or []) < 2:
        raise UserError("--front: takes several metrics: --metric val/loss --metric num_parameters")
    from rnntrain.comparing.front import front, front_lines
    from rnntrain.comparing.groups import choose_metric, group
    from rnntrain.comparing.leaderboard import rank
    from rnntrain.comparing.records import read_runs
    from rnntrain.comparing.writing import to_csv, to_json, to_markdown, to_text

    runs = read_runs(options.paths)
    metrics = [choose_metric(runs, wanted) for wanted in options.metric or [None]]
    board = rank(group(runs, options.by or ()), metrics, order=options.sort)
    if board.best is None:
        raise UserError(f"{options.paths[0]}: no run has finished with {metrics[0]} yet; see rnntrain resume")
    writers = {"csv": to_csv, "json": to_json, "markdown": to_markdown}
    written = {name: place for name in _FORMATS if (place := getattr(options, name)) is not None}
    for name, place in written.items():
        _write(writers[name](board), place)
    if "-" not in written.values():
        print("\n".join(front_lines(board, front(board)) if options.front else to_text(board)))
    if options.pictures is not None:
        from rnntrain.comparing.pictures import draw_all

        print("\n".join(["", *(f"Picture: {path}" for path in draw_all(board, options.pictures))]))
    return DONE


def _write(text: str, place: str) -> None:
    if place == "-":
        print(text, end="")
        return
    from rnntrain.checkpoints import durable

    path = Path(place)
    with durable.one_line(path):
        durable.replace_file(path, text.encode())
