"""What one process does by itself: what it says where `torchrun` has started several, and what it starts in turn."""

from __future__ import annotations

import os
import time

from rnntrain.errors import Followed, UserError

PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # of a process among those of torchrun
FIRST_SPEAKS_SECONDS = 2.0  # before the others end, whereupon torchrun ends the first too


def started_by_torchrun() -> bool:
    """Say whether this process is one of those that `torchrun` has started."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def refuse_several(verb: str) -> None:
    """End a verb that every one of several processes would do whole, each beside the others.

    Raises:
        UserError: in the first of several processes.
        Followed: in the others, once the first has had the time to say so.
    """
    rank, size = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
    if not (rank.isdecimal() and size.isdecimal() and int(size) > 1):
        return
    if int(rank) > 0:
        time.sleep(FIRST_SPEAKS_SECONDS)
        raise Followed
    raise UserError(
        f"{verb}: is done by one process, and there are {size} (WORLD_SIZE={size}), each of which would do all of it; "
        f"run it without torchrun: rnntrain {verb} …"
    )


def environment_of_one() -> dict[str, str]:
    """Return this process's environment without its place among those of torchrun, for processes that train alone."""
    return {key: value for key, value in os.environ.items() if key not in PLACE and key[:13] != "TORCHELASTIC_"}
