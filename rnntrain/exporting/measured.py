"""The metrics of an exported model on a split, by the task's own measure."""

# B batch, T time, V vocabulary

from __future__ import annotations

from itertools import islice
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.batch import Batch
from rnntrain.build import Experiment
from rnntrain.cells.base import State, select_rows
from rnntrain.exporting.program import Program
from rnntrain.exporting.verify import Run
from rnntrain.models.large_vocabulary import AdaptiveHead, MixtureHead
from rnntrain.models.sequence import SequenceModel
from rnntrain.models.tag_head import TagHead
from rnntrain.models.vocabulary import VocabularyHead, valid_rows
from rnntrain.tasks.classification import ClassificationHead, ClassLogits
from rnntrain.tasks.forecast.heads import Head
from rnntrain.tasks.forecast.outputs import Forecast


class GivenLogits(NamedTuple):
    """Logits that have been computed already, for tasks that would compute them late."""

    logits_BTV: Tensor

    def compute(self) -> Tensor:
        """Return ``logits_BTV``."""
        return self.logits_BTV

    def cross_entropy(self, targets_BT: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the summed negative log-likelihood of the targets in nats, and how many there are."""
        logits_NV, targets_N, count = valid_rows(self.logits_BTV, targets_BT, lengths_B)
        return F.cross_entropy(logits_NV, targets_N.long(), reduction="sum"), count


class ExportedModel(nn.Module):
    """An exported model in the place of the one it came from: a batch and a state in, the task's output out."""

    def __init__(self, model: SequenceModel, program: Program, run: Run) -> None:
        super().__init__()
        self.head, self._program, self._run = model.head, program, run

    def forward(self, batch: Batch, state: State = None) -> tuple[Any, State]:
        rows, steps = batch.inputs.shape[:2]
        start = tuple(self._program.initial_state(rows))
        before = start if state is None else state
        if state is not None and batch.fresh_B is not None:
            before = select_rows(batch.fresh_B, start, state)
        lengths_B = torch.full((rows,), steps) if batch.lengths_B is None else batch.lengths_B
        inputs = batch.inputs if batch.inputs.is_floating_point() else batch.inputs.long()
        arguments = {"inputs": inputs.contiguous()}
        if self._program.reading.lengths:
            arguments["lengths"] = lengths_B
        if batch.context is not None:
            arguments["context"] = batch.context
        arguments |= dict(zip(self._program.state_names, before, strict=True))
        said = self._run(arguments)
        after = tuple(said[f"next_{name}"] for name in self._program.state_names)
        return self._output(said), after if self._program.stateful else None

    def _output(self, said: dict[str, Tensor]) -> Any:
        """Return the outputs of a graph as the task knows them."""
        if isinstance(self.head, VocabularyHead | AdaptiveHead | MixtureHead):
            return GivenLogits(said["logits"])
        if isinstance(self.head, TagHead):
            nothing = torch.zeros(1, 1, self.head.linear.in_features)
            return self.head(nothing)._replace(emissions_BTK=said["emissions"])
        if isinstance(self.head, ClassificationHead):
            return ClassLogits(said["logits"], self.head.weight_C)
        if isinstance(self.head, Head):
            return Forecast(said["params"])
        return next(iter(said.values()))


@torch.no_grad()
def measure(experiment: Experiment, run: Run, split: str) -> dict[str, float]:
    """Return the task's metrics of an exported model over a whole split."""
    task, data, model = experiment.task, experiment.data, experiment.model.cpu()
    exported = ExportedModel(model, Program(model, task, data.codec), run)
    carry = next(iter(task.evaluations().values()))
    metrics = task.metrics(data.codec)
    state: State = None
    for batch in islice(data.eval_batches(split), experiment.trainer.settings.eval_batches):
        output, state = task.infer(exported, batch, state)
        metrics.update(output, batch, *task.loss(output, batch))
        state = carry(state)
    return metrics.compute()
