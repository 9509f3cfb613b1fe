"""The training loop: load, step, log, evaluate, save; the same for every task, cell and data set."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rnntrain.batch import Batch
from rnntrain.cells.base import State, map_state
from rnntrain.data.base import DataSet
from rnntrain.device import autocast, memory_mebibytes
from rnntrain.errors import NonFiniteError
from rnntrain.metrics import Metrics, Picture
from rnntrain.models.sequence import SequenceModel
from rnntrain.optim import AveragedWeights, Schedule, clip_gradients
from rnntrain.settings import Precision, TrainerSettings
from rnntrain.tasks.base import Carry, Task


@dataclass(frozen=True)
class StepResult:
    """What one update saw: loss sum and count over its batches, the gradient's norm before clipping, if it clipped."""

    loss_sum: Tensor
    count: Tensor
    grad_norm: float
    clipped: bool


class Mark(NamedTuple):
    """Where speeds were last measured from."""

    time: float
    step: int
    units_seen: int
    data_seconds: float


@dataclass
class Best:
    """The best evaluation so far; `value` is None before the first."""

    value: float | None = None
    step: int = 0
    evaluations_since: int = 0


class Window:
    """Sums since the last logged line. They are part of a checkpoint, so that a resumed run logs the same numbers."""

    NAMES = ("loss", "count", "grad_norm", "clipped", "steps")
    MOST_UNREAD = 64

    def __init__(self, sums: dict[str, float] | None = None) -> None:
        self._sums = dict.fromkeys(self.NAMES, 0.0) if sums is None else dict(sums)
        self._unread: list[StepResult] = []  # read late: on a GPU each number costs a copy

    def add(self, result: StepResult) -> None:
        self._unread.append(result)
        if len(self._unread) == self.MOST_UNREAD:
            self.sums()

    def sums(self) -> dict[str, float]:
        for result in self._unread:
            # One after the other, so that sums interrupted by a save round as those that were not.
            self._sums["loss"] += float(result.loss_sum)
            self._sums["count"] += float(result.count)
            self._sums["grad_norm"] += result.grad_norm
            self._sums["clipped"] += result.clipped
            self._sums["steps"] += 1.0
        self._unread.clear()
        return dict(self._sums)

    def means(self) -> dict[str, float]:
        sums = self.sums()
        steps = max(sums["steps"], 1.0)
        return {
            "train/loss": sums["loss"] / max(sums["count"], 1.0),
            "train/grad_norm": sums["grad_norm"] / steps,
            "train/clipped": sums["clipped"] / steps,
        }


class Trainer:
    """Fits a model; `state_dict` says which of its attributes the coming steps depend on.

    Args:
        seed: of the order of data and of the texts that illustrate an evaluation.
        watcher: is told what happens and writes it down; without one, nothing is written.
    """

    def __init__(
        self,
        model: SequenceModel,
        task: Task,
        data: DataSet,
        optimizer: Optimizer,
        schedule: Schedule,
        settings: TrainerSettings,
        *,
        device: torch.device,
        precision: Precision = "float32",
        seed: int = 0,
        watcher: Watcher | None = None,
    ) -> None:
        self.model = model
        self.task = task
        self.data = data
        self.optimizer = optimizer
        self.schedule = schedule
        self.settings = settings
        self.device = device
        self.seed = seed
        self.watcher = watcher or Watcher()
        self.average = AveragedWeights(model, settings.average_decay) if settings.average_decay is not None else None
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        # Only float16 needs its gradients scaled; where disabled, the scaler passes everything through.
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
        self._autocast = autocast(device, precision)
        self.step = 0
        self.epoch = 0
        self.offset = 0  # batches of this epoch that have been trained on
        self.units_seen = 0  # valid time steps trained on
        self.data_seconds = 0.0  # spent waiting for batches, in this process
        self.state: State = None
        self.best = Best()
        self.window = Window()
        self.learning_rate = math.nan
        self._batches: Iterator[Batch] | None = None
        self._epoch_length = data.num_train_batches(seed, 0)
        self._seconds_before = 0.0
        self._started: float | None = None
        self._logged = Mark(0.0, 0, 0, 0.0)
        self._evaluated_at = -1

    # -- one step ---

    def train_step(self) -> StepResult:
        """Update the weights once, from `accumulate` batches.

        Raises:
            NonFiniteError: before the update, if the gradient's norm is not finite.
        """
        self.learning_rate = self.schedule.set_rate(self.optimizer, self.step, self.progress())
        for parameter in self.parameters:
            parameter.grad = None  # what the optimizer's zero_grad does, without its entry in a profile
        loss_sum, count = self._accumulate_gradients()
        self.scaler.unscale_(self.optimizer)
        grad_norm, clipped = clip_gradients(self.parameters, self.settings.grad_clip_mode, self.settings.grad_clip)
        # One NaN that gets past here would make every weight NaN. Gradients that overflow when scaled are the scaler's
        # to skip; a loss that overflowed before is beyond its help.
        if not math.isfinite(loss_sum.item() if self.scaler.is_enabled() else grad_norm):
            raise NonFiniteError(self.step + 1, float(loss_sum / count), grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        if self.average is not None:
            self.average.update()
        return StepResult(loss_sum, count, grad_norm, clipped)

    def _accumulate_gradients(self) -> tuple[Tensor, Tensor]:
        """Add up the gradients of the mean loss over all batches of a step; return its sum and count."""
        loss_total, count_total = self._backward(None)
        first_count = count_total
        for _ in range(self.settings.accumulate - 1):
            loss_sum, count = self._backward(first_count)
            loss_total, count_total = loss_total + loss_sum, count_total + count
        if self.settings.accumulate > 1:
            torch._foreach_mul_([p.grad for p in self.parameters if p.grad is not None], first_count / count_total)
        return loss_total, count_total

    def _backward(self, divisor: Tensor | None) -> tuple[Tensor, Tensor]:
        batch = self._next_batch()
        with self._autocast:
            output, state = self.model(batch, self.state)
            loss_sum, count = self.task.loss(output, batch)
        self.state = self.task.carry(state)
        # A penalty weighs as much as its batch; what is logged is the loss without it.
        total = loss_sum if self.model.penalty is None else loss_sum + count * self.model.penalty
        self.scaler.scale(total / (count if divisor is None else divisor)).backward()
        return loss_sum.detach(), count

    def _next_batch(self) -> Batch:
        if self._batches is None:
            self._batches = self.data.train_batches(self.seed, self.epoch, self.offset)
        waited_from = time.perf_counter()
        batch = next(self._batches)
        self.data_seconds += time.perf_counter() - waited_from
        self.offset += 1
        self.units_seen += batch.num_steps
        if self.offset == self._epoch_length:
            self.epoch, self.offset, self._batches = self.epoch + 1, 0, None
            self._epoch_length = self.data.num_train_batches(self.seed, self.epoch)
        return batch if batch.inputs.device == self.device else batch.to(self.device)

    # -- the run ---

    def fit(self, should_stop: Callable[[], str | None] = lambda: None) -> str:
        """Train until a limit is reached or `should_stop` gives a reason; return the reason.

        Whatever the reason, the last state has been saved when this returns.
        """
        self._started = time.monotonic()
        self._logged = Mark(time.perf_counter(), self.step, self.units_seen, self.data_seconds)
        self.model.train()
        self.watcher.started(self)
        reason = self.limit_reached()
        while reason is None:
            epoch = self.epoch
            result = self.train_step()
            self.window.add(result)
            self.watcher.stepped(self, result)
            if self.step % self.settings.log_every_steps == 0:
                self._log()
            if self._evaluation_due(epoch):
                with self._clock_stopped():
                    self._evaluate_and_keep_best()
            reason = should_stop() or self.limit_reached()
            if reason is None and self.step % self.settings.checkpoint_every_steps == 0:
                with self._clock_stopped():
                    self.watcher.save(self, "interval")
        self._seconds_before, self._started = self.seconds(), None
        self.watcher.save(self, reason)
        return reason

    def finish(self) -> None:
        """Give the last weights their chance to be the best; call once a run has come to its end.

        Apart from `fit`, after its last save: a run that goes on later under a raised limit then continues as if it
        had never stopped, without an evaluation that would not have taken place.
        """
        if self._evaluated_at != self.step:
            self._evaluate_and_keep_best(final=True)

    def limit_reached(self) -> str | None:
        """Return the setting that ends the run now, or None."""
        settings = self.settings
        if settings.max_steps is not None and self.step >= settings.max_steps:
            return "max_steps"
        if settings.max_epochs is not None and self.epoch >= settings.max_epochs:
            return "max_epochs"
        if settings.max_minutes is not None and self.seconds() >= 60 * settings.max_minutes:
            return "max_minutes"
        if settings.early_stopping is not None and self.best.evaluations_since >= settings.early_stopping:
            return "early_stopping"
        return None

    def progress(self) -> float:
        """Return the share of the run that is done, by its first limit; by the clock only if that is the only limit."""
        settings = self.settings
        counted = ((self.step, settings.max_steps), (self.epochs_done(), settings.max_epochs))
        shares = [done / limit for done, limit in counted if limit]
        if not shares and settings.max_minutes is not None:
            shares = [self.seconds() / (60 * settings.max_minutes)]
        return max(shares, default=0.0)

    def epochs_done(self) -> float:
        """Return the passes over the training split, the current one by its share."""
        return self.epoch + self.offset / self._epoch_length

    def seconds(self) -> float:
        """Return the time spent in `fit`, that before a resume included."""
        running = 0.0 if self._started is None else time.monotonic() - self._started
        return self._seconds_before + running

    @contextmanager
    def _clock_stopped(self) -> Iterator[None]:
        """Leave what happens within the context out of the logged speeds, which are those of training."""
        before = time.perf_counter()
        yield
        self._logged = self._logged._replace(time=self._logged.time + time.perf_counter() - before)

    def _log(self) -> None:
        scalars = self.window.means() | {"train/lr": self.learning_rate, "train/epoch": self.epoch}
        self.window = Window()
        self.watcher.log(self, scalars | self._costs())

    def _costs(self) -> dict[str, float]:
        """Return speed, data waits and memory since the last call."""
        now = time.perf_counter()
        elapsed = max(now - self._logged.time, 1e-9)
        costs = {
            "cost/steps_per_second": (self.step - self._logged.step) / elapsed,
            "cost/units_per_second": (self.units_seen - self._logged.units_seen) / elapsed,
            "cost/data_wait": (self.data_seconds - self._logged.data_seconds) / elapsed,
            "cost/memory_mebibytes": memory_mebibytes(self.device),
        }
        self._logged = Mark(now, self.step, self.units_seen, self.data_seconds)
        return costs

    # -- evaluation ---

    def _evaluation_due(self, epoch_before: int) -> bool:
        every = self.settings.eval_every_steps
        return self.epoch > epoch_before if every is None else self.step % every == 0

    def _evaluate_and_keep_best(self, final: bool = False) -> None:
        with self.averaged_weights():
            carry = next(iter(self.task.evaluations().values()))
            measured = self.measure("val", carry)
            shown = measured.pictures() | self.task.illustrate(self.model, self.data, self.seed)
        metrics = measured.compute()
        self._evaluated_at = self.step
        self.watcher.log(self, {f"val/{name}": value for name, value in metrics.items()}, final)
        self.watcher.illustrate(self, shown)
        value = metrics[self.task.monitor]
        self.schedule.observe(value, self.task.larger_is_better)
        if self._improved(value):
            self.best = Best(value, self.step)
            self.watcher.save(self, "best")
        else:
            self.best.evaluations_since += 1

    def _improved(self, value: float) -> bool:
        if self.best.value is None or not math.isfinite(value):
            return math.isfinite(value)
        return value > self.best.value if self.task.larger_is_better else value < self.best.value

    def evaluate(self, split: str, carry: Carry) -> dict[str, float]:
        """Return the task's metrics over a whole split; `carry` says what state reaches the next batch."""
        return self.measure(split, carry).compute()

    @torch.no_grad()
    def measure(self, split: str, carry: Carry) -> Metrics:
        """Take a whole split into the task's metrics and return them."""
        metrics = self.task.metrics(self.data.codec)
        state: State = None
        training = self.model.training
        self.model.eval()
        try:
            for batch in islice(self.data.eval_batches(split), self.settings.eval_batches):
                batch = batch.to(self.device)
                with self._autocast:
                    output, state = self.task.infer(self.model, batch, state)
                    loss_sum, count = self.task.loss(output, batch)
                metrics.update(output, batch, loss_sum, count)
                state = carry(state)
        finally:
            self.model.train(training)
        return metrics

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Use the averaged weights within the context, where the run keeps them."""
        if self.average is None:
            yield
            return
        self.average.swap()
        try:
            yield
        finally:
            self.average.swap()

    # -- state ---

    def state_dict(self) -> dict[str, Any]:
        """Return all that the coming steps depend on, beside the generators of random numbers and the codec."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "step": self.step,
            "epoch": self.epoch,
            "offset": self.offset,
            "units_seen": self.units_seen,
            "state": self.state,
            "best": vars(self.best).copy(),
            "evaluated_at": self._evaluated_at,
            "window": self.window.sums(),
            "seconds": self.seconds(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Put the trainer where `state_dict` was taken."""
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.scaler.load_state_dict(saved["scaler"])
        if self.average is not None:
            self.average = AveragedWeights(self.model, self.average.decay)  # begins here where none was kept before
            if saved["average"] is not None:
                self.average.load_state_dict(saved["average"])
        self.step, self.epoch, self.offset = saved["step"], saved["epoch"], saved["offset"]
        self.units_seen = saved["units_seen"]
        self.state = None if saved["state"] is None else map_state(lambda part: part.to(self.device), saved["state"])
        self.best = Best(**saved["best"])
        self.window = Window(saved["window"])
        self._evaluated_at = saved["evaluated_at"]
        self._seconds_before = saved["seconds"]
        self._batches = None
        self._epoch_length = self.data.num_train_batches(self.seed, self.epoch)
        if self.offset >= self._epoch_length:
            raise ValueError(f"batch {self.offset} of an epoch that now has {self._epoch_length}: the data is shorter")


@torch.no_grad()
def load_weights(model: nn.Module, saved: dict[str, Any]) -> None:
    """Load the weights that a run is judged by from a trainer's saved state: the averaged ones where it kept them."""
    model.load_state_dict(saved["model"])
    if saved["average"] is not None:
        weights = [p for p in model.parameters() if p.requires_grad]
        for weight, average in zip(weights, saved["average"]["average"], strict=True):
            weight.copy_(average)


class Watcher:
    """Looks on while a trainer trains and writes down what it sees; this one does nothing.

    The trainer tells it the five things that happen; it never reaches back to change the training.
    """

    def started(self, trainer: Trainer) -> None:
        """Called before the first step, also of a run that goes on."""

    def stepped(self, trainer: Trainer, result: StepResult) -> None:
        """Called after every step."""

    def log(self, trainer: Trainer, scalars: dict[str, float], final: bool = False) -> None:
        """Called with scalars by name; `final` where only the run's end gave rise to them."""

    def illustrate(self, trainer: Trainer, shown: Mapping[str, str | Picture]) -> None:
        """Called with texts and pictures by title."""

    def save(self, trainer: Trainer, reason: str) -> None:
        """Called when the trainer's state is to be saved: "best", "interval", or the reason to stop."""
