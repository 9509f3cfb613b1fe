"""What an exported model gives away and gains: differences, speed, and weights of eight bits.

    python scripts/bench_export.py differences [--tasks ctc …] [--cells lstm …] [--format torch]
    python scripts/bench_export.py trained [--steps 300]
    python scripts/bench_export.py speed
    python scripts/bench_export.py float64
    python scripts/bench_export.py int8

`differences` exports every cell in every task of the tests, with random weights, and runs each file beside PyTorch over
1, 7, 64 and 1,000 steps, 1 and 3 rows of unequal lengths, whole and in chunks; it takes an hour. `trained` does so over
1,000 steps with the cells whose rounding grows, before and after training, in float32 and in what the export chooses.
`speed` takes a language model of each of a few cells through onnxruntime and through PyTorch, in turn, one thread each.
`float64` times files in float64 beside those in float32. `int8` trains small models and measures them on their
validation split before and after.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / part) for part in (".", "tests")]

from tasks.cases import TASKS  # noqa: E402
from training import CELLS, make_config, with_cells, write_text  # noqa: E402

from rnntrain.build import Experiment, build  # noqa: E402
from rnntrain.errors import UserError  # noqa: E402
from rnntrain.exporting.asked import Precision  # noqa: E402
from rnntrain.exporting.comparison import GOAL  # noqa: E402
from rnntrain.exporting.int8 import write_int8  # noqa: E402
from rnntrain.exporting.measured import measure  # noqa: E402
from rnntrain.exporting.onnx_file import OnnxModel, write_onnx  # noqa: E402
from rnntrain.exporting.precision import drift  # noqa: E402
from rnntrain.exporting.program import Program  # noqa: E402
from rnntrain.exporting.torch_file import TorchModel, write_torch  # noqa: E402
from rnntrain.exporting.verify import Run, verify  # noqa: E402
from rnntrain.models.sequence import SequenceModel  # noqa: E402

REPEATS = 7
PRECISIONS: tuple[Precision, ...] = ("float32", "auto")
STRETCHING_CELLS = ("layernorm_lstm", "janet", "cornn", "antisymmetric")
STRETCHING_TASKS = ("step_regression", "tagging_crf")
TIMED_CELLS = (
    "rnn",
    "gru",
    "lstm",
    "vanilla",
    "janet",
    "layernorm_lstm",
    "mingru",
    "lru",
    "slstm",
    "transformer",
    "tcn",
)


def differences(folder: Path, tasks: list[str], cells: list[str], form: str) -> int:
    """Print the largest difference of each cell in each task; return how many exceed the goal."""
    worst, above = (0.0, "none"), 0
    for task in tasks:
        experiment = TASKS[task](folder / task).experiment
        for cell in cells:
            path = folder / ("model.onnx" if form == "onnx" else "model.pt2")
            codec = experiment.data.codec
            try:
                model = with_cells(experiment, cell)
                write: Callable[..., Any] = write_onnx if form == "onnx" else write_torch
                write(model, experiment.task, codec, path, {})
                exported = OnnxModel(path, threads=1) if form == "onnx" else TorchModel(path)
                found = verify(model, experiment.task, codec, exported.run)
            except UserError as error:
                print(f"{task:<24} {cell:<18} {error}", flush=True)
                above += 1
                continue
            precision = exported.description["precision"]
            print(f"{task:<24} {cell:<18} {precision}  {found}", flush=True)
            worst = max(worst, (found.largest, f"{cell} in {task}: {found.where}"))
            above += not found.right
    print(f"\n{len(tasks)} tasks x {len(cells)} cells: largest difference {worst[0]:.1e} ({worst[1]}); {above} above")
    return above


def trained(folder: Path, steps: int) -> None:
    """Print how far files and PyTorch stray over 1,000 steps, before training and after it."""
    print("largest difference from the model in float64 over 1,000 steps; drift: what the export decides by")
    heading = ("task", "cell", "steps", "drift", "PyTorch", "float32 file", "chosen file", "chosen")
    print("".join(f"{part:<20}" for part in heading))
    for task in STRETCHING_TASKS:
        experiment = TASKS[task](folder / task).experiment
        for cell in STRETCHING_CELLS:
            wanted = make_config(Path("none.txt"), cell=cell).cell
            settings = replace(experiment.config.trainer, max_steps=steps, eval_every_steps=steps)
            one = build(replace(experiment.config, cell=wanted, cells=(), trainer=settings))
            for number in (0, steps):
                if number:
                    one.trainer.fit()
                model = one.model.eval()
                row = [task, cell, str(number), f"{drift(model):.1e}", *_strays(one, folder / "model.onnx")]
                print("".join(f"{part:<20}" for part in row), flush=True)


def _strays(experiment: Experiment, path: Path) -> list[str]:
    """Return how far PyTorch, a file in float32 and the chosen one are from float64, and what was chosen."""
    model, task, codec = experiment.model, experiment.task, experiment.data.codec
    found, chosen = {}, ""
    for precision in PRECISIONS:
        chosen = write_onnx(model, task, codec, path, {}, precision)["precision"]
        found[precision] = verify(model, task, codec, OnnxModel(path, threads=1).run, (1000,), always_exact=True)
    rounding = {precision: each.rounding for precision, each in found.items() if each.rounding is not None}
    of_torch = f"{rounding['auto'].of_torch:.1e}"
    return [of_torch, *(f"{rounding[precision].of_file:.1e}" for precision in PRECISIONS), chosen]


def seconds(
    functions: dict[str, Callable[[], Any]], middle: Callable[[list[float]], float] = statistics.median
) -> dict[str, float]:
    """Return the median time of each function, or another middle; they run in turn."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(REPEATS + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if number:  # the first round warms up
                times[name].append(time.perf_counter() - start)
    return {name: middle(values) for name, values in times.items()}


def speed(folder: Path) -> None:
    """Print how many times as fast as PyTorch an exported language model is."""
    experiment = build(make_config(write_text(folder)))
    torch.set_num_threads(1)
    print("times as fast as PyTorch (above 1 is faster), hidden size 128, one thread")
    shapes = ((1, 1), (1, 200), (16, 200))
    print(f"{'cell':<16}" + "".join(f"{f'{rows} x {steps}':>24}" for rows, steps in shapes))
    print(" " * 16 + f"{'onnx':>12}{'pt2':>12}" * len(shapes))
    for cell in TIMED_CELLS:
        model = with_cells(experiment, cell, hidden_size=128)
        codec = experiment.data.codec
        write_onnx(model, experiment.task, codec, folder / "model.onnx", {})
        write_torch(model, experiment.task, codec, folder / "model.pt2", {})
        runs = {"onnx": OnnxModel(folder / "model.onnx", threads=1).run, "pt2": TorchModel(folder / "model.pt2").run}
        program = Program(model, experiment.task, codec)
        columns = ""
        for rows, steps in shapes:
            arguments = dict(zip(program.arguments, program.example(rows, steps), strict=True))
            arguments["lengths"].fill_(steps)
            batch, state = program.batch(list(arguments.values())), program.state(list(arguments.values()))
            ways = {name: lambda run=run, given=arguments: run(given) for name, run in runs.items()}

            def plain(batch: Any = batch, state: Any = state, model: SequenceModel = model) -> None:
                with torch.no_grad():
                    output, _ = model(replace(batch, lengths_B=None), state)
                    output.compute()

            took = seconds({"torch": plain, **ways})
            columns += "".join(f"{took['torch'] / took[name]:>12.2f}" for name in runs)
        print(f"{cell:<16}{columns}", flush=True)


def float64(folder: Path) -> None:
    """Print how many times as long as in float32 a language model takes in float64, and how large its file is."""
    experiment = build(make_config(write_text(folder)))
    shapes = ((1, 1, 200), (1, 200, 3), (16, 200, 1))
    print(
        "times as long as the file in float32, at batch x steps, hidden size 128, one thread; the file's size likewise"
    )
    print(f"{'cell':<16}" + "".join(f"{f'{rows} x {steps}':>12}" for rows, steps, _ in shapes) + f"{'size':>12}")
    for cell in (*STRETCHING_CELLS, "lstm", "gru"):
        model = with_cells(experiment, cell, hidden_size=128)
        program = Program(model, experiment.task, experiment.data.codec)
        files = {precision: folder / f"{precision}.onnx" for precision in ("float32", "float64")}
        for precision, path in files.items():
            write_onnx(model, experiment.task, experiment.data.codec, path, {}, precision)
        runs = {precision: OnnxModel(path, threads=1).run for precision, path in files.items()}
        ratios = []
        for rows, steps, calls in shapes:
            arguments = dict(zip(program.arguments, program.example(rows, steps), strict=True))

            def repeated(run: Run, given: dict[str, torch.Tensor] = arguments, calls: int = calls) -> None:
                for _ in range(calls):
                    run(given)

            took = seconds({precision: lambda run=run, go=repeated: go(run) for precision, run in runs.items()}, min)
            ratios.append(took["float64"] / took["float32"])
        ratios.append(files["float64"].stat().st_size / files["float32"].stat().st_size)
        print(f"{cell:<16}" + "".join(f"{ratio:>12.2f}" for ratio in ratios), flush=True)


def int8(folder: Path, steps: int) -> None:
    """Print size, speed and the watched metric of models before and after their weights lose three bytes in four."""
    heading = ("cell", "float32 kB", "int8 kB", "ratio", "times as fast 1 x 1", "1 x 200", "16 x 200")
    print("a character model of Shakespeare, hidden size 256; loss in nats a character on val")
    print("  ".join(f"{part:>12}" for part in (*heading, "loss float32", "loss int8")))
    for cell in ("lstm", "gru", "rnn", "janet", "mingru", "transformer"):
        experiment = _trained(folder / cell, cell, steps)
        model, task, codec = experiment.model.eval(), experiment.task, experiment.data.codec
        files = {"float32": folder / f"{cell}.onnx", "int8": folder / f"{cell}.int8.onnx"}
        write_onnx(model, task, codec, files["float32"], {})
        write_int8(model, task, codec, files["int8"], {})
        runs = {name: OnnxModel(path, threads=1).run for name, path in files.items()}
        losses = {name: measure(experiment, run, "val")["loss"] for name, run in runs.items()}
        program = Program(model, task, codec)
        faster = []
        for shape in ((1, 1), (1, 200), (16, 200)):
            arguments = dict(zip(program.arguments, program.example(*shape), strict=True))
            took = seconds({name: lambda run=run, given=arguments: run(given) for name, run in runs.items()})
            faster.append(took["float32"] / took["int8"])
        kilobytes = [path.stat().st_size / 1000 for path in files.values()]
        row = [cell, *(f"{size:.0f}" for size in kilobytes), f"{kilobytes[1] / kilobytes[0]:.2f}"]
        row += [f"{ratio:.2f}" for ratio in faster] + [f"{loss:.4f}" for loss in losses.values()]
        print("  ".join(f"{part:>12}" for part in row), flush=True)


def _trained(folder: Path, cell: str, steps: int) -> Experiment:
    from rnntrain import config as configs

    words = [f"model/cell={cell}", "model.hidden_size=256", "device=cpu", "threads=1", f"trainer.max_steps={steps}"]
    words += [
        "data.bptt=64",
        "data.batch_size=16",
        "trainer.eval_batches=20",
        "task.sample_length=0",
        "optimizer.lr=2e-3",
    ]
    experiment = build(configs.check(configs.compose(words, None)))
    experiment.trainer.fit()
    return experiment


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["differences", "trained", "speed", "float64", "int8"])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS), metavar="TASK")
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=list(CELLS), metavar="CELL")
    parser.add_argument("--format", default="onnx", choices=["onnx", "torch"])
    parser.add_argument("--steps", type=int, default=300, help="training steps of what is measured trained")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.what == "differences":
            print(f"goal {GOAL:g}, torch {torch.__version__}")
            return min(1, differences(folder, options.tasks, options.cells, options.format))
        if options.what == "trained":
            trained(folder, options.steps)
        elif options.what == "speed":
            speed(folder)
        elif options.what == "float64":
            float64(folder)
        else:
            int8(folder, options.steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
