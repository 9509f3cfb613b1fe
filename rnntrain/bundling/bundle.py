"""Write a bundle: the weights that a run is judged by, its config and codec, and a card that tells what it is.

A bundle is laid out as a run is, so whatever takes a run takes a bundle. It holds no optimizer and no data.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnntrain import config as configs
from rnntrain.bundling.card import write_card
from rnntrain.bundling.seal import write_seal
from rnntrain.checkpoints import durable
from rnntrain.checkpoints.checkpoint import checkpoint_name, find_checkpoints, save_checkpoint, verify_checkpoint
from rnntrain.checkpoints.durable import FileRecord
from rnntrain.checkpoints.retention import BEST, mark_best
from rnntrain.comparing.groups import differences, group
from rnntrain.comparing.records import RunRecord, read_run
from rnntrain.errors import UserError
from rnntrain.runs.record import read_start
from rnntrain.runs.run import RunDir, open_run
from rnntrain.using import Loaded, load

# What may lie elsewhere, or not at all, on the machine that uses a bundle.
MOVABLE = {"device": {"kind": "auto"}, "kernels": "auto", "threads": "auto"}
VERSIONS = ("rnntrain", "torch", "numpy", "python")


def make_bundle(paths: Sequence[Path], out: Path | None = None, overrides: Sequence[str] = ()) -> Path:
    """Write the bundle of the first run; the others tell what its config reaches with other seeds.

    Args:
        out: a folder that does not exist yet; `NAME-bundle` here where None.

    Raises:
        UserError: a path is no run, the runs are not of one config, or the folder exists.
    """
    runs = [open_run(path) for path in paths]
    out = Path(f"{runs[0].path.name}-bundle") if out is None else out
    if os.path.lexists(out):
        raise UserError(f"--out {out}: exists; choose another folder")
    if not out.absolute().parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}; make it first")
    records = [read_run(run.path) for run in runs]
    _check_siblings(records)
    loaded = load(paths[0], overrides)
    with durable.one_line(out), durable.new_folder(out.absolute()) as folder:
        _write(folder, loaded, records)
        os.rename(folder, out)
        durable.sync_directory(out.absolute().parent)
    for checkpoint in find_checkpoints(out / "checkpoints"):
        verify_checkpoint(checkpoint)
    return out


def _check_siblings(records: Sequence[RunRecord]) -> None:
    groups = group(records)
    if len(groups) > 1:
        differing = differences(groups)
        raise UserError(
            f"{records[0].path} and {groups[1].runs[0].path} differ in {', '.join(differing[:4])}; name runs of one "
            "config that differ in their seeds alone"
        )
    seeds = [record.seed for record in records]
    if len(set(seeds)) < len(seeds):
        twice = next(record for record in records if seeds.count(record.seed) > 1)
        raise UserError(f"{twice.path}: seed {twice.seed} is among the runs twice; name each seed once")


def _write(folder: Path, loaded: Loaded, records: Sequence[RunRecord]) -> None:
    run = loaded.run
    weights = {"model": loaded.model.state_dict(), "average": None, "step": loaded.step}
    tree = {"trainer": weights, "codec": loaded.codec.state_dict()}
    save_checkpoint(folder / "checkpoints", checkpoint_name(loaded.step), tree, reason="bundle")
    files = {}
    best = _best_value(records[0])
    if best is not None:
        mark_best(folder / "checkpoints", checkpoint_name(loaded.step), *best)
        files[f"checkpoints/{BEST}"] = _record(folder / "checkpoints" / BEST)
    text = configs.to_yaml(movable(loaded.config.plain)).encode()
    files["config.yaml"] = durable.write_new(RunDir(folder).config, [text])
    # Its own start comes before its summary, as in a run: so none is taken for one that was stopped.
    files["run.json"] = durable.write_new(RunDir(folder).info, [_json(start_of(run))])
    files["summary.json"] = durable.write_new(RunDir(folder).summary, [_json(dict(records[0].summary))])
    write_card(folder / "README.md", loaded, records, read_start(run))
    write_seal(folder, files)
    durable.sync_directory(folder)


def movable(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a config without what only the machine it was trained on has: devices, and the folders of its files."""
    moved = copy.deepcopy(plain) | copy.deepcopy(MOVABLE)
    moved["run"] = {"group": "bundle"}
    for section in ("data", "task"):
        for key, value in moved[section].items():
            if isinstance(value, str) and os.path.isabs(os.path.expanduser(value)):
                moved[section][key] = Path(value).name
    return moved


def start_of(run: RunDir) -> dict[str, Any]:
    """Return what a bundle tells of the start of its run: the command and the versions, and nothing of the machine."""
    info = read_start(run)
    environment = info.get("environment", {})
    return {
        "format": 1,  # the bundle's own seal vouches for all of it
        "command": command_of(info),
        "started": info.get("started"),
        "environment": {name: environment.get(name) for name in VERSIONS},
        "data": info.get("data", {}),
    }


def command_of(info: dict[str, Any]) -> list[str]:
    """Return the words of the command that started a run, the program by its name and files without their folders."""
    words = [str(word) for word in info.get("command", [])]
    plain = []
    for word in words[1:]:
        key, equal, value = word.partition("=")
        plain.append(f"{key}={Path(value).name}" if equal and os.path.isabs(os.path.expanduser(value)) else word)
    return ["rnntrain", *plain] if words else []


def _best_value(record: RunRecord) -> tuple[str, float] | None:
    metric = record.monitored()
    if metric is None:
        return None
    value = record.metrics.get(f"best/{metric.removeprefix('val/')}")
    return None if value is None else (metric, value)


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, allow_nan=False) + "\n").encode()


def _record(path: Path) -> FileRecord:
    content = path.read_bytes()
    return FileRecord(len(content), hashlib.sha256(content).hexdigest())
