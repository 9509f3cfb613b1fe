"""What a run was: its config beside the defaults or the other runs, its command, its machine, its costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rnntrain.comparing.groups import shown_value
from rnntrain.comparing.records import RunRecord
from rnntrain.configuring.overrides import flatten
from rnntrain.errors import UserError
from rnntrain.reporting.html import Html, element, join, table
from rnntrain.runs.record import read_start
from rnntrain.runs.run import RunDir

NOT_SET = "–"


def defaults() -> dict[str, Any]:
    """Return the config of `rnntrain train` as it comes, by dotted key; imports Hydra."""
    from rnntrain.config import compose

    return flatten(compose([]))


def config_tables(config: Mapping[str, Any], usual: Mapping[str, Any], whose: str = "this run") -> Html:
    """Return what differs from the defaults, and the whole config to open; `whose` heads its column."""
    keys = [key for key in config if key in usual or not key.startswith("run.")]
    changed = [key for key in keys if config[key] != usual.get(key, NOT_SET) and not key.startswith("run.")]
    head = ["key", whose, "rnntrain train"]
    rows = [[key, _value(key, config[key]), _value(key, usual[key]) if key in usual else NOT_SET] for key in changed]
    gone = [key for key in usual if key not in config and not key.startswith(("run.", "hydra."))]
    rows += [[key, NOT_SET, _value(key, usual[key])] for key in gone]
    whole = table(["key", "value"], [[key, _value(key, value)] for key, value in config.items()], caption="All keys")
    return join(
        [
            table(head, rows, caption="What differs from the defaults", class_="wrap") if rows else None,
            element("details", element("summary", f"The whole config ({len(config)} keys)"), whole),
        ]
    )


def command_of(record: RunRecord) -> str | None:
    """Return the command line that started a run."""
    words = start_of(record).get("command")
    if not isinstance(words, list) or not words:
        return None
    import shlex

    return shlex.join(["rnntrain", *map(str, words[1:])])


def environment_table(record: RunRecord) -> Html | None:
    """Return versions, machine, git state and the data's fingerprint."""
    start = start_of(record)
    environment = start.get("environment")
    rows = flatten(environment) if isinstance(environment, dict) else {}
    data = start.get("data")
    rows |= {
        f"data.{key}".rstrip("."): value for key, value in (flatten(data) if isinstance(data, dict) else {}).items()
    }
    shown = [[key, _plain(value)] for key, value in rows.items() if value not in (None, [], {}, "")]
    if not shown:
        return None
    return table(["", "when the run was started"], shown, caption="Environment", class_="wrap")


def start_of(record: RunRecord) -> dict[str, Any]:
    """Return what a run recorded of its start; nothing where that cannot be read."""
    try:
        return read_start(RunDir(record.path))
    except UserError:
        return {}


def _value(key: str, value: Any) -> str:
    return shown_value(key, value) if not isinstance(value, (list, dict)) else json.dumps(value, ensure_ascii=False)


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else str(value)
