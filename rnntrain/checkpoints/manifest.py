"""The manifest of a checkpoint: what format it has, which files belong to it, and their sizes and hashes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rnntrain.checkpoints import durable

FORMAT = 1  # raised when a reader of the old format would misread the new one; `durable.seal` never changes
KIND = "rnntrain checkpoint"
TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
LIMIT_BYTES = 64 << 10

T = TypeVar("T")


class Problem(ValueError):
    """What is wrong with a checkpoint, and what to do about it."""

    def __init__(self, what: str, fix: str = "use another checkpoint of the run, or a copy of this one") -> None:
        super().__init__(what)
        self.fix = fix


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint says of itself."""

    step: int
    reason: str
    rnntrain: str
    torch: str
    files: dict[str, durable.FileRecord]

    def to_bytes(self) -> bytes:
        files = {name: {"bytes": record.size, "sha256": record.sha256} for name, record in self.files.items()}
        versions = {"rnntrain": self.rnntrain, "torch": self.torch}
        return durable.seal(
            {
                "kind": KIND,
                "format": FORMAT,
                "step": self.step,
                "reason": self.reason,
                "files": files,
                **versions,
            }
        )


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a checkpoint folder that holds just the files that belong to it, hashed or not.

    Raises:
        Problem: it is not a checkpoint, of a newer format, or a file is missing or too many.
        ValueError: the manifest is damaged.
        OSError: it cannot be read.
    """
    if folder.is_symlink() or not folder.is_dir():
        what = "is not a folder, or a link to one" if os.path.lexists(folder) else "does not exist"
        raise Problem(what, "give a checkpoint such as RUN/checkpoints/step-000001000")
    names = {entry.name for entry in os.scandir(folder)}
    if MANIFEST not in names:
        raise Problem(f"is not a checkpoint: it has no {MANIFEST}")
    try:
        document = durable.unseal(durable.read_bounded(folder / MANIFEST, LIMIT_BYTES), MANIFEST)
    except ValueError as error:
        raise Problem(str(error)) from error
    manifest = _parse(document)
    for name in sorted(names ^ {MANIFEST, TENSORS, STATE}):
        raise Problem(f"holds {name!r}, which is no part of it" if name in names else f"{name} is missing")
    return manifest


def _parse(document: dict[str, Any]) -> Manifest:
    known = document.get("kind") == KIND and type(document.get("format")) is int and document["format"] >= 1
    if known and document["format"] > FORMAT:
        what = f"has the newer format {document['format']}; this rnntrain reads up to {FORMAT}"
        raise Problem(what, "upgrade rnntrain to use it")
    try:
        manifest = Manifest(
            step=_typed(document["step"], int),
            reason=_typed(document["reason"], str),
            rnntrain=_typed(document["rnntrain"], str),
            torch=_typed(document["torch"], str),
            files={name: _record(entry) for name, entry in _typed(document["files"], dict).items()},
        )
    except (KeyError, TypeError):
        known = False
    if not known or manifest.files.keys() != {TENSORS, STATE}:
        raise Problem(f"{MANIFEST} is not that of a checkpoint")
    return manifest


def _record(entry: dict[str, Any]) -> durable.FileRecord:
    return durable.FileRecord(_typed(entry["bytes"], int), _typed(entry["sha256"], str))


def _typed(value: Any, kind: type[T]) -> T:
    if type(value) is not kind:
        raise TypeError
    return value


def verify_file(path: Path, record: durable.FileRecord, into: memoryview | None = None) -> None:
    """Compare a file with its record, reading it once; its bytes are kept in `into`, where given.

    Raises:
        Problem: size or hash differ.
        ValueError: it is not a regular file.
        OSError: it cannot be read.
    """
    descriptor, size = durable.open_regular(path)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if size != record.size:
            raise Problem(f"{path.name} has {size:,} bytes instead of {record.size:,}: it was cut or changed")
        digest, start = hashlib.sha256(), 0
        scratch = memoryview(bytearray(min(size, durable.PIECE_BYTES)))
        while start < size:
            piece = scratch if into is None else into[start : start + durable.PIECE_BYTES]
            count = file.readinto(piece)
            if not count:
                raise Problem(f"{path.name} was cut while it was read")
            digest.update(piece[:count])
            start += count
    if digest.hexdigest() != record.sha256:
        raise Problem(f"{path.name} is damaged: its SHA-256 is not the one in {MANIFEST}")
