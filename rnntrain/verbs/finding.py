"""`rnntrain find lr` and `find batch_size`: values to begin with, from short trials that leave no run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnntrain.errors import DONE, UserError, closest
from rnntrain.verbs.parsing import Parser, config_parser, parse

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rnntrain.build import Experiment
    from rnntrain.config import Config

WHAT = ("lr", "batch_size")


def find(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        parser = Parser(
            prog="rnntrain find", description="Find a value to begin with. `rnntrain find lr --help` says more."
        )
        parser.add_argument("what", choices=WHAT, help="a learning rate, or a batch size")
        parse(parser, arguments)
    if arguments[0] not in WHAT:
        raise UserError(f"find {arguments[0]}: there are: {', '.join(WHAT)}{closest(arguments[0], list(WHAT))}")
    return {"lr": _learning_rate, "batch_size": _batch_size}[arguments[0]](arguments[1:])


def _learning_rate(arguments: list[str]) -> int:
    parser = config_parser(
        "find lr", "Raise the learning rate with every step, and suggest one from how the loss falls and bursts."
    )
    parser.add_argument("--low", type=float, default=1e-6, help="the first rate (1e-6)")
    parser.add_argument("--high", type=float, default=1.0, help="the last rate (1)")
    parser.add_argument("--steps", type=int, default=200, help="at most so many (200)")
    options = _parsed(parser, arguments)
    config = _config(options, options.overrides)
    from rnntrain.build import build
    from rnntrain.finding import learning_rate

    trial = learning_rate.try_rates(build(config), options.low, options.high, options.steps)
    usual = config.optimizer.arguments.get("lr")
    lines = trial.in_words()
    if len(lines) > 1:
        lines.append(_picture(options.out, config, "lr", lambda: learning_rate.draw(trial, usual)))
    found = {"suggestion": trial.suggestion, "rates": trial.rates, "losses": trial.losses, "burst": trial.burst}
    return _tell(options.json, found, lines)


def _batch_size(arguments: list[str]) -> int:
    parser = config_parser(
        "find batch_size", "Double the batch size until more of it gains nothing, and suggest one by throughput."
    )
    parser.add_argument("--first", type=int, default=8, help="the first size (8)")
    parser.add_argument("--most", type=int, default=4096, help="no size beyond this (4096)")
    options = _parsed(parser, arguments)
    if not 1 <= options.first <= options.most:
        raise UserError(
            f"--first {options.first} --most {options.most}: the first must be at least 1, and at most the last"
        )
    usual = _config(options, options.overrides).data.arguments.get("batch_size")
    from rnntrain.build import build
    from rnntrain.finding import batch_size

    units: list[str] = []

    def built(size: int) -> Experiment:
        experiment = build(_config(options, [*options.overrides, f"data.batch_size={size}"]))
        units.append(experiment.data.unit)
        return experiment

    trials: list[batch_size.SizeTrial] = []
    lines = []
    for each in batch_size.try_sizes(built, options.first, options.most):
        if isinstance(each, str):
            lines.append(f"Ended: {each}.")
            continue
        trials.append(each)
        if not options.json:
            print(batch_size.line(each, units[-1]), flush=True)
    lines += batch_size.in_words(trials, usual)
    lines.append(
        _picture(
            options.out, _config(options, options.overrides), "batch_size", lambda: batch_size.draw(trials, units[-1])
        )
    )
    found = {"suggestion": batch_size.suggestion(trials).batch_size, "trials": [vars(trial) for trial in trials]}
    return _tell(options.json, found, lines)


def _parsed(parser: Parser, arguments: list[str]) -> argparse.Namespace:
    parser.add_argument(
        "--out", type=Path, metavar="PNG", help="the picture (in the folder `find` of the runs' folder)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parse(parser, arguments)


def _config(options: argparse.Namespace, overrides: list[str]) -> Config:
    from rnntrain import config as configs

    return configs.check(configs.compose(overrides, options.config_dir, options.config_name))


def _picture(out: Path | None, config: Config, what: str, draw: Any) -> str:
    """Draw the picture into its file; return the line that says where."""
    from rnntrain.checkpoints.durable import one_line

    path = out or Path(config.run.root) / "find" / f"{config.run.group}_{what}.png"
    with one_line(path):
        if out is None:
            path.parent.mkdir(parents=True, exist_ok=True)
        figure: Figure = draw()
        figure.savefig(path, dpi=120, format="png")
    return f"picture: {path}"


def _tell(as_json: bool, found: dict[str, Any], lines: list[str]) -> int:
    if as_json:
        import json

        print(json.dumps(found))
    else:
        print("\n".join(lines))
    return DONE
