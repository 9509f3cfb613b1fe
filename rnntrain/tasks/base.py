"""The contract of a task: all that the training loop would otherwise have to ask about."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from torch import Tensor, nn

from rnntrain.batch import Batch
from rnntrain.cells.base import State
from rnntrain.data.base import Codec, DataSet
from rnntrain.errors import UserError
from rnntrain.metrics import Metrics, Picture

if TYPE_CHECKING:
    from rnntrain.models.sequence import SequenceModel
    from rnntrain.predicting.predictor import Predictor

# Says what of the state after one batch reaches the next; None for nothing.
Carry: TypeAlias = Callable[[State], State]


def carry_nothing(state: State) -> State:
    """Let every batch start from the initial state."""
    return None


class Task(ABC):
    """What a model is trained for: its two ends, its loss, its metrics and how its output reads.

    Attributes:
        codec_type: the kind of codec that the task understands.
        causal: True where outputs may not depend on later inputs, so that a bidirectional model is refused.
        generates: True where a trained model writes text, one token after the other.
        carries: True where the state of one training batch is passed to the next.
        monitor: the metric of the validation split by which the best weights are chosen.
        larger_is_better: the sense of `monitor`.
    """

    codec_type: ClassVar[type[Codec]]
    causal: bool = False
    generates: ClassVar[bool] = False
    monitor: str = "loss"
    larger_is_better: bool = False
    carries: bool = False

    @abstractmethod
    def input_layer(self, codec: Codec, size: int) -> nn.Module:
        """Build the module from a batch's inputs to ``x_BTD`` with D = `size`."""

    @abstractmethod
    def head(self, codec: Codec, input_size: int) -> nn.Module:
        """Build the module from the backbone's ``y_BTH`` to the task's output."""

    @abstractmethod
    def loss(self, output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss summed over what is counted, and the count.

        A pair, so that short batches, padding, accumulation and several processes give exact means.
        """

    @abstractmethod
    def metrics(self, codec: Codec) -> Metrics:
        """Return metrics that have seen nothing yet."""

    def carry(self, state: State) -> State:
        """Return what of the state reaches the next batch of training, cut from its history."""
        return carry_nothing(state)

    def evaluations(self) -> dict[str, Carry]:
        """Return the ways to evaluate, by suffix of the metrics' names; the first is watched during training."""
        return {"": carry_nothing}

    def infer(self, model: nn.Module, batch: Batch, state: State) -> tuple[Any, State]:
        """Return the output by which a model is judged, and the state after it.

        It is that of training, but for tasks that feed a model its own outputs once it is trained.
        """
        output, state = model(batch, state)
        return output, state

    def decode(self, output: Any, batch: Batch, codec: Codec) -> list[str]:
        """Return each row's output as a person reads it: text, a label, spans, a forecast."""
        raise NotImplementedError

    def predictor(self, codec: Codec, model: SequenceModel, reading: Mapping[str, Any] | None = None) -> Predictor:
        """Return what turns raw inputs into examples for a trained model, and its outputs into plain records.

        Args:
            reading: how the run's data set read its files: the arguments of its config section.

        Raises:
            UserError: the task has no such thing, or the model does not allow for it.
        """
        raise UserError(f"{type(self).__name__} answers no inputs of its own: it has no predictor")

    def illustrate(self, model: nn.Module, data: DataSet, seed: int) -> dict[str, str | Picture]:
        """Return texts and pictures that show what the model does now, by title; draws from a generator of its own."""
        return {}

    def embeddings(self, model: nn.Module, codec: Codec) -> dict[str, tuple[list[str], Tensor]]:
        """Return vectors ``[N, D]`` that a model has learnt of tokens or classes, with their names, by title."""
        return {}

    def baselines(self, data: DataSet, split: str) -> dict[str, dict[str, float]]:
        """Return what simple methods reach on a split, as metrics by the name of the method.

        They are computed once, at the end of a run, and stand beside its result under the names of its metrics.
        """
        return {}
