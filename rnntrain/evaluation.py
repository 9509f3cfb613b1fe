"""The evaluation of whole splits, in every way that a task knows, beside what simple methods reach."""

from __future__ import annotations

from rnntrain.build import Experiment
from rnntrain.metrics import Picture
from rnntrain.runs.summary import Summary


def evaluate_finally(experiment: Experiment, summary: Summary) -> dict[str, Picture]:
    """Evaluate the weights that the run ends with on val, and on test where there is one; return the pictures."""
    task, data = experiment.task, experiment.data
    pictures: dict[str, Picture] = {}
    for split in ("val", "test"):
        if split in data.splits:
            metrics, drawn = evaluate_all(experiment, split)
            summary.metrics |= metrics
            pictures |= drawn
            for method, values in task.baselines(data, split).items():
                named = summary.baselines.setdefault(method, {})
                named |= {f"{split}/{name}": value for name, value in values.items()}
    for title, shown in task.illustrate(experiment.model, data, experiment.config.top.seed).items():
        if isinstance(shown, str):
            summary.texts[title] = shown
        else:
            pictures[title] = shown
    return pictures


def evaluate_all(experiment: Experiment, split: str) -> tuple[dict[str, float], dict[str, Picture]]:
    """Evaluate in every way that the task knows; return metrics and pictures by name.

    Metrics are named `split/name` for the first way, and `split/name_way` for every named one.
    """
    metrics: dict[str, float] = {}
    pictures: dict[str, Picture] = {}
    for number, (way, carry) in enumerate(experiment.task.evaluations().items()):
        measured = experiment.trainer.measure(split, carry)
        values = measured.compute()
        if number == 0:
            metrics |= {f"{split}/{name}": value for name, value in values.items()}
            pictures = {f"{split}/{title}": drawn for title, drawn in measured.pictures().items()}
        if way:
            metrics |= {f"{split}/{name}_{way}": value for name, value in values.items()}
    return metrics, pictures
