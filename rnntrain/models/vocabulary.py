"""The output layer over a vocabulary, and its cross-entropy without ever holding all logits."""

# B batch, T time, H hidden, V vocabulary, N = B·T rows, C rows of one chunk

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.batch import Batch, length_mask
from rnntrain.errors import UserError

# Rows are taken in chunks of about so many bytes of logits. That is near what a processor's cache holds, and below the
# size from which the C library gets each tensor from the system anew, at three times the cost of what is done with it.
CHUNK_BYTES = 2**24
# Fewer logits than this are left to PyTorch's own cross-entropy, which has less to set up.
SMALL_ELEMENTS = 2**20


class VocabularyLogits(NamedTuple):
    """Logits that have not been computed yet: ``hidden_BTH @ weight_VH.T + bias_V``.

    A loss over a large vocabulary takes them in chunks; whoever wants them whole calls `compute`.
    """

    hidden: Tensor
    weight_VH: Tensor
    bias_V: Tensor

    def compute(self) -> Tensor:
        """Return ``logits_BTV`` (or ``logits_BV`` of a single step)."""
        return F.linear(self.hidden, self.weight_VH, self.bias_V)

    def cross_entropy(self, targets_BT: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the summed negative log-likelihood of the targets in nats, and how many there are."""
        hidden_NH, targets_N, count = valid_rows(self.hidden, targets_BT, lengths_B)
        if targets_N.numel() * self.weight_VH.shape[0] <= SMALL_ELEMENTS:
            logits_NV = F.linear(hidden_NH, self.weight_VH, self.bias_V)
            exact = torch.promote_types(logits_NV.dtype, torch.float32)
            return F.cross_entropy(logits_NV.to(exact), targets_N, reduction="sum"), count
        return chunked_cross_entropy(hidden_NH, self.weight_VH, self.bias_V, targets_N), count


class VocabularyHead(nn.Module):
    """A linear layer from the hidden state to one logit a vocabulary entry.

    Initialisation: weights uniform in ±1/√H, the bias zero, so that a new model's loss is about log V.
    """

    def __init__(self, input_size: int, vocab_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, input_size).uniform_(-(input_size**-0.5), input_size**-0.5))
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, hidden: Tensor, batch: Batch | None = None) -> VocabularyLogits:
        return VocabularyLogits(hidden, self.weight, self.bias)

    def tie(self, embedding: nn.Module) -> None:
        """Share the weights of the input embedding (Press and Wolf 2017, arXiv:1608.05859).

        Raises:
            UserError: if the widths differ.
        """
        self.weight = share_embedding(embedding, self.weight)


def share_embedding(embedding: nn.Module, weight_VH: nn.Parameter) -> nn.Parameter:
    """Return an embedding's weights, to take the place of those of an output layer; they start as the latter do.

    Raises:
        UserError: if the two differ in shape.
    """
    shared = getattr(embedding, "weight", None)
    if not isinstance(shared, nn.Parameter) or shared.shape != weight_VH.shape:
        raise UserError(
            f"model.tie_embeddings: the embedding is {tuple(getattr(shared, 'shape', ()))} and the output layer "
            f"{tuple(weight_VH.shape)}; set model.embedding_size={weight_VH.shape[1]}"
        )
    # The smaller scale of an output layer serves both ends; that of an embedding would start far above log V.
    with torch.no_grad():
        shared.uniform_(-(shared.shape[1] ** -0.5), shared.shape[1] ** -0.5)
    return shared


def valid_rows(
    hidden: Tensor, targets_BT: Tensor, lengths_B: Tensor | None, inner: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what belongs to valid steps, one row a step: of `hidden`, of the targets, and how many there are.

    Args:
        inner: how many of the last dimensions of `hidden` belong to one step.
    """
    rows, targets_N = hidden.flatten(0, -1 - inner), targets_BT.flatten()
    if lengths_B is None:
        return rows, targets_N, torch.tensor(float(targets_N.numel()))
    valid_N = length_mask(lengths_B, targets_BT.shape[1]).flatten()
    return rows[valid_N], targets_N[valid_N], lengths_B.sum().float()


def chunked_cross_entropy(hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor, targets_N: Tensor) -> Tensor:
    """Return Σ -log softmax(h Wᵀ + b)[target] in nats, a chunk of rows at a time.

    The gradient of the sum is known as soon as a chunk's logits are (softmax minus one-hot), so it is taken in the
    forward pass and the logits are dropped: memory stays at one chunk, and no logit is computed twice. Under autocast
    the products run in the reduced precision; sums are float32. In training, a probability below the smallest normal
    number counts as that number (87 nats).
    """
    if torch.is_grad_enabled():
        loss: Tensor = _ChunkedCrossEntropy.apply(hidden_NH, weight_VH, bias_V, targets_N)
        return loss
    exact = torch.promote_types(bias_V.dtype, torch.float32)
    rows = _rows_of_a_chunk(hidden_NH.shape[0], weight_VH)
    chunks = zip(*(x.split(rows) for x in (hidden_NH, targets_N)), strict=True)
    losses = [F.cross_entropy(F.linear(h, weight_VH, bias_V).to(exact), t, reduction="sum") for h, t in chunks]
    return torch.stack(losses).sum()


def _rows_of_a_chunk(num_rows: int, weight_VH: Tensor) -> int:
    # Chunks of one size: a short last one would cost as much as a whole one where it is added to the weights' gradient.
    chunks = max(1, round(num_rows * weight_VH.shape[0] * weight_VH.element_size() / CHUNK_BYTES))
    return max(1, -(-num_rows // chunks))


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor, targets_N: Tensor) -> Tensor:
        device = hidden_NH.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight_VH.dtype
        with torch.autocast(device, enabled=False):
            loss, *grads = _loss_and_gradients(hidden_NH.to(dtype), weight_VH.to(dtype), bias_V, targets_N)
        ctx.save_for_backward(grads[0].to(hidden_NH.dtype), *grads[1:])
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        # The saved gradients are ours alone, and a second backward is refused by autograd: scale them in place.
        hidden, weight, bias = (saved.mul_(grad_loss) for saved in ctx.saved_tensors)
        return hidden, weight, bias, None


def _loss_and_gradients(
    hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor, targets_N: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the loss and its gradients with respect to h, W and b, the last two in the precision of b."""
    exact = torch.promote_types(bias_V.dtype, torch.float32)
    loss = bias_V.new_zeros((), dtype=exact)
    grad_hidden_NH = torch.empty_like(hidden_NH)
    grad_weight_VH: Tensor | None = None
    grad_bias_V = torch.zeros_like(bias_V)
    rows = _rows_of_a_chunk(hidden_NH.shape[0], weight_VH)
    for hidden_CH, targets_C, grad_hidden_CH in zip(
        hidden_NH.split(rows), targets_N.split(rows), grad_hidden_NH.split(rows), strict=True
    ):
        grad_CV = torch.addmm(bias_V.to(weight_VH.dtype), hidden_CH, weight_VH.t())
        torch.softmax(grad_CV, 1, out=grad_CV)
        # Targets by their places in the chunk as one row: in bfloat16, a scatter by rows would copy all of it.
        places_C = targets_C + torch.arange(0, grad_CV.numel(), grad_CV.shape[1], device=grad_CV.device)
        target_probs_C = grad_CV.view(-1).index_select(0, places_C)
        grad_CV.view(-1).index_copy_(0, places_C, target_probs_C - 1)
        loss -= target_probs_C.to(exact).clamp_(min=torch.finfo(exact).tiny).log_().sum()
        torch.mm(grad_CV, weight_VH, out=grad_hidden_CH)
        if grad_weight_VH is None:
            grad_weight_VH = torch.mm(grad_CV.t(), hidden_CH).to(bias_V.dtype)
        elif grad_weight_VH.dtype == grad_CV.dtype:
            grad_weight_VH.addmm_(grad_CV.t(), hidden_CH)
        else:
            grad_weight_VH += torch.mm(grad_CV.t(), hidden_CH)
        grad_bias_V += torch.mm(grad_CV.new_ones(1, len(targets_C)), grad_CV).squeeze(0)
    if grad_weight_VH is None:  # there was no row
        grad_weight_VH = torch.zeros_like(weight_VH, dtype=bias_V.dtype)
    return loss, grad_hidden_NH, grad_weight_VH, grad_bias_V
