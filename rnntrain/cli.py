"""The `rnntrain` command: its verbs, what they print, and the exit codes."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, get_type_hints

from rnntrain.errors import DONE, INTERRUPTED, OUR_FAULT, USER_MISTAKE, Interrupted, NonFiniteError, UserError, closest

KILLED_BY_CTRL_C = 130
CUT_OFF = 141  # as programs end that SIGPIPE kills, because the reader of their output has gone

USAGE = """\
rnntrain: train recurrent neural networks from one command

  rnntrain train [key=value …]        train; every key has a default
  rnntrain resume [RUN] [key=value …] go on with a run that was stopped, or whose limit you raise
  rnntrain eval RUN [--split val]     evaluate a run's best weights
  rnntrain sample RUN [--prompt TEXT] write text with a trained language model
  rnntrain diagnose RUN               how far back its gradients reach, in numbers, words and a picture
  rnntrain check [key=value …]        check a config and its data without training
  rnntrain data list|get|show [NAME]  known data sets, getting them, and what is in them or in yours
  rnntrain build                      compile the fast kernels of recurrent cells, once
  rnntrain info [WHAT]                what there is to choose from; versions and devices
  rnntrain completion SHELL           print a completion script for bash, zsh or fish

`rnntrain VERB --help` says more. Exit codes: 0 done, 2 a mistake in what was given, 75 interrupted and
saved (`rnntrain resume` goes on), 1 a fault of ours (`--debug` shows where).
"""

TRAIN_HELP = """\
Train a model. Without arguments: an LSTM on Shakespeare's plays, about three minutes on two processor cores.

Choose parts (rnntrain info lists them all):
  model/cell=gru  optimizer=sgd  schedule=linear  device=cuda  experiment=NAME

Set values (rnntrain info data/text shows every key of a part):
  data=text data.path=my.txt  data.unit=char|byte|word|bpe  data.batch_size=64  data.bptt=128
  model.hidden_size=512  model.num_layers=2  model.dropout=0.2  model.residual=true
  trainer.max_steps=5000  trainer.max_epochs=10  trainer.max_minutes=30  trainer.grad_clip=1.0
  optimizer.lr=0.001  seed=0  threads=2  precision=bfloat16  run.name=my-first

See and try:
  rnntrain train --cfg job             print the config and stop
  rnntrain train debug=fast            a few steps of everything
  rnntrain train -m seed=0,1,2         one run for each value (Hydra's multirun)

Files of your own:
  --config-dir D                       also look for config groups in D (D/experiment/mine.yaml, …)
  --config-name N                      start from D/N.yaml in place of train.yaml
  plugins=[my_package]                 allow _target_ to name classes of my_package
"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Unicode shows question marks
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except (UserError, NonFiniteError) as error:
        return _end(error, debug, f"rnntrain: error: {error}", USER_MISTAKE)
    except Interrupted as error:
        return _end(None, debug, f"rnntrain: {error}", INTERRUPTED)
    except KeyboardInterrupt:
        return _end(None, debug, "rnntrain: stopped at once; a run's last checkpoint stands", KILLED_BY_CTRL_C)
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CUT_OFF if arguments[0] in ("train", "resume") else DONE
    except Exception as error:
        text = " ".join(str(error).split())
        message = f"rnntrain: internal error: {type(error).__name__}: {text} (--debug shows the traceback)"
        return _end(error, debug, message, OUR_FAULT)


def _end(error: BaseException | None, debug: bool, message: str, code: int) -> int:
    if debug and error is not None:
        import traceback

        traceback.print_exception(error)
    print(_on_one_line(message), file=sys.stderr)
    return code


def _on_one_line(text: str) -> str:
    """Escape what would break the line, or steer the terminal: a message may quote a file or a config."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _dispatch(arguments: list[str]) -> int:
    verbs: dict[str, Callable[[list[str]], int]] = {
        "train": train,
        "resume": resume,
        "eval": evaluate,
        "sample": sample,
        "diagnose": diagnose,
        "check": check,
        "data": data,
        "build": build,
        "info": info,
        "completion": completion,
        "__complete": complete,
    }
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return DONE
    verb, rest = arguments[0], arguments[1:]
    if verb == "--version":
        from rnntrain.environment import package_version

        print(f"rnntrain {package_version()}")
        return DONE
    if verb not in verbs:
        known = [name for name in verbs if not name.startswith("_")]
        raise UserError(f"{verb}: no such verb{closest(verb, known)}; there are: {', '.join(known)}")
    return verbs[verb](rest)


# -- verbs ---
# Each imports what it needs when it is called: torch takes over a second, and most mistakes are answered without it.


def _config_parser(verb: str, description: str) -> Parser:
    parser = Parser(
        prog=f"rnntrain {verb}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="choices and values of the config")
    parser.add_argument("--config-dir", type=Path, metavar="D", help="a folder of config groups of your own")
    parser.add_argument("--config-name", default="train", metavar="N", help="the config to start from")
    return parser


def train(arguments: list[str]) -> int:
    parser = _config_parser("train", TRAIN_HELP)
    parser.add_argument("-m", "--multirun", action="store_true", help="one run for each combination of values")
    parser.add_argument("--cfg", choices=["job"], help="print the config that a run would have, and stop")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    options = _parse(parser, arguments)
    from rnntrain import config as configs

    if options.cfg:
        plain = configs.compose(options.overrides, options.config_dir, options.config_name)
        print(configs.to_yaml(plain), end="")
        return DONE
    if options.multirun:
        from rnntrain.multirun import multirun

        return multirun(options.overrides, options.config_dir, options.config_name, quiet=options.quiet)
    checked = configs.check(configs.compose(options.overrides, options.config_dir, options.config_name))
    from rnntrain import commands

    trained = commands.train(checked, quiet=options.quiet)
    print("\n".join(commands.closing_lines(trained)))
    return DONE


def resume(arguments: list[str]) -> int:
    parser = Parser(
        prog="rnntrain resume",
        description="Go on with a run in its own folder, to the bit as if it had never stopped.",
    )
    parser.add_argument("run", nargs="?", help="the run's folder; the latest one that was interrupted if left out")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="raised limits, such as trainer.max_steps=10000"
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    options = _parse(parser, arguments)
    if options.run is not None and "=" in options.run and not os.path.exists(options.run):
        options.run, options.overrides = None, [options.run, *options.overrides]
    if options.run is not None:
        _require_run(options.run)
    from rnntrain import commands, recorded

    run = recorded.latest_interrupted() if options.run is None else Path(options.run)
    trained = commands.resume(run, options.overrides, quiet=options.quiet)
    print("\n".join(commands.closing_lines(trained)))
    return DONE


def evaluate(arguments: list[str]) -> int:
    parser = Parser(prog="rnntrain eval", description="Evaluate the best weights of a run on one of its splits.")
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="device, threads, plugins or data.path")
    parser.add_argument("--split", default="val", choices=["val", "test", "train"], help="val is the default")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = _parse(parser, arguments)
    _require_run(options.run)

    from rnntrain import using

    metrics = using.evaluate(options.run, options.split, options.overrides)
    if options.json:
        import json

        print(json.dumps(metrics))
    else:
        width = max(map(len, metrics))
        print("\n".join(f"{name:<{width}}  {value:.6f}" for name, value in metrics.items()))
    return DONE


def sample(arguments: list[str]) -> int:
    parser = Parser(prog="rnntrain sample", description="Write text with a trained language model, as it is drawn.")
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="device, threads or plugins")
    parser.add_argument("--prompt", default="", help="text to go on from")
    parser.add_argument("--length", type=int, help="tokens to draw (500)")
    parser.add_argument("--num-samples", type=int, help="samples to draw side by side (1)")
    parser.add_argument("--temperature", type=float, help="0 always takes the likeliest token (0.8)")
    parser.add_argument("--top-k", type=int, help="draw from the k likeliest tokens; 0 for all (0)")
    parser.add_argument("--top-p", type=float, help="draw from the likeliest tokens that hold this share (1)")
    parser.add_argument("--seed", type=int, help="the same seed gives the same text (0)")
    options = _parse(parser, arguments)
    _require_run(options.run)
    given = {name: value for name in _SAMPLING if (value := getattr(options, name)) is not None}
    from rnntrain.checking import check_value
    from rnntrain.sample import SamplingOptions

    hints = get_type_hints(SamplingOptions, include_extras=True)
    drawing = SamplingOptions(**{name: check_value(_flag(name), hints[name], value) for name, value in given.items()})

    from rnntrain import using

    for piece in using.sample(options.run, options.prompt, drawing, options.overrides):
        print(piece, end="", flush=True)
    print()
    return DONE


def diagnose(arguments: list[str]) -> int:
    parser = Parser(
        prog="rnntrain diagnose",
        description="Measure how far back the gradients of a run's best weights reach: why it forgets, what cures it.",
    )
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="device, threads, plugins or data.path")
    parser.add_argument("--out", type=Path, metavar="D", help="the picture's folder (RUN/pictures)")
    options = _parse(parser, arguments)
    _require_run(options.run)

    from rnntrain import using

    print("\n".join(using.diagnose(options.run, options.out, options.overrides)))
    return DONE


def _require_run(path: str | Path) -> None:
    """Refuse what is no run before torch is imported, if only to say so."""
    from rnntrain.run import open_run

    open_run(Path(path))


_SAMPLING = ("length", "num_samples", "temperature", "top_k", "top_p", "seed")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def check(arguments: list[str]) -> int:
    parser = _config_parser("check", "Check a config, its data and its sizes without training or writing anything.")
    options = _parse(parser, arguments)
    from rnntrain import config as configs

    checked = configs.check(configs.compose(options.overrides, options.config_dir, options.config_name))
    from rnntrain import commands

    print("\n".join(commands.check(checked)))
    return DONE


def build(arguments: list[str]) -> int:
    from rnntrain.native.command import build_lines

    parser = Parser(prog="rnntrain build", description="Compile the fast kernels of recurrent cells; once a machine.")
    parser.add_argument("--again", action="store_true", help="also where they have been built")
    print("\n".join(build_lines(again=_parse(parser, arguments).again)))
    return DONE


def info(arguments: list[str]) -> int:
    parser = Parser(prog="rnntrain info", description="Show what there is to choose from, or all keys of one part.")
    parser.add_argument("what", nargs="?", help="a group (model/cell, data, …) or a part of one (data/text)")
    parser.add_argument("--config-dir", type=Path, metavar="D", help="a folder of config groups of your own")
    options = _parse(parser, arguments)
    from rnntrain.info import info_lines

    print("\n".join(info_lines(options.what, options.config_dir)))
    return DONE


def data(arguments: list[str]) -> int:
    from rnntrain.data.known.verbs import data as run_data

    return run_data(arguments, lambda verb, description: Parser(prog=f"rnntrain {verb}", description=description))


def completion(arguments: list[str]) -> int:
    from rnntrain.completion import SHELLS, script

    parser = Parser(
        prog="rnntrain completion",
        description='In your shell\'s start file: eval "$(rnntrain completion bash)"',
    )
    parser.add_argument("shell", choices=SHELLS)
    print(script(_parse(parser, arguments).shell), end="")
    return DONE


def complete(arguments: list[str]) -> int:
    from rnntrain.completion import candidates

    print("\n".join(candidates(arguments)))
    return DONE


def _parse(parser: Parser, arguments: list[str]) -> argparse.Namespace:
    """Parse options and `key=value` words in any order."""
    return parser.parse_intermixed_args(arguments)
