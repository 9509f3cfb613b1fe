"""Values are held against the annotations of what takes them; nothing is converted that a reader would not convert."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional, Union

import pytest
import torch

from rnntrain.configuring.checking import check_arguments, check_value, describe_type, parameters_of, shown
from rnntrain.errors import UserError
from rnntrain.ranges import DropoutRate, Fraction, NonNegativeInt, PositiveFloat, PositiveInt, Range


def refusal(function: Any, *arguments: Any) -> str:
    with pytest.raises(UserError) as error:
        function(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


TAKEN = [
    (int, 3, 3),
    (int, 1e3, 1000),
    (int, -2.0, -2),
    (float, 3, 3.0),
    (float, 1e-300, 1e-300),
    (bool, True, True),
    (str, "", ""),
    (PositiveInt, 1e4, 10000),
    (PositiveInt | None, None, None),
    (Optional[int], None, None),  # noqa: UP045  people write it
    (Union[int, str], "a", "a"),  # noqa: UP007
    (PositiveInt | Literal["auto"], "auto", "auto"),
    (PositiveInt | Literal["auto"], 2.0, 2),
    (Literal["a", "b"], "b", "b"),
    (Literal[1, "b"], 1, 1),
    (list[int], [1, 2.0], [1, 2]),
    (list, [1, "a"], [1, "a"]),
    (tuple[float, float], [0.9, 1], (0.9, 1.0)),
    (tuple[int, ...], [1, 2, 3], (1, 2, 3)),
    (tuple[float | torch.Tensor, float | torch.Tensor], [0.9, 0.99], (0.9, 0.99)),
    (float | torch.Tensor, 1, 1.0),
    (DropoutRate, 0, 0.0),
    (Fraction, 1, 1.0),
    (Any, [None, {"a": 1}], [None, {"a": 1}]),
    (dict, {"a": 1}, {"a": 1}),
]


@pytest.mark.parametrize(("annotation", "value", "expected"), TAKEN, ids=lambda x: str(x)[:30])
def test_a_value_of_the_type_is_taken(annotation: Any, value: Any, expected: Any) -> None:
    result = check_value("key", annotation, value)
    assert result == expected
    assert type(result) is type(expected)


REFUSED = [
    (int, 1.5),
    (int, "3"),
    (int, True),
    (int, None),
    (int, 2**63),
    (int, -(2**63)),
    (int, 1e19),
    (float, False),
    (float, "0.1"),
    (bool, 1),
    (bool, "true"),
    (bool, None),
    (str, 3),
    (str, None),
    (str, ["a"]),
    (PositiveInt, 0),
    (NonNegativeInt, -1),
    (PositiveFloat, 0),
    (DropoutRate, 1),
    (DropoutRate, 1.5),
    (Annotated[float, Range(0, 1, low_open=True)], 0),
    (PositiveInt | None, 0),
    (Literal["a"], "b"),
    (Literal[1], True),
    (Literal[True], 1),
    (list[int], [1, "a"]),
    (list[int], 1),
    (list[str], "abc"),
    (tuple[float, float], [0.9]),
    (tuple[float, float], [0.9, 0.9, 0.9]),
    (dict, [1]),
]


@pytest.mark.parametrize(("annotation", "value"), REFUSED, ids=lambda x: str(x)[:30])
def test_a_value_of_another_type_or_out_of_range_is_refused(annotation: Any, value: Any) -> None:
    assert refusal(check_value, "section.key", annotation, value).startswith("section.key=")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "annotation", [float, int, PositiveFloat, float | None, float | torch.Tensor, Any, list[float], Annotated[float, 1]]
)
def test_a_number_that_is_not_finite_never_passes(annotation: Any, value: float) -> None:
    refusal(check_value, "key", annotation, [value] if annotation == list[float] else value)


def test_the_nearest_choice_is_named() -> None:
    assert "did you mean bfloat16?" in refusal(check_value, "p", Literal["float32", "bfloat16"] | None, "bflot16")
    assert "did you mean" not in refusal(check_value, "p", Literal["float32", "bfloat16"], "zzz")


def test_a_number_where_a_text_is_wanted_is_answered_with_how_to_quote_it() -> None:
    assert """run.name="'7'\"""" in refusal(check_value, "run.name", str | None, 7)


WORDS = [
    (PositiveInt, "a whole number at least 1"),
    (PositiveFloat | None, "a number greater than 0 or null"),
    (DropoutRate, "a number in [0, 1)"),
    (Literal["norm", "value"], "norm or value"),
    (list[str], "a list [a text, …]"),
    (tuple[float, ...], "a list [a number, …]"),
    (bool, "true or false"),
    (torch.Tensor, "Tensor"),
]


@pytest.mark.parametrize(("annotation", "words"), WORDS, ids=str)
def test_a_type_is_described_in_words(annotation: Any, words: str) -> None:
    assert describe_type(annotation) == words


def test_a_long_value_is_shortened() -> None:
    assert len(shown("x" * 10_000)) < 70
    assert len(refusal(check_value, "key", int, "x" * 10_000)) < 150


# -- arguments of a constructor ---


@dataclass
class Settings:
    """A section with a default and a key that must be given."""

    size: PositiveInt
    rate: float = 0.5


class Plain:
    """A class like any other."""

    def __init__(self, input_size: int, size: PositiveInt, rate: float = 0.5) -> None: ...


class Inherits(Plain):
    """A class whose constructor stands in its parent."""


class TakesAll:
    """A class that passes on what it is given."""

    def __init__(self, size: int = 1, **options: Any) -> None: ...


class Mysterious:
    """A class whose annotation exists for a type checker alone."""

    def __init__(self, size: NoSuchName = 1) -> None: ...  # type: ignore[name-defined]  # noqa: F821


class Bare:
    """A class that takes nothing."""


@pytest.mark.parametrize("constructor", [Settings, Plain, Inherits])
def test_keys_and_types_come_from_the_signature(constructor: Any) -> None:
    supplied = ("input_size",)
    assert check_arguments("model", constructor, {"size": 2.0}, supplied) == {"size": 2}
    assert "did you mean size?" in refusal(check_arguments, "model", constructor, {"siz": 2}, supplied)
    assert refusal(check_arguments, "model", constructor, {"size": 0}, supplied).startswith("model.size=0")
    assert refusal(check_arguments, "model", constructor, {}, supplied) == "model.size: missing; set model.size=…"


def test_what_the_program_supplies_cannot_be_given() -> None:
    line = refusal(check_arguments, "model", Plain, {"input_size": 1, "size": 1}, ("input_size",))
    assert line == "model.input_size: no such key (did you mean size?); model has: rate, size"


def test_a_class_that_takes_all_is_given_all_but_nan() -> None:
    assert check_arguments("data", TakesAll, {"size": 2, "other": "x"}) == {"size": 2, "other": "x"}
    refusal(check_arguments, "data", TakesAll, {"other": math.nan})


def test_a_class_with_annotations_that_do_not_resolve_is_still_checked_for_its_keys() -> None:
    assert check_arguments("data", Mysterious, {"size": "any"}) == {"size": "any"}
    refusal(check_arguments, "data", Mysterious, {"siez": 1})


def test_a_class_without_arguments_has_no_keys() -> None:
    assert check_arguments("schedule", Bare, {}) == {}
    assert refusal(check_arguments, "schedule", Bare, {"x": 1}) == "schedule.x: no such key; schedule has: no keys"


def test_the_parameters_of_a_class_have_their_defaults() -> None:
    assert parameters_of(Plain)["rate"] == (float, 0.5)
    assert list(parameters_of(TakesAll)) == ["size"]


@pytest.mark.parametrize(
    "name", [name for name, cls in vars(torch.optim).items() if isinstance(cls, type) and name != "Optimizer"]
)
def test_every_optimizer_of_torch_can_be_read(name: str) -> None:
    optimizer = getattr(torch.optim, name)
    assert check_arguments("optimizer", optimizer, {"lr": 1}, ("params",)) == {"lr": 1.0}
    assert "did you mean lr?" in refusal(check_arguments, "optimizer", optimizer, {"lrr": 1}, ("params",))
    for value in ("fast", math.nan, True):
        refusal(check_arguments, "optimizer", optimizer, {"lr": value}, ("params",))
