"""Accuracy, precision, recall and F1 from a confusion matrix, as scikit-learn computes them."""

# C classes; counts_CC has a row for each true class and a column for each predicted one

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

MOST_LISTED = 20  # classes beyond which single ones would bury what matters


def class_scores(counts_CC: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Return `accuracy`, `macro_f1`, and `f1_NAME`, `precision_NAME` and `recall_NAME` of up to 20 classes.

    precision = TP / (TP + FP), recall = TP / (TP + FN), F1 = 2·TP / (2·TP + FP + FN), each 0 where it divides by
    nothing. Macro F1 is the mean over the classes that are true or predicted anywhere.
    """
    return scores_of(np.diag(counts_CC).astype(np.float64), counts_CC.sum(1), counts_CC.sum(0), names)


def scores_of(
    right_C: np.ndarray, true_C: np.ndarray, predicted_C: np.ndarray, names: Sequence[str]
) -> dict[str, float]:
    """As `class_scores`, from how often each class was right, true and predicted."""
    f1_C = 2 * right_C / np.maximum(true_C + predicted_C, 1)
    seen_C = true_C + predicted_C > 0
    scores = {
        "accuracy": float(right_C.sum() / max(true_C.sum(), 1)),
        "macro_f1": float(f1_C[seen_C].mean()) if seen_C.any() else 0.0,
    }
    if len(names) <= MOST_LISTED:
        for label, values in zip(metric_names(names), by_class(right_C, true_C, predicted_C), strict=True):
            scores |= {f"{metric}_{label}": values[metric] for metric in ("f1", "precision", "recall")}
    return scores


def by_class(right_C: np.ndarray, true_C: np.ndarray, predicted_C: np.ndarray) -> list[dict[str, float]]:
    """Return `precision`, `recall`, `f1` and the number of true sequences, `support`, of each class."""
    precision_C, recall_C = right_C / np.maximum(predicted_C, 1), right_C / np.maximum(true_C, 1)
    f1_C = 2 * right_C / np.maximum(true_C + predicted_C, 1)
    columns = zip(precision_C, recall_C, f1_C, true_C, strict=True)
    names = ("precision", "recall", "f1", "support")
    return [dict(zip(names, map(float, values), strict=True)) for values in columns]


def metric_names(names: Sequence[str]) -> list[str]:
    """Return classes as parts of the names of metrics, which a slash would sort into groups and a space would break."""
    plain = [re.sub(r"[\s/]+", "_", name) for name in names]
    return plain if len(set(plain)) == len(plain) else [f"{name}_{number}" for number, name in enumerate(plain)]
