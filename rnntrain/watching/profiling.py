"""What `diagnose=profile` tells: where the time of a step goes, in a table and in words, and a trace of a few steps.

The trainer does not know of it: the profiler stands between the trainer and its watcher, and hooks of PyTorch tell it
when a part of the model or the optimizer begins and ends. On a GPU every mark waits for the device, so that times are
those of the work; the steps are slower for it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rnntrain.checkpoints.durable import one_line
from rnntrain.metrics import Picture
from rnntrain.models.backbone import Bidirectional
from rnntrain.watching.logger import Logger
from rnntrain.watching.passing_on import PassingOn
from rnntrain.watching.profile_report import profile_lines
from rnntrain.watching.watcher import Watcher
from rnntrain.watching.window import StepResult

if TYPE_CHECKING:
    from rnntrain.trainer import Trainer

WARM_UP_STEPS = 3  # that count for nothing: the first ones allocate and choose
TRACED_STEPS = 5  # that PyTorch's profiler follows, which makes them slower; they are not in the table


class Profiler(PassingOn):
    """Attributes the time between two marks to the part that ended with the second of them.

    Args:
        folder: where `trace.json.gz` and `table.txt` go.
    """

    def __init__(self, inner: Watcher, logger: Logger, folder: Path) -> None:
        super().__init__(inner)
        self._logger, self._folder = logger, folder
        self._seconds: dict[str, float] = defaultdict(float)
        self._steps = 0
        self._seen = 0
        self._counting = False
        self._mark_at = 0.0
        self._gradient_at: float | None = None  # when the last gradient of a parameter was there
        self._data_seconds = 0.0
        self._undo: list[Callable[[], Any]] = []
        self._trace: torch.profiler.profile | None = None
        self._ranges: list[Any] = []

    # -- what the trainer tells ---

    def started(self, trainer: Trainer) -> None:
        super().started(trainer)
        self._device, self._trainer = trainer.device, trainer
        self._attach(trainer)
        self._restart()

    def stepped(self, trainer: Trainer, result: StepResult) -> None:
        self._mark("rest of the step")
        super().stepped(trainer, result)
        self._mark("log: progress")
        self._seen += 1
        self._steps += self._counting
        if self._seen == WARM_UP_STEPS:
            self._start_trace()
        elif self._seen == WARM_UP_STEPS + TRACED_STEPS:
            self._stop_trace()
            self._counting = True
        self._restart()

    def log(self, trainer: Trainer, scalars: dict[str, float], final: bool = False) -> None:
        self._mark("evaluation" if any(name.startswith("val/") for name in scalars) else "rest of the step")
        super().log(trainer, scalars, final)
        self._mark("log: numbers")

    def illustrate(self, trainer: Trainer, shown: Mapping[str, str | Picture]) -> None:
        self._mark("evaluation")
        super().illustrate(trainer, shown)
        self._mark("log: texts and pictures")

    def save(self, trainer: Trainer, reason: str) -> None:
        self._mark("rest of the step")
        super().save(trainer, reason)
        self._mark("save")

    def settle(self, trainer: Trainer) -> None:
        super().settle(trainer)
        if not self._undo:
            return  # told already
        self._detach()
        self._stop_trace()
        lines = profile_lines(dict(self._seconds), self._steps, WARM_UP_STEPS + TRACED_STEPS)
        if self._trace is not None:
            lines.append(f"trace of {TRACED_STEPS} steps, for ui.perfetto.dev: {self._folder / 'trace.json.gz'}")
        with one_line(self._folder):
            self._folder.mkdir(exist_ok=True)
            (self._folder / "table.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._logger.message("\n".join(lines))
        self._logger.texts(trainer.step, {"where a step's time goes": "\n".join(lines)})

    # -- marks ---

    def _restart(self) -> None:
        self._mark_at, self._gradient_at = self._now(), None
        self._data_seconds = self._trainer.clock.data_seconds

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def _mark(self, part: str) -> None:
        now = self._now()
        if self._counting:
            self._seconds[part] += now - self._mark_at
        self._mark_at = now

    def _before_model(self) -> None:
        """Part what came before a forward pass: the backward pass of an accumulated batch, the data, the rest."""
        self._after_backward()
        waited = self._trainer.clock.data_seconds - self._data_seconds
        self._data_seconds = self._trainer.clock.data_seconds
        if self._counting:
            self._seconds["data"] += waited
        self._mark_at += waited
        self._mark("rest of the step")

    def _after_backward(self) -> None:
        if self._gradient_at is not None:
            if self._counting:
                self._seconds["backward"] += self._gradient_at - self._mark_at
            self._mark_at, self._gradient_at = self._gradient_at, None

    def _before_optimizer(self) -> None:
        self._after_backward()
        self._mark("clipping and checks")

    # -- hooks ---

    def _attach(self, trainer: Trainer) -> None:
        model = trainer.model
        self._undo.append(model.register_forward_pre_hook(self._if_training(self._before_model)).remove)
        self._undo.append(model.register_forward_hook(self._ending("forward: between the parts")).remove)
        layers = [(f"forward: layer {n} ({_kind(each)})", each) for n, each in enumerate(model.backbone.layers, 1)]
        for name, part in (("forward: input", model.input), *layers, ("forward: head", model.head)):
            self._undo.append(part.register_forward_pre_hook(self._beginning(name)).remove)
            self._undo.append(part.register_forward_hook(self._ending(name)).remove)
        for weight in trainer.parameters:
            self._undo.append(weight.register_post_accumulate_grad_hook(self._on_gradient).remove)
        optimizer: Any = trainer.optimizer
        self._undo.append(optimizer.register_step_pre_hook(lambda *_: self._before_optimizer()).remove)
        self._undo.append(optimizer.register_step_post_hook(lambda *_: self._mark("optimizer")).remove)
        self._watch_loss(trainer)

    def _watch_loss(self, trainer: Trainer) -> None:
        task: Any = trainer.task
        original = task.loss

        def loss(output: Any, batch: Any) -> tuple[Tensor, Tensor]:
            with torch.profiler.record_function("loss"):
                result: tuple[Tensor, Tensor] = original(output, batch)
            if trainer.model.training:
                self._mark("loss")
            return result

        task.loss = loss  # on this object alone, and taken off in the end
        self._undo.append(lambda: vars(task).pop("loss", None))

    def _detach(self) -> None:
        while self._undo:
            self._undo.pop()()

    def _on_gradient(self, _: Tensor) -> None:
        self._gradient_at = self._now()

    def _if_training(self, action: Callable[[], None]) -> Callable[..., None]:
        def hook(module: nn.Module, *_: Any) -> None:
            if module.training:
                action()

        return hook

    def _beginning(self, name: str) -> Callable[..., None]:
        def begin() -> None:
            self._mark("forward: between the parts")
            self._ranges.append(torch.profiler.record_function(name).__enter__())

        return self._if_training(begin)

    def _ending(self, name: str) -> Callable[..., None]:
        def end() -> None:
            if name != "forward: between the parts":
                self._ranges.pop().__exit__(None, None, None)
            self._mark(name)

        return self._if_training(end)

    # -- the trace ---

    def _start_trace(self) -> None:
        activities = [torch.profiler.ProfilerActivity.CPU]
        if self._device.type == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self._trace = torch.profiler.profile(activities=activities)
        self._trace.start()

    def _stop_trace(self) -> None:
        if self._trace is None or (self._folder / "trace.json.gz").exists():
            return
        self._trace.stop()
        with one_line(self._folder):
            self._folder.mkdir(exist_ok=True)
            self._trace.export_chrome_trace(str(self._folder / "trace.json.gz"))


def _kind(layer: nn.Module) -> str:
    both_ways = f"{type(layer.ahead).__name__}, both directions" if isinstance(layer, Bidirectional) else ""
    return both_ways or type(layer).__name__
