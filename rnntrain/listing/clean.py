"""Delete runs: those that were named or chosen, never one that is being written, and never unasked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rnntrain.checkpoints import durable
from rnntrain.comparing.records import RunRecord
from rnntrain.errors import UserError
from rnntrain.runs.lock import is_held
from rnntrain.runs.run import RunDir

NO_TERMINAL = "nobody can be asked here; add --yes to delete them unasked"


def clean(records: Sequence[RunRecord], agrees: Callable[[str], bool]) -> list[str]:
    """Delete the runs once `agrees` has said yes to what it is shown; return lines to print.

    Raises:
        UserError: the disk refused.
    """
    free = [record for record in records if not is_held(RunDir(record.path).lock_file)]
    lines = [f"{record.path}: is being written; left as it is" for record in records if record not in free]
    if not free:
        return [*lines, "nothing to delete"]
    sizes = {id(record): _bytes(record.path) for record in free}
    shown = [f"  {record.path}  {record.status}  {sizes[id(record)] / 1e6:.1f} MB" for record in free]
    total = sum(sizes.values()) / 1e6
    if not agrees("\n".join([*shown, f"Delete these {len(free)} runs, {total:.1f} MB? [y/N] "])):
        return [*lines, "nothing was deleted"]
    deleted = 0
    for record in free:
        try:
            with RunDir(record.path).lock(), durable.one_line(record.path):
                durable.discard(record.path)
            deleted += 1
        except UserError as error:  # somebody has begun to write it since, or the disk refuses
            lines.append(str(error))
    return [*lines, f"deleted {deleted} runs"]


def _bytes(folder: Path) -> int:
    return sum(_sizes(folder))


def _sizes(folder: Path) -> Iterable[int]:
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                yield os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue
