"""`rnntrain sample` and `diagnose`: what a run has trained, put to use."""

from __future__ import annotations

from argparse import Namespace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from rnntrain.errors import DONE, UserError
from rnntrain.verbs.parsing import parse, require_run, run_parser

if TYPE_CHECKING:
    from rnntrain.using import Loaded


def sample(arguments: list[str]) -> int:
    parser = run_parser(
        "sample",
        "Write text with a trained language model, as it is drawn; or music, as names of notes or a MIDI file.",
        "device, threads or plugins",
    )
    parser.add_argument("--prompt", default="", help="text to go on from; of music, MIDI pitches: '60 64 67 | 62 65'")
    parser.add_argument("--length", type=int, help="tokens to draw (500); chords (128)")
    parser.add_argument("--num-samples", type=int, help="samples to draw side by side (1)")
    parser.add_argument("--temperature", type=float, help="0 always takes the likeliest (0.8)")
    parser.add_argument("--top-k", type=int, help="draw from the k likeliest tokens; 0 for all (0)")
    parser.add_argument("--top-p", type=float, help="draw from the likeliest tokens that hold this share (1)")
    parser.add_argument("--seed", type=int, help="the same seed gives the same sample (0)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write to a file; of music, a MIDI file (.mid)")
    parser.add_argument("--force", action="store_true", help="replace a file that exists")
    parser.add_argument(
        "--step-seconds", type=float, default=0.25, metavar="S", help="of a chord in a MIDI file (0.25)"
    )
    options = parse(parser, arguments)
    require_run(options.run)
    given = {name: value for name in _SAMPLING if (value := getattr(options, name)) is not None}
    from rnntrain.configuring.checking import check_value
    from rnntrain.sample import SamplingOptions

    hints = get_type_hints(SamplingOptions, include_extras=True)
    given = {name: check_value(_flag(name), hints[name], value) for name, value in given.items()}
    if not 0.01 <= options.step_seconds <= 8:  # what the tempo of a MIDI file can hold
        raise UserError(f"--step-seconds {options.step_seconds:g}: give 0.01 to 8")

    from rnntrain import using
    from rnntrain.predicting.writing import check_out, deliver

    check_out(options.out, options.force)
    run = using.load(options.run, options.overrides)
    if not run.task.generates:
        _compose(run, options, given)
        return DONE
    text = run.stream(options.prompt, SamplingOptions(**given))
    deliver(chain(text, ["\n"]), options.out)
    return DONE


def _compose(run: Loaded, options: Namespace, given: dict[str, Any]) -> None:
    """Print tunes as chords, or write MIDI files; several of them are numbered."""
    from rnntrain.checkpoints.durable import one_line, replace_file
    from rnntrain.predicting.midi import midi_of
    from rnntrain.predicting.tunes import chords_of
    from rnntrain.predicting.writing import check_out

    out: Path | None = options.out
    if out is not None and out.suffix.lower() not in (".mid", ".midi"):
        raise UserError(f"--out {out}: music is written as a MIDI file; name it {out.stem}.mid")
    tunes = run.compose(chords_of(options.prompt), **given)
    if out is None:
        for number, tune_TK in enumerate(tunes, 1):
            if len(tunes) > 1:
                print(f"--- sample {number} ---")
            print("\n".join(map(run.codec.chord, tune_TK)))
        return
    places = [out] if len(tunes) == 1 else [out.with_stem(f"{out.stem}-{n}") for n in range(1, len(tunes) + 1)]
    for place in places:
        check_out(place, options.force)
    for place, tune_TK in zip(places, tunes, strict=True):
        with one_line(place):
            replace_file(place, midi_of(tune_TK, options.step_seconds))
        print(place)


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
