"""Decoding of CTC against brute force: every alignment of tiny cases is summed, every transcript scored."""

# T steps, V outputs

from __future__ import annotations

import math
from collections import defaultdict
from itertools import groupby, product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rnntrain.data.speech.ngram import NGram
from rnntrain.tasks.ctc_decoding import LanguageWeights, beam_search, best_path, spans

T, V = 5, 3
EVERYTHING = 10_000


def random_log_probs(seed: int, steps: int = T, outputs: int = V) -> np.ndarray:
    return torch.randn(steps, outputs, generator=torch.Generator().manual_seed(seed)).mul(1.5).log_softmax(-1).numpy()


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(symbol for symbol, _ in groupby(path) if symbol)


def all_transcripts(log_probs_TV: np.ndarray) -> dict[tuple[int, ...], float]:
    """Return ln p of every transcript, summed over all V^T alignments."""
    probs: dict[tuple[int, ...], float] = defaultdict(float)
    for path in product(range(log_probs_TV.shape[1]), repeat=len(log_probs_TV)):
        probs[collapse(path)] += math.exp(sum(float(log_probs_TV[t, v]) for t, v in enumerate(path)))
    return {transcript: math.log(p) for transcript, p in probs.items()}


def test_alignments_sum_to_the_loss_of_torch() -> None:
    """So that brute force itself is trusted."""
    log_probs_TV = random_log_probs(0)
    for transcript, log_prob in all_transcripts(log_probs_TV).items():
        if transcript:
            target = torch.tensor([transcript])
            lengths = torch.tensor([T]), torch.tensor([len(transcript)])
            loss = F.ctc_loss(torch.from_numpy(log_probs_TV)[:, None], target, *lengths, reduction="sum")
            assert float(loss) == pytest.approx(-log_prob, abs=1e-4)


@pytest.mark.parametrize("seed", range(30))
def test_wide_beam_finds_the_best_transcript(seed: int) -> None:
    log_probs_TV = random_log_probs(seed)
    scores = all_transcripts(log_probs_TV)
    assert tuple(beam_search(log_probs_TV, EVERYTHING, negligible=-math.inf)) == max(scores, key=scores.__getitem__)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("order", [1, 2, 3])
def test_wide_beam_finds_the_best_with_a_language_model(seed: int, order: int) -> None:
    model = NGram.fit([[0, 1, 0], [0, 1, 0, 1], [1, 1]], V - 1, order)
    weights = LanguageWeights(model, weight=0.8, bonus=0.3)
    log_probs_TV = random_log_probs(seed)

    def score(transcript: tuple[int, ...], log_prob: float) -> float:
        numbers = [symbol - 1 for symbol in transcript]
        language = sum(model.log_prob(tuple(numbers[:i]), n) for i, n in enumerate([*numbers, model.end]))
        return log_prob + 0.8 * language + 0.3 * len(transcript)

    scores = {transcript: score(transcript, p) for transcript, p in all_transcripts(log_probs_TV).items()}
    found = tuple(beam_search(log_probs_TV, EVERYTHING, weights, negligible=-math.inf))
    assert found == max(scores, key=scores.__getitem__)


def test_beam_beats_the_best_path_where_alignments_add_up() -> None:
    """Graves 2012: the likeliest alignment is all blanks, and yet `1` is likelier than nothing."""
    log_probs_TV = np.log(np.array([[0.6, 0.4], [0.6, 0.4]]))
    assert best_path(log_probs_TV) == []
    assert beam_search(log_probs_TV, 2) == [1]


def test_language_model_turns_the_scales() -> None:
    log_probs_TV = np.log(np.array([[0.02, 0.96, 0.02], [0.02, 0.47, 0.51]]))
    assert beam_search(log_probs_TV, 8) == [1, 2]
    model = NGram.fit([[0]] * 50, 2, 2)
    assert beam_search(log_probs_TV, 8, LanguageWeights(model, 1.0)) == [1]
    assert len(beam_search(log_probs_TV, 8, LanguageWeights(model, 1.0, bonus=10.0))) == 2


@pytest.mark.parametrize(
    ("path", "symbols"),
    [([0, 0], []), ([1, 1, 0, 1], [1, 1]), ([1, 2, 2, 0], [1, 2]), ([0, 2, 2, 2, 0, 2], [2, 2]), ([1], [1])],
)
def test_repeats_merge_and_blanks_vanish(path: list[int], symbols: list[int]) -> None:
    log_probs_TV = np.log(np.eye(3)[path] * 0.97 + 0.01)
    assert best_path(log_probs_TV) == symbols
    assert beam_search(log_probs_TV, 4) == symbols


def test_nothing_gives_nothing() -> None:
    assert best_path(np.zeros((0, 3))) == beam_search(np.zeros((0, 3)), 4) == []


def test_spans_say_where_symbols_stand() -> None:
    log_probs_TV = np.log(np.eye(3)[[0, 1, 1, 0, 2, 1]] * 0.97 + 0.01)
    assert spans(log_probs_TV) == [(1, 1, 3), (2, 4, 5), (1, 5, 6)]


def test_narrow_beam_is_close_on_long_input() -> None:
    """What is left out as negligible and the beam's width change nothing where a model is fairly sure."""
    rng = np.random.default_rng(0)
    logits_TV = 6.0 * np.eye(6)[rng.integers(6, size=40)] + rng.standard_normal((40, 6))
    log_probs_TV = torch.from_numpy(logits_TV).log_softmax(-1).numpy()
    assert beam_search(log_probs_TV, 8) == beam_search(log_probs_TV, 200, negligible=-math.inf)
