"""The adaptive softmax and the mixture of softmaxes: the probabilities that their papers define, in chunks or not."""

# B batch, T time, H hidden, V vocabulary, M mixtures

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from training import make_experiment, write_text

from rnntrain.errors import UserError
from rnntrain.models import large_vocabulary
from rnntrain.models.embedding import TokenEmbedding
from rnntrain.models.large_vocabulary import AdaptiveHead, MixtureHead

B, T, H, V, M = 3, 4, 8, 40, 3
LENGTHS_B = torch.tensor([4, 0, 2])
HEADS = {"adaptive": lambda: AdaptiveHead(H, V, [8, 20]), "mixture": lambda: MixtureHead(H, V, M)}


@pytest.fixture(params=HEADS)
def head(request: pytest.FixtureRequest) -> torch.nn.Module:
    torch.manual_seed(0)
    return HEADS[request.param]()


def test_probabilities_sum_to_one(head: torch.nn.Module) -> None:
    log_probs_BTV = head(torch.randn(B, T, H)).compute()
    assert log_probs_BTV.shape == (B, T, V)
    torch.testing.assert_close(log_probs_BTV.exp().sum(-1), torch.ones(B, T))
    torch.testing.assert_close(head(torch.randn(B, H)).compute().exp().sum(-1), torch.ones(B))


@pytest.mark.parametrize("padded", [False, True])
def test_cross_entropy_is_that_of_the_whole(
    head: torch.nn.Module, padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its gradients, though the mixture takes two rows at a time."""
    monkeypatch.setattr(large_vocabulary, "CHUNK_BYTES", 2 * V * M * 4)
    hidden_BTH, targets_BT = torch.randn(B, T, H, requires_grad=True), torch.randint(V, (B, T))
    lengths_B = LENGTHS_B if padded else None
    valid_BT = torch.arange(T) < (LENGTHS_B if padded else torch.full((B,), T))[:, None]
    loss, count = head(hidden_BTH).cross_entropy(targets_BT, lengths_B)
    expected = F.nll_loss(head(hidden_BTH).compute()[valid_BT], targets_BT[valid_BT], reduction="sum")
    torch.testing.assert_close(loss, expected)
    assert float(count) == int(valid_BT.sum())
    sources = [hidden_BTH, *head.parameters()]
    for a, b in zip(*(torch.autograd.grad(x, sources, allow_unused=True) for x in (loss, expected)), strict=True):
        torch.testing.assert_close(torch.zeros(1) if a is None else a, torch.zeros(1) if b is None else b)


def test_mixture_is_a_weighted_sum_of_softmaxes() -> None:
    head = MixtureHead(H, V, M)
    hidden_BH = torch.randn(B, H)
    prior_BM = head.prior(hidden_BH).softmax(-1)
    latents = torch.tanh(head.latent(hidden_BH)).split(H, -1)
    probs_BV = sum(
        prior_BM[:, m : m + 1] * (latent @ head.weight.t() + head.bias).softmax(-1) for m, latent in enumerate(latents)
    )
    torch.testing.assert_close(head(hidden_BH).compute().exp(), probs_BV)


def test_new_mixture_knows_nothing() -> None:
    head = MixtureHead(64, 1000, 4)
    loss, count = head(torch.randn(5, 6, 64)).cross_entropy(torch.randint(1000, (5, 6)), None)
    assert float(loss.detach() / count) == pytest.approx(math.log(1000), rel=0.03)


@pytest.mark.parametrize("cutoffs", [[], [0, 5], [5, 5], [20, 8], [8, V]])
def test_cutoffs_that_do_not_ascend_are_refused(cutoffs: list[int]) -> None:
    with pytest.raises(UserError, match=r"task\.cutoffs=.*must ascend and lie below the 40 entries"):
        AdaptiveHead(H, V, cutoffs)


@pytest.mark.parametrize("changes", [{"task.output": "adaptive", "task.cutoffs": [2, 5]}, {"task.output": "mixture"}])
def test_language_model_trains_and_samples_with_it(tmp_path: Path, changes: dict[str, object]) -> None:
    changes = {**changes, "task.sample_length": 5, "trainer.max_steps": 40, "trainer.eval_every_steps": 40}
    experiment = make_experiment(write_text(tmp_path), changes)
    before = experiment.trainer.evaluate("val", lambda state: None)["loss"]
    experiment.trainer.fit()
    assert experiment.trainer.evaluate("val", lambda state: None)["loss"] < before - 0.3


def test_embedding_drops_whole_entries() -> None:
    torch.manual_seed(0)
    embedding = TokenEmbedding(200, 5, dropout=0.25)
    tokens_BT = torch.arange(200).repeat(2).view(2, 200)
    out_BTD = embedding(tokens_BT)
    kept_T = out_BTD[0].abs().sum(-1) > 0
    assert 0.6 < float(kept_T.float().mean()) < 0.9
    torch.testing.assert_close(out_BTD[0], out_BTD[1])  # the same entries wherever they occur
    torch.testing.assert_close(out_BTD[0, kept_T], embedding.weight[kept_T] / 0.75)
    torch.testing.assert_close(embedding.eval()(tokens_BT)[0], embedding.weight)
