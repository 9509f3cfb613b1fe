"""The finders: what they suggest of losses and speeds that are known, that they leave no run, and what they refuse."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from commandline import TINY, listing
from training import make_experiment, write_text

from rnntrain.errors import UserError
from rnntrain.finding import batch_size
from rnntrain.finding.batch_size import SizeTrial, in_words, suggestion, try_sizes
from rnntrain.finding.learning_rate import RateTrial, Rising, smooth, try_rates


def bowl(rate: float) -> float:
    """A loss that falls from 2 about a rate of 0.001, is least at 0.1 and bursts beyond."""
    return 2 / (1 + (rate / 0.001) ** 0.7) + (rate / 0.3) ** 3


RATES = [10 ** (-6 + 6 * step / 199) for step in range(200)]


def test_the_suggestion_lies_where_the_loss_falls_below_its_least() -> None:
    losses = [bowl(rate) for rate in RATES]
    trial = RateTrial(RATES, losses, losses, burst=True)
    least = RATES[trial.at_least]
    assert 0.05 < least < 0.3
    assert trial.suggestion == pytest.approx(least / 10, rel=0.06)
    assert trial.suggestion >= RATES[trial.steepest]
    assert f"optimizer.lr={trial.suggestion:g}" in trial.in_words()[1]


def test_a_loss_that_never_falls_gives_no_suggestion() -> None:
    trial = RateTrial(RATES, [2.0] * 200, [2.0 + rate for rate in RATES], burst=False)
    assert len(trial.in_words()) == 1
    assert "say nothing" in trial.in_words()[0]


def test_rates_rise_by_a_constant_factor_from_end_to_end(tmp_path: Path) -> None:
    trainer = make_experiment(write_text(tmp_path)).trainer
    schedule = Rising(1e-5, 1e-1, 5)
    rates = [schedule.set_rate(trainer.optimizer, step, 0.0) for step in range(5)]
    assert rates == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2, 1e-1])
    assert {group["lr"] for group in trainer.optimizer.param_groups} == {rates[-1]}


def test_a_trial_ends_when_the_loss_bursts(tmp_path: Path) -> None:
    experiment = make_experiment(write_text(tmp_path), {"trainer.grad_clip_mode": "none", "optimizer.lr": 1.0})
    experiment.trainer.optimizer = type(experiment.trainer.optimizer)(experiment.model.parameters())
    trial = try_rates(experiment, 1e-4, 1e4, 200)
    assert trial.burst
    assert len(trial.losses) < 200
    assert all(map(math.isfinite, trial.losses))


def test_smoothing_has_no_pull_of_its_start() -> None:
    assert smooth([3.0] * 5) == pytest.approx([3.0] * 5)
    assert smooth([1.0, 0.0])[1] == pytest.approx(0.09 / 0.19)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--low", "1", "--high", "0.1"], "the lower rate must be"),
        (["--steps", "3"], "at least 10"),
        (["optimizer.lrr=1"], "did you mean lr"),
    ],
)
def test_wrong_ranges_are_refused(refused, words: list[str], said: str) -> None:
    assert said in refused("find", "lr", *TINY, *words)


def test_what_cannot_be_found_is_refused(refused) -> None:
    assert "lr, batch_size" in refused("find", "lrr")
    assert "--first 9 --most 8" in refused("find", "batch_size", *TINY, "--first", "9", "--most", "8")


def test_a_rate_is_found_with_its_picture_and_no_run_is_left(run_cli, workspace: Path) -> None:
    answer = run_cli("find", "lr", *TINY, "--steps", "60")
    assert answer.code == 0, answer
    assert "Try optimizer.lr=" in answer.out
    assert "picture: outputs/find/language_modeling_lr.png" in answer.out
    assert set(listing(workspace)) == {
        "tiny.txt", "outputs", "outputs/find", "outputs/find/language_modeling_lr.png",
    }  # fmt: skip
    found = json.loads(run_cli("find", "lr", *TINY, "--steps", "20", "--out", "my.png", "--json").out)
    assert len(found["rates"]) == len(found["losses"]) <= 20
    assert (workspace / "my.png").is_file()


# -- batch sizes ---


def sizes(*speeds: float) -> list[SizeTrial]:
    return [SizeTrial(8 * 2**place, 0.01, speed, 100.0) for place, speed in enumerate(speeds)]


def test_the_smallest_size_of_nearly_the_best_speed_is_suggested() -> None:
    trials = sizes(100, 180, 290, 310, 305)
    assert suggestion(trials).batch_size == 32
    assert "data.batch_size=32" in in_words(trials, 32)[0]
    assert "times 2, its root" in in_words(trials, 8)[1]


def test_doubling_ends_where_it_gains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = iter([100.0, 200.0, 203.0, 201.0, 999.0])
    monkeypatch.setattr(batch_size, "_time", lambda experiment, size: SizeTrial(size, 0.01, next(speeds), 1.0))
    found = list(try_sizes(lambda size: None, 4, 4096))  # type: ignore[arg-type,return-value]
    assert [each.batch_size for each in found[:-1] if isinstance(each, SizeTrial)] == [4, 8, 16, 32]
    assert found[-1] == "the last two doublings gained nothing"


def test_doubling_ends_where_a_size_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def time(experiment: object, size: int) -> SizeTrial:
        if size > 8:
            raise MemoryError
        return SizeTrial(size, 0.01, float(size), 1.0)

    monkeypatch.setattr(batch_size, "_time", time)
    *trials, reason = try_sizes(lambda size: None, 4, 4096)  # type: ignore[arg-type,return-value]
    assert len(trials) == 2
    assert str(reason).startswith("16 does not fit: out of memory")
    with pytest.raises(UserError):
        list(try_sizes(lambda size: None, 16, 4096))  # type: ignore[arg-type,return-value]


def test_a_size_is_found_on_real_data_until_the_data_refuses(run_cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_size, "LEAST_SECONDS", 0.0)
    answer = run_cli("find", "batch_size", *TINY, "--most", "32")
    assert answer.code == 0, answer
    assert "Try data.batch_size=" in answer.out
    assert "--most 32 is reached" in answer.out
    assert answer.out.count(" ms a step") == 3
