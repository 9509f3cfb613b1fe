"""Write the small run that the tests keep of each format of checkpoints: `tests/formats/format-N/`.

    python scripts/make_format_sample.py

Run it once for each new format, with the version that introduces it, and never again: later versions must read what
this one wrote. What tells of the machine is taken out of `run.json`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import rnntrain
from rnntrain import commands, using
from rnntrain.checkpoints.manifest import FORMAT
from rnntrain.runs.record import read_start, write_start
from rnntrain.runs.run import RunDir

FORMATS = Path(__file__).resolve().parent.parent / "tests" / "formats"
TEXT = "the sea was a grey line, and so we went on: the line, the sea.\n" * 12
OVERRIDES = [
    "data=text",
    "data.path=text.txt",
    "data.batch_size=4",
    "data.bptt=8",
    "data.eval_batch_size=4",
    "data.eval_bptt=32",
    "model.hidden_size=4",
    "model.num_layers=2",
    "model.dropout=0.1",
    "task.sample_length=5",
    "schedule=plateau",
    "trainer.max_steps=6",
    "trainer.eval_every_steps=3",
    "trainer.log_every_steps=2",
    "trainer.keep_checkpoints=1",
    "trainer.average_decay=0.9",
    "trainer.spike_factor=50",
    "device=cpu",
    "threads=1",
    "kernels=plain",
    "run.dir=run",
]
FURTHER = 12  # to which step it is resumed, for losses to compare with
KEPT = ("config.yaml", "run.json", "metrics.jsonl", "summary.json", "checkpoints")
TELLS_OF_THE_MACHINE = ("platform", "host", "cpu", "devices", "working_directory", "git", "cuda")


def main() -> int:
    target = FORMATS / f"format-{FORMAT}"
    if target.exists():
        print(f"{target} exists: a sample of a format is written once", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("text.txt").write_text(TEXT, encoding="utf-8")
        sys.argv = ["rnntrain", "train", *OVERRIDES]
        trained = rnntrain.train(*OVERRIDES, quiet=True)
        values = using.evaluate(Path("run"), "val")
        info = read_start(RunDir(Path("run")))
        info["environment"] = {k: v for k, v in info["environment"].items() if k not in TELLS_OF_THE_MACHINE}
        write_start(RunDir(Path("run")), info)
        target.mkdir(parents=True)
        for name in KEPT:
            copy = shutil.copytree if Path("run", name).is_dir() else shutil.copy
            copy(Path("run", name), target / name)
        shutil.copy("text.txt", target / "text.txt")
        commands.resume(Path("run"), [f"trainer.max_steps={FURTHER}"], quiet=True)
        lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        losses = {line["step"]: line["train/loss"] for line in lines if "train/loss" in line}
        expected = {"step": trained.summary.step, "val": values, "train/loss": losses}
        (target / "expected.json").write_text(json.dumps(expected, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
