"""`rnntrain data list`, `data get` and `data show`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from rnntrain.data.known.catalog import ENTRIES, PARTS
from rnntrain.errors import DONE, UserError, closest

HELP = """\
Data sets: what there is, getting it, looking into it.

  rnntrain data list                      what ships with the package, and what else is known
  rnntrain data get NAME                  fetch a known set into the cache; the same command goes on after a cut-off
  rnntrain data show data=labelled_text data.path=my.csv
                                          sizes, splits, label counts and examples, of any config
  rnntrain data show NAME                 the same of a known set

The cache is RNNTRAIN_CACHE, or rnntrain in the user's cache folder. A folder that RNNTRAIN_DATA names comes first.
"""


def data(arguments: list[str], parser: Callable[[str, str], argparse.ArgumentParser]) -> int:
    """Run one of the verbs; `parser` makes a parser whose errors are one line from a verb and its description."""
    verbs = {"list": _list, "get": _get, "show": _show}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        return DONE
    verb, rest = arguments[0], arguments[1:]
    if verb not in verbs:
        raise UserError(f"data {verb}: no such verb{closest(verb, list(verbs))}; there are: {', '.join(verbs)}")
    return verbs[verb](rest, parser)


def _list(arguments: list[str], parser: Callable[[str, str], argparse.ArgumentParser]) -> int:
    parser("data list", "Show the data sets that ship with the package, and those that can be got.").parse_args(
        arguments
    )
    from rnntrain.data.known.show import list_lines

    print("\n".join(list_lines()))
    return DONE


def _get(arguments: list[str], parser: Callable[[str, str], argparse.ArgumentParser]) -> int:
    wanted = parser("data get", "Fetch a known data set, verify it and put it into the cache.")
    wanted.add_argument("name", help="as `rnntrain data list` shows it")
    wanted.add_argument("--sha256", metavar="HEX", help="accept this checksum of the fetched file, and no other")
    wanted.add_argument("--from", dest="given", type=Path, metavar="FILE", help="a file fetched by hand")
    wanted.add_argument("--quiet", action="store_true", help="show no progress")
    options = wanted.parse_args(arguments)
    from rnntrain.data.known.obtain import get

    print("\n".join(get(options.name, sha256=options.sha256, given=options.given, quiet=options.quiet)))
    return DONE


def _show(arguments: list[str], parser: Callable[[str, str], argparse.ArgumentParser]) -> int:
    wanted = parser("data show", "Show sizes, splits, label counts and examples of a data set.")
    wanted.add_argument("overrides", nargs="*", metavar="NAME or key=value", help="a known set, or choices of a config")
    wanted.add_argument("--config-dir", type=Path, metavar="D", help="a folder of config groups of your own")
    wanted.add_argument("--config-name", default="train", metavar="N", help="the config to start from")
    wanted.add_argument("--examples", type=int, default=3, metavar="N", help="examples of each split (3)")
    wanted.add_argument("--picture", type=Path, metavar="FILE", help="draw label counts and lengths into FILE.png")
    options = wanted.parse_intermixed_args(arguments)
    from rnntrain import config as configs
    from rnntrain.data.known.show import check_picture, draw, show_lines

    if options.examples < 0:
        raise UserError(f"--examples {options.examples}: expected a number of at least 0")
    if options.picture is not None:
        check_picture(options.picture)
    overrides = [*_named(options.overrides[0]), *options.overrides[1:]] if options.overrides else []
    plain = configs.compose(overrides, options.config_dir, options.config_name)
    built = configs.check_section(plain, "data").build()
    built.load()
    print("\n".join(show_lines(built, options.examples)))
    if options.picture is not None:
        draw(built, options.picture)
        print(f"\nDrawn: {options.picture}")
    return DONE


def _named(word: str) -> Sequence[str]:
    """Return the overrides that a first word stands for: those of a known set, else a choice of `data`."""
    if "=" in word:
        return [word]
    configs = {entry.name: entry.config for entry in ENTRIES} | dict.fromkeys(PARTS, "")
    from rnntrain.configuring.config_files import choices

    if word in choices("data"):
        return [f"data={word}"]
    if configs.get(word):
        return configs[word].split()
    known = [*choices("data"), *(name for name, config in configs.items() if config)]
    raise UserError(f"{word}: no such data set{closest(word, known)}; there are: {', '.join(sorted(known))}")
