"""The fixed sections of the config, as values with their defaults; no torch, no Hydra."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from rnntrain.ranges import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SpikeFactor,
    ThreadCount,
)

Precision = Literal["float32", "bfloat16", "float16"]
Kernels = Literal["auto", "plain", "native"]
ClipMode = Literal["norm", "value", "none"]
NonFinitePolicy = Literal["stop", "skip", "rollback"]


@dataclass(frozen=True)
class TrainerSettings:
    """The `trainer` section. A step is one update of the weights.

    Attributes:
        max_steps: stop after so many steps; the first limit that is reached ends the run.
        max_epochs: stop after so many passes over the training split.
        max_minutes: stop after so many minutes, evaluations included. The schedule follows the clock only where this
            is the only limit; such a run does not repeat to the bit.
        stop_after_minutes: save and stop after so many minutes of this process, to be resumed: the time limit of a
            scheduler. Unlike max_minutes it is no end of the run, and counts anew after each resume.
        eval_every_steps: evaluate every so many steps; at the end of each epoch where null.
        eval_batches: evaluate on the first so many batches of a split alone; on all of it where null.
        checkpoint_every_steps: at most so many steps are lost to a kill. A save is begun every half as many, beside the
            training, which waits for it only where a step more would be lost; a new best and the end are saved too.
        keep_checkpoints: how many of the newest checkpoints stay; the best always does.
        log_every_steps: steps over which logged losses are means.
        grad_clip: limit of the gradient's norm, or of each of its values.
        grad_clip_mode: "norm", "value" or "none".
        accumulate: batches whose gradients make one step.
        early_stopping: stop after so many evaluations in a row without improvement.
        average_decay: evaluate and keep an exponential moving average of the weights with this decay.
        restore_best: end with the weights of the best evaluation rather than the last ones.
        on_nonfinite: what to do about a step whose loss or gradient is not finite, and which never reaches the weights:
            "stop", "skip" it, or "rollback": go back to the weights of the last checkpoint, and on past the batch.
        max_skips: how many steps of a run may be skipped before it stops.
        max_rollbacks: how often a run may go back before it stops.
        spike_factor: treat a step likewise whose loss or gradient norm is more than so many times the median of the
            last 100; only steps that are not finite where null.
        overfit_batches: train and evaluate on so many batches alone, to see that the model can learn them by heart.
    """

    max_steps: PositiveInt | None = None
    max_epochs: PositiveInt | None = None
    max_minutes: PositiveFloat | None = None
    stop_after_minutes: PositiveFloat | None = None
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
    on_nonfinite: NonFinitePolicy = "stop"
    max_skips: PositiveInt = 20
    max_rollbacks: PositiveInt = 3
    spike_factor: SpikeFactor | None = None
    overfit_batches: PositiveInt | None = None

    @property
    def save_every_steps(self) -> int:
        """Return after how many steps a save is begun: half of what a kill may take, which leaves half to write it."""
        return (self.checkpoint_every_steps + 1) // 2

    def limit_reached(self, step: int, epoch: int, seconds: Callable[[], float], stale: int) -> str | None:
        """Return the setting that ends a run there, or None; `stale` evaluations in a row have not improved."""
        if self.max_steps is not None and step >= self.max_steps:
            return "max_steps"
        if self.max_epochs is not None and epoch >= self.max_epochs:
            return "max_epochs"
        if self.max_minutes is not None and seconds() >= 60 * self.max_minutes:
            return "max_minutes"
        if self.early_stopping is not None and stale >= self.early_stopping:
            return "early_stopping"
        return None

    def evaluation_due(self, step: int, epoch_ended: bool) -> bool:
        """Say whether a run is evaluated after a step."""
        return epoch_ended if self.eval_every_steps is None else step % self.eval_every_steps == 0

    def share_done(self, step: int, epochs: float, seconds: Callable[[], float]) -> float:
        """Return the share of a run that is done, by its first limit; by the clock only if that is the only limit."""
        shares = [done / limit for done, limit in ((step, self.max_steps), (epochs, self.max_epochs)) if limit]
        if not shares and self.max_minutes is not None:
            shares = [seconds() / (60 * self.max_minutes)]
        return max(shares, default=0.0)


@dataclass(frozen=True)
class DeviceSettings:
    """The `device` section.

    Attributes:
        kind: "auto" takes CUDA where there is one.
        index: which CUDA device; `device=cuda:N` sets it. Of several processes on a machine, that of the first: the
            others take those that follow.
        tf32: let CUDA round the factors of float32 products to 10 bits of mantissa: several times faster.
        timeout_minutes: how long one of several processes waits for the others before the run ends; longer than any
            of them may be busy alone, as with reading data.
    """

    kind: Literal["auto", "cpu", "cuda"] = "auto"
    index: NonNegativeInt = 0
    tf32: bool = True
    timeout_minutes: PositiveFloat = 10.0


@dataclass(frozen=True)
class ByKind:
    """A number for each kind of parameter (`optimizer.weight_decay_by`, `optimizer.lr_by`); null leaves it as it is.

    Attributes:
        recurrent: matrices by which a cell multiplies its state.
        input: all other matrices of the backbone.
        embedding: matrices of the input layer, tied to the output or not.
        output: matrices of the head.
        vector: biases, gains of norms, and all else that is no matrix.
    """

    recurrent: NonNegativeFloat | None = None
    input: NonNegativeFloat | None = None
    embedding: NonNegativeFloat | None = None
    output: NonNegativeFloat | None = None
    vector: NonNegativeFloat | None = None


@dataclass(frozen=True)
class GroupSettings:
    """What the `optimizer` section says of single kinds of parameters.

    Attributes:
        weight_decay_by: takes the place of the optimizer's weight decay.
        lr_by: factors of the learning rate.
    """

    weight_decay_by: ByKind = ByKind()
    lr_by: ByKind = ByKind()


@dataclass(frozen=True)
class RunSettings:
    """The `run` section: where a run is kept.

    Attributes:
        root: the folder of all runs.
        group: the folder below it; the experiment's name, or the task's, where null.
        name: the run's own folder below that; date, time and a unique ending where null.
        dir: the run's folder as a whole, in place of the three above.
        resume: go on with the run in `name` or `dir` where there is one, so that the same command can be started
            again and again. Jobs that Slurm has put back into its queue, and processes that torchrun has started anew,
            find their run without it.
    """

    root: str = "outputs"
    group: str | None = None
    name: str | None = None
    dir: str | None = None
    resume: bool = False


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
            gradient and update of each parameter; "histograms" shows in TensorBoard how weights, gradients and gates
            are spread; "profile" tells where a step's time goes.
    """

    seed: NonNegativeInt = 0
    threads: ThreadCount | Literal["auto"] = "auto"
    kernels: Kernels = "auto"
    precision: Precision = "float32"
    deterministic: bool = False
    plugins: list[str] = field(default_factory=list)
    diagnose: Literal["none", "gradients", "histograms", "profile"] = "none"
