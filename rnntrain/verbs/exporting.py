"""`rnntrain export`: a trained model as a file that other programs run."""

from __future__ import annotations

from pathlib import Path

from rnntrain.errors import DONE
from rnntrain.verbs.parsing import parse, run_parser


def export(arguments: list[str]) -> int:
    parser = run_parser(
        "export",
        "Write a run's model as ONNX, or for torch.export, with a description beside it; it runs without rnntrain.",
        "device, threads, plugins or data.path",
    )
    parser.add_argument("--format", default="onnx", choices=["onnx", "torch"], help="onnx is the default")
    parser.add_argument("--out", type=Path, metavar="F", help="the file (RUN/model.onnx or RUN/model.pt2)")
    parser.add_argument(
        "--precision",
        default="auto",
        choices=["auto", "float32", "float64"],
        help="what the file computes in; auto, the default: float64 where rounding would grow too large in float32",
    )
    parser.add_argument("--int8", action="store_true", help="weights of eight bits; ONNX alone")
    parser.add_argument(
        "--verify", action="store_true", help="compare it with PyTorch; of eight bits, on the validation split too"
    )
    options = parse(parser, arguments)
    from rnntrain.exporting.asked import require_onnx, target_of
    from rnntrain.runs.run import open_run

    target = target_of(open_run(options.run).path, options.out, options.format, options.int8, options.precision)
    if options.format == "onnx":
        require_onnx()

    from rnntrain.exporting import command

    asked = {"int8": options.int8, "precision": options.precision, "compare": options.verify}
    for line in command.export(options.run, target, options.format, **asked, overrides=options.overrides):
        print(line, flush=True)
    return DONE
