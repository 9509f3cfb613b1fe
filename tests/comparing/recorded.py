"""Writes folders of runs that nothing trained, so that what is read of them is known beforehand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rnntrain.configuring.config_files import to_yaml

BASE: dict[str, Any] = {
    "task": {"_target_": "rnntrain.tasks.language_modeling.LanguageModeling"},
    "model": {"hidden_size": 8, "cell": {"_target_": "rnntrain.cells.lstm.LSTM"}},
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.01},
    "trainer": {"max_steps": 4},
    "run": {"root": "outputs"},
}


def write_run(
    folder: Path,
    changes: dict[str, Any] | None = None,
    *,
    seed: int = 0,
    status: str | None = "finished",
    curve: list[float] | None = None,
    **metrics: Any,
) -> Path:
    """Write a run; return its folder.

    Args:
        changes: values by dotted key.
        status: None leaves the summary out.
        curve: values of val/loss, an evaluation a step.
        metrics: of the summary, with `__` for `/`.
    """
    plain = json.loads(json.dumps(BASE)) | {"seed": seed}
    for key, value in (changes or {}).items():
        *sections, name = key.split(".")
        place = plain
        for section in sections:
            place = place[section]
        place[name] = value
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml(plain))
    (folder / "run.json").write_text(json.dumps({"format": 1, "command": ["rnntrain", "train"]}))
    lines = [json.dumps({"step": step, "val/loss": value}) for step, value in enumerate(curve or [], 1)]
    (folder / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))
    if status is not None:
        named = {name.replace("__", "/"): value for name, value in metrics.items()}
        summary = {"status": status, "reason": "max_steps", "step": 4, **named}
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder
