"""Small runs that several tests train: a text, a config without Hydra, a watcher that keeps what it is told."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from rnntrain import config as configs
from rnntrain.build import Experiment, build, build_model
from rnntrain.config import Config
from rnntrain.metrics import Metrics, Picture
from rnntrain.models.sequence import SequenceModel
from rnntrain.trainer import Trainer
from rnntrain.watching.watcher import Watcher
from rnntrain.watching.window import StepResult

CELLS: dict[str, dict[str, Any]] = {
    "rnn": {"_target_": "rnntrain.cells.rnn.RNN"},
    "rnn_relu": {"_target_": "rnntrain.cells.rnn.RNN", "nonlinearity": "relu"},
    "vanilla": {"_target_": "rnntrain.cells.vanilla.Vanilla"},
    "lstm": {"_target_": "rnntrain.cells.lstm.LSTM"},
    "gru": {"_target_": "rnntrain.cells.gru.GRU"},
    "gru_reset_before": {"_target_": "rnntrain.cells.gru.GRU", "reset_after": False},
    "mingru": {"_target_": "rnntrain.cells.mingru.MinGRU"},
    "minlstm": {"_target_": "rnntrain.cells.minlstm.MinLSTM"},
    "sru": {"_target_": "rnntrain.cells.sru.SRU"},
    "qrnn": {"_target_": "rnntrain.cells.qrnn.QRNN"},
    "lru": {"_target_": "rnntrain.cells.lru.LRU"},
    "gated_linear": {"_target_": "rnntrain.cells.gated_linear.GatedLinear"},
    "rglru": {"_target_": "rnntrain.cells.rglru.RGLRU"},
    "slstm": {"_target_": "rnntrain.cells.slstm.SLSTM", "num_heads": 2},
    "mlstm": {"_target_": "rnntrain.cells.mlstm.MLSTM", "num_heads": 2},
    "deltanet": {"_target_": "rnntrain.cells.deltanet.DeltaNet", "num_heads": 2},
    "transformer": {"_target_": "rnntrain.cells.transformer.Transformer", "num_heads": 2, "context": 6},
    "tcn": {"_target_": "rnntrain.cells.tcn.TCN", "levels": 2},
    "peephole_lstm": {"_target_": "rnntrain.cells.peephole_lstm.PeepholeLSTM"},
    "projected_lstm": {"_target_": "rnntrain.cells.projected_lstm.ProjectedLSTM"},
    "coupled_lstm": {"_target_": "rnntrain.cells.coupled_lstm.CoupledLSTM"},
    "janet": {"_target_": "rnntrain.cells.janet.JANET", "t_max": 20},
    "weight_drop": {"_target_": "rnntrain.cells.weight_drop.WeightDrop", "rate": 0.0},
    "leaky": {"_target_": "rnntrain.cells.leaky.Leaky"},
    "clockwork": {"_target_": "rnntrain.cells.clockwork.Clockwork"},
    "dilated": {"_target_": "rnntrain.cells.dilated.Dilated", "dilations": [1, 3]},
    "skip": {"_target_": "rnntrain.cells.skip.Skip", "skip": 3},
    "irnn": {"_target_": "rnntrain.cells.irnn.IRNN", "scale": 0.5, "input_std": 0.6},
    "orthogonal": {"_target_": "rnntrain.cells.orthogonal.Orthogonal"},
    "indrnn": {"_target_": "rnntrain.cells.indrnn.IndRNN", "nonlinearity": "tanh"},
    "antisymmetric": {"_target_": "rnntrain.cells.antisymmetric.Antisymmetric"},
    "cornn": {"_target_": "rnntrain.cells.cornn.CoRNN", "step_size": 0.5, "stiffness": 0.5, "damping": 0.5},
    "regularized_lstm": {"_target_": "rnntrain.cells.regularized_lstm.RegularizedLSTM"},
    "layernorm_lstm": {"_target_": "rnntrain.cells.layernorm_lstm.LayerNormLSTM"},
    "regularized_gru": {"_target_": "rnntrain.cells.regularized_gru.RegularizedGRU"},
    "layernorm_gru": {"_target_": "rnntrain.cells.layernorm_gru.LayerNormGRU"},
}


def words(number: int, seed: int = 0) -> str:
    """Return a text of some structure: lines of words, every word with its favourite followers."""
    rng = random.Random(seed)
    vocabulary = ["the", "sea", "was", "a", "grey", "line", "and", "so", "we", "went", "on"]
    text, word = [], 0
    for _ in range(number):
        word = (3 * word + rng.randrange(3)) % len(vocabulary)
        text.append(vocabulary[word] + (" " if rng.random() < 0.8 else "\n"))
    return "".join(text)


def write_text(folder: Path, number: int = 400) -> Path:
    """Write one file of text; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "text.txt"
    path.write_text(words(number), encoding="utf-8")
    return path


def write_documents(folder: Path, sizes: tuple[int, ...] = 3 * (5, 2, 9, 3, 6, 12, 2, 8)) -> Path:
    """Write a folder of short documents; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, size in enumerate(sizes):
        (folder / f"document{index:03}.txt").write_text(words(size, index), encoding="utf-8")
    return folder


def make_config(path: Path, changes: dict[str, Any] | None = None, *, cell: str = "lstm") -> Config:
    """Return the checked config of a small language model on the text at `path`.

    Args:
        changes: values by dotted key; a whole section takes the place of that here.
    """
    plain: dict[str, Any] = {
        "task": {"_target_": "rnntrain.tasks.language_modeling.LanguageModeling", "sample_length": 0},
        "data": {"_target_": "rnntrain.data.text.Text", "path": str(path), "batch_size": 4, "bptt": 8},
        "model": {
            "_target_": "rnntrain.models.sequence.SequenceModel",
            "hidden_size": 12,
            "cell": dict(CELLS[cell]),
        },
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.01, "weight_decay": 0.01},
        "schedule": {"_target_": "rnntrain.optim.Constant"},
        "device": {"kind": "cpu"},
        "trainer": {"max_steps": 20, "eval_every_steps": 5, "log_every_steps": 3, "checkpoint_every_steps": 14},
        "run": {"root": str(path.parent / "outputs"), "group": "test"},
        "seed": 0,
        "threads": 1,
    }
    for key, value in (changes or {}).items():
        *sections, name = key.split(".")
        place = plain
        for section in sections:
            place = place[section]
        place[name] = value
    return configs.check(plain)


def make_experiment(path: Path, changes: dict[str, Any] | None = None, *, cell: str = "lstm") -> Experiment:
    """Build what `make_config` says, on the text at `path`."""
    return build(make_config(path, changes, cell=cell))


def with_cells(experiment: Experiment, *cells: str, **model: Any) -> SequenceModel:
    """Return the model of an experiment with other cells, one a layer, other sizes, and random weights."""
    config = experiment.config
    wanted = tuple(make_config(Path("none.txt"), cell=cell).cell for cell in cells)
    sizes = replace(config.model, arguments=config.model.arguments | {"num_layers": len(cells)} | model)
    config = replace(config, cell=wanted[0], cells=wanted, model=sizes)
    torch.manual_seed(0)
    return build_model(config, experiment.task, experiment.data.codec).eval()


class Scripted(Metrics):
    """Gives values of a script in place of, or beside, those that were measured."""

    def __init__(self, values: dict[str, float], measured: Metrics | None = None) -> None:
        self.values, self.measured = values, measured

    def update(self, *seen: Any) -> None:
        raise AssertionError("a script sees no batches")

    def compute(self) -> dict[str, float]:
        return ({} if self.measured is None else self.measured.compute()) | self.values


class Notes(Watcher):
    """Keeps what a trainer tells; `at_step` is called after every step."""

    def __init__(self, at_step: Callable[[Trainer], None] = lambda trainer: None) -> None:
        self.at_step = at_step
        self.results: list[StepResult] = []
        self.lines: list[tuple[int, dict[str, float]]] = []
        self.final: list[int] = []
        self.shown: list[tuple[int, Mapping[str, str | Picture]]] = []
        self.saves: list[tuple[int, str]] = []

    def stepped(self, trainer: Trainer, result: StepResult) -> None:
        self.results.append(result)
        self.at_step(trainer)

    def log(self, trainer: Trainer, scalars: dict[str, float], final: bool = False) -> None:
        self.lines.append((trainer.step, scalars))
        if final:
            self.final.append(trainer.step)

    def illustrate(self, trainer: Trainer, shown: Mapping[str, str | Picture]) -> None:
        self.shown.append((trainer.step, shown))

    def save(self, trainer: Trainer, reason: str) -> None:
        self.saves.append((trainer.step, reason))

    def steps_with(self, name: str) -> list[int]:
        return [step for step, scalars in self.lines if name in scalars]


class Clock(SimpleNamespace):
    """Takes the place of the module `time`: it goes on only when told."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    perf_counter = time = monotonic

    def advance(self, seconds: float) -> None:
        self.now += seconds


def weights(model: nn.Module) -> list[torch.Tensor]:
    """Return copies of all weights."""
    return [parameter.detach().clone() for parameter in model.parameters()]


def all_equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(map(torch.equal, a, b))


def differences(a: Any, b: Any, place: str = "") -> list[str]:
    """Return the places where two trees differ in any bit, type or key."""
    if type(a) is not type(b):
        return [f"{place}: {type(a).__name__} and {type(b).__name__}"]
    if isinstance(a, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape and _bytes(a) == _bytes(b)
        return [] if same else [place]
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return [f"{place}: keys {sorted(map(str, a.keys() ^ b.keys()))}"]
        return [line for key in a for line in differences(a[key], b[key], f"{place}.{key}")]
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return [f"{place}: {len(a)} and {len(b)} items"]
        return differences(dict(enumerate(a)), dict(enumerate(b)), place)
    same = struct.pack("d", a) == struct.pack("d", b) if isinstance(a, float) else a == b
    return [] if same else [f"{place}: {a!r} and {b!r}"]


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
