"""Write, verify, find and read the checkpoints of a run.

A checkpoint is a folder, `RUN/checkpoints/step-000001000/`:

- `tensors.safetensors`: every tensor, readable by any safetensors reader;
- `state.json`: the rest, and the places of the tensors in it (see `state_tree`);
- `manifest.json`: format, versions, step, reason, size and SHA-256 of the other two, and its own SHA-256.

It is written under a temporary name, fsynced and renamed, so that it is whole or not there. What is read is
hashed before any of it is parsed: neither `torch.load` nor safetensors notices a flipped bit. Nothing that
a checkpoint names is imported or executed. The same state gives the same bytes.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rnntrain.checkpoints import durable, state_tree
from rnntrain.checkpoints.manifest import MANIFEST, STATE, TENSORS, Manifest, Problem, read_manifest, verify_file
from rnntrain.checkpoints.tensor_file import JSON_LIMIT_BYTES, read_tensors, tensor_chunks
from rnntrain.errors import UserError
from rnntrain.runs.environment import package_version

SET_ASIDE = ".replaced"

_NAME = re.compile(rf"(step-([0-9]{{9,18}}))(?:{re.escape(SET_ASIDE)})?")


class CheckpointError(UserError):
    """A checkpoint cannot be used: one line that names its path, what is wrong and the fix."""


class CheckpointWriteError(UserError):
    """The disk refused a checkpoint, for example because it is full. Earlier ones are as they were.

    Attributes:
        path: what was to be written or deleted.
        megabytes: what it needs; 0 for a deletion.
        reason: what the system says.
    """

    def __init__(self, path: Path, megabytes: float, error: OSError) -> None:
        self.path, self.megabytes = path, megabytes
        self.reason = error.strerror or str(error)
        task = f"write the {megabytes:.1f} MB of" if megabytes else "delete"
        super().__init__(
            f"{path}: cannot {task} this: {self.reason} ({_free_megabytes(path)} MB are free). "
            "Earlier checkpoints are intact; free space or mend the disk, then resume"
        )


def checkpoint_name(step: int) -> str:
    """Return the folder name of the checkpoint at a step."""
    return f"step-{step:09d}"


def checkpoint_step(path: Path | str) -> int:
    """Return the step in a checkpoint's folder name.

    Raises:
        ValueError: it is not a name that `checkpoint_name` returns.
    """
    match = _NAME.fullmatch(Path(path).name)
    if match is None or checkpoint_name(int(match[2])) != match[1]:
        raise ValueError(f"{Path(path).name!r} is not the name of a checkpoint, such as {checkpoint_name(1000)}")
    return int(match[2])


def save_checkpoint(folder: Path, name: str, tree: dict[str, Any], *, reason: str = "scheduled") -> Path:
    """Write `tree` as the checkpoint `folder/name`, `name` from `checkpoint_name`; return its path.

    After the return it is on the disk. At any instant before, a crash leaves what was there, and at most a
    temporary folder that `durable.remove_stale` deletes. One of the same name is replaced; until the new
    one stands, the old one is kept beside it as `NAME.replaced`, which counts as a checkpoint. Tensors may
    be on any device; they must not change meanwhile.

    Raises:
        TypeError, ValueError: the tree holds what `state_tree` cannot store; nothing is written.
        CheckpointWriteError: the disk refused; no part of the new checkpoint stays.
    """
    return write_checkpoint(folder, name, *state_tree.encode_tree(tree), reason=reason)


def write_checkpoint(folder: Path, name: str, text: bytes, tensors: dict[str, Tensor], *, reason: str) -> Path:
    """Like `save_checkpoint`, of a tree that `state_tree.encode_tree` has taken apart."""
    step, target = checkpoint_step(name), folder / name
    if name != checkpoint_name(step):
        raise ValueError(f"{name!r} is not a name for a new checkpoint; use {checkpoint_name(step)}")
    size = encoded_bytes(text, tensors)
    try:
        durable.require_room(folder, size)
        _make_folder(folder)
        with durable.new_folder(target) as temporary:
            files = {
                TENSORS: durable.write_new(temporary / TENSORS, tensor_chunks(tensors)),
                STATE: durable.write_new(temporary / STATE, [text]),
            }
            manifest = Manifest(step, reason, package_version(), str(torch.__version__), files)
            durable.write_new(temporary / MANIFEST, [manifest.to_bytes()])
            durable.sync_directory(temporary)
            _publish(temporary, target)
    except OSError as error:
        raise CheckpointWriteError(target, size / 1e6, error) from error
    return target


def encoded_bytes(text: bytes, tensors: dict[str, Tensor]) -> int:
    """Return about how much of the disk such a tree takes."""
    return len(text) + sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return the tree of a checkpoint, tensors on the CPU, after its sizes and hashes have been verified.

    Raises:
        CheckpointError: it is missing, damaged, incomplete, of a newer format, or not a checkpoint.
    """
    with _reading(path):
        files = _read_manifest(path).files
        state = _read_verified(path / STATE, files[STATE], JSON_LIMIT_BYTES)
        data = _read_verified(path / TENSORS, files[TENSORS], _memory_bytes())
        with _parsing(TENSORS):
            tensors = read_tensors(data)
        del data  # the tensors are copies: half of the memory goes before the tree is built
        with _parsing(STATE):
            return state_tree.decode_tree(state.numpy().tobytes(), tensors)


def verify_checkpoint(path: Path) -> Manifest:
    """Check files, sizes and hashes of a checkpoint without holding it in memory; return its manifest.

    Raises:
        CheckpointError: as `load_checkpoint`.
    """
    with _reading(path):
        manifest = _read_manifest(path)
        for name, record in manifest.files.items():
            _check_size(name, record, JSON_LIMIT_BYTES if name == STATE else _memory_bytes())
            verify_file(path / name, record)
        return manifest


def find_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder by rising step, unverified; all other names are passed over."""
    try:
        entries = [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be read: {error.strerror}") from error
    found = []
    for entry in entries:
        with suppress(ValueError):
            found.append((checkpoint_step(entry), not entry.name.endswith(SET_ASIDE), entry))
    return [entry for *_, entry in sorted(found)]


def latest_valid(folder: Path, on_bad: Callable[[CheckpointError], None] | None = None) -> Path:
    """Return the newest checkpoint that verifies; `on_bad` is told of each newer one that does not.

    Raises:
        CheckpointError: there is none, or none verifies.
    """
    bad: list[CheckpointError] = []
    for path in reversed(find_checkpoints(folder)):
        try:
            verify_checkpoint(path)
            return path
        except CheckpointError as error:
            bad.append(error)
            if on_bad is not None:
                on_bad(error)
    if not bad:
        raise CheckpointError(f"{folder}: holds no checkpoint; start the run again")
    listed = "; ".join(str(error) for error in bad)
    raise CheckpointError(f"{folder}: none of its {len(bad)} checkpoints can be used; start the run again ({listed})")


def _read_manifest(path: Path) -> Manifest:
    manifest = read_manifest(path)
    try:
        step = checkpoint_step(path)
    except ValueError:
        return manifest  # a copy may have any name; a name with a step must be the right one
    if step != manifest.step:
        raise Problem(f"is the checkpoint of another step, {manifest.step}", "give it its own name back")
    return manifest


def _read_verified(path: Path, record: durable.FileRecord, limit_bytes: int) -> Tensor:
    _check_size(path.name, record, limit_bytes)
    data = torch.empty(record.size, dtype=torch.uint8)
    verify_file(path, record, data.numpy().data)
    return data


def _check_size(name: str, record: durable.FileRecord, limit_bytes: int) -> None:
    """Refuse what could not be loaded before it is hashed: a sparse file of a terabyte takes no room, but hours."""
    if record.size > limit_bytes:
        raise Problem(f"{name} has {record.size:,} bytes; at most {limit_bytes:,} can be read here")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong while a checkpoint is read into one line."""
    try:
        yield
    except Problem as error:
        raise CheckpointError(f"{path}: {error}; {error.fix}") from error
    except (OSError, ValueError, MemoryError, RuntimeError) as error:  # PyTorch's own is a RuntimeError
        raise CheckpointError(f"{path}: {reason_of(error)}; {Problem('').fix}") from error


@contextmanager
def _parsing(name: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise Problem(f"{name} {error}") from error


def reason_of(error: BaseException) -> str:
    """Return what an error says, without the path, for a line that begins with it."""
    if isinstance(error, OSError):
        name = Path(error.filename).name if error.filename else "a file"
        return f"{name} cannot be read: {error.strerror}"
    return str(error).partition("\n")[0] or "not enough memory"


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _free_megabytes(path: Path) -> str:
    with suppress(OSError):
        return f"{shutil.disk_usage(path.parent).free / 1e6:.1f}"
    return "unknown"


def _make_folder(folder: Path) -> None:
    if folder.is_symlink():
        raise OSError(errno.ELOOP, "the folder is a symbolic link", str(folder))
    if not folder.is_dir():
        os.mkdir(folder)
        durable.sync_directory(folder.parent)


def _verifies(path: Path) -> bool:
    try:
        verify_checkpoint(path)
    except CheckpointError:
        return False
    return True


def _publish(temporary: Path, target: Path) -> None:
    """Give a finished folder its name; an older one of that name stays beside it until the new one stands."""
    aside = target.with_name(target.name + SET_ASIDE)
    if os.path.lexists(target) and os.path.lexists(aside):  # a crash came between: one of them is enough
        durable.discard(aside if _verifies(target) else target)
    if os.path.lexists(target):
        os.rename(target, aside)
    try:
        os.rename(temporary, target)
    except OSError:
        with suppress(OSError):
            os.rename(aside, target)
        raise
    durable.sync_directory(target.parent)
    if os.path.lexists(aside):
        with suppress(OSError):  # the new one stands; what resists goes with a later save or rotation
            durable.discard(aside)
