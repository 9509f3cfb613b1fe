"""What is wrong with a table of series is said in one line, with the file, the line and the fix."""

from __future__ import annotations

from pathlib import Path

import pytest
from data.series_files import hourly, load, long_table, refused, write

from rnntrain.data.forecast.series import Series
from rnntrain.errors import UserError


def changed(tmp_path: Path, row: int, column: int, text: str, rows: int = 100) -> Path:
    """Write a table with one cell changed; row 0 holds the names."""
    table = hourly(rows)
    table[row][column] = text
    return write(tmp_path, table)


def test_text_in_a_number_is_named_by_line(tmp_path: Path) -> None:
    path = changed(tmp_path, 5, 1, "twelve")
    assert refused(path).startswith(f"{path}:6: a is 'twelve', which is no number")


@pytest.mark.parametrize("text", ["", "nan", "inf"])
def test_missing_values_are_refused_unless_chosen(tmp_path: Path, text: str) -> None:
    path = changed(tmp_path, 5, 1, text)
    message = refused(path)
    assert message.startswith(f"{path}:6: a is missing or not finite")
    assert "data.missing=" in message


def test_a_ragged_row_is_named_by_line(tmp_path: Path) -> None:
    table = hourly(100)
    table[7] = table[7][:1]
    path = write(tmp_path, table)
    assert refused(path).startswith(f"{path}:8: 1 cells where the first line names 2")


def test_a_doubled_time_is_named_by_line(tmp_path: Path) -> None:
    path = changed(tmp_path, 6, 0, hourly(9)[5][0])
    message = refused(path)
    assert message.startswith(f"{path}:7: 2024-01-01T04:00:00 comes twice")
    assert "data.series=" in message


def test_times_out_of_order_are_named_by_line(tmp_path: Path) -> None:
    path = changed(tmp_path, 6, 0, "2023-05-01")
    message = refused(path)
    assert message.startswith(f"{path}:7: 2023-05-01T00:00:00 comes after 2024-01-01T04:00:00; sort")
    assert "data.series=" in message


def test_an_unreadable_time_is_named_by_line(tmp_path: Path) -> None:
    path = changed(tmp_path, 6, 0, "yesterday")
    message = refused(path)
    assert message.startswith(f"{path}:7: 'yesterday' is no time")
    assert "data.time_format" in message


def test_a_gap_is_named_by_line(tmp_path: Path) -> None:
    path = write(tmp_path, hourly(100, skip=[10, 11]))
    message = refused(path)
    assert message.startswith(f"{path}:12: 2 steps of 1 hour are left out before 2024-01-01T12:00:00")
    assert "data.gaps=" in message


def test_a_time_between_steps_is_named_by_line(tmp_path: Path) -> None:
    path = changed(tmp_path, 6, 0, "2024-01-01 05:07:00")
    assert refused(path).startswith(f"{path}:7: 2024-01-01T05:07:00 lies between two steps of 1 hour")
    assert load(path, gaps="ignore").num_windows("val") > 0


def test_mixed_time_zones_are_refused(tmp_path: Path) -> None:
    table = [[row[0] + ("+01:00" if n else ""), *row[1:]] for n, row in enumerate(hourly(100))]
    table[9][0] = table[9][0].replace("+01:00", "+02:00")
    path = write(tmp_path, table)
    assert refused(path).startswith(f"{path}:10: 2024-01-01 08:00:00+02:00 has another time zone")
    table[9][0] = table[9][0].replace("+02:00", "")
    assert "without a time zone" in refused(write(tmp_path, table))


def test_an_unknown_time_zone_is_refused(tmp_path: Path) -> None:
    assert refused(write(tmp_path, hourly(100)), time_zone="Mars/Olympus").startswith("data.time_zone=Mars/Olympus")


def test_a_series_shorter_than_window_and_horizon_is_named(tmp_path: Path) -> None:
    message = refused(write(tmp_path, long_table({"north": 90, "south": 20})))
    assert message.startswith("data: the series south has 14 rows to train on (20 in all)")
    assert "needs 16" in message


def test_a_split_shorter_than_the_horizon_is_named(tmp_path: Path) -> None:
    assert "3 rows for val" in refused(write(tmp_path, hourly(100)), val_size=3)


def test_sizes_beyond_the_series_are_refused(tmp_path: Path) -> None:
    assert "too few for" in refused(write(tmp_path, hourly(100)), val_size=60, test_size=60)


def test_a_constant_series_is_named(tmp_path: Path) -> None:
    table = [[row[0], "7" if n else row[1]] for n, row in enumerate(hourly(100))]
    assert "a is 7 in all rows to train on" in refused(write(tmp_path, table))


def test_a_logarithm_of_nothing_is_named_by_line(tmp_path: Path) -> None:
    path = changed(tmp_path, 5, 1, "0")
    assert refused(path, transform="log").startswith(f"{path}:6: a value is not above 0")


@pytest.mark.parametrize("key", ["time", "target", "series"])
def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path, key: str) -> None:
    message = refused(write(tmp_path, hourly(100, ("sales",))), **{key: "sale"})
    assert message.startswith(f"data.{key}=sale: ")
    assert "did you mean sales?" in message


def test_a_series_without_numbers_is_refused(tmp_path: Path) -> None:
    table = [[row[0], f"x{row[1]}"] for row in hourly(100)]
    assert "no column of numbers" in refused(write(tmp_path, table))


def test_a_missing_file_is_named_with_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, hourly(100), "sales.csv")
    assert "did you mean sales.csv?" in refused(tmp_path / "sale.csv")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", b""), ("a.csv", b"date,a\n"), ("a.csv.gz", b"no gzip"), ("a.csv", b"date,a\n\xff\xfe,1\n")],
)
def test_files_that_hold_no_table_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert str(tmp_path / name) in refused(tmp_path / name)


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    assert "no whole Parquet file" in refused(tmp_path / "a.parquet")


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    assert "two columns are called 'a'" in refused(write(tmp_path, hourly(50, ("a", "a"))))


@pytest.mark.parametrize(
    "options",
    [{"val_fraction": 0.5, "test_fraction": 0.5}, {"train_size": 50}, {"train_size": 50, "val_size": 9}],
)
def test_splits_that_do_not_add_up_are_refused_before_anything_is_read(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match="data"):
        Series("none.csv", **options)
