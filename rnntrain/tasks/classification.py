"""Classification of whole sequences: texts, or numbers of every time step."""

# B batch, T time, H hidden, C classes

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.batch import Batch
from rnntrain.data.base import Codec, DataSet
from rnntrain.data.labelled.classes import ClassCodec, SpeltInputs, TextInputs
from rnntrain.data.labelled.labelled_text import LabelledText
from rnntrain.data.spelt_words import WORD
from rnntrain.errors import UserError
from rnntrain.metrics import Metrics, Picture, Sum, Table
from rnntrain.models.pooling import PooledLinear, PoolingKind
from rnntrain.models.sequence import SequenceModel, evaluating
from rnntrain.models.word_input import CharFeatures, WordInput
from rnntrain.ranges import DropoutRate, NonNegativeInt, PositiveFloat, PositiveInt
from rnntrain.tasks.base import Task
from rnntrain.tasks.class_scores import by_class, class_scores, scores_of
from rnntrain.tasks.text_baselines import LinearBaseline

if TYPE_CHECKING:
    from rnntrain.predicting.predictor import Predictor

ClassWeights: TypeAlias = Literal["none", "balanced"] | list[PositiveFloat]
Monitor: TypeAlias = Literal["loss", "accuracy", "macro_f1"]
SHOWN_LENGTH = 100  # characters of a text in the examples


class ClassLogits(NamedTuple):
    """The output: ``logits_BC``, and for the loss what each class weighs (None: 1) and how smooth targets are."""

    logits_BC: Tensor
    weight_C: Tensor | None
    label_smoothing: float = 0.0


class ClassificationHead(PooledLinear):
    """Pooling, then one logit a class; keeps the class weights, which are the codec's and no parameters.

    Targets are smoothed in training alone, so that the loss of an evaluation means the same whatever the smoothing.
    """

    weight_C: Tensor | None

    def __init__(
        self,
        input_size: int,
        num_classes: int,
        pooling: PoolingKind = "last",
        weight_C: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(input_size, num_classes, pooling)
        self.register_buffer("weight_C", weight_C, persistent=False)
        self.label_smoothing = label_smoothing

    def forward(self, y_BTH: Tensor, batch: Batch) -> ClassLogits:  # type: ignore[override]
        smoothing = self.label_smoothing if self.training else 0.0
        return ClassLogits(super().forward(y_BTH, batch), self.weight_C, smoothing)


class Classification(Task):
    """Say which of several classes a sequence belongs to.

    The loss is the cross-entropy in nats a sequence; with class weights, Σ w·nats / Σ w, w being the weight of a
    sequence's true class.

    Args:
        pooling: how the outputs of all steps become one vector: the last, their mean, their largest values, or
            what attention picks.
        class_weights: what errors on each class cost: all the same (none), as much for each class as a whole
            (balanced: N / (C·N_c), counted on train), or a list in the order of the classes.
        label_smoothing: share of each target that all classes have alike in training, so that no probability is driven
            to 1 (Szegedy et al. 2016, arXiv:1512.00567, section 7); losses on val and test are without it.
        char_features: of words with their spelling (`data.spelling`): the mean vector of a word's n-grams, added
            to the word's own, a small convolution, an LSTM from both ends of the word, or none.
        char_size: width of the features of convolution or LSTM, part of `model.embedding_size`.
        shape: embed the outward form of such words too: case, digits, a link, a hashtag.
        once_dropout: rate at which those seen once become `<unk>` in training, so that it is learnt.
        word_dropout: rate at which any of them does.
        monitor: the metric of the validation split by which the best weights are chosen.
        num_examples: texts of the validation split that are shown with their predictions; 0 for none.
        linear_baseline: fit a linear classifier on n-grams at the end of a run and show it beside the result; texts
            alone, and only where scikit-learn is installed.

    Metrics: `loss`; `accuracy`; `macro_f1`, the mean F1 of the classes that occur or are predicted; and, where there
    are at most 20 classes, `f1_NAME`, `precision_NAME` and `recall_NAME` of each, 0 where they divide by nothing.
    """

    codec_type = ClassCodec

    def __init__(
        self,
        pooling: PoolingKind = "last",
        class_weights: ClassWeights = "none",
        label_smoothing: DropoutRate = 0.0,
        char_features: CharFeatures = "ngrams",
        char_size: PositiveInt = 50,
        shape: bool = True,
        once_dropout: DropoutRate = 0.5,
        word_dropout: DropoutRate = 0.0,
        monitor: Monitor = "loss",
        num_examples: NonNegativeInt = 8,
        linear_baseline: bool = True,
    ) -> None:
        self.pooling: PoolingKind = pooling
        self.class_weights, self.label_smoothing = class_weights, label_smoothing
        self.char_features, self.char_size, self.shape = char_features, char_size, shape
        self.once_dropout, self.word_dropout = once_dropout, word_dropout
        self.monitor, self.larger_is_better = monitor, monitor != "loss"
        self.num_examples = num_examples
        self.linear = LinearBaseline() if linear_baseline else None

    def input_layer(self, codec: Codec, size: int) -> nn.Module:
        assert isinstance(codec, ClassCodec)
        if isinstance(codec.inputs, TextInputs):
            return nn.Embedding(codec.inputs.vocab_size, size)
        if isinstance(codec.inputs, SpeltInputs):
            return WordInput(
                codec.inputs.words,
                size,
                char_features=self.char_features,
                char_size=self.char_size,
                shape=self.shape,
                once_dropout=self.once_dropout,
                word_dropout=self.word_dropout,
            )
        return nn.Linear(codec.inputs.num_features, size)

    def head(self, codec: Codec, input_size: int) -> nn.Module:
        assert isinstance(codec, ClassCodec)
        return ClassificationHead(
            input_size, codec.num_classes, self.pooling, self._weight_C(codec), self.label_smoothing
        )

    def _weight_C(self, codec: ClassCodec) -> Tensor | None:
        if self.class_weights == "none":
            return None
        if self.class_weights == "balanced":
            counts_C = np.array(codec.class_counts, np.float64)
            return torch.from_numpy(counts_C.sum() / (codec.num_classes * np.maximum(counts_C, 1))).float()
        if len(self.class_weights) != codec.num_classes:
            raise UserError(
                f"task.class_weights={self.class_weights}: {len(self.class_weights)} weights for {codec.num_classes} "
                f"classes; give one each for {', '.join(codec.class_names[:20])}"
            )
        return torch.tensor(self.class_weights)

    def loss(self, output: ClassLogits, batch: Batch) -> tuple[Tensor, Tensor]:
        logits_BC, weight_C, smoothing = output
        exact_BC = logits_BC.to(torch.promote_types(logits_BC.dtype, torch.float32))
        targets_B = batch.targets
        if weight_C is None:
            count = torch.tensor(float(len(targets_B)))
        else:
            weight_C = weight_C.to(exact_BC.dtype)
            count = weight_C[targets_B].sum()
        nats = F.cross_entropy(exact_BC, targets_B, weight_C, reduction="sum", label_smoothing=smoothing)
        return nats, count

    def metrics(self, codec: Codec) -> Metrics:
        assert isinstance(codec, ClassCodec)
        return ClassMetrics(codec.class_names)

    def decode(self, output: ClassLogits, batch: Batch, codec: Codec) -> list[str]:
        """Return each row's likeliest class with its probability: `spam (0.98)`."""
        assert isinstance(codec, ClassCodec)
        top = output.logits_BC.float().softmax(-1).max(-1)
        pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        return [f"{codec.class_names[number]} ({probability:.2f})" for number, probability in pairs]

    def predictor(self, codec: Codec, model: SequenceModel, reading: Mapping[str, Any] | None = None) -> Predictor:
        assert isinstance(codec, ClassCodec)
        from rnntrain.predicting.classes import ClassPredictor  # only to predict

        return ClassPredictor(self, codec, model, reading or {})

    def illustrate(self, model: nn.Module, data: DataSet, seed: int) -> dict[str, str | Picture]:
        """Return rows of val, drawn at random, each with its class, the predicted one and, if it is text, the text."""
        codec = data.codec
        assert isinstance(codec, ClassCodec)
        if not self.num_examples or "val" not in data.splits:
            return {}
        batches = list(data.eval_batches("val"))
        sizes = [batch.batch_size for batch in batches]
        drawn = np.random.default_rng(seed).permutation(sum(sizes))[: self.num_examples]
        device = next(model.parameters()).device
        lines = []
        for number, row in sorted(_places(drawn, sizes)):
            batch = _row(batches[number], row)
            with evaluating(model):
                output, _ = model(batch.to(device))
            [predicted] = self.decode(output, batch, codec)
            true = codec.class_names[int(batch.targets[0])]
            mark = "right" if predicted.rpartition(" (")[0] == true else "WRONG"
            lines.append(f"{mark}  {true} → {predicted}{_shown(batch, codec)}")
        return {"predictions on val (true → predicted)": "\n".join(lines)}

    def embeddings(self, model: nn.Module, codec: Codec) -> dict[str, tuple[list[str], Tensor]]:
        assert isinstance(model, SequenceModel)
        assert isinstance(codec, ClassCodec)
        assert isinstance(model.head, PooledLinear)
        found = {"classes": (codec.class_names, model.head.linear.weight)}
        if isinstance(codec.inputs, TextInputs) and isinstance(model.input, nn.Embedding):
            tokens = [codec.inputs.decode([token]) for token in range(codec.inputs.vocab_size)]
            found["tokens"] = tokens, model.input.weight
        if isinstance(codec.inputs, SpeltInputs) and isinstance(model.input, WordInput):
            found["words"] = codec.inputs.words.words, model.input.word.weight
        return found

    def baselines(self, data: DataSet, split: str) -> dict[str, dict[str, float]]:
        counts, codec = data.counts(split), data.codec
        assert isinstance(codec, ClassCodec)
        if not counts:
            return {}
        counts_C = np.array([counts.get(name, 0) for name in codec.class_names])
        majority = int(np.argmax(codec.class_counts))
        confusion_CC = np.zeros((codec.num_classes, codec.num_classes), np.int64)
        confusion_CC[:, majority] = counts_C
        found = {"majority class": class_scores(confusion_CC, codec.class_names)}
        if self.linear is not None and isinstance(data, LabelledText):
            predicted = self.linear.predict(data, split)
            if predicted is not None:
                _, targets_N = data.texts(split)
                confusion_CC = _confusion(targets_N, predicted, codec.num_classes)
                found["linear, n-grams"] = class_scores(confusion_CC, codec.class_names)
        return found


class ClassMetrics(Metrics):
    """Loss, accuracy, macro F1, and F1, precision and recall of each class."""

    def __init__(self, class_names: list[str]) -> None:
        self._names = class_names
        self._loss, self._count = Sum(), Sum()
        self._counts_CC = Sum()

    def update(self, output: ClassLogits, batch: Batch, loss_sum: Tensor, count: Tensor) -> None:
        classes = len(self._names)
        place_B = batch.targets * classes + output.logits_BC.argmax(-1)
        self._counts_CC.add(torch.bincount(place_B, minlength=classes**2).view(classes, classes))
        self._loss.add(loss_sum)
        self._count.add(count)

    def sums(self) -> list[Sum]:
        return [self._loss, self._count, self._counts_CC]

    def compute(self) -> dict[str, float]:
        return {"loss": self._loss.value() / self._count.value(), **class_scores(self._confusion_CC(), self._names)}

    def rows(self, output: ClassLogits, batch: Batch) -> dict[str, Tensor]:
        logits_BC, weight_C, _ = output
        targets_B, predicted_B = batch.targets, logits_BC.argmax(-1)
        nats_B = F.cross_entropy(logits_BC.float(), targets_B, weight_C, reduction="none")
        # One number a class, and small ones: there may be many classes, and many rows.
        true_BC = F.one_hot(targets_B, len(self._names)).to(torch.uint8)
        predicted_BC = F.one_hot(predicted_B, len(self._names)).to(torch.uint8)
        count_B = torch.ones_like(nats_B) if weight_C is None else weight_C.float()[targets_B]
        return {
            "nats": nats_B,
            "count": count_B,
            "true": true_BC,
            "predicted": predicted_BC,
            "right": true_BC * predicted_BC,
        }

    def scores(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        named = scores_of(sums["right"], sums["true"], sums["predicted"], self._names)
        return {"loss": float(sums["nats"] / sums["count"]), **named}

    def tables(self, sums: Mapping[str, np.ndarray]) -> dict[str, Table]:
        rows = by_class(sums["right"], sums["true"], sums["predicted"])
        return {"by class": dict(zip(self._names, rows, strict=True))}

    def pictures(self) -> dict[str, Picture]:
        counts_CC = self._confusion_CC()

        def draw() -> Any:
            from rnntrain.watching.pictures import confusion_matrix  # imports matplotlib

            return confusion_matrix(counts_CC, self._names)

        return {"confusion": draw}

    def _confusion_CC(self) -> np.ndarray:
        return self._counts_CC.array().numpy().astype(np.int64)


def _confusion(targets_N: np.ndarray, predicted_N: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(targets_N * classes + predicted_N, minlength=classes**2).reshape(classes, classes)


def _places(drawn: np.ndarray, sizes: list[int]) -> list[tuple[int, int]]:
    """Return batch and row of rows that are numbered through all batches."""
    ends = np.cumsum(sizes)
    batch_of = np.searchsorted(ends, drawn, side="right")
    return [(int(number), int(row - ends[number] + sizes[number])) for number, row in zip(batch_of, drawn, strict=True)]


def _row(batch: Batch, row: int) -> Batch:
    lengths_B = None if batch.lengths_B is None else batch.lengths_B[row : row + 1]
    return Batch(batch.inputs[row : row + 1], batch.targets[row : row + 1], lengths_B)


def _shown(batch: Batch, codec: ClassCodec) -> str:
    """Return the one row of a batch as a person reads it, where it can be read."""
    if isinstance(codec.inputs, SpeltInputs):
        length = batch.inputs.shape[1] if batch.lengths_B is None else int(batch.lengths_B[0])
        words = (codec.inputs.words.words[word] for word in batch.inputs[0, :length, WORD].tolist())
        return f": {' '.join(words)[:SHOWN_LENGTH]}"
    if not isinstance(codec.inputs, TextInputs):
        return ""
    length = batch.inputs.shape[1] if batch.lengths_B is None else int(batch.lengths_B[0])
    text = " ".join(codec.inputs.decode(batch.inputs[0, :length].numpy()).split())
    return ": " + (text if len(text) <= SHOWN_LENGTH else text[: SHOWN_LENGTH - 1] + "…")
