"""The verbs of the command: the only list of them. A new verb is a function in a module here, and an entry.

A verb's function takes the arguments that follow its name and returns an exit code. It imports what it needs when it is
called: torch takes over a second, and most mistakes are answered without it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Literal, NamedTuple


class Verb(NamedTuple):
    """A verb as `rnntrain` lists it.

    Attributes:
        function: `module:function`, the module in this package.
        arguments: as the list shows them.
        summary: what it does, in one line.
        takes: what its words complete to: keys of a config, folders of runs, or what the completion knows of it.
        together: whether several processes that torchrun has started do it together; all else is for one process.
    """

    function: str
    arguments: str
    summary: str
    takes: Literal["config", "run", "other"] = "other"
    together: bool = False

    def load(self) -> Callable[[list[str]], int]:
        """Return the function that runs the verb."""
        module, _, name = self.function.partition(":")
        function: Callable[[list[str]], int] = getattr(import_module(f"{__name__}.{module}"), name)
        return function


VERBS = {
    "train": Verb("training:train", "[key=value …]", "train; every key has a default", "config", together=True),
    "resume": Verb(
        "training:resume",
        "[RUN] [key=value …]",
        "go on with a run that was stopped, or whose limit you raise",
        "run",
        together=True,
    ),
    "sweep": Verb(
        "sweeping:sweep", "[sweep=NAME] [key=values …]", "search over configs, several runs at once", "config"
    ),
    "compare": Verb("comparing:compare", "RUNS … [--metric M]", "order runs, and say how sure the order is", "run"),
    "eval": Verb(
        "judging:evaluate", "RUN [FILE|--split val]", "evaluate best weights, on a run's data or yours", "run"
    ),
    "sample": Verb("trained:sample", "RUN [--prompt TEXT]", "write text, or music, with a trained model", "run"),
    "predict": Verb(
        "predicting:predict", "RUN [FILE|FOLDER|-] …", "labels, spans, transcripts or forecasts for new inputs", "run"
    ),
    "transcribe": Verb(
        "transcribing:transcribe", "RUN FILE.wav …", "speech to text, of recordings or while it is spoken", "run"
    ),
    "forecast": Verb(
        "forecasting:forecast", "RUN [FILE] [--horizon N]", "the steps to come, with bands, dates, a picture", "run"
    ),
    "bundle": Verb("bundling:bundle", "RUN [RUN …] [--out FOLDER]", "one folder with weights and a model card", "run"),
    "export": Verb(
        "exporting:export", "RUN [--format onnx]", "write its model as a file that runs without rnntrain", "run"
    ),
    "verify": Verb("reliability:verify", "RUN…", "which checkpoints are whole, and which one a resume takes", "run"),
    "reproduce": Verb(
        "reliability:reproduce", "RUN [--steps N]", "train a run anew, aside, and compare all numbers to the bit", "run"
    ),
    "replay": Verb(
        "reliability:replay", "RUN/nonfinite/STEP", "take a step again that was not finite: where does it begin", "run"
    ),
    "serve": Verb("serving:serve", "RUN [--port N]", "answer requests over HTTP, with a page to try a model on", "run"),
    "diagnose": Verb(
        "trained:diagnose", "RUN", "how far back its gradients reach, in numbers, words and a picture", "run"
    ),
    "check": Verb("training:check", "[key=value …]", "check a config and its data without training", "config"),
    "runs": Verb("listing:runs", "[RUN…] [key=value …]", "list runs, follow a live one, clean up", "run"),
    "report": Verb("reports:report", "RUN…", "one HTML page that shows a run, or several beside each other", "run"),
    "board": Verb("reports:board", "[RUN…]", "runs in TensorBoard, on this machine alone", "run"),
    "find": Verb(
        "finding:find", "lr|batch_size [key=value …]", "a learning rate or batch size to begin with", "config"
    ),
    "data": Verb(
        "looking:data", "list|get|show [NAME]", "known data sets, getting them, and what is in them or in yours"
    ),
    "build": Verb("looking:build", "", "compile the fast kernels of recurrent cells, once"),
    "info": Verb("looking:info", "[WHAT]", "what there is to choose from; versions and devices"),
    "completion": Verb("looking:completion", "SHELL", "print a completion script for bash, zsh or fish"),
}


def usage() -> str:
    """Return what `rnntrain` without a verb prints."""
    signatures = {name: f"rnntrain {name} {verb.arguments}".rstrip() for name, verb in VERBS.items()}
    width = max(map(len, signatures.values()))
    lines = (f"  {signatures[name]:<{width}}  {verb.summary}" for name, verb in VERBS.items())
    return "\n".join(("rnntrain: train recurrent neural networks from one command", "", *lines, "", _EXIT_CODES, ""))


_EXIT_CODES = """\
`rnntrain VERB --help` says more. Exit codes: 0 done, 2 a mistake in what was given, 75 interrupted and
saved (`rnntrain resume` goes on), 1 a fault of ours (`--debug` shows where)."""
