"""Learning rates over a run, averaged weights and clipping: against their equations."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch import nn

from rnntrain.optim import (
    AveragedWeights,
    Constant,
    Cosine,
    Linear,
    OneCycle,
    Plateau,
    Schedule,
    Step,
    clip_gradients,
)

STEPS = 100


def rates(schedule: Schedule, steps: int = STEPS, base: float = 0.5) -> list[float]:
    """Return the rates that an optimizer gets over a run of so many steps."""
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=base)
    seen = []
    for step in range(steps):
        returned = schedule.set_rate(optimizer, step, step / steps)
        seen.append(optimizer.param_groups[0]["lr"])
        assert returned == seen[-1]
    return seen


def test_constant_stays() -> None:
    assert rates(Constant()) == [0.5] * STEPS


def test_linear_is_a_straight_line_to_its_end() -> None:
    assert rates(Linear(final=0.2)) == pytest.approx([0.5 * (1 - 0.8 * i / STEPS) for i in range(STEPS)])
    assert Linear(final=0.2).factor(7, 1.0) == pytest.approx(0.2)


def test_cosine_is_half_a_cosine_to_its_end() -> None:
    expected = [0.5 * (0.1 + 0.9 * (1 + math.cos(math.pi * i / STEPS)) / 2) for i in range(STEPS)]
    assert rates(Cosine(final=0.1)) == pytest.approx(expected)
    assert Cosine(final=0.1).factor(7, 1.0) == pytest.approx(0.1)


def test_step_falls_every_so_many_steps() -> None:
    expected = [0.5] * 30 + [0.1] * 30 + [0.02] * 30 + [0.004] * 10
    assert rates(Step(every_steps=30, gamma=0.2)) == pytest.approx(expected)


def test_one_cycle_goes_up_and_down() -> None:
    seen = rates(OneCycle(up=0.25, start=0.1, final=0.01))
    assert seen[0] == pytest.approx(0.05)
    assert seen[25] == max(seen) == pytest.approx(0.5)
    assert seen[:26] == sorted(seen[:26])
    assert seen[25:] == sorted(seen[25:], reverse=True)
    assert len(set(seen)) > 60
    assert OneCycle(final=0.01).factor(7, 1.0) == pytest.approx(0.01)


def test_one_cycle_agrees_with_pytorchs() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.5, momentum=0.9)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        0.5,
        total_steps=STEPS + 1,
        pct_start=(0.3 * STEPS + 1) / (STEPS + 1),
        div_factor=25,
        final_div_factor=1e9,
    )
    expected = []
    for _ in range(STEPS):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    assert rates(OneCycle(up=0.3, start=0.04, final=0.0)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("up", [0.0, 1.0])
def test_one_cycle_may_lack_a_side(up: float) -> None:
    seen = rates(OneCycle(up=up))
    assert all(0 <= rate <= 0.5 for rate in seen)
    assert seen == sorted(seen, reverse=up == 0)


SCHEDULES: dict[str, Any] = {
    "constant": Constant,
    "linear": Linear,
    "cosine": Cosine,
    "step": lambda **options: Step(every_steps=30, **options),
    "one_cycle": OneCycle,
    "plateau": Plateau,
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_warmup_rises_from_nothing_and_then_leaves_the_schedule(name: str) -> None:
    plain, warmed = rates(SCHEDULES[name]()), rates(SCHEDULES[name](warmup_steps=10))
    assert warmed[:10] == pytest.approx([rate * (i + 1) / 10 for i, rate in enumerate(plain[:10])])
    assert warmed[10:] == plain[10:]
    assert warmed[0] > 0


@pytest.mark.parametrize("name", SCHEDULES)
def test_progress_beyond_the_run_is_its_end(name: str) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = SCHEDULES[name]()
    assert schedule.set_rate(optimizer, 5, 1.5) == schedule.set_rate(optimizer, 5, 1.0)
    assert schedule.set_rate(optimizer, 5, -0.1) == schedule.set_rate(optimizer, 5, 0.0)


def test_every_group_keeps_its_own_rate() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (1.0, 0.1)]
    optimizer = torch.optim.SGD(groups)
    for step in range(3):
        Linear().set_rate(optimizer, step, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5, 0.05])


def test_rate_goes_on_from_a_restored_optimizer() -> None:
    """The optimizer's state holds the rate of the last step, which must not become the one to start from."""
    first = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    Linear().set_rate(first, 0, 0.5)
    second = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert Linear().set_rate(second, 1, 0.8) == pytest.approx(0.1)


# -- plateau ---


def observed(schedule: Plateau, metrics: list[float], larger_is_better: bool = False) -> list[float]:
    """Return the factor after each evaluation."""
    factors = []
    for metric in metrics:
        schedule.observe(metric, larger_is_better)
        factors.append(schedule.factor(0, 0.0))
    return factors


def test_plateau_lowers_at_the_first_evaluation_without_improvement() -> None:
    assert observed(Plateau(gamma=0.5), [3, 2, 2, 1, 1.5, 0.5]) == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_plateau_bears_so_many_and_counts_anew() -> None:
    metrics = [1, 2, 2, 2, 2, 2, 2, 0.5, 2, 2, 2]
    assert observed(Plateau(gamma=0.1, patience=2), metrics) == pytest.approx(
        [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.001]
    )


def test_plateau_agrees_with_pytorchs() -> None:
    metrics = [(7 * i) % 5 - 0.1 * i for i in range(40)]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=2, threshold=0.0, threshold_mode="abs", eps=0
    )
    expected = []
    for metric in metrics:
        theirs.step(metric)
        expected.append(optimizer.param_groups[0]["lr"])
    assert observed(Plateau(gamma=0.5, patience=2), metrics) == pytest.approx(expected)


@pytest.mark.parametrize("sign", [1, -1])
def test_plateau_asks_for_a_relative_improvement(sign: int) -> None:
    """Smaller is better for both signs of the metric: 0.5 % is too little where 1 % is asked for."""
    better, barely = (1.97, 1.9601) if sign > 0 else (-2.03, -2.039)
    assert observed(Plateau(gamma=0.5, threshold=0.01), [2.0 * sign, better, barely]) == [1, 1, 0.5]


def test_plateau_goes_up_where_larger_is_better() -> None:
    assert observed(Plateau(gamma=0.5), [1, 2, 3, 2.5], larger_is_better=True) == [1, 1, 1, 0.5]


def test_plateau_counts_nan_as_no_improvement_and_recovers() -> None:
    assert observed(Plateau(gamma=0.5), [math.nan, 3.0, 2.0, math.nan, 1.0]) == [0.5, 0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize("cut", range(8))
def test_plateau_goes_on_from_its_state(cut: int) -> None:
    metrics = [1, 2, 2, 2, 0.5, 2, 2, 2]
    whole, first, second = (Plateau(gamma=0.5, patience=1) for _ in range(3))
    factors = observed(whole, metrics)
    assert observed(first, metrics[:cut]) == factors[:cut]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert observed(second, metrics[cut:]) == factors[cut:]
    assert second.state_dict() == whole.state_dict()


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_keep_a_state_that_json_holds(name: str) -> None:
    schedule = SCHEDULES[name]()
    state = json.loads(json.dumps(schedule.state_dict()))
    schedule.load_state_dict(state)
    assert schedule.state_dict() == state


# -- averaged weights ---


def test_average_follows_its_equation() -> None:
    model = nn.Linear(3, 2)
    average = AveragedWeights(model, 0.9)
    expected = [parameter.detach().double() for parameter in model.parameters()]
    for number in range(1, 200):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_()
        average.update()
        decay = min(0.9, (1 + number) / (10 + number))
        expected = [
            decay * a + (1 - decay) * parameter.detach().double()
            for a, parameter in zip(expected, model.parameters(), strict=True)
        ]
        for a, b in zip(average.average, expected, strict=True):
            torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-6)


def test_average_swaps_in_place_and_back() -> None:
    model = nn.Linear(3, 2)
    average = AveragedWeights(model, 0.5)
    with torch.no_grad():
        model.weight.add_(1)
    average.update()
    places = [parameter.data_ptr() for parameter in model.parameters()]
    weight, mean = model.weight.detach().clone(), average.average[0].clone()
    average.swap()
    assert torch.equal(model.weight, mean)
    assert torch.equal(average.average[0], weight)
    average.swap()
    assert torch.equal(model.weight, weight)
    assert torch.equal(average.average[0], mean)
    assert places == [parameter.data_ptr() for parameter in model.parameters()]


def test_average_goes_on_from_its_state() -> None:
    models = [nn.Linear(3, 2) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    averages = [AveragedWeights(model, 0.99) for model in models]
    for number in range(10):
        for model, average in zip(models, averages, strict=True):
            with torch.no_grad():
                model.weight.mul_(1.1).add_(number)
            average.update()
        if number == 4:
            fresh = AveragedWeights(models[1], 0.99)
            fresh.load_state_dict(averages[1].state_dict())
            averages[1] = fresh
    for a, b in zip(averages[0].average, averages[1].average, strict=True):
        assert torch.equal(a, b)
    assert averages[0].updates == averages[1].updates == 10


# -- clipping ---


@pytest.mark.parametrize("mode", ["norm", "none"])
def test_clipping_without_gradients_does_nothing(mode: Any) -> None:
    norm, clipped = clip_gradients([nn.Parameter(torch.ones(2))], mode, 1.0)
    assert (float(norm), bool(clipped)) == (0.0, False)


def test_gradients_below_the_limit_are_left_as_they_are() -> None:
    parameter = nn.Parameter(torch.ones(3))
    for mode in ("norm", "value", "none"):
        parameter.grad = torch.tensor([0.3, -0.4, 0.0])
        norm, clipped = clip_gradients([parameter], mode, 0.51)  # type: ignore[arg-type]
        torch.testing.assert_close(parameter.grad, torch.tensor([0.3, -0.4, 0.0]))
        assert float(norm) == pytest.approx(0.5)
        assert not clipped
