"""The `rnntrain` command: finds the verb, and turns whatever goes wrong into one line and an exit code."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from rnntrain.errors import (
    DONE,
    INTERRUPTED,
    OUR_FAULT,
    USER_MISTAKE,
    Finished,
    Followed,
    Interrupted,
    NonFiniteError,
    PartnerLost,
    UserError,
    closest,
)
from rnntrain.out_of_memory import memory_explained
from rnntrain.processes.alone import refuse_several
from rnntrain.verbs import VERBS, usage

KILLED_BY_CTRL_C = 130
CUT_OFF = 141  # as programs end that SIGPIPE kills, because the reader of their output has gone


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Unicode shows question marks
    try:
        with memory_explained():
            code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except (UserError, NonFiniteError) as error:
        return _end(error, debug, f"rnntrain: error: {error}", USER_MISTAKE)
    except Interrupted as error:
        return _end(None, debug, f"rnntrain: {error}", INTERRUPTED)
    except PartnerLost as error:
        return _end(error, debug, f"rnntrain: error: {error}", OUR_FAULT)
    except Finished as done:
        print(f"rnntrain: {done}")
        return DONE
    except Followed as end:
        return end.code
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
    if _is_follower():
        message = f"[process {os.environ['RANK']}] {message}"
    print(_on_one_line(message), file=sys.stderr)
    return code


def _is_follower() -> bool:
    """Say whether this is one of several processes, and not the first."""
    rank = os.environ.get("RANK", "")
    return rank.isdecimal() and int(rank) > 0


def _on_one_line(text: str) -> str:
    """Escape what would break the line, or steer the terminal: a message may quote a file or a config."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return DONE
    verb, rest = arguments[0], arguments[1:]
    if verb == "--version":
        from rnntrain.runs.environment import package_version

        print(f"rnntrain {package_version()}")
        return DONE
    if verb == "__complete":
        from rnntrain.completion import candidates

        print("\n".join(candidates(rest)))
        return DONE
    if verb not in VERBS:
        raise UserError(f"{verb}: no such verb{closest(verb, list(VERBS))}; there are: {', '.join(VERBS)}")
    if not VERBS[verb].together:
        refuse_several(verb)
    return VERBS[verb].load()(rest)
