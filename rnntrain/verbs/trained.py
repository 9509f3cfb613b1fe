"""`rnntrain sample` and `diagnose`: what a run has trained, put to use."""

from __future__ import annotations

from pathlib import Path
from typing import get_type_hints

from rnntrain.errors import DONE
from rnntrain.verbs.parsing import parse, require_run, run_parser


def sample(arguments: list[str]) -> int:
    parser = run_parser(
        "sample", "Write text with a trained language model, as it is drawn.", "device, threads or plugins"
    )
    parser.add_argument("--prompt", default="", help="text to go on from")
    parser.add_argument("--length", type=int, help="tokens to draw (500)")
    parser.add_argument("--num-samples", type=int, help="samples to draw side by side (1)")
    parser.add_argument("--temperature", type=float, help="0 always takes the likeliest token (0.8)")
    parser.add_argument("--top-k", type=int, help="draw from the k likeliest tokens; 0 for all (0)")
    parser.add_argument("--top-p", type=float, help="draw from the likeliest tokens that hold this share (1)")
    parser.add_argument("--seed", type=int, help="the same seed gives the same text (0)")
    options = parse(parser, arguments)
    require_run(options.run)
    given = {name: value for name in _SAMPLING if (value := getattr(options, name)) is not None}
    from rnntrain.checking import check_value
    from rnntrain.sample import SamplingOptions

    hints = get_type_hints(SamplingOptions, include_extras=True)
    drawing = SamplingOptions(**{name: check_value(_flag(name), hints[name], value) for name, value in given.items()})

    from rnntrain import using

    for piece in using.sample(options.run, options.prompt, drawing, options.overrides):
        print(piece, end="", flush=True)
    print()
    return DONE


def diagnose(arguments: list[str]) -> int:
    parser = run_parser(
        "diagnose",
        "Measure how far back the gradients of a run's best weights reach: why it forgets, what cures it.",
        "device, threads, plugins or data.path",
    )
    parser.add_argument("--out", type=Path, metavar="D", help="the picture's folder (RUN/pictures)")
    options = parse(parser, arguments)
    require_run(options.run)

    from rnntrain import using

    print("\n".join(using.diagnose(options.run, options.out, options.overrides)))
    return DONE


_SAMPLING = ("length", "num_samples", "temperature", "top_k", "top_p", "seed")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
