"""How verbs read their arguments: parsers whose errors are one line, and what several verbs ask for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from rnntrain.errors import UserError


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def config_parser(verb: str, description: str) -> Parser:
    parser = Parser(
        prog=f"rnntrain {verb}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="choices and values of the config")
    parser.add_argument("--config-dir", type=Path, metavar="D", help="a folder of config groups of your own")
    parser.add_argument("--config-name", default="train", metavar="N", help="the config to start from")
    return parser


def run_parser(verb: str, description: str, changeable: str) -> Parser:
    """Return the parser of a verb that uses what a run has trained; `changeable` says what may differ now."""
    parser = Parser(prog=f"rnntrain {verb}", description=description)
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=changeable)
    return parser


def parse(parser: Parser, arguments: list[str]) -> argparse.Namespace:
    """Parse options and `key=value` words in any order."""
    return parser.parse_intermixed_args(arguments)


def require_run(path: str | Path) -> None:
    """Refuse what is no run before torch is imported, if only to say so."""
    from rnntrain.runs.run import open_run

    open_run(Path(path))
