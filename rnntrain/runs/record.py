"""What a run writes down when it starts and when it goes on: config, command, and the record that vouches for them."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rnntrain.checkpoints import durable
from rnntrain.errors import UserError
from rnntrain.runs.environment import environment
from rnntrain.runs.run import RunDir

FORMAT = 2  # carries its own hash and that of the config; 1 had neither
CONFIG_LIMIT_BYTES = 1 << 20
INFO_LIMIT_BYTES = 8 << 20  # a resume takes about three thousand
KINDS = {"environment": dict, "bits_depend_on": dict, "data": dict, "resumed": list, "command": list}
READINGS = 3  # of two files that a resume may be writing


def record_start(
    run: RunDir,
    config_text: str,
    data: Mapping[str, Any],
    command: Sequence[str] | None = None,
    bits_depend_on: Mapping[str, Any] | None = None,
) -> None:
    """Write what the run is started from. Call it with the lock held.

    Args:
        run: the new run.
        config_text: the resolved config, as YAML.
        data: the fingerprint of the data, in plain JSON values.
        command: the command line; by default that of this process.
        bits_depend_on: what decides over the last bits of the results, by name.

    Raises:
        UserError: a run was started in the folder before, the config is too large, or the disk refused.
    """
    text = _config_bytes(config_text)
    if os.path.lexists(run.info):
        raise UserError(f"{run.path}: was started before; continue it with `rnntrain resume {run.path}`")
    words = list(sys.argv if command is None else command)
    info = {
        "command": words,
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "process": os.getpid(),
        "environment": environment(),
        "bits_depend_on": dict(bits_depend_on or {}),
        "data": dict(data),
        "config_sha256": [_sha256(text)],
    }
    with durable.one_line(run.path):
        durable.replace_file(run.config, text)
        durable.replace_file(run.command, (shlex.join(words) + "\n").encode(errors="surrogateescape"))
        write_start(run, info)


def record_resume(
    run: RunDir,
    config_text: str,
    step: int,
    bits_depend_on: Mapping[str, Any] | None = None,
    config_before: str | None = None,
) -> None:
    """Write that the run goes on at `step`, and the config it goes on with. Call it with the lock held.

    Args:
        bits_depend_on: what decides over the last bits of the results from here on, by name.
        config_before: the config up to here where it was another, so that the run can be reproduced.

    Raises:
        UserError: the config is too large or not the one that was recorded, or the disk refused.
    """
    before, text = _sha256(read_config_text(run).encode()), _config_bytes(config_text)
    info = read_start(run)
    again = {
        "command": list(sys.argv),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "step": step,
        "environment": environment(),
        "bits_depend_on": dict(bits_depend_on or {}),
    }
    if config_before is not None:
        again["config_before"] = config_before
    info["resumed"] = [*info.get("resumed", []), again]
    with durable.one_line(run.path):
        if _sha256(text) != before:
            write_start(run, {**info, "config_sha256": [before, _sha256(text)]})  # a crash may come between the files
            durable.replace_file(run.config, text)
        write_start(run, {**info, "config_sha256": [_sha256(text)]})


def accept(run: RunDir) -> None:
    """Take config.yaml and run.json as they stand, after somebody has changed them on purpose: record their hashes.

    Raises:
        UserError: one of them cannot be read, another process writes the run, or the disk refused.
    """
    with run.lock():
        info, text = _read_start(run, whole=False), _read_config(run)
        times = run.info.stat()
        with durable.one_line(run.path):
            write_start(run, {**info, "config_sha256": [_sha256(text)]})
            os.utime(run.info, ns=(times.st_atime_ns, times.st_mtime_ns))  # which says when the run last went on


def write_start(run: RunDir, info: Mapping[str, Any]) -> None:
    """Write run.json, which carries its own hash.

    Raises:
        OSError: the disk refused; the old one then stands.
    """
    durable.replace_file(run.info, durable.seal({**info, "format": FORMAT}))


def read_start(run: RunDir) -> dict[str, Any]:
    """Return what `record_start` wrote, and each `record_resume` after it.

    Raises:
        UserError: it cannot be read, is damaged, or of a newer format.
    """
    return _read_start(run, whole=True)


def _read_start(run: RunDir, whole: bool) -> dict[str, Any]:
    fix = "restore it, or start a new run"
    try:
        data = durable.read_bounded(run.info, INFO_LIMIT_BYTES)
        info = json.loads(data)
        if isinstance(info, dict) and ("sha256" in info or info.get("format", 1) != 1):
            fix = f"restore it, or, if the change is yours, take it as it is: rnntrain verify {_quoted(run)} --accept"
            if whole:
                del info  # it is read anew, and two of them may be large
                info = durable.unseal(data, run.info.name)
            if info.get("format") != FORMAT and whole:
                fix = "upgrade rnntrain to use it"
                raise ValueError(f"it has the newer format {info.get('format')}; this rnntrain reads up to {FORMAT}")
            info.pop("sha256", None)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{run.info}: cannot be read: {error}; {fix}") from error
    if not isinstance(info, dict) or not all(isinstance(info.get(key, kind()), kind) for key, kind in KINDS.items()):
        raise UserError(f"{run.info}: does not describe a run; restore it, or start a new run")
    return info


def read_config_text(run: RunDir) -> str:
    """Return the text of the run's config, once its bytes are those that were recorded, where they were.

    Raises:
        UserError: it is missing, too large, not text, or was changed.
    """
    for _ in range(READINGS):
        text = _read_config(run)
        recorded = read_start(run).get("config_sha256")
        if recorded is None or (isinstance(recorded, list) and _sha256(text) in recorded):
            return text.decode()
    raise UserError(
        f"{run.config}: is not the file that {run.info.name} recorded: its SHA-256 differs. Restore it and say changes "
        f"on the command line (rnntrain resume {_quoted(run)} trainer.max_steps=...), or, if the change is yours, take "
        f"it as it is: rnntrain verify {_quoted(run)} --accept"
    )


def _quoted(run: RunDir) -> str:
    return shlex.quote(str(run.path))


def _read_config(run: RunDir) -> bytes:
    with durable.one_line(run.config):
        try:
            text = durable.read_bounded(run.config, CONFIG_LIMIT_BYTES)
            text.decode()
            return text
        except ValueError as error:
            raise UserError(f"{run.config}: {error}; restore it from a copy of the run") from error


def _config_bytes(text: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        near = text[max(0, error.start - 20) : error.start]
        raise UserError(f"the config holds bytes that are not UTF-8, after {near!r}; rename what they name") from None
    if len(data) > CONFIG_LIMIT_BYTES:
        raise UserError(f"the config holds {len(data):,} bytes; {CONFIG_LIMIT_BYTES:,} are the limit: shorten it")
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
