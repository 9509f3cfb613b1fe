"""`rnntrain info`, `data`, `build` and `completion`: what there is, and making this machine ready for it."""

from __future__ import annotations

from pathlib import Path

from rnntrain.errors import DONE
from rnntrain.verbs.parsing import Parser, parse


def info(arguments: list[str]) -> int:
    parser = Parser(prog="rnntrain info", description="Show what there is to choose from, or all keys of one part.")
    parser.add_argument("what", nargs="?", help="a group (model/cell, data, …) or a part of one (data/text)")
    parser.add_argument("--config-dir", type=Path, metavar="D", help="a folder of config groups of your own")
    options = parse(parser, arguments)
    from rnntrain.info import info_lines

    print("\n".join(info_lines(options.what, options.config_dir)))
    return DONE


def data(arguments: list[str]) -> int:
    from rnntrain.data.known.verbs import data as run_data

    return run_data(arguments, lambda verb, description: Parser(prog=f"rnntrain {verb}", description=description))


def build(arguments: list[str]) -> int:
    from rnntrain.native.command import build_lines

    parser = Parser(prog="rnntrain build", description="Compile the fast kernels of recurrent cells; once a machine.")
    parser.add_argument("--again", action="store_true", help="also where they have been built")
    print("\n".join(build_lines(again=parse(parser, arguments).again)))
    return DONE


def completion(arguments: list[str]) -> int:
    from rnntrain.completion import SHELLS, script

    parser = Parser(
        prog="rnntrain completion",
        description='In your shell\'s start file: eval "$(rnntrain completion bash)"',
    )
    parser.add_argument("shell", choices=SHELLS)
    print(script(parse(parser, arguments).shell), end="")
    return DONE
