"""What children of the nursery do on a disk of their own: a file system in memory, so small that a run fills it."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path
from typing import Any

NEW_MOUNTS, NEW_USERS = 0x00020000, 0x10000000  # of unshare(2)
READ_ONLY, REMOUNT, BIND = 1, 32, 4096  # of mount(2)


def possible() -> bool:
    """Say whether this process may have mounts of its own; tried in a child, which then ends."""
    child = os.fork()
    if child == 0:
        try:
            own_mounts()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def own_mounts() -> None:
    """Let this process have mounts that no other sees, as the administrator or as the only user of a new name space."""
    user, group = os.geteuid(), os.getegid()
    _call("unshare", NEW_MOUNTS if user == 0 else NEW_MOUNTS | NEW_USERS)
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    private_and_recursive = 1 << 18 | 16384
    _call("mount", None, b"/", None, private_and_recursive, None)


def mount(place: Path, size_kib: int) -> None:
    _call("mount", b"tmpfs", os.fsencode(place), b"tmpfs", 0, f"size={size_kib}k,mode=755".encode())


def make_read_only(folder: Path) -> None:
    """Let nothing be written to a folder any more, whoever asks; files that are open elsewhere stay so."""
    _call("mount", os.fsencode(folder), os.fsencode(folder), None, BIND, None)
    _call("mount", None, os.fsencode(folder), None, READ_ONLY | REMOUNT | BIND, None)


def train(plain: dict[str, Any], place: str, size_kib: int, kept: str, read_only_at: int | None) -> int:
    """Train with the run on a disk of `size_kib`; copy what is left of it to `kept`; return the exit code.

    Args:
        read_only_at: the step after which the checkpoints' folder is read-only; None for never.
    """
    from rnntrain.watching.recorder import Recorder

    own_mounts()
    Path(place).mkdir(exist_ok=True)
    mount(Path(place), size_kib)
    stepped = Recorder.stepped

    def stepped_then_sealed(self: Recorder, trainer: Any, result: Any) -> None:
        stepped(self, trainer, result)
        if trainer.step == read_only_at:
            self.saver.settle()
            make_read_only(self.run.checkpoints)

    if read_only_at is not None:
        Recorder.stepped = stepped_then_sealed  # type: ignore[method-assign]
    code = _train(plain)
    shutil.copytree(place, kept)
    return code


def _train(plain: dict[str, Any]) -> int:
    """Train as the command does, which turns what goes wrong into a line and an exit code."""
    from unittest import mock

    from rnntrain import cli, commands
    from rnntrain.config import check

    def dispatch(arguments: list[str]) -> int:
        commands.train(check(plain), quiet=True)
        return 0

    with mock.patch.object(cli, "_dispatch", dispatch):
        return cli.main(["train"])


def _call(name: str, *arguments: Any) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
