"""The lines at the end of a run: each metric once, under its fullest name, with simple methods beside it."""

from rnntrain.runs.summary import Summary


def lines(metrics: dict[str, float], baselines: dict[str, dict[str, float]] | None = None) -> list[list[str]]:
    summary = Summary("finished", "max_steps", 1, 1.0, 1.0, 1, "steps", 1, "loss", 0.5, 1, metrics, baselines or {})
    return [line.split() for line in summary.lines("run") if line.startswith("  ")]


def test_a_metric_stands_under_the_way_in_which_it_was_evaluated() -> None:
    found = lines({"val/loss": 1.0, "val/ppl": 2.0, "val/loss_cold": 1.0, "val/ppl_cold": 2.0, "val/loss_carried": 0.9})
    assert [line[0] for line in found] == ["val/loss_cold", "val/ppl_cold", "val/loss_carried"]


def test_a_metric_of_one_length_takes_no_place_of_that_of_all() -> None:
    found = lines({"test/loss": 0.0, "test/accuracy": 1.0, "test/accuracy_len_64": 1.0})
    assert [line[0] for line in found] == ["test/loss", "test/accuracy", "test/accuracy_len_64"]


def test_simple_methods_stand_beside_the_result() -> None:
    found = lines({"test/loss": 0.1, "test/accuracy": 1.0}, {"uniform": {"test/loss": 0.7}})
    assert found == [["this", "run", "uniform"], ["test/loss", "0.1000", "0.7000"], ["test/accuracy", "1.0000"]]
