"""What a task's output comes to in a graph: tensors with names, and how those of chunks make that of the whole."""

# B batch, T time, C targets, K tags, P parameters, Q quantiles

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan

from rnntrain.batch import Batch, length_mask
from rnntrain.cells.base import State
from rnntrain.data.base import Codec
from rnntrain.data.forecast.series_codec import SeriesCodec
from rnntrain.errors import UserError
from rnntrain.exporting.layers import like, tensors_of
from rnntrain.models.crf import ChainScores, no_chain
from rnntrain.models.large_vocabulary import AdaptiveLogits, MixtureLogits
from rnntrain.models.pooling import Pooling
from rnntrain.models.sequence import SequenceModel
from rnntrain.models.tag_head import TagScores
from rnntrain.models.vocabulary import VocabularyLogits
from rnntrain.tasks.base import Task
from rnntrain.tasks.classification import ClassLogits
from rnntrain.tasks.forecast.outputs import Forecast, Output
from rnntrain.tasks.forecast.units import Units
from rnntrain.tasks.forecasting import Forecasting
from rnntrain.tasks.regression import Regression

InChunks = Literal["join", "last", "none"]
ROWS = ("batch",)


class Named(NamedTuple):
    """One output of a graph.

    Attributes:
        in_chunks: where a sequence comes in chunks: their outputs are joined over time ("join"), that of the last
            is that of the whole ("last"), or no chunk tells it ("none").
        meaning: for people.
        dims: the first dimensions.
        measured: True of what is told as measured, which is in float64 whatever the model computes in.
    """

    tensor: Tensor
    in_chunks: InChunks
    meaning: str
    dims: tuple[str, ...] = ("batch", "time")
    measured: bool = False

    def single(self) -> Named:
        """Return it as a model in float32 has it."""
        kept = self.measured or not self.tensor.is_floating_point()
        return self if kept else self._replace(tensor=self.tensor.float())


class Ways(NamedTuple):
    """How an output is decoded where that takes a loop: a graph has loops of its own.

    Attributes:
        best_tags: the best allowed tags, ``[B, T]``, of scores that a chain or rules bind.
        run_on: the parameters of a forecast that goes on over what it said itself, ``[B, S, C, P]``, from the
            output and the state after the window.
    """

    best_tags: Callable[[TagScores, Batch], Tensor]
    run_on: Callable[[Forecast, State, Batch, SequenceModel], Tensor]


def named_outputs(
    output: Any, state: State, batch: Batch, model: SequenceModel, task: Task, codec: Codec, ways: Ways
) -> dict[str, Named]:
    """Return what a graph gives for the output of a task, by name.

    Args:
        state: after the last step of the batch; a forecast may go on from it.

    Raises:
        UserError: if the output is of a kind that is not known here.
    """
    if isinstance(output, VocabularyLogits):
        return {"logits": Named(output.compute(), "join", "of the next entry of the vocabulary")}
    if isinstance(output, AdaptiveLogits | MixtureLogits):
        return {"logits": Named(output.compute(), "join", "log-probabilities of the next entry of the vocabulary")}
    if isinstance(output, TagScores):
        return _tags(output, batch, ways)
    if isinstance(output, Forecast) and isinstance(task, Forecasting) and isinstance(codec, SeriesCodec):
        told_BSCP = ways.run_on(output, state, batch, model) if output.one_step else output.params_BSCP
        return _forecast(output, told_BSCP, batch, task.output, Units(codec))
    if isinstance(output, ClassLogits):
        return {"logits": Named(output.logits_BC, _pooled(model), "of the classes", ROWS)}
    if isinstance(output, Tensor):
        name, meaning = ("values", "on the scale of training") if isinstance(task, Regression) else ("logits", "")
        return {
            name: Named(output, "join", meaning) if output.dim() > 2 else Named(output, _pooled(model), meaning, ROWS)
        }
    raise UserError(
        f"export: the output of {type(task).__name__} is a {type(output).__name__}, which has no form in a graph; "
        "export takes tasks whose output is a tensor or one of rnntrain's own"
    )


def _pooled(model: SequenceModel) -> InChunks:
    """Say how chunks of a sequence give its one output: by the last step, or not at all."""
    kinds = {part.kind for part in model.head.modules() if isinstance(part, Pooling)}
    return "last" if kinds <= {"last"} else "none"


def _tags(output: TagScores, batch: Batch, ways: Ways) -> dict[str, Named]:
    emissions = Named(output.emissions_BTK, "join", "scores of the tags, without what a chain adds")
    if output.chain is None and output.rules is None:
        tags = Named(output.best(batch.lengths_B), "join", "the best tag of each step")
    else:
        tags = Named(ways.best_tags(output, batch), "none", "the best allowed sequence of tags")
    return {"emissions": emissions, "tags": tags}


def best_tags(output: TagScores, batch: Batch) -> Tensor:
    """Return the best allowed tags of each row, by loops of the graph."""
    scores_BTK = output.emissions_BTK if output.bias_K is None else output.emissions_BTK + output.bias_K
    chain = output.chain or no_chain(scores_BTK)
    assert batch.lengths_B is not None
    return viterbi_scan(scores_BTK, batch.lengths_B, chain if output.rules is None else chain.forbid(output.rules))


def viterbi_scan(emissions_BTK: Tensor, lengths_B: Tensor, scores: ChainScores) -> Tensor:
    """Return what `rnntrain.models.crf.viterbi` does, by two loops that a graph can hold."""
    num_steps, num_tags = emissions_BTK.shape[1:]
    times_T = torch.arange(num_steps)
    stay_K = torch.arange(num_tags)

    def forward_step(best_BK: Tensor, now: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        emitted_BK, t = now
        after_BK, before_BK = (best_BK[:, :, None] + scores.pairs_KK).max(1)
        valid_B1 = (t < lengths_B)[:, None]
        first = t == 0
        after_BK = torch.where(first, scores.start_K, after_BK) + emitted_BK
        # At the first step of a row, and beyond its end, the way back stays where it is.
        before_BK = torch.where(valid_B1 & ~first, before_BK, stay_K)
        return torch.where(valid_B1 | first, after_BK, best_BK), before_BK

    start_BK = emissions_BTK.new_zeros(emissions_BTK.shape[0], num_tags)
    best_BK, came_from_TBK = scan(forward_step, start_BK, (emissions_BTK.transpose(0, 1), times_T))

    def backward_step(tag_B1: Tensor, before_BK: Tensor) -> tuple[Tensor, Tensor]:
        return before_BK.gather(1, tag_B1), tag_B1.clone()

    last_B1 = (best_BK + scores.end_K).argmax(1, keepdim=True)
    _, path_TB1 = scan(backward_step, last_B1, came_from_TBK, reverse=True)
    return path_TB1[..., 0].transpose(0, 1).masked_fill(~length_mask(lengths_B, num_steps), 0)


def _forecast(output: Forecast, told_BSCP: Tensor, batch: Batch, kind: Output, units: Units) -> dict[str, Named]:
    named = {}
    if output.one_step:
        meaning = "the value one step ahead of each, on the scale of training"
        named["one_step"] = Named(output.params_BSCP, "join", meaning)
    named["params"] = Named(told_BSCP, "last", "of the horizon, on the scale of training", ROWS)
    point_BSC = units.measured(kind.point(told_BSCP), batch)
    named["forecast"] = Named(point_BSC, "last", "of the horizon, as measured", ROWS, measured=True)
    if kind.levels:
        quantiles_BSCQ = units.measured_quantiles(kind.quantiles(told_BSCP), batch)
        levels = ", ".join(f"{level:g}" for level in kind.levels)
        meaning = f"of the horizon, as measured, at {levels}"
        named["quantiles"] = Named(quantiles_BSCQ, "last", meaning, ROWS, measured=True)
    return named


def run_on(output: Forecast, state: State, batch: Batch, model: SequenceModel) -> Tensor:
    """Return the steps of the horizon, each read at the next one, by a loop of the graph."""
    assert batch.context is not None
    first_B1CP = output.params_BSCP[:, -1:]
    calendar_SBF = batch.context[:, :-1, 1 + first_B1CP.shape[2] :].transpose(0, 1)
    if not len(calendar_SBF):
        return first_B1CP

    def one_step(before: list[Tensor], calendar_BF: Tensor) -> tuple[list[Tensor], Tensor]:
        said_BC, *parts = before
        told, after = model.step(torch.cat([said_BC, calendar_BF], -1), like(state, iter(parts)))
        params_BCP = told.params_BSCP[:, 0]
        return [params_BCP[..., 0].clone(), *(part.clone() for part in tensors_of(after))], params_BCP.clone()

    start = [first_B1CP[:, 0, :, 0].clone(), *(part.clone() for part in tensors_of(state))]
    _, others_SBCP = scan(one_step, start, calendar_SBF)
    return torch.cat([first_B1CP, others_SBCP.transpose(0, 1)], 1)


GRAPH = Ways(best_tags, run_on)
