"""What users of a trained model rely on, over every task: records are those of the evaluation, alone or in company."""

# B batch

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tasks.cases import TASKS, Case

from rnntrain.batch import Batch
from rnntrain.errors import UserError
from rnntrain.models.sequence import evaluating
from rnntrain.predicting import predictor as predictors
from rnntrain.predicting.predictor import Example, Predictor, batches, windows


@pytest.fixture(params=TASKS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return TASKS[request.param](tmp_path)


def predictor_of(case: Case) -> Predictor:
    experiment = case.experiment
    return experiment.task.predictor(experiment.data.codec, case.model, experiment.config.data.arguments)


def examples_of(batch: Batch) -> list[Example]:
    """Return the rows of a batch as examples of what a data set has read."""
    rows = []
    for row in range(batch.batch_size):
        length = batch.inputs.shape[1] if batch.lengths_B is None else int(batch.lengths_B[row])
        target = batch.targets[row]
        if batch.target_lengths_B is not None:
            target = target[: int(batch.target_lengths_B[row])]
        elif batch.targets.dim() > 1 and batch.targets.shape[1] == batch.inputs.shape[1]:
            target = target[:length]
        context = None if batch.context is None else batch.context[row].numpy()
        rows.append(Example(batch.inputs[row, :length].numpy(), target=target.numpy(), context=context))
    return rows


def whole(case: Case, batch: Batch, examples: list[Example]) -> list[dict[str, Any]]:
    """Return the records of the path by which a split is evaluated."""
    with evaluating(case.model):
        output, _ = case.experiment.task.infer(case.model, batch, None)
        return predictor_of(case).records(output, batch, examples)


def close(a: Any, b: Any) -> bool:
    """Compare records; rounding may fall to either side of what batches leave of the last bits."""
    if isinstance(a, dict):
        # Classes of equal probability may stand in either order.
        return isinstance(b, dict) and a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(close, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=2e-4, abs_tol=2e-5)
    return bool(a == b)


def test_predictions_are_those_of_the_evaluation(case: Case) -> None:
    examples = examples_of(case.batch)
    records = list(predictor_of(case).predict(examples))
    assert len(records) == case.batch.batch_size
    for record, expected in zip(records, whole(case, case.batch, examples), strict=True):
        assert close(record, expected), (record, expected)


def test_records_are_plain_json(case: Case) -> None:
    for record in predictor_of(case).predict(examples_of(case.batch)):
        assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_a_record_does_not_depend_on_its_company(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, in batches of two, and in windows of three that end in the midst of them."""
    examples = examples_of(case.batch)
    together = list(predictor_of(case).predict(examples))
    alone = [record for example in examples for record in predictor_of(case).predict([example])]
    assert all(map(close, alone, together))
    monkeypatch.setattr(predictors, "MOST_ROWS", 2)
    assert all(map(close, predictor_of(case).predict(examples, window=3), together))


def test_labelled_examples_have_the_loss_of_the_evaluation(case: Case) -> None:
    """What a new file is judged by is what a split is judged by."""
    batch = predictor_of(case).batch(examples_of(case.batch))
    if case.batch.counted_BT is not None:
        pytest.skip("a file does not say which steps count")
    with torch.no_grad():
        (loss, count), (expected, expected_count) = case.loss(batch), case.loss(case.batch)
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)
    assert float(count) == float(expected_count)


def test_examples_are_read_as_they_are_needed(case: Case) -> None:
    """The window that is answered, two that are made meanwhile, and no more, however many there are."""
    taken = 0

    def endless() -> Iterator[Example]:
        nonlocal taken
        examples = examples_of(case.batch)
        while True:
            taken += 1
            yield examples[taken % len(examples)]

    answers = predictor_of(case).predict(endless(), window=3)
    for _ in range(4):
        next(answers)
    read_by_then = taken
    answers.close()
    assert read_by_then <= 3 * (2 + 2) + 1


def test_what_is_of_another_kind_is_refused(case: Case) -> None:
    with pytest.raises(UserError, match="here: "):
        predictor_of(case).example(object(), "here")


def test_every_predictor_says_what_it_reads(case: Case) -> None:
    assert predictor_of(case).kind in ("text", "tokens", "series", "sound", "numbers", "symbols", "roll")
    assert predictor_of(case).fields


def test_batches_are_bounded_in_rows_and_steps() -> None:
    lengths = np.random.default_rng(0).integers(1, 3000, 500).tolist() + [100_000]
    found = list(batches(lengths))
    assert sorted(place for numbers in found for place in numbers) == list(range(len(lengths)))
    for numbers in found:
        steps = len(numbers) * max(lengths[place] for place in numbers)
        assert len(numbers) == 1 or (len(numbers) <= predictors.MOST_ROWS and steps <= predictors.MOST_STEPS)


def test_windows_are_bounded_in_examples_and_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictors, "WINDOW_NUMBERS", 100)
    sizes = [10, 50, 45, 300, 2, 2, 2, 2, 2]
    held = [[len(each.inputs) for each in window] for window in windows((Example(np.zeros(n)) for n in sizes), 4)]
    assert held == [[10, 50], [45], [300], [2, 2, 2, 2], [2]]
