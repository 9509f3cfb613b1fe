"""The conditional random field equals the sum and the maximum over all sequences, one by one."""

# B batch, T time, K tags

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from rnntrain.models.crf import (
    FORBIDDEN,
    ChainScores,
    LinearChain,
    Rules,
    log_partition,
    negative_log_likelihood,
    no_chain,
    sequence_score,
    viterbi,
)

LENGTHS = [(4, 4, 4), (4, 1, 3), (2, 4, 1)]


def example(num_tags: int = 3, num_steps: int = 4, batch_size: int = 3) -> tuple[Tensor, ChainScores]:
    generator = torch.Generator().manual_seed(num_tags)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return draw(batch_size, num_steps, num_tags), ChainScores(draw(num_tags), draw(num_tags), draw(num_tags, num_tags))


def score(emissions_TK: Tensor, tags: tuple[int, ...], scores: ChainScores) -> float:
    """Return s(y), term by term."""
    total = scores.start_K[tags[0]] + scores.end_K[tags[-1]]
    total = total + sum(emissions_TK[t, tag] for t, tag in enumerate(tags))
    return float(total + sum(scores.pairs_KK[a, b] for a, b in itertools.pairwise(tags)))


def everything(emissions_TK: Tensor, length: int, scores: ChainScores) -> dict[tuple[int, ...], float]:
    """Return the score of every sequence."""
    sequences = itertools.product(range(emissions_TK.shape[1]), repeat=length)
    return {tags: score(emissions_TK, tags, scores) for tags in sequences}


@pytest.mark.parametrize("lengths", LENGTHS)
def test_log_partition_is_the_sum_over_all_sequences(lengths: tuple[int, ...]) -> None:
    emissions_BTK, scores = example()
    log_z_B = log_partition(emissions_BTK, torch.tensor(lengths), scores)
    for row, length in enumerate(lengths):
        expected = math.log(sum(map(math.exp, everything(emissions_BTK[row], length, scores).values())))
        assert float(log_z_B[row]) == pytest.approx(expected)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_probabilities_of_all_sequences_sum_to_one(lengths: tuple[int, ...]) -> None:
    emissions_BTK, scores = example()
    lengths_B = torch.tensor(lengths)
    for row, length in enumerate(lengths):
        total = 0.0
        for tags in everything(emissions_BTK[row], length, scores):
            tags_BT = torch.zeros(3, 4, dtype=torch.int64)
            tags_BT[row, :length] = torch.tensor(tags)
            total += math.exp(-negative_log_likelihood(emissions_BTK, tags_BT, lengths_B, scores)[row])
        assert total == pytest.approx(1)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_viterbi_finds_the_best_of_all_sequences(lengths: tuple[int, ...]) -> None:
    emissions_BTK, scores = example()
    tags_BT = viterbi(emissions_BTK, torch.tensor(lengths), scores)
    for row, length in enumerate(lengths):
        every = everything(emissions_BTK[row], length, scores)
        assert tuple(tags_BT[row, :length].tolist()) == max(every, key=every.__getitem__)
        assert not tags_BT[row, length:].any()


def test_rows_without_lengths_are_full() -> None:
    emissions_BTK, scores = example()
    full_B = torch.tensor([4, 4, 4])
    tags_BT = viterbi(emissions_BTK, None, scores)
    assert torch.equal(tags_BT, viterbi(emissions_BTK, full_B, scores))
    for function in (sequence_score, negative_log_likelihood):
        torch.testing.assert_close(
            function(emissions_BTK, tags_BT, None, scores), function(emissions_BTK, tags_BT, full_B, scores)
        )


def test_loss_passes_gradcheck() -> None:
    emissions_BTK, scores = example()
    tags_BT, lengths_B = torch.tensor([[0, 2, 1, 1], [2, 0, 0, 0], [1, 1, 2, 0]]), torch.tensor([4, 1, 3])

    def loss(emissions_BTK: Tensor, *parts: Tensor) -> Tensor:
        return negative_log_likelihood(emissions_BTK, tags_BT, lengths_B, ChainScores(*parts))

    leaves = [part.requires_grad_() for part in (emissions_BTK, *scores)]
    assert torch.autograd.gradcheck(loss, leaves)


def test_padding_reaches_neither_loss_nor_gradients_nor_tags() -> None:
    emissions_BTK, scores = example()
    lengths_B, tags_BT = torch.tensor([2, 4, 1]), torch.randint(3, (3, 4))
    padded_BT = torch.arange(4) >= lengths_B[:, None]
    garbage_BTK = emissions_BTK.masked_fill(padded_BT[..., None], 1e6).requires_grad_()
    other_tags_BT = torch.where(padded_BT, (tags_BT + 1) % 3, tags_BT)
    clean = negative_log_likelihood(emissions_BTK, tags_BT, lengths_B, scores)
    loss_B = negative_log_likelihood(garbage_BTK, other_tags_BT, lengths_B, scores)
    assert torch.equal(loss_B, clean)
    loss_B.sum().backward()
    assert not garbage_BTK.grad[padded_BT].any()
    assert torch.equal(viterbi(garbage_BTK, lengths_B, scores), viterbi(emissions_BTK, lengths_B, scores))


def test_rows_of_no_steps_cost_nothing() -> None:
    emissions_BTK, scores = example()
    loss_B = negative_log_likelihood(
        emissions_BTK, torch.zeros(3, 4, dtype=torch.int64), torch.tensor([0, 4, 2]), scores
    )
    assert loss_B[0] == 0
    assert (loss_B[1:] > 0).all()


def rules() -> Rules:
    """O, B, I: I only after B or I."""
    allowed = torch.ones(3, 3, dtype=torch.bool)
    allowed[0, 2] = False
    return Rules(torch.tensor([True, True, False]), torch.ones(3, dtype=torch.bool), allowed)


def obeys(tags: tuple[int, ...]) -> bool:
    return all(after != 2 or before in (1, 2) for before, after in itertools.pairwise((0, *tags)))


@pytest.mark.parametrize("lengths", LENGTHS)
def test_rules_leave_the_best_and_the_sum_of_what_they_allow(lengths: tuple[int, ...]) -> None:
    emissions_BTK, scores = example()
    emissions_BTK[..., 2] += 2  # the forbidden tag is the tempting one
    bound = scores.forbid(rules())
    tags_BT = viterbi(emissions_BTK, torch.tensor(lengths), bound)
    log_z_B = log_partition(emissions_BTK, torch.tensor(lengths), bound)
    for row, length in enumerate(lengths):
        every = everything(emissions_BTK[row], length, scores)
        allowed = {tags: value for tags, value in every.items() if obeys(tags)}
        assert len(allowed) < len(every)
        assert tuple(tags_BT[row, :length].tolist()) == max(allowed, key=allowed.__getitem__)
        assert float(log_z_B[row]) == pytest.approx(math.log(sum(map(math.exp, allowed.values()))))


def test_a_forbidden_sequence_has_a_large_loss_and_finite_gradients() -> None:
    emissions_BTK, scores = example()
    emissions_BTK.requires_grad_()
    loss_B = negative_log_likelihood(emissions_BTK, torch.full((3, 4), 2), None, scores.forbid(rules()))
    assert (loss_B > -FORBIDDEN / 2).all()
    loss_B.sum().backward()
    assert emissions_BTK.grad.isfinite().all()


def test_a_new_chain_leaves_tags_independent() -> None:
    emissions_BTK, _ = example()
    tags_BT = torch.randint(3, (3, 4))
    expected_B = -emissions_BTK.log_softmax(-1).gather(2, tags_BT[..., None]).sum((1, 2))
    for scores in (LinearChain(3)(), no_chain(emissions_BTK)):
        torch.testing.assert_close(
            negative_log_likelihood(emissions_BTK, tags_BT, None, scores), expected_B, check_dtype=False
        )
        assert torch.equal(viterbi(emissions_BTK, None, scores), emissions_BTK.argmax(-1))


def test_reduced_precision_is_summed_in_float32() -> None:
    emissions_BTK, scores = example(num_steps=200)
    tags_BT = torch.zeros(3, 200, dtype=torch.int64)
    scores = ChainScores(*(part.float() for part in scores))
    rounded_BTK = emissions_BTK.bfloat16()
    loss_B = negative_log_likelihood(rounded_BTK, tags_BT, None, scores)
    assert loss_B.dtype == torch.float32
    torch.testing.assert_close(loss_B, negative_log_likelihood(rounded_BTK.float(), tags_BT, None, scores))


def test_time_costs_are_linear() -> None:
    """No step allocates more than the one before: as many operations a step, each of the size of one step."""
    sizes = []
    for num_steps in (20, 40):
        emissions_BTK, scores = example(num_steps=num_steps)
        emissions_BTK.requires_grad_()
        tags_BT = torch.zeros(3, num_steps, dtype=torch.int64)
        with torch.profiler.profile(profile_memory=True) as profile:
            negative_log_likelihood(emissions_BTK, tags_BT, None, scores).sum().backward()
        sizes.append(sum(max(event.self_cpu_memory_usage, 0) for event in profile.key_averages()))
    assert sizes[1] < 2.2 * sizes[0]
