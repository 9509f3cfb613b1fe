"""What `rnntrain export` does: load a run, write its model, compare the file with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rnntrain.build import build
from rnntrain.checkpoints.durable import one_line, replace_file
from rnntrain.errors import UserError
from rnntrain.exporting.asked import Format, Precision
from rnntrain.exporting.comparison import GOAL
from rnntrain.exporting.int8 import write_int8
from rnntrain.exporting.measured import measure
from rnntrain.exporting.onnx_file import OnnxModel, write_onnx
from rnntrain.exporting.torch_file import TorchModel, write_torch
from rnntrain.exporting.verify import Run, verify
from rnntrain.runs.environment import package_version
from rnntrain.using import Loaded, load


def export(
    path: Path,
    target: Path,
    form: Format,
    *,
    int8: bool,
    precision: Precision,
    compare: bool,
    overrides: Sequence[str],
) -> Iterator[str]:
    """Write a run's model and its description; yield lines to print, as the work goes on.

    Args:
        precision: what the file computes in, where it is not in eight bits.
        compare: run the file beside the model; of eight bits, also on the validation split, which is then read.

    Raises:
        UserError: if it is not a run, or the model cannot be exported, or the file differs from it.
    """
    loaded = load(path, overrides)
    loaded.model.cpu()
    facts = {"run": loaded.run.path.name, "step": loaded.step, "rnntrain": package_version()}
    with one_line(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    given = (loaded.model, loaded.task, loaded.codec, target, facts)
    write = write_onnx if form == "onnx" else write_torch
    description = write_int8(*given) if int8 else write(*given, precision)
    beside = target.with_name(f"{target.name}.json")
    with one_line(beside):
        replace_file(beside, (json.dumps(description, indent=2) + "\n").encode())
    here = Path.cwd()
    shown = target.relative_to(here) if target.is_relative_to(here) else target
    yield f"{shown}  {target.stat().st_size:,} bytes, {beside.name} beside it"
    if precision == "auto" and description["precision"] == "float64":
        yield "  in float64: with these weights rounding grows from step to step, and float32 would not do"
    yield from _table(description)
    if compare:
        yield from _compare(loaded, target, form, description)


def _table(description: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each input and output, the state last."""
    state = [{**each, "name": f"{each['input']} → {each['output']}"} for each in description["state"]]
    rows = [("in", each) for each in description["inputs"]] + [("out", each) for each in description["outputs"]]
    rows += [("state", each) for each in state]
    width = max(len(each["name"]) for _, each in rows)
    for kind, each in rows:
        shape = ", ".join(map(str, each["shape"]))
        yield f"  {kind:<5}  {each['name']:<{width}}  {each['dtype']} [{shape}]"


def _compare(loaded: Loaded, target: Path, form: Format, description: dict[str, Any]) -> Iterator[str]:
    run = OnnxModel(target).run if form == "onnx" else TorchModel(target).run
    difference = verify(loaded.model, loaded.task, loaded.codec, run)
    yield f"compared with PyTorch: {difference}"
    if description["precision"] == "int8":
        yield from _quality(loaded, run)
    elif not difference.good:
        advice = "do not rely on it" if description["precision"] == "float64" else "use --precision float64"
        raise UserError(f"{target}: differs from the model by more than {GOAL:g}; {advice}")


def _quality(loaded: Loaded, run: Run) -> Iterator[str]:
    experiment = build(loaded.config, codec=loaded.codec)
    experiment.model.load_state_dict(loaded.model.state_dict())
    carry = next(iter(experiment.task.evaluations().values()))
    before = experiment.trainer.evaluate("val", carry)
    after = measure(experiment, run, "val")
    width = max(map(len, before))
    yield f"on the validation split, {'':<{max(0, width - 23)}}  float32      int8"
    for name, value in before.items():
        yield f"  {name:<{max(width, 23)}}  {value:>10.6g}  {after[name]:>10.6g}"
