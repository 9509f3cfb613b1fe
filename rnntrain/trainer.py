"""The training loop: load, step, log, evaluate, save; the same for every task, cell and data set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from rnntrain.batch import Batch
from rnntrain.best import Best
from rnntrain.cells.base import State, map_state
from rnntrain.clock import Clock
from rnntrain.data.base import DataSet
from rnntrain.data.prefetch import several_at_once
from rnntrain.data.shards import Shard, shard_of
from rnntrain.device import autocast, memory_mebibytes
from rnntrain.guard import Guard, Incident, Origin
from rnntrain.metrics import Metrics
from rnntrain.models.sequence import SequenceModel
from rnntrain.optim import AveragedWeights, Schedule, clip_gradients
from rnntrain.processes import distributed
from rnntrain.processes.agreement import Agreement
from rnntrain.settings import Precision, TrainerSettings
from rnntrain.tasks.base import Carry, Task
from rnntrain.watching.watcher import Watcher
from rnntrain.watching.window import StepResult, Window


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
        self.guard = Guard(settings)
        self._module = distributed.parallel(model)
        self._agreement = Agreement()
        self.clock = Clock(self._agreement)
        self._should_stop: Callable[[], str | None] = lambda: None
        self.step = 0
        self.epoch = 0
        self.offset = 0  # batches of this epoch that have been trained on
        self.units_seen = 0  # valid time steps trained on
        self.state: State = None
        self.idle = False  # the last batch had no row for this process
        self.best = Best()
        self.window = Window()
        self.learning_rate = math.nan
        self._batches: Iterator[Batch] | None = None
        self._origin = Origin.here(0, 0, None, device)  # of the step that is being taken
        self._epoch_length = data.num_train_batches(seed, 0)
        self._evaluated_at = -1

    # -- one step ---

    def train_step(self) -> StepResult:
        """Take one step: update the weights from `accumulate` batches, unless the guard keeps the update away.

        Raises:
            NonFiniteError: before the update, where the guard's policy is to stop.
        """
        self.learning_rate = self.schedule.set_rate(self.optimizer, self.step, self.progress())
        for parameter in self.parameters:
            parameter.grad = None  # what the optimizer's zero_grad does, without its entry in a profile
        self._origin = Origin.here(self.epoch, self.offset, self.state, self.device)
        loss_sum, count = self._accumulate_gradients()
        self.scaler.unscale_(self.optimizer)
        grad_norm, clipped = clip_gradients(self.parameters, self.settings.grad_clip_mode, self.settings.grad_clip)
        # One NaN that gets past here would make every weight NaN.
        problem = self.guard.problem(loss_sum, count, grad_norm, self.scaler.is_enabled())
        if problem is None:
            self._update()
        else:
            self._leave_out(problem, float(loss_sum / count), grad_norm)
        self.step += 1
        self.guard.stepped(self.step)
        return StepResult(loss_sum, count, grad_norm, clipped, problem is None)

    def _update(self) -> None:
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update()

    def _leave_out(self, problem: str, loss: float, grad_norm: float) -> None:
        """Do without an update: the step counts and the data goes on, the weights stay or go back to the anchor's."""
        incident = Incident.of(self.model, self.step + 1, problem, loss, grad_norm, self._origin)
        self.watcher.caught(self, incident)
        self.guard.decide(incident)
        self.scaler.update()  # else it would take the next gradients for these
        self.state = self._origin.state  # the one after may be as bad as the batch
        if self.guard.policy == "rollback":
            saved = self.watcher.recall(self, self.guard.anchor)
            self._load_learned(saved["trainer"])
            distributed.restore_own_generators(saved)

    def _accumulate_gradients(self) -> tuple[Tensor, Tensor]:
        """Add up the gradients of the mean loss over all batches of a step; return its sum and count."""
        accumulate = self.settings.accumulate
        with distributed.exchanging(self._module, gradients=accumulate == 1):
            loss_total, count_total = self._backward(None)
        first_count = count_total
        for number in range(2, accumulate + 1):
            with distributed.exchanging(self._module, gradients=number == accumulate):
                loss_sum, count = self._backward(first_count)
            loss_total, count_total = loss_total + loss_sum, count_total + count
        if accumulate > 1:
            torch._foreach_mul_([p.grad for p in self.parameters if p.grad is not None], first_count / count_total)
        return loss_total, count_total

    def _backward(self, divisor: Tensor | None) -> tuple[Tensor, Tensor]:
        """Add this process's part of a batch's gradient; return loss sum and count of the batch over all processes."""
        batch, share, self.idle = self._next_batch()
        with self._autocast:
            output, state = self._module(batch, self.state)
            loss_sum, count = self.task.loss(output, batch)
        self.state = self.task.carry(state)
        if self.idle:
            loss_sum, count = loss_sum * 0.0, count * 0.0
        asked, seconds = self._should_stop(), self.clock.own_seconds()
        loss_everywhere, count_everywhere = self._agreement.add_up(loss_sum, count, asked, seconds)
        # A penalty weighs as much as its batch; what is logged is the loss without it.
        penalty = self.model.penalty if share > 0.0 else None
        total = loss_sum if penalty is None else loss_sum + count_everywhere * share * penalty
        self.scaler.scale(total / (count_everywhere if divisor is None else divisor)).backward()
        return loss_everywhere, count_everywhere

    def _next_batch(self) -> Shard:
        if self._batches is None:
            self._batches = several_at_once(self.data.train_batches(self.seed, self.epoch, self.offset))
        with self.clock.waiting_for_data():
            batch = next(self._batches)
        self.offset += 1
        self.units_seen += batch.num_steps
        if self.offset == self._epoch_length:
            self.epoch, self.offset, self._batches = self.epoch + 1, 0, None
            self._epoch_length = self.data.num_train_batches(self.seed, self.epoch)
        shard = shard_of(batch, distributed.rank(), distributed.world_size(), contiguous=self.data.contiguous)
        shard = shard._replace(batch=shard.batch.to(self.device))
        self._origin.batches.append(shard.batch)
        return shard

    def last_batches(self) -> list[Batch]:
        """Return the batches of the step that was taken last, or is being taken."""
        return list(self._origin.batches)

    # -- the run ---

    def fit(self, should_stop: Callable[[], str | None] = lambda: None) -> str:
        """Train until a limit is reached or `should_stop` gives a reason; return the reason.

        Whatever the reason, the last state has been saved when this returns.
        """
        self._should_stop = should_stop
        self.clock.start(self.step, self.units_seen)
        self.model.train()
        self.watcher.started(self)
        if self.guard.policy == "rollback" and self.step == 0:
            self.watcher.save(self, "start")
        reason = self.limit_reached()
        while reason is None:
            epoch = self.epoch
            result = self.train_step()
            self.window.add(result)
            self.watcher.stepped(self, result)
            if self.step % self.settings.log_every_steps == 0:
                self._log()
            if self.settings.evaluation_due(self.step, self.epoch > epoch):
                with self.clock.out_of_speeds():
                    self._evaluate_and_keep_best()
            reason = self._agreement.asked(should_stop) or self.limit_reached()
            if reason is None:
                with self.clock.out_of_speeds():
                    self._save_in_time()
        self.clock.stop()
        self.watcher.save(self, reason)
        self.watcher.settle(self)
        return reason

    def finish(self) -> None:
        """Give the last weights their chance to be the best; call once a run has come to its end.

        Apart from `fit`, after its last save: a run that goes on later under a raised limit then continues as if it
        had never stopped, without an evaluation that would not have taken place.
        """
        if self._evaluated_at != self.step:
            self._evaluate_and_keep_best(final=True)
            self.watcher.settle(self)

    def _save_in_time(self) -> None:
        """Begin a save where one is due; a step beyond those that a kill may take waits for what is being written."""
        if self.step % self.settings.save_every_steps == 0:
            self.watcher.save(self, "interval")
        self.watcher.secure(self, self.step + 1 - self.settings.checkpoint_every_steps)

    def limit_reached(self) -> str | None:
        """Return the setting that ends the run now, or None."""
        return self.settings.limit_reached(self.step, self.epoch, self.clock.seconds, self.best.evaluations_since)

    def progress(self) -> float:
        """Return the share of the run that is done, by its first limit; by the clock only if that is the only limit."""
        return self.settings.share_done(self.step, self.epochs_done(), self.clock.seconds)

    def epochs_done(self) -> float:
        """Return the passes over the training split, the current one by its share."""
        return self.epoch + self.offset / self._epoch_length

    def _log(self) -> None:
        scalars = self.window.means() | {"train/lr": self.learning_rate, "train/epoch": self.epoch}
        self.window = Window()
        costs = self.clock.costs(self.step, self.units_seen) | {"cost/memory_mebibytes": memory_mebibytes(self.device)}
        self.watcher.log(self, scalars | self.guard.scalars() | costs)

    # -- evaluation ---

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
        if self.best.is_worse_than(value, self.task.larger_is_better):
            self.best = Best(value, self.step)
            self.watcher.save(self, "best")
        else:
            self.best.evaluations_since += 1

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
            for whole in islice(self.data.eval_batches(split), self.settings.eval_batches):
                shard = shard_of(whole, distributed.rank(), distributed.world_size(), contiguous=True)
                if shard.idle:
                    continue
                batch = shard.batch.to(self.device)
                with self._autocast:
                    output, state = self.task.infer(self.model, batch, state)
                    loss_sum, count = self.task.loss(output, batch)
                metrics.update(output, batch, loss_sum, count)
                state = carry(state)
        finally:
            self.model.train(training)
        distributed.add_up_metrics(metrics)
        return metrics

    def averaged_weights(self) -> AbstractContextManager[None]:
        """Use the averaged weights within the context, where the run keeps them."""
        return nullcontext() if self.average is None else self.average.in_use()

    # -- state ---

    def state_dict(self) -> dict[str, Any]:
        """Return all that the coming steps depend on, beside the generators of random numbers and the codec.

        Of several processes, `state` is that of this one's rows alone.
        """
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
            "guard": self.guard.state_dict(),
            "seconds": self.clock.seconds(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Put the trainer where `state_dict` was taken."""
        self._load_learned(saved)
        self.schedule.load_state_dict(saved["schedule"])
        self.guard.load_state_dict(saved["guard"])
        self.step, self.epoch, self.offset = saved["step"], saved["epoch"], saved["offset"]
        self.units_seen = saved["units_seen"]
        self.best, self.window = Best(**saved["best"]), Window(saved["window"])
        self._evaluated_at = saved["evaluated_at"]
        self.clock.before = saved["seconds"]
        self._batches = None
        self._epoch_length = self.data.num_train_batches(self.seed, self.epoch)
        if self.offset >= self._epoch_length:
            raise ValueError(f"batch {self.offset} of an epoch that now has {self._epoch_length}: the data is shorter")

    def _load_learned(self, saved: dict[str, Any]) -> None:
        """Put back what the updates made: weights, optimizer, scaler, average, and the state that came of them."""
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        if self.average is not None:
            self.average = AveragedWeights(self.model, self.average.decay)  # begins here where none was kept before
            if saved["average"] is not None:
                self.average.load_state_dict(saved["average"])
        state = distributed.own_rows(saved["state"])
        self.state = None if state is None else map_state(lambda part: part.to(self.device), state)
