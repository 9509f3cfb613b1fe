"""Every generated problem: seeds, sizes, what is due (computed anew, step by step), and what guessing comes to."""

# B batch, T time

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from training import differences

from rnntrain.data.memory.adding import Adding
from rnntrain.data.memory.base import Drawn, MemoryProblem
from rnntrain.data.memory.copy import Copy, SelectiveCopy
from rnntrain.data.memory.languages import Counting, Dyck
from rnntrain.data.memory.latch import Latch
from rnntrain.data.memory.parity import ModularArithmetic, Parity
from rnntrain.data.memory.recall import AssociativeRecall, DelayedRecall, InductionHeads
from rnntrain.data.memory.signals import MackeyGlass, MixedSines, mackey_glass
from rnntrain.data.numbers.sequences import NumbersCodec, StepClassesCodec
from rnntrain.errors import UserError

PROBLEMS: dict[str, Callable[..., MemoryProblem]] = {
    "adding": lambda **more: Adding(length=20, vary=0.2, **more),
    "copy": lambda **more: Copy(delay=12, num_copied=4, **more),
    "selective_copy": lambda **more: SelectiveCopy(length=15, num_copied=4, **more),
    "parity": lambda **more: Parity(max_length=12, **more),
    "parity_at_the_end": lambda **more: Parity(max_length=12, every_step=False, **more),
    "modular_arithmetic": lambda **more: ModularArithmetic(max_length=8, **more),
    "modular_arithmetic_times": lambda **more: ModularArithmetic(multiply=True, max_length=8, modulus=6, **more),
    "latch": lambda **more: Latch(lag=6, **more),
    "latch_at_every_step": lambda **more: Latch(lag=6, every_step=True, **more),
    "delayed_recall": lambda **more: DelayedRecall(delay=3, length=12, **more),
    "associative_recall": lambda **more: AssociativeRecall(num_pairs=5, **more),
    "induction_heads": lambda **more: InductionHeads(length=12, **more),
    "a_n_b_n": lambda **more: Counting(max_length=8, **more),
    "a_n_b_n_c_n": lambda **more: Counting(letters=3, max_length=8, **more),
    "dyck": lambda **more: Dyck(num_kinds=3, max_depth=3, max_length=9, **more),
    "mixed_sines": lambda **more: MixedSines(length=20, **more),
    "mackey_glass": lambda **more: MackeyGlass(length=20, **more),
}
SMALL = {"batch_size": 5, "epoch_batches": 4, "eval_rows": 7}


def loaded(name: str, **more: Any) -> MemoryProblem:
    data = PROBLEMS[name](**(SMALL | more))
    data.load()
    return data


@pytest.fixture(params=PROBLEMS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _few_trajectories(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few short ones do here."""
    monkeypatch.setattr(MackeyGlass, "most_units", 150)
    monkeypatch.setattr(MackeyGlass, "trajectories", {"train": 6, "val": 2, "test": 2})


def same(a: Drawn, b: Drawn) -> bool:
    return all(x is y or np.array_equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


# -- order, seeds, sizes ---


def test_batches_are_a_function_of_seed_epoch_and_number(name: str) -> None:
    data, again = loaded(name), loaded(name)
    first = [vars(batch) for batch in data.train_batches(3, 1)]
    assert len(first) == data.num_train_batches(3, 1) == 4
    assert differences([vars(batch) for batch in again.train_batches(3, 1)], first) == []
    assert differences([vars(batch) for batch in again.train_batches(3, 1, start=2)], first[2:]) == []
    others = [next(data.train_batches(4, 1)), next(data.train_batches(3, 2)), list(data.train_batches(3, 1))[1]]
    for other in others:
        assert differences(vars(other), first[0])


def test_val_and_test_are_fixed_and_of_their_own(name: str) -> None:
    data = loaded(name)
    sets = {split: list(data.eval_sets(split)) for split in ("train", "val", "test")}
    again = {split: list(loaded(name).eval_sets(split)) for split in sets}
    assert all(same(a, b) for split in sets for a, b in zip(sets[split], again[split], strict=True))
    assert not same(sets["val"][0], sets["test"][0])
    assert not same(sets["val"][0], sets["train"][0])


def test_test_lengths_are_tested_one_by_one(name: str) -> None:
    data = loaded(name)
    lengths = [data.shortest + 4, data.shortest + 9]
    data = loaded(name, test_lengths=lengths)
    batches = list(data.eval_batches("test"))
    assert [batch.inputs.shape[:2] for batch in batches] == [(7, data.steps(length)) for length in lengths]
    assert all(batch.lengths_B is None for batch in batches)
    assert data.codec.lengths == {data.steps(length): length for length in lengths}
    assert next(data.eval_batches("val")).inputs.shape == next(loaded(name).eval_batches("val")).inputs.shape


def test_large_sets_come_in_pieces(name: str) -> None:
    data = loaded(name, eval_rows=600)
    assert [batch.batch_size for batch in data.eval_batches("val")] == [250, 250, 100]


def test_sizes_fit_the_codec(name: str) -> None:
    data = loaded(name)
    for batch in [*data.train_batches(0, 0), *data.eval_batches("val"), *data.eval_batches("test")]:
        codec, num_steps = data.codec, batch.inputs.shape[1]
        if isinstance(codec, StepClassesCodec):
            assert batch.inputs.dtype == batch.targets.dtype == torch.int64
            assert 0 <= int(batch.inputs.min()) <= int(batch.inputs.max()) < codec.inputs.vocab_size
            assert batch.targets.shape == batch.inputs.shape
            assert 0 <= int(batch.targets.min()) <= int(batch.targets.max()) < codec.num_classes
        else:
            assert isinstance(codec, NumbersCodec)
            assert batch.inputs.dtype == batch.targets.dtype == torch.float32
            assert batch.inputs.shape[2] == codec.inputs.num_features
            assert batch.targets.shape == (
                (len(batch.inputs), num_steps) if codec.per_step else (len(batch.inputs),)
            ) + (codec.num_targets,)
        if batch.lengths_B is not None:
            assert batch.lengths_B.dtype == torch.int64
            assert int(batch.lengths_B.max()) == num_steps
            assert int(batch.lengths_B.min()) >= 1
        if batch.counted_BT is not None:
            assert batch.counted_BT.shape == batch.inputs.shape[:2]
            assert bool(batch.counted_BT.any(1).all())


def test_codec_survives_a_checkpoint(name: str) -> None:
    codec = loaded(name, test_lengths=[30, 40] if name != "associative_recall" else [6, 7]).codec
    again = type(codec).from_state(json.loads(json.dumps(codec.state_dict())))
    assert again.state_dict() == codec.state_dict()
    assert again.lengths == codec.lengths


def test_people_are_told_what_it_is(name: str) -> None:
    data = loaded(name)
    assert "generated" in data.describe()
    assert len(data.examples("val", 3)) == 3
    assert all(" → " in line for line in data.examples("train", 3))
    assert data.fingerprint() == loaded(name).fingerprint()


@pytest.mark.parametrize("lengths", [[0], [5, 5]])
def test_bad_test_lengths_are_refused(lengths: list[int]) -> None:
    with pytest.raises(UserError, match=r"data\.test_lengths"):
        InductionHeads(test_lengths=lengths)


def test_difficulties_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match=r"data\.min_length=9: is above data\.max_length=4"):
        Parity(min_length=9, max_length=4)
    with pytest.raises(UserError, match=r"data\.length=5: must be above data\.delay=5"):
        DelayedRecall(delay=5, length=5)
    with pytest.raises(UserError, match=r"data\.length=3: has no room for data\.num_copied=4"):
        SelectiveCopy(length=3, num_copied=4)
    with pytest.raises(UserError, match="30 pairs need as many keys"):
        AssociativeRecall(num_pairs=30)
    with pytest.raises(UserError, match=r"data\.lowest=0\.2: must be below"):
        MixedSines(lowest=0.2, highest=0.1)


# -- what is due ---


def rows_of(data: MemoryProblem, number: int = 200) -> list[tuple[list[Any], Any, list[bool]]]:
    """Return inputs, targets and what counts of single rows, without padding."""
    drawn = data.draw(np.random.default_rng(0), number, None)
    found = []
    for row in range(number):
        steps = drawn.inputs.shape[1] if drawn.lengths_B is None else int(drawn.lengths_B[row])
        counted = [True] * steps if drawn.counted_BT is None else drawn.counted_BT[row, :steps].tolist()
        found.append((drawn.inputs[row, :steps].tolist(), drawn.targets[row].tolist(), counted))
    return found


def test_adding() -> None:
    for inputs, [target], _ in rows_of(loaded("adding")):
        marked = [step for step, (_, mark) in enumerate(inputs) if mark == 1.0]
        assert len(marked) == 2
        assert marked[0] < len(inputs) // 2 <= marked[1]
        assert 20 <= len(inputs) <= 24
        assert target == pytest.approx(sum(inputs[step][0] for step in marked))


@pytest.mark.parametrize("every_step", [False, True])
def test_latch(every_step: bool) -> None:
    for inputs, targets, counted in rows_of(loaded("latch_at_every_step" if every_step else "latch")):
        assert len(inputs) == 7
        assert inputs[0] < 4 <= min(inputs[1:]) <= max(inputs) < 12
        assert targets == [inputs[0]] * 7
        assert counted == [every_step] * 6 + [True]


def test_copy() -> None:
    for inputs, targets, _ in rows_of(loaded("copy")):
        assert inputs[4:15] == [0] * 11
        assert inputs[15] == 9
        assert inputs[16:] == [0] * 4
        assert targets == [0] * 16 + inputs[:4]
        assert min(inputs[:4]) >= 1


def test_selective_copy() -> None:
    for inputs, targets, counted in rows_of(loaded("selective_copy")):
        kept = [symbol - 1 for symbol in inputs[:15] if symbol]
        assert inputs[15:] == [9] * 4
        assert targets[15:] == kept
        assert counted == [False] * 15 + [True] * 4


@pytest.mark.parametrize("every_step", [True, False])
def test_parity(every_step: bool) -> None:
    for inputs, targets, counted in rows_of(loaded("parity" if every_step else "parity_at_the_end")):
        assert targets[: len(inputs)] == [sum(inputs[: step + 1]) % 2 for step in range(len(inputs))]
        assert counted == ([True] * len(inputs) if every_step else [False] * (len(inputs) - 1) + [True])


@pytest.mark.parametrize(("name", "modulus"), [("modular_arithmetic", 5), ("modular_arithmetic_times", 6)])
def test_modular_arithmetic(name: str, modulus: int) -> None:
    operators = set()
    for inputs, targets, counted in rows_of(loaded(name)):
        value = inputs[0]
        for place in range(0, len(inputs), 2):
            if place:
                operator, number = inputs[place - 1] - modulus, inputs[place]
                operators.add(operator)
                value = [value + number, value - number, value * number][operator] % modulus
            assert targets[place] == value
        assert counted == [place % 2 == 0 for place in range(len(inputs))]
    assert operators == ({0, 1, 2} if "times" in name else {0, 1})


def test_delayed_recall() -> None:
    for inputs, targets, counted in rows_of(loaded("delayed_recall")):
        assert targets[3:] == inputs[:-3]
        assert counted == [False] * 3 + [True] * 9


def test_associative_recall() -> None:
    for inputs, targets, counted in rows_of(loaded("associative_recall")):
        pairs = dict(zip(inputs[0:10:2], inputs[1:10:2], strict=True))
        assert len(pairs) == 5
        assert inputs[10] == 36
        assert targets[-1] == pairs[inputs[11]] - 26
        assert counted == [False] * 11 + [True]


def test_induction_heads() -> None:
    for inputs, targets, counted in rows_of(loaded("induction_heads")):
        assert inputs.count(16) == 2
        assert inputs[-1] == 16
        assert targets[-1] == inputs[inputs.index(16) + 1]
        assert counted == [False] * 11 + [True]


@pytest.mark.parametrize(("name", "letters"), [("a_n_b_n", 2), ("a_n_b_n_c_n", 3)])
def test_counting(name: str, letters: int) -> None:
    for inputs, targets, counted in rows_of(loaded(name)):
        n = len(inputs) // letters
        assert inputs == [letter for letter in range(letters) for _ in range(n)]
        assert targets[: len(inputs)] == [*inputs[1:], letters]
        assert counted == [letter > 0 for letter in inputs]


def test_dyck() -> None:
    deepest = 0
    for inputs, targets, counted in rows_of(loaded("dyck")):
        stack: list[int] = []
        for step, symbol in enumerate(inputs):
            if symbol < 3:
                stack.append(symbol)
            else:
                assert stack.pop() == symbol - 3
            deepest = max(deepest, len(stack))
            assert counted[step] == bool(stack)
            if stack:
                assert targets[step] == stack[-1]
        assert not stack
    assert deepest == 3


def test_sines_are_predicted_by_a_linear_recurrence() -> None:
    """x_t = 2 cos(ω) x_{t-1} - x_{t-2} of one sine; targets are the inputs of the next step."""
    data = MixedSines(num_sines=1, length=30)
    data.load()
    drawn = data.draw(np.random.default_rng(0), 20, None)
    x_BT = np.concatenate([drawn.inputs, drawn.targets[:, -1:]], 1)[..., 0].astype(float)
    assert np.array_equal(drawn.inputs[:, 1:], drawn.targets[:, :-1])
    ratio_BT = x_BT[:, 2:] + x_BT[:, :-2]
    cosine_B1 = (ratio_BT * x_BT[:, 1:-1]).sum(1, keepdims=True) / (2 * x_BT[:, 1:-1] ** 2).sum(1, keepdims=True)
    np.testing.assert_allclose(ratio_BT, 2 * cosine_B1 * x_BT[:, 1:-1], atol=1e-4)


def test_mackey_glass_obeys_its_equation() -> None:
    """Against the same equation in steps ten times as small, from the same history, while errors are small."""
    series = mackey_glass(np.random.default_rng(0), 4, 400, 17)
    assert series.shape == (4, 400)
    assert 0.2 < series.min() < series.max() < 1.5
    slope = (series[:, 2:] - series[:, :-2]) / 2
    delayed = series[:, 1 : -1 - 17]
    expected = 0.2 * delayed / (1 + delayed**10) - 0.1 * series[:, 18:-1]
    np.testing.assert_allclose(slope[:, 17:], expected, atol=0.02)


def test_mackey_glass_windows_are_of_one_trajectory() -> None:
    data = loaded("mackey_glass")
    drawn = data.draw(np.random.default_rng(0), 30, None)
    assert np.array_equal(drawn.inputs[:, 10:], drawn.targets[:, :-10])
    assert isinstance(data, MackeyGlass)
    assert not set(data._series["train"].ravel()) & set(data._series["test"].ravel())


# -- what guessing comes to ---


def measured(data: MemoryProblem, split: str = "val") -> np.ndarray:
    """Return the targets that count."""
    parts = []
    for drawn in data.eval_sets(split):
        valid_BT = np.ones(drawn.targets.shape[:2], bool)
        if drawn.lengths_B is not None:
            valid_BT &= np.arange(drawn.targets.shape[1]) < drawn.lengths_B[:, None]
        parts.append(drawn.targets[valid_BT if drawn.counted_BT is None else valid_BT & drawn.counted_BT])
    return np.concatenate(parts)


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("copy", 4 * math.log(8) / 20),
        ("selective_copy", math.log(8)),
        ("parity", math.log(2)),
        ("modular_arithmetic", math.log(5)),
        ("delayed_recall", math.log(8)),
        ("associative_recall", math.log(10)),
        ("induction_heads", math.log(16)),
        ("dyck", math.log(3)),
        ("adding", 1 / 6),
        ("mixed_sines", 1.0),
    ],
)
def test_trivial_losses_are_those_of_the_papers(name: str, loss: float) -> None:
    assert next(iter(loaded(name).trivial("val").values()))["loss"] == pytest.approx(loss)


def test_guessing_is_as_good_at_every_length() -> None:
    data = loaded("parity", test_lengths=[40, 256])
    assert data.trivial("val")["uniform"].keys() == {"loss", "accuracy"}
    assert data.trivial("test")["uniform"]["accuracy_len_256"] == 0.5
    assert loaded("adding", test_lengths=[50]).trivial("test")["always 1"]["mse_len_50"] == pytest.approx(1 / 6)


def test_copy_at_100_has_the_published_baseline() -> None:
    assert Copy().trivial("test")["no memory"]["loss"] == pytest.approx(0.1733, abs=1e-4)


@pytest.mark.parametrize("lengths", [None, [5, 9]])
@pytest.mark.parametrize("name", ["a_n_b_n", "a_n_b_n_c_n", "modular_arithmetic_times"])
def test_shares_are_those_that_occur(name: str, lengths: list[int] | None) -> None:
    """Where the baseline is derived from a distribution, many draws have about this distribution."""
    data = loaded(name, eval_rows=20_000, test_lengths=lengths)
    said = next(iter(data.trivial("test").values()))
    if name == "modular_arithmetic_times":
        losses, hits, counted = 0.0, 0, 0
        for drawn in data.eval_sets("test"):
            for place in range(0, drawn.targets.shape[1], 2):
                values = (
                    drawn.targets[:, place]
                    if drawn.lengths_B is None
                    else drawn.targets[drawn.lengths_B > place, place]
                )
                shares = np.bincount(values, minlength=6) / len(values)
                losses -= len(values) * float((shares * np.log(shares)).sum())
                hits, counted = hits + len(values) * float(shares.max()), counted + len(values)
        assert said == pytest.approx({"loss": losses / counted, "accuracy": hits / counted}, rel=0.02)
    else:
        shares = np.bincount(measured(data, "test")) / len(measured(data, "test"))
        shares = shares[shares > 0]
        entropy = -float((shares * np.log(shares)).sum())
        assert said == pytest.approx({"loss": entropy, "accuracy": float(shares.max())}, rel=0.02)


def test_adding_one_is_the_best_constant() -> None:
    data = loaded("adding", eval_rows=20_000)
    targets = next(data.eval_sets("val")).targets
    assert data.trivial("val")["always 1"] == pytest.approx(
        {"loss": targets.var(), "mse": targets.var(), "mae": abs(targets - 1).mean(), "r2": 0.0}, rel=0.02
    )


def test_last_value_of_sines_errs_as_derived() -> None:
    data = loaded("mixed_sines", eval_rows=5_000)
    drawn = next(data.eval_sets("val"))
    said = data.trivial("val")
    assert said["last value"]["mse"] == pytest.approx(float(np.square(drawn.targets - drawn.inputs).mean()), rel=0.03)
    assert said["always 0"]["mse"] == pytest.approx(float(np.square(drawn.targets).mean()), rel=0.03)


def test_values_seen_beat_a_uniform_guess() -> None:
    """The loss of each value's share of the pairs, measured."""
    data = loaded("associative_recall", eval_rows=20_000)
    drawn = next(data.eval_sets("val"))
    values_BP = drawn.inputs[:, 1:10:2] - 26
    counts_B = (values_BP == drawn.targets[:, -1:]).sum(1)
    said = data.trivial("val")
    assert said["values seen"]["loss"] == pytest.approx(float(-np.log(counts_B / 5).mean()), rel=0.02)
    assert said["values seen"]["loss"] < said["uniform"]["loss"]


def test_bracket_opened_last_is_measured() -> None:
    accuracy = loaded("dyck", eval_rows=500).trivial("val")["opened last"]["accuracy"]
    assert 1 / 3 < accuracy < 1


def test_generating_is_fast_enough_to_be_endless() -> None:
    """No row is drawn in Python: ten batches of a thousand rows come from a few array operations each."""
    for name in PROBLEMS:
        data = loaded(name, batch_size=1000)
        assert sum(batch.batch_size for batch in islice(data.train_batches(0, 0), 2)) == 2000
