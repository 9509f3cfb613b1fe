"""What makes a folder a bundle: a sealed list of its files with sizes and hashes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rnntrain.checkpoints import durable
from rnntrain.checkpoints.durable import FileRecord
from rnntrain.checkpoints.manifest import Problem, verify_file
from rnntrain.errors import UserError

SEAL = "bundle.json"
KIND, FORMAT = "rnntrain bundle", 1
LIMIT_BYTES = 64 << 10
VOUCHED_FOR = ("config.yaml", "run.json")  # by every seal


def is_bundle(folder: Path) -> bool:
    """Say whether a folder is one that `rnntrain bundle` wrote."""
    return os.path.lexists(folder / SEAL)


def write_seal(folder: Path, files: dict[str, FileRecord]) -> None:
    """Write the list of a bundle's files, by path below it; it carries its own hash."""
    listed = {name: {"bytes": record.size, "sha256": record.sha256} for name, record in files.items()}
    durable.write_new(folder / SEAL, [durable.seal({"kind": KIND, "format": FORMAT, "files": listed})])


def verify_seal(folder: Path) -> None:
    """Check every file of a bundle but its README, which people may edit, and its weights, which check themselves.

    Raises:
        UserError: a file is missing, damaged or changed, or the bundle is of a newer format.
    """
    try:
        document = durable.unseal(durable.read_bounded(folder / SEAL, LIMIT_BYTES), SEAL)
        if document.get("kind") != KIND:
            raise Problem(f"{SEAL} is not that of a bundle")
        if document.get("format") != FORMAT:
            raise Problem(f"has the newer format {document.get('format')}; upgrade rnntrain to use it")
        files = {name: _record(entry) for name, entry in document["files"].items()}
        if missing := [name for name in VOUCHED_FOR if name not in files]:
            raise Problem(f"{SEAL} does not vouch for {missing[0]}")
        for name, record in files.items():
            if not (folder / name).resolve().is_relative_to(folder.resolve()):
                raise Problem(f"{SEAL} names {name!r}, which leads out of it")
            verify_file(folder / name, record)
    except (Problem, ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"{folder}: {reason}; make the bundle anew, or copy it again") from error
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"{SEAL} is not that of a bundle"
        raise UserError(f"{folder}: {reason}; make the bundle anew, or copy it again") from error


def _record(entry: dict[str, Any]) -> FileRecord:
    if type(entry["bytes"]) is not int or type(entry["sha256"]) is not str:
        raise TypeError
    return FileRecord(entry["bytes"], entry["sha256"])


def refuse_bundle(folder: Path) -> None:
    """Refuse to go on with what is no run that was trained here.

    Raises:
        UserError: it is a bundle.
    """
    if is_bundle(folder):
        raise UserError(f"{folder}: is a bundle, which holds weights and no optimizer; resume the run it was made from")
