"""What a power failure may leave of a folder: the calls made on it are followed, and what was not synced is lost.

A file's bytes are safe once it was fsynced, a name once its folder was. Between two syncs of a folder its changes reach
the disk in their order, but any number of them; of a file's unsynced bytes any first part does. That is what POSIX
leaves open and what file systems do.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CALLS = ("open", "write", "fsync", "close", "rename", "mkdir", "unlink", "rmdir")


class File:
    """Its bytes as the program sees them, and those that are safe."""

    def __init__(self, data: bytes = b"") -> None:
        self.data, self.safe = bytearray(data), data

    def kept(self, draw: random.Random | None) -> bytes:
        """Return what a failure leaves: the safe bytes, and a part, drawn, of those after them."""
        more = draw.randrange(len(self.safe), len(self.data) + 1) if draw and len(self.data) > len(self.safe) else 0
        return bytes(self.data[: max(more, len(self.safe))])


class Folder:
    """Its names as the program sees them, and all states since it was synced, the first of which is safe."""

    def __init__(self) -> None:
        self.names: dict[str, File | Folder] = {}
        self.states: list[dict[str, File | Folder]] = [{}]

    def changed(self) -> None:
        self.states.append(dict(self.names))

    def synced(self) -> None:
        self.states = [dict(self.names)]


class DiskModel:
    """Follows the calls made on a folder while it is `watched`, and remembers what a failure before each would leave.

    Args:
        folder: with all that it holds by now, which counts as safe.
        random_states: how many of the states that are possible at each call are drawn, beside the two extremes.
    """

    def __init__(self, folder: Path, random_states: int = 2, seed: int = 0) -> None:
        self.folder = folder
        self.root = _read(folder)
        self.failures: list[list[dict[str, Any]]] = []
        self._descriptors: dict[int, File | Folder] = {}
        self._random_states = random_states
        self._draw = random.Random(seed)

    @contextmanager
    def watched(self) -> Iterator[DiskModel]:
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, self._followed(getattr(os, name), getattr(self, f"_after_{name}")))
            yield self
        self.fail()

    def fail(self) -> None:
        """Remember what a failure now may leave."""
        states = [self._left(self.root, None, latest=False), self._left(self.root, None, latest=True)]
        states += [self._left(self.root, self._draw, latest=False) for _ in range(self._random_states)]
        states.append(_whole(self.root))
        self.failures.append(states)

    def _followed(self, call: Callable[..., Any], follow: Callable[..., None]) -> Callable[..., Any]:
        def followed(*args: Any, **options: Any) -> Any:
            self.fail()
            result = call(*args, **options)
            follow(result, *args, **options)
            return result

        return followed

    def _left(self, folder: Folder, draw: random.Random | None, latest: bool) -> dict[str, Any]:
        names = folder.names if latest else (draw.choice(folder.states) if draw else folder.states[0])
        return {
            name: node.kept(draw) if isinstance(node, File) else self._left(node, draw, latest)
            for name, node in names.items()
        }

    # -- following ---

    def _place(self, path: Any, dir_fd: int | None = None) -> tuple[Folder, str] | None:
        """Return the folder and the name that a path means, or None for one that is not followed."""
        if dir_fd is not None:
            folder = self._descriptors.get(dir_fd)
            return (folder, os.fspath(path)) if isinstance(folder, Folder) else None
        path = Path(path)
        if path != self.folder and not path.is_relative_to(self.folder):
            return None
        node: File | Folder | None = self.root
        for part in path.relative_to(self.folder).parts[:-1]:
            node = node.names.get(part) if isinstance(node, Folder) else None
        return (node, path.name) if isinstance(node, Folder) else None

    def _after_open(self, descriptor: int, path: Any, flags: int = 0, *_: Any, dir_fd: int | None = None) -> None:
        if dir_fd is None and Path(path) == self.folder:
            self._descriptors[descriptor] = self.root
            return
        if (place := self._place(path, dir_fd)) is None:
            return
        folder, name = place
        if name not in folder.names:
            folder.names[name] = File()
            folder.changed()
        self._descriptors[descriptor] = folder.names[name]

    def _after_write(self, count: int, descriptor: int, data: Any) -> None:
        node = self._descriptors.get(descriptor)
        if isinstance(node, File):
            node.data += bytes(data[:count])

    def _after_fsync(self, _: None, descriptor: int) -> None:
        node = self._descriptors.get(descriptor)
        if isinstance(node, File):
            node.safe = bytes(node.data)
        elif node is not None:
            node.synced()

    def _after_close(self, _: None, descriptor: int) -> None:
        self._descriptors.pop(descriptor, None)

    def _after_rename(self, _: None, source: Any, target: Any, **options: Any) -> None:
        old, new = self._place(source), self._place(target)
        assert old is not None
        assert new is not None
        assert old[0] is new[0], "a rename between folders is not modelled"
        old[0].names[new[1]] = old[0].names.pop(old[1])
        old[0].changed()

    def _after_mkdir(self, _: None, path: Any, *args: Any, **options: Any) -> None:
        place = self._place(path)
        assert place is not None
        place[0].names[place[1]] = Folder()
        place[0].changed()

    def _after_unlink(self, _: None, path: Any, *, dir_fd: int | None = None) -> None:
        place = self._place(path, dir_fd)
        assert place is not None
        del place[0].names[place[1]]
        place[0].changed()

    _after_rmdir = _after_unlink


def _read(path: Path) -> Folder:
    folder = Folder()
    for entry in path.iterdir():
        folder.names[entry.name] = _read(entry) if entry.is_dir() else File(entry.read_bytes())
    folder.synced()
    return folder


def _whole(folder: Folder) -> dict[str, Any]:
    return {n: bytes(node.data) if isinstance(node, File) else _whole(node) for n, node in folder.names.items()}


def write_state(state: dict[str, Any], place: Path) -> Path:
    """Write what a failure left into a new folder."""
    place.mkdir()
    for name, content in state.items():
        if isinstance(content, dict):
            write_state(content, place / name)
        else:
            (place / name).write_bytes(content)
    return place
