"""The model card: what a model is, what it was trained on, how good it is and where it ends (Mitchell et al. 2019)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnntrain.checkpoints import durable
from rnntrain.comparing.groups import group, larger_is_better
from rnntrain.comparing.records import RunRecord
from rnntrain.data.known.catalog import find_entry
from rnntrain.data.places import SHIPPED
from rnntrain.errors import UserError
from rnntrain.using import Loaded

_KNOWN = re.compile(r"@([A-Za-z0-9_-]+)")
# As a paragraph or a row of a table of an ORIGIN.md.
_LICENCE = re.compile(r"\*\*Licence\.?\*\*\s*(.+?)(?:\n\n|$)|^\| licence \| (.+?) \|$", re.DOTALL | re.MULTILINE)
MOST_METRICS = 24  # of a split that the card lists
_CALLS = {
    "text": 'print(model.predict(["a text"]))',
    "tokens": 'print(model.predict(["Ada Lovelace lived in London ."]))',
    "sound": 'print(model.predict(["recording.wav"]))',
    "series": 'print(model.predict([{"values": rows, "times": times}]))',
    "numbers": "print(model.predict([rows]))",
    "symbols": "print(model.predict([[0, 1, 1]]))",
    "roll": "print(model.predict([[[60, 64, 67], [60, 65, 69]]]))",
}


def write_card(path: Path, loaded: Loaded, records: Sequence[RunRecord], info: dict[str, Any]) -> None:
    """Write the card of a bundle as Markdown.

    Args:
        records: of the bundled run, and of those of other seeds.
        info: how the bundled run was started.
    """
    parts = [
        _title(loaded, records[0]),
        _use(loaded, path.parent.name),
        _data(loaded, info),
        _results(loaded, records),
        _limits(loaded),
        _reproduce(records, info),
    ]
    durable.write_new(path, ["\n\n".join(parts).encode() + b"\n"])


def _title(loaded: Loaded, record: RunRecord) -> str:
    task, config = type(loaded.task).__name__, loaded.config
    number = sum(parameter.numel() for parameter in loaded.model.parameters())
    directions = "both directions" if loaded.model.backbone.bidirectional else "one direction"
    about = re.sub(r"\s+", " ", (type(loaded.task).__doc__ or "").partition("\n\n")[0]).strip()
    layers = len(loaded.model.backbone.layers)
    return (
        f"# {record.name}\n\n{task}: {about}\n\n"
        f"A recurrent network of {layers} layer{'s' * (layers > 1)} ({config.cell_names}), read in {directions}, with "
        f"{number:,} parameters; the weights are those of step {loaded.step:,}."
    )


def _use(loaded: Loaded, folder: str) -> str:
    call = _CALLS[loaded.predictor().kind]
    return (
        '## Use\n\n```python\nimport rnntrain\nmodel = rnntrain.load("PATH/OF/THIS/FOLDER")\n' + call + "\n```\n\n"
        "On the command line: `rnntrain predict PATH/OF/THIS/FOLDER FILE`. It runs on any CPU, and no code of its own."
    )


def _data(loaded: Loaded, info: dict[str, Any]) -> str:
    lines = ["## Data", ""]
    data = loaded.config.data
    path = str(data.arguments.get("path", ""))
    lines.append(f"Read by `{data.cls.__name__}`" + (f" from `{_shown(path)}`." if path else ", which generates it."))
    lines += ["", _licence(path)]
    fingerprint = info.get("data", {})
    splits = fingerprint.get("splits")
    if isinstance(splits, dict):
        lines += [
            "",
            "| split | size |",
            "|---|---|",
            *(f"| {split} | {_count(size)} |" for split, size in splits.items()),
        ]
    if "sha256" in fingerprint:
        lines += ["", f"SHA-256 of what was read: `{fingerprint['sha256']}`."]
    options = {key: value for key, value in data.arguments.items() if key != "path"}
    if options:
        lines += ["", "Options: " + ", ".join(f"`{key}={_shown(value)}`" for key, value in options.items()) + "."]
    return "\n".join(lines)


def _licence(path: str) -> str:
    match = _KNOWN.match(path)
    if not path:
        return "Generated data has no licence."
    if match is None:
        return "The data is the user's own; its licence is not known here. Whoever passes this model on must know it."
    name = match[1]
    try:
        entry, _ = find_entry(name)
        return f"{name}: {entry.description}. Licence: {entry.licence}."
    except UserError:
        pass
    origin = SHIPPED / name / "ORIGIN.md"
    if not origin.is_file():
        return f"{name}: its licence is not known here."
    text = origin.read_text(encoding="utf-8")
    title = text.partition("\n")[0].lstrip("# ")
    licence = _LICENCE.search(text)
    said = re.sub(r"\s+", " ", licence[1] or licence[2]).strip(" .") if licence else "see its ORIGIN.md in the package"
    return f"{name}: {title}. Licence: {said}."


def _results(loaded: Loaded, records: Sequence[RunRecord]) -> str:
    lines = ["## Results", ""]
    seeds = ", ".join(str(record.seed) for record in records)
    [of_all] = group(records)
    many = len(records) > 1
    if many:
        lines.append(f"Of this run (seed {records[0].seed}), and over the seeds {seeds}: median and worst.")
    else:
        lines.append(f"Of one run, seed {seeds}; other seeds may well differ.")
    if loaded.config.data.arguments.get("train_on_val"):
        lines.append("Val was trained on too, so its figures say nothing; test was evaluated once, at the end.")
    elif loaded.config.trainer.restore_best:
        lines.append("Weights were chosen on val, so its figures flatter; test was evaluated once, at the end.")
    methods = list(dict.fromkeys(name.split("/")[1] for name in records[0].metrics if name.startswith("baseline/")))
    for split in ("test", "val"):
        names = [name for name in records[0].metrics if name.startswith(f"{split}/")][:MOST_METRICS]
        if names:
            heads = [split, "this run", *(["median", "worst"] if many else []), *methods]
            lines += ["", _row(heads), _row(["---"] * len(heads))]
        for name in names:
            cells = [name.partition("/")[2], _number(records[0].metrics[name])]
            if many:
                found = of_all.statistics(name, larger_is_better(name))
                cells += ["", ""] if found is None else [_number(found.median), _number(found.worst)]
            cells += [_number(records[0].metrics.get(f"baseline/{method}/{name}")) for method in methods]
            lines.append(_row(cells))
    if not any(name.startswith(("test/", "val/")) for name in records[0].metrics):
        lines += ["", "The run has not been evaluated."]
    return "\n".join(lines)


def _limits(loaded: Loaded) -> str:
    predictor = loaded.predictor()
    limits = [
        *predictor.limits(),
        "What is unlike its training data, it answers all the same, and mostly with as much confidence: judge it on "
        "data of your own first (`rnntrain eval THIS FOLDER FILE`).",
    ]
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits)


def _reproduce(records: Sequence[RunRecord], info: dict[str, Any]) -> str:
    from rnntrain.bundling.bundle import VERSIONS, command_of  # which imports this module

    environment = info.get("environment", {})
    versions = ", ".join(f"{name} {environment[name]}" for name in VERSIONS if environment.get(name))
    checkout = (environment.get("git") or {}).get("rnntrain") or {}
    commit = checkout.get("commit")
    if commit and checkout.get("dirty"):
        commit = f"{commit} with changes that were not committed"
    command = shlex.join(command_of(info))
    seeds = ", ".join(str(record.seed) for record in records)
    said = f"With {versions}" + (f", rnntrain at commit {commit}" if commit else "") + f"; `seed=` {seeds}."
    return f"## Reproduce\n\n```\n{command}\n```\n\n{said} The whole config stands in `config.yaml`."


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _count(size: object) -> str:
    return f"{size:,}" if isinstance(size, int) else str(size)


def _shown(value: Any) -> str:
    text = str(value)
    return Path(text).name if text.startswith(("/", "~")) else text
