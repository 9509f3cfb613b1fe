"""Accuracy of counted steps and of whole sequences, at each length."""

from pathlib import Path

import pytest
import torch

from rnntrain.batch import Batch
from rnntrain.config import check
from rnntrain.data.memory.parity import Parity
from rnntrain.data.numbers.sequences import StepClassesCodec, SymbolInputs
from rnntrain.errors import UserError
from rnntrain.tasks.step_classification import StepClassification
from rnntrain.watching.pictures import pixels
from tasks.cases import step_classification as step_case

CODEC = StepClassesCodec(SymbolInputs(3), ["a", "b", "c"], {4: 40, 2: 20})


def one_hot(classes: list[list[int]]) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(classes), 3).float() * 9


def measure(task: StepClassification, *pairs: tuple[torch.Tensor, Batch]):
    metrics = task.metrics(CODEC)
    for output, batch in pairs:
        metrics.update(output, batch, *task.loss(output, batch))
    return metrics


def batch_of(targets: list[list[int]], **more: torch.Tensor) -> Batch:
    return Batch(torch.zeros(len(targets), len(targets[0]), dtype=torch.int64), torch.tensor(targets), **more)


def test_accuracies_count_steps_sequences_and_lengths() -> None:
    said = one_hot([[0, 1, 2, 0], [0, 1, 1, 1], [2, 2, 0, 0]])
    batch = batch_of([[0, 1, 2, 1], [0, 1, 0, 0], [2, 1, 0, 0]], lengths_B=torch.tensor([4, 2, 2]))
    full = (said[:1], batch_of([[0, 1, 2, 0]]))
    found = measure(StepClassification(), (said, batch), full).compute()
    assert found["accuracy"] == pytest.approx((3 + 2 + 1 + 4) / 12)
    assert found["sequence_accuracy"] == pytest.approx(2 / 4)
    assert found["accuracy_len_40"] == pytest.approx(7 / 8)
    assert found["sequence_accuracy_len_40"] == pytest.approx(1 / 2)
    assert found["accuracy_len_20"] == pytest.approx(3 / 4)
    assert found["sequence_accuracy_len_20"] == pytest.approx(1 / 2)


def test_only_counted_steps_count() -> None:
    counted = torch.tensor([[False, False, True], [False, False, False]])
    batch = batch_of([[0, 0, 1], [2, 2, 2]], counted_BT=counted)
    found = measure(StepClassification(), (one_hot([[2, 2, 1], [0, 0, 0]]), batch)).compute()
    assert found["accuracy"] == found["sequence_accuracy"] == 1.0
    loss_sum, count = StepClassification().loss(torch.zeros(2, 3, 3), batch)
    assert float(count) == 1.0
    assert float(loss_sum) == pytest.approx(1.0986, abs=1e-4)


def test_lengths_that_did_not_occur_are_not_reported() -> None:
    found = measure(StepClassification(), (one_hot([[0, 1, 2]]), batch_of([[0, 1, 2]]))).compute()
    assert set(found) == {"loss", "accuracy", "sequence_accuracy"}


def test_a_long_run_of_one_class_is_told_by_its_length() -> None:
    classes = [0] * 100 + [1, 2, 2]
    batch = Batch(torch.zeros(1, 103, dtype=torch.long), torch.tensor([classes]))
    assert StepClassification().decode(one_hot([classes]), batch, CODEC) == ["a ×100 b c c"]


def test_counted_steps_are_decoded_by_name() -> None:
    counted = torch.tensor([[True, False, True], [True, True, True]])
    batch = batch_of([[0, 0, 0], [0, 0, 0]], counted_BT=counted, lengths_B=torch.tensor([3, 2]))
    assert StepClassification().decode(one_hot([[0, 1, 2], [2, 1, 0]]), batch, CODEC) == ["a c", "c b"]


def test_the_confusion_is_drawn() -> None:
    metrics = measure(StepClassification(), (one_hot([[0, 1, 2]]), batch_of([[0, 1, 1]])))
    assert pixels(metrics.pictures()["confusion"]()).std() > 1


def test_test_metrics_name_each_length_and_predictions_stand_beside_the_truth(tmp_path: Path) -> None:
    case = step_case(tmp_path)
    task, data = case.experiment.task, case.experiment.data
    [carry] = task.evaluations().values()
    assert {"accuracy_len_4", "accuracy_len_8"} <= set(case.experiment.trainer.evaluate("test", carry))
    shown = task.illustrate(case.model, data, 0)["predictions"]
    assert isinstance(shown, str)
    assert [line.split()[0] for line in shown.splitlines()] == ["due", "model"] * 3
    assert "accuracy" in task.baselines(data, "test")["each step's frequencies"]


@pytest.mark.parametrize("causal", [True, False])
def test_a_model_that_reads_ahead_is_refused_unless_asked_for(tmp_path: Path, causal: bool) -> None:
    plain = step_case(tmp_path).experiment.config.plain
    plain = {
        **plain,
        "task": {**plain["task"], "causal": causal},
        "model": {**plain["model"], "bidirectional": True},
    }
    if causal:
        with pytest.raises(UserError, match=r"model\.bidirectional=true"):
            check(plain)
    else:
        check(plain)


def test_a_network_that_counts_solves_parity_at_any_length() -> None:
    """The metrics say 1 of what is right: the targets themselves, as logits."""
    data = Parity(max_length=6, eval_rows=20, test_lengths=[6, 30])
    data.load()
    task = StepClassification()
    metrics = task.metrics(data.codec)
    for batch in data.eval_batches("test"):
        logits = torch.nn.functional.one_hot(batch.targets, 2).float() * 30
        metrics.update(logits, batch, *task.loss(logits, batch))
    found = metrics.compute()
    assert found.pop("loss") == pytest.approx(0.0, abs=1e-6)
    assert set(found.values()) == {1.0}
    assert len(found) == 6


@pytest.mark.parametrize("change", [{"class_names": ["a"]}, {"class_names": [1, 2]}, {"inputs": 3}, {"lengths": {}}])
def test_a_damaged_codec_is_refused(change: dict) -> None:
    with pytest.raises(UserError, match="damaged"):
        StepClassesCodec.from_state(CODEC.state_dict() | change)
