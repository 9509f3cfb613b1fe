"""One vector of a sequence is made of its valid steps alone, whatever the way."""

# B batch, T time, H hidden

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch

from rnntrain.batch import Batch
from rnntrain.cells.gru import GRU
from rnntrain.models.backbone import Backbone
from rnntrain.models.pooling import PooledLinear, Pooling, PoolingKind
from rnntrain.models.sequence import SequenceModel

B, T, H = 4, 6, 8
LENGTHS_B = torch.tensor([6, 3, 1, 0])
KINDS = get_args(PoolingKind)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def pooling(kind: PoolingKind) -> Pooling:
    made = Pooling(H, kind)
    if kind == "attention":
        torch.nn.init.normal_(made.score.weight)
    return made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("garbage", [torch.nan, torch.inf, -1e30])
def test_padding_is_inert(kind: PoolingKind, garbage: float) -> None:
    made = pooling(kind)
    y_BTH = torch.randn(B, T, H)
    dirty_BTH = y_BTH.masked_fill((torch.arange(T) >= LENGTHS_B[:, None])[..., None], garbage).requires_grad_()
    pooled_BH = made(dirty_BTH, LENGTHS_B)
    torch.testing.assert_close(pooled_BH, made(y_BTH, LENGTHS_B), rtol=0, atol=0)
    pooled_BH.sum().backward()
    assert dirty_BTH.grad is not None
    assert dirty_BTH.grad.isfinite().all()
    assert not dirty_BTH.grad[1, 3:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_pooled_as_if_it_were_alone(kind: PoolingKind) -> None:
    made = pooling(kind)
    y_BTH = torch.randn(B, T, H)
    pooled_BH = made(y_BTH, LENGTHS_B)
    for row, length in enumerate(LENGTHS_B.tolist()[:3]):
        torch.testing.assert_close(pooled_BH[row], made(y_BTH[row : row + 1, :length])[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_without_steps_gives_zeros(kind: PoolingKind) -> None:
    made = pooling(kind)
    assert not made(torch.randn(B, T, H), LENGTHS_B)[3].any()
    assert not made(torch.randn(2, 1, H), torch.tensor([0, 0])).any()


def test_values_are_those_of_their_definitions() -> None:
    y_BTH = torch.randn(B, T, H)
    torch.testing.assert_close(pooling("last")(y_BTH, LENGTHS_B)[1], y_BTH[1, 2])
    torch.testing.assert_close(pooling("mean")(y_BTH, LENGTHS_B)[1], y_BTH[1, :3].mean(0))
    torch.testing.assert_close(pooling("max")(y_BTH, LENGTHS_B)[1], y_BTH[1, :3].amax(0))
    made = pooling("attention")
    weight_T = (torch.tanh(y_BTH[1, :3] @ made.hidden.weight.T + made.hidden.bias) @ made.score.weight[0]).softmax(0)
    torch.testing.assert_close(made(y_BTH, LENGTHS_B)[1], weight_T @ y_BTH[1, :3])


def test_attention_starts_as_the_mean() -> None:
    y_BTH = torch.randn(B, T, H)
    torch.testing.assert_close(Pooling(H, "attention")(y_BTH, LENGTHS_B), Pooling(H, "mean")(y_BTH, LENGTHS_B))


def test_last_is_the_state_of_the_backbone() -> None:
    stack = Backbone(3, H, GRU)
    y_BTH, (state_BH,) = stack(torch.randn(B, T, 3), None, LENGTHS_B)
    torch.testing.assert_close(Pooling(H, "last")(y_BTH, LENGTHS_B), state_BH)


def test_last_of_both_directions_is_what_each_has_after_the_whole_row() -> None:
    stack = Backbone(3, H // 2, GRU, bidirectional=True)
    y_BTH, ((ahead_BH, back_BH),) = stack(torch.randn(B, T, 3), None, LENGTHS_B)
    made = Pooling(H, "last")
    made.backward_H = stack.backward_H
    torch.testing.assert_close(made(y_BTH, LENGTHS_B), torch.cat([ahead_BH, back_BH], -1))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [False] * 4),
        ({"bidirectional": True}, [False] * 4 + [True] * 4),
        ({"bidirectional": True, "dense": True, "num_layers": 2}, 2 * ([False] * 4 + [True] * 4)),
    ],
)
def test_the_model_tells_its_pooling_of_its_directions(options: dict[str, Any], expected: list[bool]) -> None:
    def head(size: int) -> PooledLinear:
        return PooledLinear(size, 2)

    model = SequenceModel(torch.nn.LazyLinear, head, GRU, hidden_size=4, **options)
    assert model.head.pooling.backward_H.tolist() == expected
    output_BO, _ = model(Batch(torch.randn(B, T, 3), torch.zeros(B), LENGTHS_B))
    assert output_BO.shape == (B, 2)
