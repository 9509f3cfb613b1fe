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
    right_C = np.diag(counts_CC).astype(np.float64)
    true_C, predicted_C = counts_CC.sum(1), counts_CC.sum(0)
    f1_C = 2 * right_C / np.maximum(true_C + predicted_C, 1)
    seen_C = true_C + predicted_C > 0
    scores = {
        "accuracy": float(right_C.sum() / max(counts_CC.sum(), 1)),
        "macro_f1": float(f1_C[seen_C].mean()) if seen_C.any() else 0.0,
    }
    if len(names) <= MOST_LISTED:
        precision_C, recall_C = right_C / np.maximum(predicted_C, 1), right_C / np.maximum(true_C, 1)
        for label, f1, precision, recall in zip(metric_names(names), f1_C, precision_C, recall_C, strict=True):
            scores |= {
                f"f1_{label}": float(f1),
                f"precision_{label}": float(precision),
                f"recall_{label}": float(recall),
            }
    return scores


def metric_names(names: Sequence[str]) -> list[str]:
    """Return classes as parts of the names of metrics, which a slash would sort into groups and a space would break."""
    plain = [re.sub(r"[\s/]+", "_", name) for name in names]
    return plain if len(set(plain)) == len(plain) else [f"{name}_{number}" for number, name in enumerate(plain)]
