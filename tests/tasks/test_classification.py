"""Classification: scores are scikit-learn's, weights do what they say, and simple methods stand beside the result."""

# B batch, T time, C classes

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from training import make_config

from rnntrain import commands, using
from rnntrain.batch import Batch
from rnntrain.build import Experiment, build
from rnntrain.data.labelled.classes import ClassCodec, FeatureInputs
from rnntrain.errors import UserError
from rnntrain.models.pooling import PoolingKind
from rnntrain.tasks.class_scores import class_scores, metric_names
from rnntrain.tasks.classification import Classification, ClassLogits, ClassMetrics

NAMES = ["a", "b", "c", "d"]


def write(folder: Path, number: int = 60) -> Path:
    """Write texts of three classes, the last of them rare, that a few steps tell apart."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "texts.csv"
    kinds = [("sea", "waves and water"), ("land", "hills or fields"), ("sky", "a wide blue")]
    rows = [kinds[0 if n % 6 < 3 else 1 if n % 6 < 5 else 2] for n in range(number)]
    lines = [f"{label},{text} {'x' * (n % 9)}{n}" for n, (label, text) in enumerate(rows)]
    path.write_text("label,text\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def experiment(folder: Path, task: dict[str, Any] | None = None, **changes: Any) -> Experiment:
    data = {
        "_target_": "rnntrain.data.labelled.labelled_text.LabelledText",
        "path": str(write(folder)),
        "batch_size": 8,
    }
    sections = {
        "task": {"_target_": "rnntrain.tasks.classification.Classification", **(task or {})},
        "data": data | {"test_fraction": 0.2, "unit": "char"},
    }
    return build(make_config(folder / "none", sections | changes))


def batch_of(targets: list[int]) -> Batch:
    return Batch(torch.zeros(len(targets), 1, dtype=torch.long), torch.tensor(targets))


def measured(logits_BC: Tensor, targets: list[int]) -> ClassMetrics:
    metrics = ClassMetrics(NAMES)
    for start in range(0, len(targets), 7):
        part = batch_of(targets[start : start + 7])
        output = ClassLogits(logits_BC[start : start + 7], None)
        metrics.update(output, part, *Classification().loss(output, part))
    return metrics


@pytest.mark.parametrize("classes", [[0, 1, 2, 3], [0, 1], [2], [0, 3]], ids=str)
def test_scores_are_those_of_scikit_learn(classes: list[int]) -> None:
    """Also where some classes neither occur nor are predicted."""
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(len(classes))
    targets_N, predicted_N = rng.choice(classes, 100), rng.choice(classes, 100)
    scores = measured(F.one_hot(torch.from_numpy(predicted_N), 4).double(), targets_N.tolist()).compute()
    assert scores["accuracy"] == pytest.approx(sklearn.accuracy_score(targets_N, predicted_N))
    macro = sklearn.f1_score(targets_N, predicted_N, average="macro", zero_division=0)
    assert scores["macro_f1"] == pytest.approx(macro)
    each = sklearn.precision_recall_fscore_support(targets_N, predicted_N, labels=range(4), zero_division=0)
    for name, values in zip(("precision", "recall", "f1"), each, strict=False):
        assert [scores[f"{name}_{label}"] for label in NAMES] == pytest.approx(values.tolist())


def test_loss_is_that_of_torch() -> None:
    logits_BC, targets_B = torch.randn(20, 4), torch.randint(4, (20,))
    loss = measured(logits_BC, targets_B.tolist()).compute()["loss"]
    assert loss == pytest.approx(float(F.cross_entropy(logits_BC, targets_B)), rel=1e-6)
    weight_C = torch.tensor([0.1, 1.0, 2.0, 3.0])
    loss_sum, count = Classification().loss(ClassLogits(logits_BC, weight_C), batch_of(targets_B.tolist()))
    torch.testing.assert_close(loss_sum / count, F.cross_entropy(logits_BC, targets_B, weight_C))


def test_many_classes_are_not_listed_one_by_one() -> None:
    names = [str(number) for number in range(21)]
    assert class_scores(np.eye(21, dtype=np.int64), names) == {"accuracy": 1.0, "macro_f1": 1.0}


def test_names_of_metrics_have_no_spaces_or_slashes() -> None:
    assert metric_names(["not spam", "a/b", "c"]) == ["not_spam", "a_b", "c"]
    assert metric_names(["a b", "a_b"]) == ["a_b_0", "a_b_1"]


# -- class weights ---


def weights_of(experiment: Experiment) -> Any:
    return experiment.model.head.weight_C


def test_balanced_weights_make_every_class_count_the_same(tmp_path: Path) -> None:
    made = experiment(tmp_path, {"class_weights": "balanced"})
    counts_C = torch.tensor(made.data.codec.class_counts)
    torch.testing.assert_close(weights_of(made) * counts_C, torch.full((3,), float(counts_C.sum()) / 3))
    assert weights_of(experiment(tmp_path)) is None


def test_weights_can_be_given_one_by_one(tmp_path: Path) -> None:
    made = experiment(tmp_path, {"class_weights": [1.0, 2.0, 0.5]})
    assert weights_of(made).tolist() == [1.0, 2.0, 0.5]
    assert "weight_C" not in "".join(made.model.state_dict())
    with pytest.raises(UserError, match=r"2 weights for 3 classes; give one each for land, sea, sky"):
        experiment(tmp_path, {"class_weights": [1.0, 2.0]})


def test_targets_are_smoothed_in_training_alone(tmp_path: Path) -> None:
    made = experiment(tmp_path, {"label_smoothing": 0.2})
    batch = next(made.data.train_batches(0, 0))
    for training, smoothing in ((True, 0.2), (False, 0.0)):
        output, _ = made.model.train(training)(batch)
        loss_sum, count = made.task.loss(output, batch)
        wanted = F.cross_entropy(output.logits_BC, batch.targets, label_smoothing=smoothing)
        torch.testing.assert_close(loss_sum / count, wanted)


# -- learning, showing, comparing ---


@pytest.mark.parametrize("pooling", get_args(PoolingKind))
@pytest.mark.parametrize("bidirectional", [False, True])
def test_every_pooling_learns(tmp_path: Path, pooling: str, bidirectional: bool) -> None:
    model = {
        "_target_": "rnntrain.models.sequence.SequenceModel",
        "cell": {"_target_": "rnntrain.cells.gru.GRU"},
        "hidden_size": 16,
        "bidirectional": bidirectional,
    }
    made = experiment(tmp_path, {"pooling": pooling}, model=model)
    before = made.trainer.evaluate("val", lambda state: None)["loss"]
    made.trainer.fit()
    assert made.trainer.evaluate("val", lambda state: None)["loss"] < 0.8 * before


def test_the_best_weights_are_chosen_by_what_is_monitored(tmp_path: Path) -> None:
    for monitor, larger in (("loss", False), ("accuracy", True), ("macro_f1", True)):
        task = experiment(tmp_path, {"monitor": monitor}).task
        assert (task.monitor, task.larger_is_better) == (monitor, larger)


def test_rows_without_a_step_are_classified(tmp_path: Path) -> None:
    made = experiment(tmp_path)
    inputs_BT = torch.zeros(3, 1, dtype=torch.long)
    batch = Batch(inputs_BT, torch.tensor([0, 1, 2]), torch.tensor([0, 0, 0]))
    output, _ = made.model(batch)
    loss_sum, count = made.task.loss(output, batch)
    loss_sum.backward()
    assert float(count) == 3
    torch.testing.assert_close(output.logits_BC[0], output.logits_BC[1])
    assert all(p.grad is None or p.grad.isfinite().all() for p in made.model.parameters())


def test_decoded_is_the_label_with_its_probability(tmp_path: Path) -> None:
    made = experiment(tmp_path)
    logits_BC = torch.tensor([[0.0, 5.0, 0.0], [1.0, 0.0, 0.0]])
    decoded = made.task.decode(ClassLogits(logits_BC, None), batch_of([0, 0]), made.data.codec)
    assert decoded == ["sea (0.99)", "land (0.58)"]


def test_examples_show_text_and_both_labels(tmp_path: Path) -> None:
    made = experiment(tmp_path, {"num_examples": 3})
    [text] = made.task.illustrate(made.model, made.data, 0).values()
    lines = text.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(("right  ", "WRONG  ")) and " → " in line and ": " in line for line in lines)
    assert experiment(tmp_path, {"num_examples": 0}).task.illustrate(made.model, made.data, 0) == {}


def test_the_confusion_matrix_is_drawn() -> None:
    pictures = measured(torch.eye(4), [0, 1, 2, 3]).pictures()
    assert pictures["confusion"]().axes[0].get_ylabel() == "true"


def test_simple_methods_stand_beside_the_result(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    made = experiment(tmp_path)
    found = made.task.baselines(made.data, "test")
    counts = made.data.counts("test")
    assert found["majority class"]["accuracy"] == pytest.approx(counts["sea"] / sum(counts.values()))
    assert found["majority class"]["f1_sky"] == 0
    assert found["linear, n-grams"]["accuracy"] == 1.0
    assert experiment(tmp_path, {"linear_baseline": False}).task.baselines(made.data, "test").keys() == {
        "majority class"
    }


def test_without_scikit_learn_a_line_says_how_to_get_it(tmp_path: Path, monkeypatch, capsys) -> None:
    made = experiment(tmp_path)
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    assert made.task.baselines(made.data, "val").keys() == {"majority class"}
    assert "pip install 'rnntrain[baselines]'" in capsys.readouterr().err


def test_a_run_can_be_read_back_from_its_checkpoint_alone(tmp_path: Path) -> None:
    made = experiment(tmp_path, {"linear_baseline": False, "class_weights": "balanced"})
    plain = made.config.plain | {"trainer": {"max_steps": 4, "eval_every_steps": 2}}
    trained = commands.train(commands.configs.check(plain | {"run": {"dir": str(tmp_path / "run")}}), quiet=True)
    (tmp_path / "texts.csv").unlink()
    loaded = using.load(trained.run.path)
    ids = loaded.codec.inputs.encode("Waves, and more")
    batch = Batch(torch.from_numpy(ids.astype(np.int64))[None], torch.tensor([0]))
    [text] = loaded.config.task.build().decode(loaded.model(batch)[0], batch, loaded.codec)
    assert text.partition(" ")[0] in loaded.codec.class_names
    summary = json.loads(trained.run.summary.read_text())
    assert {"test/f1_sky", "val/macro_f1", "baseline/majority class/test/accuracy"} <= summary.keys()


# -- numbers in place of text ---


def test_numbers_are_standardised_by_what_was_fitted() -> None:
    rows = [np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[5.0, 5.0]])]
    inputs = FeatureInputs.fit(rows)
    encoded = np.concatenate([inputs.encode(row) for row in rows])
    np.testing.assert_allclose(encoded.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(encoded.std(0), [1, 0], atol=1e-6)
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(FeatureInputs.fit(rows, standardize=False).encode(rows[0]), rows[0])


def test_numbers_go_through_the_same_class() -> None:
    codec = ClassCodec(FeatureInputs([0.0] * 3, [1.0] * 3), NAMES, [1, 2, 3, 4])
    codec = ClassCodec.from_state(json.loads(json.dumps(codec.state_dict())))
    task = Classification()
    x_BTD = task.input_layer(codec, 8)(torch.randn(2, 5, 3))
    output = task.head(codec, 8)(x_BTD, batch_of([0, 1]))
    assert output.logits_BC.shape == (2, 4)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"class_names": ["a"], "class_counts": [1]},
        {"class_names": ["a", "a"], "class_counts": [1, 1]},
        {"class_names": ["a", 1], "class_counts": [1, 1]},
        {"class_names": ["a", "b"], "class_counts": [1]},
        {"class_names": ["a", "b"], "class_counts": [0, 0]},
        {"class_names": ["a", "b"], "class_counts": [-1, 2]},
        {"inputs": {"kind": "other"}},
        {"inputs": {"kind": "text", "lowercase": False, "split_punctuation": False, "max_length": None}},
        {"inputs": {"kind": "text", "text": {"unit": "byte"}, "lowercase": 1, "split_punctuation": False}},
        {"inputs": {"kind": "features", "mean": [0.0], "scale": [0.0]}},
        {"inputs": {"kind": "features", "mean": [0.0, 1.0], "scale": [1.0]}},
        {"inputs": {"kind": "features", "mean": ["a"], "scale": [1.0]}},
    ],
    ids=str,
)
def test_a_damaged_state_is_refused(state: dict[str, Any]) -> None:
    good = {"inputs": {"kind": "features", "mean": [0.0], "scale": [1.0]}}
    good |= {"class_names": ["a", "b"], "class_counts": [1, 1]}
    ClassCodec.from_state(good)
    with pytest.raises(UserError, match="is damaged"):
        ClassCodec.from_state(good | state if state else {})
