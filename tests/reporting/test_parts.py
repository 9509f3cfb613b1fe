"""The parts of a page: escaping, scales, lines thinned without losing their ends, texts over time."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from rnntrain.reporting.charts import Line, line_chart, thin
from rnntrain.reporting.curves import cividis, group_names
from rnntrain.reporting.html import Html, element, number_text
from rnntrain.reporting.overlaid import mean_curve
from rnntrain.reporting.scales import linear_ticks, scale_of
from rnntrain.reporting.words import spread
from rnntrain.runs.shown_texts import ShownText, append_texts, drop_texts_after, read_texts


def test_children_and_attributes_are_escaped_unless_they_are_html() -> None:
    made = element("p", "<b>", Html("<i></i>"), None, title='"><script>', hidden=True, id=None)
    assert made == '<p title="&quot;&gt;&lt;script&gt;" hidden>&lt;b&gt;<i></i></p>'


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (math.nan, "NaN"), (-math.inf, "−∞"), (1234.0, "1,234"), (0.123456, "0.1235"), (-12345.6, "−12,346")],
)
def test_numbers_read_well(value: float | None, text: str) -> None:
    assert number_text(value) == text


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 17), (1e-7, 3e-7), (0, 123456), (0.97, 0.98)])
def test_ticks_are_few_and_within(low: float, high: float) -> None:
    ticks = linear_ticks(low, high)
    assert 2 <= len(ticks) <= 7
    assert all(low - 1e-9 <= tick <= high * (1 + 1e-9) for tick in ticks)


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [-1.0, 1e-9], [1e-5, 10.0], [math.nan, 2.0], []])
def test_a_scale_holds_what_it_is_made_for(values: list[float]) -> None:
    scale = scale_of(values, 0.0, 100.0)
    assert all(0.0 <= scale.place(value) <= 100.0 for value in values if math.isfinite(value))


def test_values_far_apart_are_drawn_in_logarithms() -> None:
    assert scale_of([0.001, 1.0], 0, 1).log
    assert not scale_of([0.5, 1.0], 0, 1).log
    assert not scale_of([-0.001, 1.0], 0, 1).log


def test_thinned_lines_keep_ends_and_extremes() -> None:
    points = [(step, math.sin(step)) for step in range(10_000)]
    points[5000] = (5000, 9.0)
    kept = thin(points, 100)
    assert len(kept) <= 110
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert (5000, 9.0) in kept
    assert kept == sorted(kept)


def test_a_chart_of_nothing_finite_is_none() -> None:
    assert line_chart("a", [Line("a", [(1, math.nan)])]) is None
    assert line_chart("a", []) is None


def test_every_style_differs_from_its_neighbours_in_more_than_colour() -> None:
    chart = line_chart("a", [Line(f"{n}", [(0, n), (1, n)], n) for n in range(4)])
    assert chart is not None
    assert "<circle" in chart
    assert chart.count("<polygon") == 3 * 3  # two marks and one in the legend of each other style


def test_kinds_and_classes_share_a_chart() -> None:
    names = [
        "val/f1",
        "val/f1/PER",
        "val/f1/LOC",
        "val/accuracy",
        "val/precision_a",
        "val/precision_b",
        "val/precision_c",
    ]
    groups = group_names(names)
    assert groups["f1 by kind"] == ["val/f1/PER", "val/f1/LOC"]
    assert groups["precision by kind"] == names[-3:]
    assert groups["val/accuracy"] == ["val/accuracy"]


def test_shades_grow_brighter() -> None:
    def brightness(colour: str) -> float:
        red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    shades = [brightness(cividis(share / 20)) for share in range(21)]
    assert shades == sorted(shades)
    assert cividis(-1) == cividis(0)
    assert cividis(2) == cividis(1)


def test_a_mean_is_taken_where_all_seeds_have_a_point() -> None:
    class Run:
        def __init__(self, points: list[tuple[int, float]]) -> None:
            self.curves = {"val/loss": points}

    runs = [Run([(1, 1.0), (2, 2.0), (3, math.nan)]), Run([(1, 3.0), (3, 1.0)])]
    mean, band = mean_curve(runs, "val/loss")  # type: ignore[arg-type]
    assert mean == [(1, 2.0)]
    assert band == [(1, 1.0, 3.0)]


def test_many_texts_are_spread_over_time() -> None:
    shown = [ShownText(step, "", False) for step in range(100)]
    chosen = [each.step for each in spread(shown, 8)]
    assert (chosen[0], chosen[-1], len(chosen)) == (0, 99, 8)
    assert spread(shown[:3], 8) == shown[:3]


# -- texts.jsonl ---


def test_texts_are_read_as_they_were_shown(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    append_texts(path, 5, {"sample": "a\nb ✓ \ud800"})
    append_texts(path, 9, {"sample": "c"}, final=True)
    assert read_texts(path) == {"sample": [ShownText(5, "a\nb ✓ ?", False), ShownText(9, "c", True)]}


def test_texts_that_a_resume_shows_again_go_and_what_was_final_too(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    for step in (5, 10, 15):
        append_texts(path, step, {"sample": str(step)})
    append_texts(path, 10, {"sample": "end"}, final=True)
    path.write_bytes(path.read_bytes() + b'{"torn')
    drop_texts_after(path, 10)
    assert [each.step for each in read_texts(path)["sample"]] == [5, 10]
    before = path.stat().st_mtime_ns
    drop_texts_after(path, 10)
    assert path.stat().st_mtime_ns == before


def test_a_run_keeps_its_texts_through_a_resume(run_cli, workspace: Path) -> None:
    from commandline import TINY

    assert run_cli("train", *TINY, "run.dir=run", "--quiet").code == 0
    whole = read_texts(workspace / "run" / "texts.jsonl")["sample"]
    assert [(each.step, each.final) for each in whole] == [(2, False), (4, False), (4, True)]
    assert run_cli("resume", "run", "trainer.max_steps=6", "--quiet").code == 0
    after = read_texts(workspace / "run" / "texts.jsonl")["sample"]
    assert [(each.step, each.final) for each in after] == [(2, False), (4, False), (6, False), (6, True)]
    assert after[:2] == whole[:2]
