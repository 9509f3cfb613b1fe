"""The output layer: its cross-entropy in chunks equals that of all logits, which are never held at once."""

# B batch, T time, H hidden, V vocabulary, N = B·T rows

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from rnntrain.batch import length_mask
from rnntrain.errors import UserError
from rnntrain.models import vocabulary
from rnntrain.models.vocabulary import VocabularyHead, VocabularyLogits, chunked_cross_entropy

V, H = 11, 4
ROWS_OF_A_CHUNK = {"one_row": 1, "short_last": 3, "exact": 5, "almost_all": 9, "all": 10, "more_than_all": 64}


def set_chunk(monkeypatch: pytest.MonkeyPatch, elements: int) -> None:
    """Take chunks of about so many logits of four bytes, however few there are."""
    monkeypatch.setattr(vocabulary, "CHUNK_BYTES", 4 * elements)
    monkeypatch.setattr(vocabulary, "SMALL_ELEMENTS", 0)


@pytest.fixture(params=ROWS_OF_A_CHUNK.values(), ids=ROWS_OF_A_CHUNK.keys())
def _chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    set_chunk(monkeypatch, request.param * V)


@pytest.fixture
def _chunks_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    set_chunk(monkeypatch, 3 * V)


def example(rows: int = 10, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden_NH, weight_VH, bias_V = (
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for shape in ((rows, H), (V, H), (V,))
    )
    return hidden_NH, weight_VH, bias_V, torch.randint(V, (rows,), generator=generator)


def whole(hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor, targets_N: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden_NH, weight_VH, bias_V), targets_N, reduction="sum")


def value_and_gradients(
    loss_of: Callable[..., Tensor], leaves: tuple[Tensor, Tensor, Tensor], targets_N: Tensor, scale: float = 1.0
) -> tuple[Tensor, ...]:
    loss = loss_of(*leaves, targets_N)
    return (loss.detach(), *torch.autograd.grad(loss * scale, leaves))


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("rows", [1, 10])
def test_chunks_equal_the_whole(rows: int) -> None:
    *leaves, targets_N = example(rows)
    ours = value_and_gradients(chunked_cross_entropy, tuple(leaves), targets_N)
    for a, b in zip(ours, value_and_gradients(whole, tuple(leaves), targets_N), strict=True):
        assert a.dtype == torch.float64
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.usefixtures("_chunks")
def test_chunks_pass_gradcheck() -> None:
    *leaves, targets_N = example(7)

    def loss(*values: Tensor) -> Tensor:
        # gradcheck goes back more than once, and each time needs a forward pass of its own.
        return checkpoint(chunked_cross_entropy, *values, targets_N, use_reentrant=False)

    assert torch.autograd.gradcheck(loss, tuple(leaves))


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("scale", [0.25, -3.0, 65536.0])
def test_scale_of_the_loss_reaches_every_gradient(scale: float) -> None:
    """As a mean, an accumulation or a gradient scaler gives it."""
    *leaves, targets_N = example()
    ours = value_and_gradients(chunked_cross_entropy, tuple(leaves), targets_N, scale)
    for a, b in zip(ours, value_and_gradients(whole, tuple(leaves), targets_N, scale), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-10)


@pytest.mark.usefixtures("_chunks_of_three")
def test_no_rows_give_no_loss_and_no_gradient() -> None:
    *leaves, targets_N = example(0)
    loss, *gradients = value_and_gradients(chunked_cross_entropy, tuple(leaves), targets_N)
    assert loss == 0
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("lengths", [None, (3, 0, 1, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_padding_is_neither_counted_nor_learnt_from(lengths: tuple[int, ...] | None, dtype: torch.dtype) -> None:
    """Whichever way the head takes, in chunks or at once."""
    generator = torch.Generator().manual_seed(1)
    hidden_BTH = torch.randn(4, 4, H, generator=generator).to(dtype)
    targets_BT = torch.randint(V, (4, 4), generator=generator)
    lengths_B = None if lengths is None else torch.tensor(lengths)
    valid_BT = torch.ones(4, 4, dtype=torch.bool) if lengths_B is None else length_mask(lengths_B, 4)
    hidden_BTH[~valid_BT] = 1e6
    hidden_BTH.requires_grad_()
    head = VocabularyHead(H, V).to(dtype)
    loss_sum, count = head(hidden_BTH).cross_entropy(targets_BT.masked_fill(~valid_BT, 0), lengths_B)
    loss_sum.backward()
    expected = whole(hidden_BTH[valid_BT], head.weight, head.bias, targets_BT[valid_BT])
    assert count == valid_BT.sum()
    torch.testing.assert_close(loss_sum, expected)
    assert not hidden_BTH.grad[~valid_BT].any()
    for a, b in zip((head.weight.grad, head.bias.grad), torch.autograd.grad(expected, head.parameters()), strict=True):
        torch.testing.assert_close(a, b)


def test_float64_stays_exact_where_no_chunks_are_needed() -> None:
    hidden_NH, weight_VH, bias_V, targets_N = example()
    loss_sum, _ = VocabularyLogits(hidden_NH, weight_VH, bias_V).cross_entropy(targets_N[:, None], None)
    torch.testing.assert_close(loss_sum, whole(hidden_NH, weight_VH, bias_V, targets_N), rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rows_of_a_chunk", [3, 64])
def test_reduced_precision_is_close_to_float32(
    dtype: torch.dtype, rows_of_a_chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums are float32 whatever the products run in; gradients have the dtype of what they belong to."""
    set_chunk(monkeypatch, rows_of_a_chunk * V)
    *leaves, targets_N = example(dtype=torch.float32)
    expected = value_and_gradients(whole, tuple(leaves), targets_N)
    with torch.autocast("cpu", dtype=dtype):
        ours = value_and_gradients(chunked_cross_entropy, tuple(leaves), targets_N)
    tolerance = torch.finfo(dtype).eps
    for a, b in zip(ours, expected, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=4 * tolerance, atol=8 * tolerance)


@pytest.mark.usefixtures("_chunks_of_three")
def test_hidden_states_of_autocast_get_gradients_of_their_own_kind() -> None:
    hidden_NH, weight_VH, bias_V, targets_N = example(dtype=torch.float32)
    reduced_NH = hidden_NH.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = chunked_cross_entropy(reduced_NH, weight_VH, bias_V, targets_N)
    loss.backward()
    assert (loss.dtype, reduced_NH.grad.dtype, weight_VH.grad.dtype) == (torch.float32, torch.bfloat16, torch.float32)
    expected = torch.autograd.grad(whole(hidden_NH, weight_VH, bias_V, targets_N), hidden_NH)[0]
    torch.testing.assert_close(reduced_NH.grad.float(), expected, rtol=0.05, atol=0.05)


@pytest.mark.usefixtures("_chunks_of_three")
def test_sums_over_many_rows_stay_float32_under_autocast() -> None:
    """In bfloat16, 256 + 1 is 256: a sum of 20,000 rows would stop growing."""
    rows = 20_000
    hidden_NH = torch.zeros(rows, H)
    weight_VH, bias_V = torch.zeros(V, H, requires_grad=True), torch.zeros(V, requires_grad=True)
    targets_N = torch.zeros(rows, dtype=torch.int64)
    vocabulary.CHUNK_BYTES = 2 * 2000 * V  # undone by the fixture
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = chunked_cross_entropy(hidden_NH + 1, weight_VH, bias_V, targets_N)
    loss.backward()
    # a probability has 8 bits in bfloat16
    assert float(loss.detach()) == pytest.approx(rows * math.log(V), rel=2**-8 / math.log(V))
    assert float(bias_V.grad[0]) == pytest.approx(-rows * (1 - 1 / V), rel=5e-3)
    assert float(weight_VH.grad[0, 0]) == pytest.approx(-rows * (1 - 1 / V), rel=5e-3)


@pytest.mark.usefixtures("_chunks_of_three")
def test_no_gradient_is_computed_where_none_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden_NH, weight_VH, bias_V, targets_N = example()
    monkeypatch.setattr(vocabulary, "_loss_and_gradients", None)
    with torch.no_grad():
        loss = chunked_cross_entropy(hidden_NH, weight_VH, bias_V, targets_N)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, whole(hidden_NH, weight_VH, bias_V, targets_N).detach())


@pytest.mark.usefixtures("_chunks_of_three")
def test_inputs_are_left_as_they_are() -> None:
    *leaves, targets_N = example()
    before = [leaf.detach().clone() for leaf in leaves]
    value_and_gradients(chunked_cross_entropy, tuple(leaves), targets_N)
    assert all(map(torch.equal, leaves, before))


@pytest.mark.usefixtures("_chunks_of_three")
def test_second_backward_is_refused_rather_than_wrong() -> None:
    """The saved gradients are scaled in place."""
    *leaves, targets_N = example()
    loss = chunked_cross_entropy(*leaves, targets_N)
    (2 * loss).backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="inplace operation"):
        loss.backward()


class LargestTensors(TorchDispatchMode):
    """Notes the size of every tensor that an operation makes, and how many of at least `large` live at once."""

    def __init__(self, large: int) -> None:
        super().__init__()
        self.large = large
        self.sizes: list[int] = []
        self.most_alive = 0
        self._alive: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(value, Tensor):
                self.sizes.append(value.numel())
                if value.numel() >= self.large:
                    self._alive[value.data_ptr()] = weakref.ref(value)
        self.most_alive = max(self.most_alive, sum(ref() is not None for ref in self._alive.values()))
        return result


def test_no_more_than_one_chunk_of_logits_is_ever_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the forward pass and the backward pass; what is saved between them are three gradients."""
    rows, vocab_size, hidden_size = 400, 300, 5
    set_chunk(monkeypatch, 20 * vocab_size)
    head = VocabularyHead(hidden_size, vocab_size)
    hidden_BTH = torch.randn(40, 10, hidden_size, requires_grad=True)
    targets_BT = torch.randint(vocab_size, (40, 10))
    saved: list[int] = []
    note_saved = torch.autograd.graph.saved_tensors_hooks(lambda t: (saved.append(t.numel()), t)[1], lambda t: t)
    with note_saved, LargestTensors(20 * vocab_size) as made:
        loss_sum, count = head(hidden_BTH).cross_entropy(targets_BT, None)
        (loss_sum / count).backward()
    assert max(made.sizes) == 20 * vocab_size
    assert made.most_alive == 1
    assert rows * vocab_size > 10 * max(made.sizes)
    assert max(saved) <= max(rows, vocab_size) * hidden_size


def test_loss_that_fits_one_chunk_takes_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "chunked_cross_entropy", None)
    head = VocabularyHead(H, V)
    loss_sum, count = head(torch.zeros(2, 3, H)).cross_entropy(torch.zeros(2, 3, dtype=torch.int64), None)
    assert float(loss_sum.detach() / count) == pytest.approx(math.log(V))


# -- the head ---


@pytest.mark.parametrize("vocab_size", [2, 100, 20_000])
def test_initial_loss_is_log_vocab(vocab_size: int) -> None:
    torch.manual_seed(0)
    head = VocabularyHead(64, vocab_size)
    hidden_BTH = torch.tanh(torch.randn(4, 25, 64))
    with torch.no_grad():
        loss_sum, count = head(hidden_BTH).cross_entropy(torch.randint(vocab_size, (4, 25)), None)
    assert float(loss_sum / count) == pytest.approx(math.log(vocab_size), abs=0.15)
    assert head.weight.abs().max() <= 64**-0.5
    assert not head.bias.any()


def test_logits_are_those_of_a_linear_layer() -> None:
    head = VocabularyHead(H, V)
    for shape in ((2, 3, H), (2, H)):
        hidden = torch.randn(shape)
        torch.testing.assert_close(head(hidden).compute(), hidden @ head.weight.t() + head.bias)


def test_tied_weights_are_one_and_get_both_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    embedding, head = nn.Embedding(V, H), VocabularyHead(H, V)
    head.tie(embedding)
    assert head.weight is embedding.weight
    assert head.weight.abs().max() <= H**-0.5
    tokens_BT, targets_BT = torch.randint(V, (2, 6)), torch.randint(V, (2, 6))
    gradients = []
    for elements in (None, 4 * V):
        if elements is not None:
            set_chunk(monkeypatch, elements)
        loss_sum, _ = head(torch.tanh(embedding(tokens_BT))).cross_entropy(targets_BT, None)
        gradients.append(torch.autograd.grad(loss_sum, embedding.weight)[0])
    separate = [embedding.weight.detach().clone().requires_grad_() for _ in range(2)]
    hidden_BTH = torch.tanh(F.embedding(tokens_BT, separate[0]))
    expected = sum(
        torch.autograd.grad(whole(hidden_BTH.flatten(0, 1), separate[1], head.bias, targets_BT.flatten()), separate)
    )
    for gradient in gradients:
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("embedding", [nn.Embedding(V, H + 1), nn.Embedding(V + 1, H), nn.Identity()])
def test_tying_refuses_what_has_another_shape(embedding: nn.Module) -> None:
    with pytest.raises(UserError, match=f"model.tie_embeddings: .*set model.embedding_size={H}"):
        VocabularyHead(H, V).tie(embedding)
