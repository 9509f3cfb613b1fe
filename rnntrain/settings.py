"""The fixed sections of the config, as values with their defaults; no torch, no Hydra."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rnntrain.ranges import Fraction, NonNegativeInt, PositiveFloat, PositiveInt, ThreadCount

Precision = Literal["float32", "bfloat16", "float16"]
Kernels = Literal["auto", "plain", "native"]
ClipMode = Literal["norm", "value", "none"]


@dataclass(frozen=True)
class TrainerSettings:
    """The `trainer` section. A step is one update of the weights.

    Attributes:
        max_steps: stop after so many steps; the first limit that is reached ends the run.
        max_epochs: stop after so many passes over the training split.
        max_minutes: stop after so many minutes, evaluations included. The schedule follows the clock only where this
            is the only limit; such a run does not repeat to the bit.
        eval_every_steps: evaluate every so many steps; at the end of each epoch where null.
        eval_batches: evaluate on the first so many batches of a split alone; on all of it where null.
        checkpoint_every_steps: save every so many steps, beside the saves at a new best and at the end.
        keep_checkpoints: how many of the newest checkpoints stay; the best always does.
        log_every_steps: steps over which logged losses are means.
        grad_clip: limit of the gradient's norm, or of each of its values.
        grad_clip_mode: "norm", "value" or "none".
        accumulate: batches whose gradients make one step.
        early_stopping: stop after so many evaluations in a row without improvement.
        average_decay: evaluate and keep an exponential moving average of the weights with this decay.
        restore_best: end with the weights of the best evaluation rather than the last ones.
        overfit_batches: train and evaluate on so many batches alone, to see that the model can learn them by heart.
    """

    max_steps: PositiveInt | None = None
    max_epochs: PositiveInt | None = None
    max_minutes: PositiveFloat | None = None
    eval_every_steps: PositiveInt | None = None
    eval_batches: PositiveInt | None = None
    checkpoint_every_steps: PositiveInt = 1000
    keep_checkpoints: PositiveInt = 2
    log_every_steps: PositiveInt = 50
    grad_clip: PositiveFloat = 1.0
    grad_clip_mode: ClipMode = "norm"
    accumulate: PositiveInt = 1
    early_stopping: PositiveInt | None = None
    average_decay: Fraction | None = None
    restore_best: bool = True
    overfit_batches: PositiveInt | None = None


@dataclass(frozen=True)
class DeviceSettings:
    """The `device` section.

    Attributes:
        kind: "auto" takes CUDA where there is one.
        index: which CUDA device; `device=cuda:N` sets it.
        tf32: let CUDA round the factors of float32 products to 10 bits of mantissa: several times faster.
    """

    kind: Literal["auto", "cpu", "cuda"] = "auto"
    index: NonNegativeInt = 0
    tf32: bool = True


@dataclass(frozen=True)
class RunSettings:
    """The `run` section: where a run is kept.

    Attributes:
        root: the folder of all runs.
        group: the folder below it; the experiment's name, or the task's, where null.
        name: the run's own folder below that; date, time and a unique ending where null.
        dir: the run's folder as a whole, in place of the three above.
    """

    root: str = "outputs"
    group: str | None = None
    name: str | None = None
    dir: str | None = None


@dataclass(frozen=True)
class TopSettings:
    """The keys that stand in no section.

    Attributes:
        seed: of weights, dropout and the order of data.
        threads: processor threads; "auto" takes one or all of them, whichever trains the model faster.
        kernels: what runs the time loops of cells in float32 on a processor: "native" kernels, which `rnntrain build`
            compiles, or "plain" PyTorch; "auto" takes the native ones where they are built.
        precision: arithmetic of the forward and backward pass; weights and sums stay float32.
        deterministic: refuse operations without a deterministic form (a CPU run repeats to the bit without it).
        plugins: packages of your own whose classes `_target_` may name.
        diagnose: "gradients" measures at each evaluation how far back gradients reach, gates, dead units, and the
            gradient and update of each parameter.
    """

    seed: NonNegativeInt = 0
    threads: ThreadCount | Literal["auto"] = "auto"
    kernels: Kernels = "auto"
    precision: Precision = "float32"
    deterministic: bool = False
    plugins: list[str] = field(default_factory=list)
    diagnose: Literal["none", "gradients"] = "none"
