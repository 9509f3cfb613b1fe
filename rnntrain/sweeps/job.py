"""One run of a sweep, in a process of its own: `python -m rnntrain.sweeps.job`, with what to do on standard input.

The first line is a JSON object (see `sweeps.process`); a later line "prune" or "stop" asks for an end. Where standard
input closes, the sweep's process has gone: the run saves and ends too.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from rnntrain.errors import DONE, INTERRUPTED, OUR_FAULT, USER_MISTAKE, Interrupted, NonFiniteError, UserError
from rnntrain.interrupt import StopRequests

GRACE_SECONDS = 60.0  # to save, once the sweep has gone
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Train or go on with the run that standard input tells of; answer with one JSON object."""
    orders = io.FileIO(0, closefd=False)
    spec = json.loads(orders.readline())
    _die_with(spec["parent"])
    stop = StopRequests()
    threading.Thread(target=_listen, args=(orders, stop), daemon=True).start()
    sys.argv = ["rnntrain", *spec["command"]]  # what the run records, and what repeats it by hand
    code, answer = _train(spec, stop)
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(spec["answer"], json.dumps(answer).encode())
    return code


def _train(spec: dict[str, Any], stop: StopRequests) -> tuple[int, dict[str, str]]:
    try:
        from rnntrain import commands
        from rnntrain import config as configs

        if spec["resume"]:
            plugins = spec["config"].get("plugins") or []
            overrides = [f"plugins=[{','.join(plugins)}]"] if plugins else []
            commands.resume(Path(spec["config"]["run"]["dir"]), overrides, stop=stop)
        else:
            commands.train(configs.check(spec["config"]), stop=stop)
    except Interrupted as error:
        return INTERRUPTED, {"status": stop.status, "error": str(error)}
    except (UserError, NonFiniteError) as error:
        print(f"rnntrain: error: {error}", file=sys.stderr)
        return USER_MISTAKE, {"status": "refused", "error": str(error)}
    except BaseException as error:
        traceback.print_exc()
        first = (str(error).splitlines() or [""])[0]
        return OUR_FAULT, {"status": "crashed", "error": f"{type(error).__name__}: {first}"}
    return DONE, {"status": "finished", "error": ""}


def _listen(orders: io.FileIO, stop: StopRequests) -> None:
    while line := orders.readline():
        if line == b"prune\n":
            stop.ask("pruned by the sweep", "pruned")
        elif line == b"stop\n":
            stop.ask("the sweep stops")
    stop.ask("the sweep has gone")
    time.sleep(GRACE_SECONDS)
    os._exit(INTERRUPTED)


def _die_with(parent: int) -> None:
    """Let the system send SIGTERM when the parent dies: at once the end before training begins, and a save after."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(INTERRUPTED)


if __name__ == "__main__":
    # Without the interpreter's own end, which takes apart all of torch: everything has been written and closed.
    os._exit(main())
