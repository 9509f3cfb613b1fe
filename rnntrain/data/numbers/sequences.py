"""The codecs of tasks that give numbers, or a class at every step, and what data sets for them have in common."""

# D input width, K target width, C classes

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

from rnntrain.data.base import Codec, DataSet
from rnntrain.data.labelled.classes import FeatureInputs
from rnntrain.errors import UserError

# Metrics of simple methods on a split, by the name of the method and that of the metric.
Baselines: TypeAlias = dict[str, dict[str, float]]


class SymbolInputs(Codec):
    """Symbols that are numbers from 0 already.

    Args:
        vocab_size: how many there are.
    """

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def state_dict(self) -> dict[str, Any]:
        return {"kind": "symbols", "vocab_size": self.vocab_size}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> SymbolInputs:
        vocab_size = state.get("vocab_size")
        if type(vocab_size) is not int or vocab_size < 1:
            raise damaged("`vocab_size` must be a whole number from 1")
        return cls(vocab_size)


Inputs: TypeAlias = SymbolInputs | FeatureInputs


class NumbersCodec(Codec):
    """Inputs, and targets that are numbers, both on the scales of the training split.

    Args:
        inputs: what a model reads.
        targets: mean and scale of each of the K targets.
        per_step: targets belong to steps, not to whole sequences.
        lengths: time steps of a sequence, to the length under which metrics are reported apart.
    """

    def __init__(
        self, inputs: Inputs, targets: FeatureInputs, per_step: bool = False, lengths: dict[int, int] | None = None
    ) -> None:
        self.inputs, self.targets = inputs, targets
        self.per_step = per_step
        self.lengths = lengths or {}

    @property
    def num_targets(self) -> int:
        return self.targets.num_features

    def state_dict(self) -> dict[str, Any]:
        return {
            "inputs": self.inputs.state_dict(),
            "targets": self.targets.state_dict(),
            "per_step": self.per_step,
            "lengths": _pairs(self.lengths),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> NumbersCodec:
        targets, per_step = state.get("targets"), state.get("per_step")
        if not isinstance(targets, dict) or not isinstance(per_step, bool):
            raise damaged("`targets` must have a scale, and `per_step` be true or false")
        inputs = _inputs(state.get("inputs"))
        return cls(inputs, FeatureInputs.from_state(targets), per_step, _lengths(state.get("lengths")))


class StepClassesCodec(Codec):
    """Inputs, and the classes of which each counted step has one.

    Args:
        inputs: what a model reads.
        class_names: the classes in the order of their numbers.
        lengths: time steps of a sequence, to the length under which metrics are reported apart.
    """

    def __init__(self, inputs: Inputs, class_names: Sequence[str], lengths: dict[int, int] | None = None) -> None:
        self.inputs = inputs
        self.class_names = list(class_names)
        self.lengths = lengths or {}

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def state_dict(self) -> dict[str, Any]:
        return {
            "inputs": self.inputs.state_dict(),
            "class_names": self.class_names,
            "lengths": _pairs(self.lengths),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> StepClassesCodec:
        names = state.get("class_names")
        if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
            raise damaged("`class_names` must be a list of two names or more")
        return cls(_inputs(state.get("inputs")), names, _lengths(state.get("lengths")))


class SequenceData(DataSet):
    """Sequences that know what a method reaches which looks at no input, or hardly at one."""

    @abstractmethod
    def trivial(self, split: str) -> Baselines:
        """Return the metrics of such methods on a split."""


def damaged(what: str) -> UserError:
    return UserError(f"the codec's saved state is damaged: {what}; use another checkpoint")


def _inputs(state: Any) -> Inputs:
    kind = state.get("kind") if isinstance(state, dict) else None
    if kind == "symbols":
        return SymbolInputs.from_state(state)
    if kind == "features":
        return FeatureInputs.from_state(state)
    raise damaged(f"`inputs` must be of the kind symbols or features, not {kind!r}")


def _pairs(lengths: dict[int, int]) -> list[list[int]]:
    # JSON knows no keys but strings.
    return [[steps, length] for steps, length in lengths.items()]


def _lengths(pairs: Any) -> dict[int, int]:
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and [type(number) for number in pair] == [int, int] for pair in pairs
    ):
        raise damaged("`lengths` must be a list of pairs of whole numbers")
    return dict(pairs)
