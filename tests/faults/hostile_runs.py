"""Runs that somebody sends along to be resumed, evaluated or sampled from: forged checkpoints, links, pipes, lies.

Each case changes a run of four steps that was trained before. A forged checkpoint has right hashes: only what it
says is wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults.hostile_files import Payload
from rnntrain.checkpoints import durable
from rnntrain.checkpoints.manifest import MANIFEST, STATE, TENSORS, Manifest, read_manifest
from rnntrain.runs.record import read_start, write_start
from rnntrain.runs.run import RunDir

Change = Callable[[Path, Path], object]


def newest(run: Path) -> Path:
    return max((run / "checkpoints").glob("step-*"))


def forge(checkpoint: Path, **files: bytes) -> None:
    """Write other files into a checkpoint, and a manifest that vouches for them."""
    manifest = read_manifest(checkpoint)
    for name, content in files.items():
        (checkpoint / f"{name}").unlink()
        durable.write_new(checkpoint / name, [content])
    records = {name: record_of(checkpoint / name) for name in (TENSORS, STATE)}
    (checkpoint / MANIFEST).write_bytes(Manifest(manifest.step, "best", "0", "0", records).to_bytes())


def record_of(path: Path) -> durable.FileRecord:
    data = path.read_bytes()
    return durable.FileRecord(len(data), hashlib.sha256(data).hexdigest())


def all_checkpoints(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("step-*"))


def forged_files(**files: bytes | Callable[[Path], bytes]) -> Change:
    """Return a case in which every checkpoint has these files, `tensors` or `state`."""
    names = {"tensors": TENSORS, "state": STATE}

    def change(run: Path, outside: Path) -> None:
        for checkpoint in all_checkpoints(run):
            contents = {
                names[key]: value if isinstance(value, bytes) else value(outside) for key, value in files.items()
            }
            forge(checkpoint, **contents)

    return change


def state(edit: Callable[[dict[str, Any]], object]) -> Change:
    """Return a case in which the JSON of every checkpoint is edited."""

    def change(run: Path, outside: Path) -> None:
        for checkpoint in all_checkpoints(run):
            document = json.loads((checkpoint / STATE).read_bytes())
            edit(document)
            forge(checkpoint, **{STATE: json.dumps(document).encode()})

    return change


def put(*path: Any, value: Any) -> Change:
    """Return a case in which one value of the state is another."""

    def edit(document: dict[str, Any]) -> None:
        place: Any = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return state(edit)


def drop(*path: Any) -> Change:
    def edit(document: dict[str, Any]) -> None:
        place: Any = document
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return state(edit)


def link(name: str, target: str = "kept.txt") -> Change:
    """Return a case in which a file or folder of the run is a link to one outside."""

    def change(run: Path, outside: Path) -> None:
        path = run / name
        remove(path)
        path.symlink_to(outside / target if target else outside)

    return change


def pipe(name: str) -> Change:
    def change(run: Path, outside: Path) -> None:
        remove(run / name)
        os.mkfifo(run / name)

    return change


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def write(name: str, content: str | bytes) -> Change:
    def change(run: Path, outside: Path) -> None:
        data = content.encode() if isinstance(content, str) else content
        (run / name).write_bytes(data.replace(b"{outside}", str(outside).encode()))

    return change


def append(name: str, content: str) -> Change:
    def change(run: Path, outside: Path) -> None:
        with (run / name).open("a", encoding="utf-8") as file:
            file.write(content.replace("{outside}", str(outside)))

    return change


def sparse(name: str, size: int) -> Change:
    def change(run: Path, outside: Path) -> None:
        with (run / name).open("r+b") as file:
            file.truncate(size)

    return change


def in_config(old: str, new: str) -> Change:
    def change(run: Path, outside: Path) -> None:
        text = (run / "config.yaml").read_text()
        assert old in text, text
        (run / "config.yaml").write_text(text.replace(old, new.replace("{outside}", str(outside))))

    return change


def in_record(**values: Any) -> Change:
    """Return a case whose run.json, rightly sealed, says something else."""

    def change(run: Path, outside: Path) -> None:
        write_start(RunDir(run), {**read_start(RunDir(run)), **values})

    return change


def vouched_for(change: Change) -> Change:
    """Return a case of a changed config for which the record vouches."""

    def changed(run: Path, outside: Path) -> None:
        change(run, outside)
        config = run / "config.yaml"
        if config.is_file() and not config.is_symlink():
            in_record(config_sha256=[hashlib.sha256(config.read_bytes()).hexdigest()])(run, outside)

    return changed


def sparse_tensors(size: int) -> Change:
    """Return a case of a checkpoint that takes no room on the disk and says to hold so many bytes."""

    def change(run: Path, outside: Path) -> None:
        for checkpoint in all_checkpoints(run):
            manifest = read_manifest(checkpoint)
            with (checkpoint / TENSORS).open("r+b") as file:
                file.truncate(size)
            records = {**manifest.files, TENSORS: durable.FileRecord(size, "0" * 64)}
            (checkpoint / MANIFEST).write_bytes(Manifest(manifest.step, "best", "0", "0", records).to_bytes())

    return change


def checkpoint_is_a_link(run: Path, outside: Path) -> None:
    for checkpoint in all_checkpoints(run):
        shutil.move(str(checkpoint), outside / checkpoint.name)
        checkpoint.symlink_to(outside / checkpoint.name)


def manifest_leads_out(run: Path, outside: Path) -> None:
    for checkpoint in all_checkpoints(run):
        manifest = read_manifest(checkpoint)
        document = json.loads(manifest.to_bytes())
        del document["sha256"]
        document["files"] = {"../../../../outside/kept.txt": document["files"][STATE], STATE: document["files"][STATE]}
        (checkpoint / MANIFEST).write_bytes(durable.seal(document))


RUNS: dict[str, Change] = {
    "checkpoint: a pickle for tensors": forged_files(tensors=lambda outside: pickle.dumps(Payload(outside))),
    "checkpoint: a pickle for the state": forged_files(state=lambda outside: pickle.dumps(Payload(outside))),
    "checkpoint: a header of 2^60 bytes": forged_files(tensors=(2**60).to_bytes(8, "little") + b"{}"),
    "checkpoint: a state that imports": put("generators", value={"$import": "os.system"}),
    "checkpoint: a terabyte of nothing": sparse_tensors(1 << 40),
    "checkpoint: a link": checkpoint_is_a_link,
    "checkpoint: a manifest that leads out": manifest_leads_out,
    "checkpoint: no trainer": drop("trainer"),
    "checkpoint: no codec": drop("codec"),
    "checkpoint: no generators": drop("generators"),
    "checkpoint: the trainer a list": put("trainer", value=[]),
    "checkpoint: the codec a text": put("codec", value="x"),
    "checkpoint: a codec of a billion": put(
        "codec", value={"unit": "char", "characters": "".join(map(chr, range(0x10000, 0x90000)))}
    ),
    "checkpoint: a codec of another kind": put("codec", value={"unit": "byte"}),
    "checkpoint: a codec of no kind": put("codec", value={"unit": ["char"]}),
    "checkpoint: step a text": put("trainer", "step", value="4"),
    "checkpoint: step negative": put("trainer", "step", value=-1),
    "checkpoint: step huge": put("trainer", "step", value=10**300),
    "checkpoint: offset huge": put("trainer", "offset", value=10**12),
    "checkpoint: offset negative": put("trainer", "offset", value=-5),
    "checkpoint: epoch a list": put("trainer", "epoch", value=[1]),
    "checkpoint: seconds a text": put("trainer", "seconds", value="now"),
    "checkpoint: the model a number": put("trainer", "model", value=3),
    "checkpoint: the optimizer empty": put("trainer", "optimizer", value={}),
    "checkpoint: the optimizer of strings": put("trainer", "optimizer", value={"state": "x", "param_groups": "y"}),
    "checkpoint: the best of another kind": put("trainer", "best", value={"evil": 1}),
    "checkpoint: the window of another kind": put("trainer", "window", value="x"),
    "checkpoint: the schedule of another kind": put("trainer", "schedule", value=[1, 2]),
    "checkpoint: the python generator empty": put("generators", "python", value=[]),
    "checkpoint: the state a number": put("trainer", "state", value=7),
    "config: an alias": append("config.yaml", "a: &a [1]\nb: *a\n"),
    "config: a Python object": append(
        "config.yaml", "evil: !!python/object/apply:os.system ['touch {outside}/executed']\n"
    ),
    "config: a class of the system": in_config("rnntrain.tasks.language_modeling.LanguageModeling", "os.system"),
    "config: a plugin": append("config.yaml", "plugins: [antigravity]\n"),
    "config: the environment": in_config("path: tiny.txt", "path: ${oc.env:SECRET}"),
    "config: two megabytes": append("config.yaml", "# x\n" * 500_000),
    "config: no YAML": write("config.yaml", "{"),
    "config: a list": write("config.yaml", "[1]"),
    "config: a pipe": pipe("config.yaml"),
    "config: a link": link("config.yaml"),
    "config: other sizes": in_config("hidden_size: 8", "hidden_size: 9"),
    "config: sizes beyond memory": in_config("hidden_size: 8", "hidden_size: 100000"),
    "record: no JSON": write("run.json", "{"),
    "record: a number": write("run.json", "3"),
    "record: deep": write("run.json", "[" * 100_000),
    "record: not a number": write("run.json", '{"environment": NaN}'),
    "record: a gigabyte": sparse("run.json", 1 << 30),
    "record: a pipe": pipe("run.json"),
    "record: a link": link("run.json"),
    "record: parts of other kinds": write("run.json", '{"environment": [], "resumed": 3, "data": "x"}'),
    "record: another hash of the config": in_record(config_sha256=["0" * 64]),
    "record: a number for hashes": in_record(config_sha256=7),
    "record: half a million hashes": in_record(config_sha256=["0" * 9] * 500_000),
    "lock: a link": link("run.lock"),
    "lock: a folder": lambda run, outside: (remove(run / "run.lock"), (run / "run.lock").mkdir()),
    "metrics: a link": link("metrics.jsonl"),
    "metrics: a pipe": pipe("metrics.jsonl"),
    "metrics: a folder": lambda run, outside: (remove(run / "metrics.jsonl"), (run / "metrics.jsonl").mkdir()),
    "metrics: a device": lambda run, outside: (
        remove(run / "metrics.jsonl"),
        (run / "metrics.jsonl").symlink_to("/dev/zero"),
    ),
    "metrics: a line of a gigabyte": sparse("metrics.jsonl", 1 << 30),
    "events: a link": link("tensorboard", ""),
    "events: a file": lambda run, outside: (remove(run / "tensorboard"), (run / "tensorboard").write_text("x")),
    "pictures: a link": link("pictures", ""),
    "checkpoints: a link": lambda run, outside: (
        shutil.move(str(run / "checkpoints"), outside / "checkpoints"),
        (run / "checkpoints").symlink_to(outside / "checkpoints"),
    ),
    "summary: a link": link("summary.json"),
    "summary: a pipe": pipe("summary.json"),
    "best: a link": link("checkpoints/best.json"),
    "best: a pipe": pipe("checkpoints/best.json"),
    "best: leads out": lambda run, outside: (run / "checkpoints/best.json").write_bytes(
        durable.seal({"name": "../../outside", "metric": "loss", "value": 1.0, "step": 1})
    ),
}


# A stranger's record vouches for whatever the stranger likes.
RUNS |= {name: vouched_for(change) for name, change in RUNS.items() if name.startswith("config: ")}


def mutated(seed: int) -> Change:
    """Return a case in which one value of the state, drawn, is one of another kind."""
    draw = random.Random(seed)
    others: list[Any] = [
        None,
        True,
        -1,
        0,
        10**30,
        1.5,
        "",
        "x",
        [],
        {},
        [[]],
        {"a": 1},
        {"$tuple": []},
        {"$float": "nan"},
    ]

    def edit(document: dict[str, Any]) -> None:
        places: list[tuple[Any, Any]] = []

        def walk(node: Any, depth: int) -> None:
            for key, value in node.items() if isinstance(node, dict) else enumerate(node):
                if not str(key).startswith("$tensor"):
                    places.append((node, key))
                if isinstance(value, (dict, list)) and depth < 8:
                    walk(value, depth + 1)

        walk(document, 0)
        # Not one of six hundred words of a generator each time: the first levels tell more.
        node, key = draw.choice(places[:300])
        node[key] = draw.choice(others)

    return state(edit)
