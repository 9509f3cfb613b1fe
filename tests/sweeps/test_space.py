"""A search space says what its words say, and a mistake in one is a line that shows how to write it."""

from __future__ import annotations

import pytest

from rnntrain.errors import UserError
from rnntrain.sweeps.space import (
    Dimension,
    as_override,
    corner_points,
    grid_points,
    parse_dimension,
    read_dimension,
)


def parsed(text: str) -> Dimension:
    dimension = parse_dimension("key", text)
    assert dimension is not None
    return dimension


GRIDS = {
    "choice(gru, lstm)": ["gru", "lstm"],
    "gru,lstm": ["gru", "lstm"],
    "choice(1,2.5,true,null,'a,b')": [1, 2.5, True, None, "a,b"],
    "choice(only)": ["only"],
    "range(0,3)": [0, 1, 2],
    "range(64,257,64)": [64, 128, 192, 256],
    "range(0, 0.5, 0.1)": pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4]),
    "range(3,4)": [3],
    "interval(3,6,int)": [3, 4, 5, 6],
}


@pytest.mark.parametrize("text", GRIDS)
def test_values_that_can_be_counted_are_these(text: str) -> None:
    assert parsed(text).grid() == GRIDS[text]


@pytest.mark.parametrize("text", ["0.1", "gru", "[0.9,0.99]", "'a,b'", "{a: 1, b: 2}", ""])
def test_a_single_value_spans_nothing(text: str) -> None:
    assert parse_dimension("key", text) is None


MISTAKES = {
    "interval(1e-2,1e-4)": "the lower end comes first",
    "interval(1,1)": "the ends differ",
    "interval(0,1,log)": "begins above 0",
    "interval(0.5,3,int)": "whole ends",
    "interval(a,b)": "a is no number; write interval",
    "interval(1)": "write interval(LOW,HIGH",
    "interval(1,2,lgo)": "write interval",
    "interval(1,inf)": "inf is no finite number",
    "uniform(0,1)": "write interval",
    "range(3,3)": "holds no value",
    "range(0,3,0)": "holds no value",
    "range(1,2,3,4)": "range(START,STOP[,STEP])",
    "choice()": "nothing to choose from",
    "choice(a,b,a)": "names a value twice",
    "choice(a,(b)": "write interval",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_shows_how_to_write_it(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_dimension("optimizer.lr", text)
    assert str(caught.value).startswith(f"optimizer.lr={text}: ")
    assert MISTAKES[text] in str(caught.value)


def test_a_file_may_list_choices_and_must_span_something() -> None:
    assert read_dimension("key", [1, 2]).values == (1, 2)
    for value in (0.1, "gru", {"a": 1}, [[1], [2]]):
        with pytest.raises(UserError, match=r"sweep\.space: key="):
            read_dimension("key", value)


def test_shares_lie_between_the_ends_and_evenly_in_logarithms() -> None:
    log = parsed("interval(1e-4,1e-2,log)")
    assert [log.at(share) for share in (0.0, 0.5)] == pytest.approx([1e-4, 1e-3])
    assert parsed("interval(1,100,log,int)").at(0.5) == 10
    assert [parsed("range(0,4)").at(share) for share in (0.0, 0.26, 0.99, 0.9999999)] == [0, 1, 3, 3]
    assert parsed("interval(-1,1)").at(0.25) == -0.5


def test_a_grid_holds_every_combination_and_needs_values_that_can_be_counted() -> None:
    space = [Dimension("a", "", values=(1, 2)), Dimension("b", "", values=("x", "y", "z"))]
    points = grid_points(space)
    assert len(points) == 6
    assert points[1] == {"a": 1, "b": "y"}
    with pytest.raises(UserError, match="a grid needs single values; range"):
        grid_points([parsed("interval(0,1)")])
    with pytest.raises(UserError, match="1,000,000 points"):
        grid_points([parsed("range(0,1000)"), Dimension("b", "", values=tuple(range(1000)))])


def test_corners_hold_every_end_and_every_choice() -> None:
    points = corner_points([parsed("interval(1,9)"), Dimension("b", "", values=("x", "y", "z"))])
    assert points == [
        {"key": 1.0, "b": "x"},
        {"key": 9.0, "b": "x"},
        {"key": 1.0, "b": "y"},
        {"key": 1.0, "b": "z"},
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "k=0.1"), (1e-05, "k=1e-05"), (3, "k=3"), (True, "k=true"), (None, "k=null"), ("gru", "k=gru")],
)
def test_a_value_is_typed_as_hydra_reads_it(value: object, text: str) -> None:
    from rnntrain.configuring.overrides import parse_override

    assert as_override("k", value) == text  # type: ignore[arg-type]
    assert parse_override(text).value() == value


@pytest.mark.parametrize("value", ["true", "a,b", "my file.txt", "1e5"])
def test_a_text_that_reads_as_something_else_is_quoted(value: str) -> None:
    from rnntrain.configuring.overrides import parse_override

    assert parse_override(as_override("k", value)).value() == value
