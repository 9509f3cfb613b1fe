"""What a linear classifier of n-grams reaches on the texts that a network was trained on."""

# N texts

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np

from rnntrain.data.labelled.labelled_text import LabelledText

SEED = 0


class LinearBaseline:
    """A support vector machine over TF-IDF of words, pairs of words, and one to five characters within words.

    Its settings are fixed, and it is fitted once, on the whole training split; the texts are those that were read,
    neither cut nor lowered by the options of the network.
    """

    def __init__(self) -> None:
        self._fitted: Any = None

    def predict(self, data: LabelledText, split: str) -> np.ndarray | None:
        """Return the class of each text of a split; None, and a word of it, where scikit-learn is not installed."""
        if self._fitted is None:
            try:
                model = _pipeline()
            except ImportError:
                advice = "no linear baseline, which needs scikit-learn: pip install 'rnntrain[baselines]'"
                print(f"rnntrain: warning: {advice}; or set task.linear_baseline=false", file=sys.stderr, flush=True)
                return None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it has not converged to the last digit
                self._fitted = model.fit(*data.texts("train"))
        predicted: np.ndarray = self._fitted.predict(data.texts(split)[0])
        return predicted


def _pipeline() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import-untyped]
    from sklearn.pipeline import make_pipeline, make_union  # type: ignore[import-untyped]
    from sklearn.svm import LinearSVC  # type: ignore[import-untyped]

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+|[^\w\s]")
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 5), sublinear_tf=True)
    return make_pipeline(make_union(words, characters), LinearSVC(random_state=SEED))
