"""Sequences from arrays: guessed targets, scales fitted on train alone, and every mistake in one line."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rnntrain.data.labelled.classes import ClassCodec
from rnntrain.data.memory.pixel_digits import PixelDigits, moved
from rnntrain.data.numbers.arrays import Arrays
from rnntrain.data.numbers.sequences import NumbersCodec, StepClassesCodec
from rnntrain.data.places import SHIPPED
from rnntrain.errors import UserError

RNG = np.random.default_rng(0)
X = {"train": RNG.normal(5, 3, (20, 6, 2)), "val": RNG.normal(5, 3, (8, 6, 2)), "test": RNG.normal(5, 3, (9, 6, 2))}
CLASSES = {"train": np.arange(20) % 3, "val": np.arange(8) % 3, "test": np.arange(9) % 3}
NUMBERS = {split: x.mean((1, 2)) * 100 for split, x in X.items()}


def write(folder: Path, y: dict | None = None, x: dict | None = None, **more: np.ndarray) -> Path:
    arrays = {f"x_{split}": each for split, each in (X if x is None else x).items()}
    arrays |= {f"y_{split}": each for split, each in (CLASSES if y is None else y).items()}
    np.savez(folder / "a.npz", **(arrays | more))
    return folder / "a.npz"


def load(path: Path, codec=None, **options) -> Arrays:
    data = Arrays(str(path), **options)
    data.load(codec)
    return data


# -- what targets are ---


@pytest.mark.parametrize(
    ("y", "codec", "shape", "said"),
    [
        (lambda x: np.arange(len(x)) % 3, ClassCodec, (), "one of 3 classes a sequence (guessed; see data.targets)"),
        (lambda x: np.array(["no", "yes"])[np.arange(len(x)) % 2], ClassCodec, (), "one of 2 classes a sequence"),
        (lambda x: np.arange(len(x)) % 2 == 0, ClassCodec, (), "one of 2 classes a sequence"),
        (lambda x: x.mean((1, 2)), NumbersCodec, (1,), "1 number a sequence (guessed"),
        (lambda x: x.mean(1), NumbersCodec, (2,), "2 numbers a sequence"),
        (lambda x: (x[..., 0] > 5).astype(int), StepClassesCodec, (6,), "one of 2 classes a step"),
        (lambda x: x.cumsum(1), NumbersCodec, (6, 2), "2 numbers a step"),
    ],
)
def test_targets_are_guessed_and_said(tmp_path: Path, y, codec: type, shape: tuple, said: str) -> None:
    data = load(write(tmp_path, {split: y(x) for split, x in X.items()}))
    assert type(data.codec) is codec
    assert said in data.describe()
    batch = next(data.eval_batches("val"))
    assert tuple(batch.targets.shape) == (8, *shape)
    assert batch.targets.dtype == (torch.float32 if codec is NumbersCodec else torch.int64)
    again = codec.from_state(json.loads(json.dumps(data.codec.state_dict())))
    assert again.state_dict() == data.codec.state_dict()


def test_a_guess_can_be_overruled(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert isinstance(load(path, targets="numbers").codec, NumbersCodec)
    path = write(tmp_path, {split: y.astype(float) for split, y in CLASSES.items()})
    assert isinstance(load(path).codec, NumbersCodec)
    codec = load(path, targets="classes").codec
    assert isinstance(codec, ClassCodec)
    assert codec.class_names == ["0", "1", "2"]
    assert "guessed" not in load(path, targets="classes").describe()


def test_classes_stand_in_their_own_order_with_their_counts(tmp_path: Path) -> None:
    y = {split: np.where(y == 0, 10, y) for split, y in CLASSES.items()}
    data = load(write(tmp_path, y))
    assert isinstance(data.codec, ClassCodec)
    assert data.codec.class_names == ["1", "2", "10"]
    assert data.codec.class_counts == [7, 6, 7]
    assert data.counts("val") == {"10": 3, "1": 3, "2": 2}
    assert [data.codec.class_names[number] for number in next(data.eval_batches("val")).targets] == [
        str(value) for value in y["val"]
    ]


# -- scales ---


def test_scales_are_fitted_on_train_alone(tmp_path: Path) -> None:
    data = load(write(tmp_path, NUMBERS), batch_size=20)
    steps = X["train"].reshape(-1, 2)
    expected = (X["val"] - steps.mean(0)) / steps.std(0)
    batch = next(data.eval_batches("val"))
    np.testing.assert_allclose(batch.inputs, expected, rtol=1e-5, atol=1e-5)
    y = NUMBERS["train"]
    np.testing.assert_allclose(batch.targets[:, 0], (NUMBERS["val"] - y.mean()) / y.std(), rtol=1e-5, atol=1e-5)
    plain = load(write(tmp_path, NUMBERS), standardize=False)
    np.testing.assert_allclose(next(plain.eval_batches("val")).inputs, X["val"], rtol=1e-6)


def test_a_trained_codec_is_taken_as_it_is(tmp_path: Path) -> None:
    first = load(write(tmp_path))
    other = load(write(tmp_path, x={split: x * 7 for split, x in X.items()}), codec=first.codec)
    np.testing.assert_allclose(
        next(other.eval_batches("val")).inputs,
        (X["val"] * 7 - X["train"].reshape(-1, 2).mean(0)) / X["train"].reshape(-1, 2).std(0),
        rtol=1e-5,
        atol=1e-5,
    )
    narrow = {split: x[..., :1] for split, x in X.items()}
    with pytest.raises(UserError, match="has 1 features, the trained model 2"):
        load(write(tmp_path, x=narrow), codec=first.codec)


def test_one_feature_needs_no_dimension_and_images_are_flattened(tmp_path: Path) -> None:
    assert next(load(write(tmp_path, x={s: x[..., 0] for s, x in X.items()})).eval_batches("val")).inputs.shape == (
        8,
        6,
        1,
    )
    images = {split: np.repeat(x[..., None], 3, -1) for split, x in X.items()}
    assert next(load(write(tmp_path, x=images)).eval_batches("val")).inputs.shape == (8, 6, 6)


# -- splits and lengths ---


def test_ragged_rows_keep_their_lengths_and_targets(tmp_path: Path) -> None:
    lengths = np.random.default_rng(1).integers(1, 7, 20)
    x = np.concatenate([np.full((length, 1), float(row)) for row, length in enumerate(lengths)])
    y = np.arange(20.0)
    np.savez(tmp_path / "a.npz", x_train=x, lengths_train=lengths, y_train=y, x_val=x, lengths_val=lengths, y_val=y)
    data = load(tmp_path / "a.npz", standardize=False, batch_size=6)
    seen = {}
    for batch in data.train_batches(0, 0):
        assert batch.lengths_B is None or int(batch.lengths_B.max()) == batch.inputs.shape[1]
        for row in range(batch.batch_size):
            number = int(batch.targets[row, 0])
            length = batch.inputs.shape[1] if batch.lengths_B is None else int(batch.lengths_B[row])
            assert (batch.inputs[row, :length] == number).all()
            assert not batch.inputs[row, length:].any()
            seen[number] = length
    assert seen == dict(enumerate(lengths.tolist()))


def test_steps_end_to_end_have_targets_end_to_end(tmp_path: Path) -> None:
    lengths = np.array([3, 1, 2, 4])
    x = np.arange(10.0)[:, None]
    for y in (np.arange(10) % 2, np.arange(10.0) * 2):
        parts = {"x": x, "lengths": lengths, "y": y}
        np.savez(tmp_path / "a.npz", **{f"{name}_{s}": part for s in ("train", "val") for name, part in parts.items()})
        data = load(tmp_path / "a.npz", standardize=False)
        batch = next(data.eval_batches("val"))
        assert batch.lengths_B is not None
        assert batch.lengths_B.tolist() == [1, 2, 3, 4]
        for row, length in enumerate(batch.lengths_B.tolist()):
            inputs, targets = batch.inputs[row, :length, 0], batch.targets[row, :length].flatten()
            assert torch.equal(targets.float(), (inputs % 2 if y.dtype.kind == "i" else inputs * 2).float())


def test_a_validation_split_is_drawn_where_there_is_none(tmp_path: Path) -> None:
    x, y = {"train": X["train"], "test": X["test"]}, {"train": CLASSES["train"], "test": CLASSES["test"]}
    data = load(write(tmp_path, y, x), val_fraction=0.3)
    assert data.splits == ("train", "val", "test")
    assert "drawn by seed 0: val 30%" in data.describe()
    counts = {split: data.counts(split) for split in ("train", "val")}
    assert set(counts["val"]) == {"0", "1", "2"}
    assert sum(counts["train"].values()) + sum(counts["val"].values()) == 20
    again = load(write(tmp_path, y, x), val_fraction=0.3)
    assert torch.equal(next(again.eval_batches("val")).inputs, next(data.eval_batches("val")).inputs)
    other = load(write(tmp_path, y, x), val_fraction=0.3, split_seed=1)
    assert not torch.equal(next(other.eval_batches("val")).targets, next(data.eval_batches("val")).targets) or (
        not torch.equal(next(other.eval_batches("val")).inputs, next(data.eval_batches("val")).inputs)
    )
    with pytest.raises(UserError, match=r"data\.val_fraction=0\.001"):
        load(write(tmp_path, y, x), val_fraction=0.001)


@pytest.mark.parametrize("names", ["xy", "XY"])
def test_all_splits_are_drawn_where_none_is_named(tmp_path: Path, names: str) -> None:
    x, y = X["train"], CLASSES["train"]
    np.savez(tmp_path / "a.npz", **{names[0]: x, names[1]: y})
    data = load(tmp_path / "a.npz", val_fraction=0.3, test_fraction=0.2, standardize=False)
    assert "drawn by seed 0: val 30% and test 20%" in data.describe()
    seen = torch.cat([batch.inputs for split in data.splits for batch in data.eval_batches(split)])
    assert sorted(seen.flatten(1).sum(1).tolist()) == pytest.approx(sorted(x.sum((1, 2)).tolist()), rel=1e-5)
    assert [sum(data.counts(split).values()) for split in ("train", "val", "test")] == [
        12,
        5,
        3,
    ]  # one of each class is always trained on
    assert load(tmp_path / "a.npz", test_fraction=0).splits == ("train", "val")
    with pytest.raises(UserError, match="leave nothing to train on"):
        load(tmp_path / "a.npz", val_fraction=0.5, test_fraction=0.5)


# -- simple methods ---


def test_trivial_is_the_training_mean_or_the_shares(tmp_path: Path) -> None:
    data = load(write(tmp_path, NUMBERS))
    mean, spread = NUMBERS["train"].mean(), NUMBERS["train"].std()
    errors = NUMBERS["val"] - mean
    said = data.trivial("val")["training mean"]
    expected = {"loss": (errors**2).mean() / spread**2, "mse": (errors**2).mean(), "mae": abs(errors).mean()}
    assert said == pytest.approx(expected, rel=1e-4)
    plain = load(write(tmp_path, NUMBERS), standardize=False).trivial("val")["training mean"]
    assert plain == pytest.approx(expected | {"loss": (errors**2).mean()}, rel=1e-4)
    shares = load(write(tmp_path)).trivial("val")["class shares"]
    assert shares["accuracy"] == 3 / 8
    assert shares["loss"] == pytest.approx(-np.log(np.array([7, 7, 6]) / 20)[CLASSES["val"]].mean())


# -- mistakes ---


def wrong(value: float) -> dict[str, np.ndarray]:
    x = {split: each.copy() for split, each in X.items()}
    x["val"][3, 4, 1] = value
    return x


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (wrong(np.nan), None, r"x_val\[3\] is nan at step 4, feature 1; fill it or leave the sequence out"),
        (wrong(-np.inf), None, r"x_val\[3\] is -inf at step 4, feature 1"),
        (None, NUMBERS | {"test": np.full(9, np.inf)}, r"y_test\[0\] is inf; fill it"),
        ({s: x.astype(str) for s, x in X.items()}, None, r"x_train\[0\] holds texts; give numbers"),
        (None, {s: y for s, y in CLASSES.items() if s != "val"}, "has no y_val beside x_val"),
        (None, CLASSES | {"val": np.arange(7)}, r"y_val has the shape \[7\], which does not fit 8 sequences"),
        (None, CLASSES | {"val": np.array([0, 1, 2, 0, 1, 2, 0, 5])}, r"y_val\[7\] is '5', which no training"),
        (None, {s: np.zeros(len(y), int) for s, y in CLASSES.items()}, "y_train has the one class 0; there is nothing"),
        (X | {"test": X["test"][..., :1]}, None, "x_test has 1 features, x_train 2; they must be the same"),
        (X | {"val": X["val"][:0]}, None, "x_val is empty"),
        ({"val": X["val"]}, None, r"has no x or x_train \(did you mean"),
    ],
)
def test_mistakes_are_named_with_key_and_row(tmp_path: Path, x, y, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(write(tmp_path, y, x))


def test_texts_are_no_numbers(tmp_path: Path) -> None:
    y = {split: np.array(["a", "b"])[each % 2] for split, each in CLASSES.items()}
    with pytest.raises(UserError, match=r"y_train holds texts, which are no numbers; set data\.targets=classes"):
        load(write(tmp_path, y), targets="numbers")


# -- what ships ---


@pytest.mark.parametrize("name", ["digits", "japanese_vowels"])
def test_shipped_arrays_are_small_and_documented(name: str) -> None:
    path = SHIPPED / name / f"{name}.npz"
    assert path.stat().st_size < 1_000_000
    note = (SHIPPED / name / "ORIGIN.md").read_text(encoding="utf-8")
    assert hashlib.sha256(path.read_bytes()).hexdigest() in note
    assert "CC BY 4.0" in note


def test_japanese_vowels_have_their_standard_split() -> None:
    data = load(Path("@japanese_vowels/japanese_vowels.npz"), targets="classes")
    assert {split: sum(data.counts(split).values()) for split in data.splits} == {"train": 244, "val": 26, "test": 370}
    assert set(data.counts("val").values()) == {2, 3}
    assert data.counts("test") == {
        "3": 88, "8": 50, "4": 44, "7": 40, "2": 35, "1": 31, "5": 29, "9": 29, "6": 24,
    }  # fmt: skip
    batches = list(data.eval_batches("test"))
    lengths = np.concatenate([b.lengths_B if b.lengths_B is not None else [b.inputs.shape[1]] for b in batches])
    assert (lengths.min(), lengths.max()) == (7, 29)


def test_permuted_digits_are_the_same_pixels_in_another_order() -> None:
    plain, permuted, other = PixelDigits(), PixelDigits(permuted=True), PixelDigits(permuted=True, permutation_seed=1)
    for data in (plain, permuted, other):
        data.load()
    assert (
        plain.describe()
        == "Sequences: 1,259 train, 179 val, 359 test, of 64 steps of 1 features; one of 10 classes a sequence"
    )
    x, y, z = (next(data.eval_batches("test")).inputs[..., 0] for data in (plain, permuted, other))
    order = np.random.default_rng(0).permutation(64)
    torch.testing.assert_close(y, x[:, order])
    assert not torch.equal(y, z)


@pytest.mark.parametrize("permuted", [False, True])
def test_training_images_are_shifted_as_a_whole(permuted: bool) -> None:
    """Each is one of nine shifts of its own, whatever the order of its pixels; images to evaluate on stay."""
    data = PixelDigits(permuted=permuted, shift=1, batch_size=2000)
    data.load()
    plain = PixelDigits(shift=0, batch_size=2000)
    plain.load()
    order = np.random.default_rng(0).permutation(64) if permuted else np.arange(64)
    back = np.argsort(order)
    moved = next(data.train_batches(0, 0)).inputs[:, back, 0].reshape(-1, 8, 8).numpy()
    still = next(plain.train_batches(0, 0)).inputs[..., 0].reshape(-1, 8, 8).numpy()
    padded = np.pad(still, ((0, 0), (1, 1), (1, 1)), constant_values=still.min())
    shifts = [padded[:, y : y + 8, x : x + 8] for y in range(3) for x in range(3)]
    found = np.array([(moved == shift).all((1, 2)) for shift in shifts])
    assert found.any(0).all()
    assert (found.sum(1) > 50).all()
    test = next(data.eval_batches("test")).inputs[:, back, 0]
    assert torch.equal(test, next(plain.eval_batches("test")).inputs[..., 0])
    again = next(data.train_batches(0, 1)).inputs
    assert not torch.equal(again.sort(0).values, next(data.train_batches(0, 0)).inputs.sort(0).values)


@pytest.mark.parametrize("permuted", [False, True])
def test_training_images_are_turned_and_stretched(permuted: bool) -> None:
    """A quarter turn is the extreme of an angle; half the size leaves paper round the image."""
    image_YX = np.arange(64, dtype=np.float32).reshape(1, 8, 8) + 1
    middle = np.full((1, 5), 0.5)
    np.testing.assert_array_equal(moved(image_YX, middle, 3, 45, 0.5, np.zeros(1)), image_YX)
    turned = moved(image_YX, np.array([[0.5, 0.5, 1.0, 0.5, 0.5]]), 0, 90, 0, np.zeros(1))
    np.testing.assert_allclose(turned[0], np.rot90(image_YX[0]), atol=1e-4)
    small = moved(image_YX, np.array([[0.5, 0.5, 0.5, 0.0, 0.0]]), 0, 0, 0.5, np.zeros(1))[0]
    assert (small[[0, 7]] == 0).all()
    np.testing.assert_allclose(small[2:6, 2:6], image_YX[0].reshape(4, 2, 4, 2).mean((1, 3)), rtol=1e-6)
    data = PixelDigits(permuted=permuted, rotate=15, zoom=0.2, batch_size=2000)
    data.load()
    plain = PixelDigits(permuted=permuted, batch_size=2000)
    plain.load()
    seen, still = (next(each.train_batches(0, 0)).inputs for each in (data, plain))
    assert seen.dtype == still.dtype
    assert 0.1 < (seen - still).abs().mean() < 0.5
    assert torch.equal(next(data.eval_batches("val")).inputs, next(plain.eval_batches("val")).inputs)
    assert torch.equal(next(data.train_batches(0, 0, 0)).inputs, seen)


def test_val_may_be_trained_on_too(tmp_path: Path) -> None:
    plain, both = PixelDigits(), PixelDigits(train_on_val=True, batch_size=2000)
    for data in (plain, both):
        data.load()
    assert both.num_train_batches(0, 0) == 1
    [batch] = both.train_batches(0, 0)
    assert batch.batch_size == 1259 + 179
    assert "val is trained on too" in both.describe()
    for split in ("val", "test"):
        sizes = [sum(batch.batch_size for batch in data.eval_batches(split)) for data in (plain, both)]
        assert sizes[0] == sizes[1]
    assert both.codec.state_dict() != plain.codec.state_dict()
