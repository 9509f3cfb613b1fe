"""CTC: the loss against every alignment, metrics against counting, decoding with and without the beam."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from training import make_config

from rnntrain.batch import Batch
from rnntrain.build import Experiment, build
from rnntrain.data.speech.features import FeatureSettings
from rnntrain.data.speech.frontend import Frontend
from rnntrain.data.speech.transcripts import TranscriptCodec
from rnntrain.errors import UserError
from rnntrain.tasks.ctc import CTC, CTCMetrics
from rnntrain.tasks.ctc_decoding import best_path
from tasks.cases import MORSE
from tasks.test_ctc_decoding import all_transcripts


def experiment(folder: Path, task: dict[str, Any] | None = None, data: dict[str, Any] | None = None) -> Experiment:
    changes = {
        "task": {"_target_": "rnntrain.tasks.ctc.CTC", **(task or {})},
        "data": {**MORSE, **(data or {})},
        "model.bidirectional": True,
    }
    return build(make_config(folder / "none.txt", changes))


def codec(texts: tuple[str, ...] = ("ab c", "bca"), lm_order: int = 0) -> TranscriptCodec:
    return TranscriptCodec.fit(Frontend(FeatureSettings(8000, num_mels=8)), "char", texts, lm_order)


def batch_of(texts: list[str], steps: int, its: TranscriptCodec) -> Batch:
    targets = [torch.from_numpy(its.encode(text, "test")) for text in texts]
    return Batch(
        torch.zeros(len(texts), steps, its.num_features),
        torch.nn.utils.rnn.pad_sequence(targets, batch_first=True),
        target_lengths_B=torch.tensor([len(target) for target in targets]),
    )


def logits_of(paths: list[list[int]], outputs: int) -> torch.Tensor:
    """Return logits that are sure of the given alignments."""
    return 20.0 * torch.nn.functional.one_hot(torch.tensor(paths), outputs).float()


def test_loss_sums_over_all_alignments_and_counts_symbols() -> None:
    its = codec(("ab",))
    batch = replace(batch_of(["ab", "aa"], 5, its), lengths_B=torch.tensor([4, 5]))
    logits = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    loss_sum, count = CTC().loss(logits, batch)
    assert int(count) == 4
    by_hand = [
        all_transcripts(logits[row, :length].log_softmax(-1).numpy())[target]
        for row, (length, target) in enumerate([(4, (1, 2)), (5, (1, 1))])
    ]
    assert float(loss_sum) == pytest.approx(-sum(by_hand), rel=1e-5)


def test_loss_is_taken_in_float32() -> None:
    its = codec(("ab",))
    batch = batch_of(["ab"], 5, its)
    logits = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    loss_sum, _ = CTC().loss(logits, batch)
    assert loss_sum.dtype == torch.float32
    assert float(loss_sum) == float(CTC().loss(logits.float(), batch)[0])


def test_impossible_target_is_not_hidden() -> None:
    """`zero_infinity` would make it 0: what cannot be aligned is refused by the data, and infinite here."""
    its = codec(("ab",))
    loss_sum, _ = CTC().loss(torch.zeros(1, 3, 3), batch_of(["aabb"], 3, its))
    assert math.isinf(float(loss_sum))


def test_errors_are_counted_over_the_split() -> None:
    """`ab c` read as `ab  `: one of four characters and words; `bca` as `ba`: one character, one word."""
    its = codec()
    metrics = CTCMetrics(its, {"": best_path})
    a, b, space = (its.symbols.index(s) + 1 for s in "ab ")
    first, second = batch_of(["ab c"], 6, its), batch_of(["bca"], 6, its)
    metrics.update(logits_of([[a, b, 0, space, 0, 0]], its.num_outputs), first, torch.tensor(3.0), torch.tensor(4))
    metrics.update(logits_of([[b, b, 0, a, 0, 0]], its.num_outputs), second, torch.tensor(4.0), torch.tensor(3))
    assert metrics.compute() == {"loss": 1.0, "cer": 2 / 7, "wer": 2 / 3, "ser": 1.0}


def test_beam_has_metrics_of_its_own() -> None:
    its = codec(("a",))
    task = CTC(beam_size=4)
    metrics = task.metrics(its)
    batch = batch_of(["a"], 2, its)
    logits = torch.tensor([[[0.6, 0.4], [0.6, 0.4]]]).log()  # the best path is empty, the best transcript is not
    metrics.update(logits, batch, *task.loss(logits, batch))
    values = metrics.compute()
    assert (values["cer"], values["beam_cer"]) == (1.0, 0.0)
    assert task.decode(logits, batch, its) == ["a"]
    assert CTC().decode(logits, batch, its) == [""]


def test_language_model_comes_from_the_codec(tmp_path: Path) -> None:
    built = experiment(tmp_path, {"beam_size": 3, "lm_weight": 0.5}, {"lm_order": 2})
    values = built.trainer.evaluate("val", lambda state: None)
    assert {"beam_cer", "beam_wer", "beam_ser"} <= values.keys()
    with pytest.raises(UserError, match=r"task\.lm_weight=0\.5: there is no language model; set data\.lm_order=3"):
        experiment(tmp_path, {"beam_size": 3, "lm_weight": 0.5})


def test_weights_without_a_beam_are_refused() -> None:
    with pytest.raises(UserError, match=r"task\.beam_size=16"):
        CTC(lm_weight=0.5)
    with pytest.raises(UserError, match=r"task\.beam_size=16"):
        CTC(insertion_bonus=0.5)


def test_examples_and_alignment_are_shown_without_a_trace(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    built = experiment(tmp_path)
    model = built.model.train()
    shown = built.task.illustrate(model, built.data, 0)
    assert model.training
    assert [line[0] in "=≠" for line in shown["transcripts"].splitlines()] == [True] * 5
    figure = shown["alignment"]()
    assert [axes.get_ylabel() for axes in figure.axes] == ["mel band", "probability"]
    assert experiment(tmp_path, {"examples": 0}).task.illustrate(model, built.data, 0) == {}
