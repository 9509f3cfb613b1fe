"""Which windows of which series are read, on which scale, with which calendar."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from data.series_files import hourly, load, long_table, write

from rnntrain.data.forecast.series import Series
from rnntrain.data.forecast.series_codec import SeriesCodec
from rnntrain.data.places import SHIPPED
from rnntrain.errors import UserError


def origins(data: Series, split: str) -> list[int]:
    return [int(row) for _, rows in data.rolling_origins(split) for row in rows]


def test_columns_are_guessed_and_said(tmp_path: Path) -> None:
    said = load(write(tmp_path, hourly(100, ("a", "b")))).describe()
    assert "guessed time=date, target=[a,b]" in said
    assert "1 hour" in said


def test_a_long_table_is_recognised_by_its_doubled_times(tmp_path: Path) -> None:
    data = load(write(tmp_path, long_table({"north": 90, "south": 60})))
    assert data.codec.layout.series == ["north", "south"]
    assert data.codec.layout.targets == ["sales"]
    assert "guessed time=day, series=shop, target=[sales]" in data.describe()


def test_the_series_are_told_apart_by_the_column_that_can(tmp_path: Path) -> None:
    names, *rows = long_table({"north": 90, "south": 60})
    table = [[*names, "remark"], *([*row, "none"] for row in rows)]
    assert "series=shop" in load(write(tmp_path, table)).describe()


def test_what_is_given_is_not_guessed(tmp_path: Path) -> None:
    data = load(write(tmp_path, hourly(100, ("a", "b"))), time="date", target="b")
    assert data.codec.layout.targets == ["b"]
    assert "guessed" not in data.describe()


def test_splits_follow_each_other_and_every_window_is_evaluated(tmp_path: Path) -> None:
    data = load(write(tmp_path, hourly(100)), val_size=20, test_size=30)
    assert origins(data, "train") == list(range(12, 50 - 4 + 1))
    assert origins(data, "val") == list(range(50, 70 - 4 + 1))  # windows look back into the rows before
    assert origins(data, "test") == list(range(70, 100 - 4 + 1))
    assert sum(batch.batch_size for batch in data.eval_batches("test")) == 27  # three full batches and three rows


def test_sizes_of_all_splits_leave_the_rest_unused(tmp_path: Path) -> None:
    data = load(write(tmp_path, hourly(200)), train_size=50, val_size=20, test_size=30)
    assert max(origins(data, "test")) == 96


def test_without_a_test_there_is_no_such_split(tmp_path: Path) -> None:
    assert load(write(tmp_path, hourly(100)), test_size=0).splits == ("train", "val")


def test_train_on_val_reaches_to_the_test_and_no_further(tmp_path: Path) -> None:
    data = load(write(tmp_path, hourly(100)), val_size=20, test_size=30, train_on_val=True)
    assert max(origins(data, "train")) == 70 - 4
    assert origins(data, "test") == list(range(70, 97))


def test_windows_of_several_series_never_mix_them(tmp_path: Path) -> None:
    data = load(write(tmp_path, long_table({"north": 90, "south": 60})), val_size=10, test_size=10)
    for split in data.splits:
        for batch, rows in data.rolling_origins(split):
            numbers = data.series_of(rows)
            assert (data.series_of(rows - 12) == numbers).all()
            assert (data.series_of(rows + 3) == numbers).all()
            assert batch.context is not None
            assert batch.context[:, 0, 0].tolist() == numbers.tolist()


def test_scale_is_fitted_on_train_alone(tmp_path: Path) -> None:
    table = hourly(100)
    for row in table[60:]:
        row[1] = "1e6"
    with_jump = load(write(tmp_path / "a", table), val_size=20, test_size=21).codec
    without = load(write(tmp_path / "b", hourly(100)), val_size=20, test_size=21).codec
    assert with_jump.state_dict() == without.state_dict()


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust", "none"])
@pytest.mark.parametrize("transform", ["none", "log", "returns"])
def test_inputs_and_targets_go_on_in_each_other(tmp_path: Path, scaling: str, transform: str) -> None:
    data = load(write(tmp_path, hourly(120, ("a", "b"))), scaling=scaling, transform=transform)
    batch, row = data.window_of("train", 3)
    later, _ = data.window_of("train", 3 + 4)
    assert torch.equal(batch.targets, later.inputs[:, -4:, :2])
    assert batch.context is not None
    assert torch.equal(batch.context[:, :, 3:], later.inputs[:, -4:, 2:])
    np.testing.assert_allclose(batch.context[0, 0, 1:3], data.measured_NC[row - 1], rtol=1e-6)


def test_standard_scaling_has_mean_zero_and_deviation_one_on_train(tmp_path: Path) -> None:
    data = load(write(tmp_path, hourly(100)), val_size=20, test_size=20)
    train = data._inputs_ND[:60, 0]
    assert train.mean() == pytest.approx(0, abs=1e-6)
    assert train.std() == pytest.approx(1, rel=1e-6)


def test_each_series_has_a_scale_of_its_own(tmp_path: Path) -> None:
    data = load(write(tmp_path, long_table({"north": 90, "south": 90})))
    assert data.codec.shift_PD[1, 0] - data.codec.shift_PD[0, 0] == pytest.approx(100)


def test_independent_channels_are_series_of_their_own(tmp_path: Path) -> None:
    path = write(tmp_path, hourly(100, ("a", "b", "c")))
    data = load(path, channels="independent")
    joint = load(path)
    assert data.codec.layout.series == ["a", "b", "c"]
    assert data.num_windows("test") == 3 * joint.num_windows("test")
    together, _ = joint.window_of("val", 2)
    for number in range(3):
        apart, _ = data.window_of("val", number * joint.num_windows("val") + 2)
        assert torch.equal(apart.targets[..., 0], together.targets[..., number])
        assert torch.equal(apart.inputs[..., 1:], together.inputs[..., 3:])


def test_observed_columns_are_read_and_not_forecast(tmp_path: Path) -> None:
    data = load(write(tmp_path, hourly(100, ("a", "b"))), target="a", observed=["b"], calendar="none")
    batch = next(data.eval_batches("val"))
    assert batch.inputs.shape[-1] == 2
    assert batch.targets.shape[-1] == 1


def test_calendar_follows_the_step(tmp_path: Path) -> None:
    assert load(write(tmp_path, hourly(100))).codec.layout.cycles == ["hour", "weekday", "year"]
    assert load(write(tmp_path, long_table({"a": 90}))).codec.layout.cycles == ["weekday", "year"]
    assert load(write(tmp_path, hourly(100)), calendar=["hour"]).codec.layout.num_calendar == 2


def test_rows_without_times_are_steps(tmp_path: Path) -> None:
    data = load(write(tmp_path, [[value] for _, value in hourly(100)]))
    assert "guessed no time (rows are steps)" in data.describe()
    assert data.codec.layout.cycles == []
    assert data.examples("test", 1)[0].startswith("row 81:")


def test_gaps_that_are_dropped_let_no_window_over_them(tmp_path: Path) -> None:
    data = load(write(tmp_path, hourly(120, skip=[40, 41])), gaps="drop", val_size=30, test_size=30)
    assert not any(row - 12 <= place < row + 4 for row in origins(data, "train") for place in (40, 41))
    assert "1 gaps (2 rows): drop" in data.describe()


@pytest.mark.parametrize(("gaps", "value"), [("forward", 1.0), ("interpolate", 2.0)])
def test_gaps_are_filled_as_chosen(tmp_path: Path, gaps: str, value: float) -> None:
    table = hourly(120, skip=[40])
    table[40][1], table[41][1] = "1", "3"
    assert load(write(tmp_path, table), gaps=gaps).measured_NC[40, 0] == value


def test_gaps_that_are_ignored_leave_rows_as_steps(tmp_path: Path) -> None:
    assert len(load(write(tmp_path, hourly(120, skip=[40, 41])), gaps="ignore").measured_NC) == 118


@pytest.mark.parametrize(("missing", "value"), [("forward", 1.0), ("interpolate", 2.0)])
@pytest.mark.parametrize("text", ["", "NaN", "inf", "-inf"])
def test_missing_values_are_filled_as_chosen(tmp_path: Path, missing: str, value: float, text: str) -> None:
    table = hourly(120)
    table[40][1], table[41][1], table[42][1] = "1", text, "3"
    data = load(write(tmp_path, table), missing=missing)
    assert data.measured_NC[40, 0] == value
    assert f"1 missing values: {missing}" in data.describe()


def test_missing_values_that_are_dropped_let_no_window_over_them(tmp_path: Path) -> None:
    table = hourly(120)
    table[41][1] = ""
    data = load(write(tmp_path, table), missing="drop", val_size=30, test_size=30)
    assert not any(row - 12 <= 40 < row + 4 for row in origins(data, "train"))


def test_crlf_bom_and_semicolons_simply_work(tmp_path: Path) -> None:
    plain = load(write(tmp_path, hourly(100)))
    text = "\ufeff" + "\r\n".join(";".join(row) for row in hourly(100))
    other = tmp_path / "other.csv"
    other.write_bytes(text.encode())
    packed = tmp_path / "packed.csv.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    for path in (other, packed):
        np.testing.assert_array_equal(load(path).measured_NC, plain.measured_NC)


def test_parquet_reads_as_the_same_table(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import csv, parquet

    path = write(tmp_path, hourly(100, ("a", "b")))
    table = csv.read_csv(path)
    assert pyarrow.types.is_timestamp(table.schema.field("date").type)
    parquet.write_table(table, tmp_path / "series.parquet")
    data, again = load(path), load(tmp_path / "series.parquet")
    assert data.codec.state_dict() == again.codec.state_dict()
    assert torch.equal(next(data.eval_batches("test")).inputs, next(again.eval_batches("test")).inputs)


def test_codec_is_refused_by_data_of_another_kind(tmp_path: Path) -> None:
    codec = load(write(tmp_path, hourly(100, ("a", "b")))).codec
    data = Series(str(tmp_path / "series.csv"), window=12, horizon=4, target="a")
    with pytest.raises(UserError, match=r"trained with targets \['a', 'b'\]"):
        data.load(codec)


@pytest.mark.parametrize(
    "damage",
    [
        {"scale": [[0.0]]},
        {"shift": [[1.0, 2.0]]},
        {"window": -1},
        {"series": "a"},
        {"cycles": ["fortnight"]},
        {"transform": "sqrt"},
        {"naive_error": [["x"]]},
        {"season": 0},
    ],
)
def test_a_damaged_codec_is_refused(tmp_path: Path, damage: dict[str, object]) -> None:
    state = load(write(tmp_path, hourly(100))).codec.state_dict()
    assert SeriesCodec.from_state(json.loads(json.dumps(state))).state_dict() == state
    with pytest.raises(UserError, match="damaged"):
        SeriesCodec.from_state({**state, **damage})


@pytest.mark.parametrize("name", ["airpassengers", "seattle_weather", "stocks"])
def test_shipped_sets_say_where_they_come_from(name: str) -> None:
    origin = (SHIPPED / name / "ORIGIN.md").read_text(encoding="utf-8")
    file = next(path for path in (SHIPPED / name).iterdir() if ".csv" in path.name)
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    import hashlib

    assert hashlib.sha256(content).hexdigest() in origin
    assert file.stat().st_size < 100_000


@pytest.mark.skipif("RNNTRAIN_DATA" not in os.environ, reason="RNNTRAIN_DATA names no folder with ett/ETTh1.csv")
def test_ett_is_split_and_scaled_as_papers_do() -> None:
    data = Series("@ett/ETTh1.csv", window=96, horizon=96, train_size=8640, val_size=2880, test_size=2880)
    data.load()
    assert [data.num_windows(split) for split in data.splits] == [8449, 2785, 2785]
